// SPDX-License-Identifier: Apache-2.0 OR MIT
// What C needs with the same libbpf, to be measured.
//
//   peer load OBJECT DIRECTORY [BTF]   open, load, attach; pins program and link
//   peer consume OBJECT ROUNDS         empties a ring that was filled
//   peer elements OBJECT ROUNDS        looks up and updates single entries
//
// Reports "@val KEY VALUE" lines.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

// Entries of the table; rings that are emptied for one value.
enum { ENTRIES = 100000, FILLS = 50 };

static double clock_of(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double now(void)
{
    return clock_of(CLOCK_MONOTONIC);
}

// The processor time of this thread: what other work on the machine adds nothing to.
static double worked(void)
{
    return clock_of(CLOCK_THREAD_CPUTIME_ID);
}

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static struct bpf_object *opened(const char *path, const char *btf)
{
    LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = btf);
    struct bpf_object *object = bpf_object__open_file(path, &options);

    if (!object || bpf_object__load(object))
        return NULL;
    return object;
}

static int load(const char *path, const char *pins, const char *btf)
{
    char program_pin[4096], link_pin[4096];
    double begun = now();
    struct bpf_object *object = opened(path, btf);
    struct bpf_program *program = object ? bpf_object__next_program(object, NULL) : NULL;
    struct bpf_link *link = program ? bpf_program__attach(program) : NULL;

    if (!link)
        return fail(path);
    double time = now() - begun;

    snprintf(program_pin, sizeof(program_pin), "%s/program", pins);
    snprintf(link_pin, sizeof(link_pin), "%s/link", pins);
    if (bpf_program__pin(program, program_pin) || bpf_link__pin(link, link_pin))
        return fail(pins);
    printf("@val load_us %f\n", time * 1e6);
    bpf_link__destroy(link);
    bpf_object__close(object);
    return 0;
}

struct seen {
    unsigned long events, bytes;
};

static int count(void *context, void *data, size_t size)
{
    struct seen *seen = context;

    (void)data;
    seen->events++;
    seen->bytes += size;
    return 0;
}

static int consume(const char *path, int rounds)
{
    struct bpf_object *object = opened(path, NULL);
    struct seen seen = {};

    if (!object)
        return fail(path);
    int fill = bpf_program__fd(bpf_object__find_program_by_name(object, "fill"));
    int map = bpf_object__find_map_fd_by_name(object, "ring");
    struct ring_buffer *ring = ring_buffer__new(map, count, &seen, NULL);

    if (!ring)
        return fail("ring");
    for (int round = 0; round < rounds; round++) {
        double time = 0;

        memset(&seen, 0, sizeof(seen));
        for (int i = 0; i < FILLS; i++) {
            LIBBPF_OPTS(bpf_test_run_opts, run);

            if (bpf_prog_test_run_opts(fill, &run))
                return fail("fill");
            double begun = worked();
            ring_buffer__consume(ring);
            time += worked() - begun;
        }
        if (!seen.events || seen.bytes != seen.events * 64)
            return fprintf(stderr, "peer: the ring holds something else\n"), 1;
        printf("@val consume_ns %f\n", time * 1e9 / seen.events);
    }
    return 0;
}

static int elements(const char *path, int rounds)
{
    struct bpf_object *object = opened(path, NULL);

    if (!object)
        return fail(path);
    int table = bpf_object__find_map_fd_by_name(object, "table");

    for (int round = 0; round < rounds; round++) {
        unsigned long long value, sum = 0;
        double begun = worked();

        for (unsigned int key = 0; key < ENTRIES; key++) {
            value = (unsigned long long)key + round;
            if (bpf_map_update_elem(table, &key, &value, BPF_ANY))
                return fail("update");
        }
        printf("@val update_ns %f\n", (worked() - begun) * 1e9 / ENTRIES);
        begun = worked();
        for (unsigned int key = 0; key < ENTRIES; key++) {
            if (bpf_map_lookup_elem(table, &key, &value))
                return fail("lookup");
            sum += value;
        }
        printf("@val lookup_ns %f\n", (worked() - begun) * 1e9 / ENTRIES);
        if (!sum)
            return fprintf(stderr, "peer: the table is empty\n"), 1;
    }
    return 0;
}

int main(int count, char **words)
{
    if (count >= 4 && !strcmp(words[1], "load"))
        return load(words[2], words[3], count > 4 ? words[4] : NULL);
    if (count == 4 && !strcmp(words[1], "consume"))
        return consume(words[2], atoi(words[3]));
    if (count == 4 && !strcmp(words[1], "elements"))
        return elements(words[2], atoi(words[3]));
    fprintf(stderr, "usage: peer load OBJECT DIRECTORY [BTF] | consume|elements OBJECT ROUNDS\n");
    return 2;
}
