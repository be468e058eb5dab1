// SPDX-License-Identifier: Apache-2.0 OR MIT
// How long the requests to each NVMe device take, as histograms in powers of two.
//
//   tinybpf load /usr/lib/tinybpf/nvme_latency.bpf.o --pin /sys/fs/bpf/nvme_latency --attach auto
//   tinybpf map dump pin /sys/fs/bpf/nvme_latency/maps/latency
//
// The map `latency` has an entry for each device and kind of request: how many there were, their
// bytes, their time together and the longest, and `slots`, of which slot N counts the requests that
// took between 2^N and 2^(N+1) microseconds (slot 0 also those under one). With multipath the
// kernel sends requests over the paths, so the names are those of paths (nvme0c1n1).
//
// Constants, set with --set or in the manifest: `all_devices` counts every block device, not NVMe
// alone. Needs kernel 5.11 with BTF; no tracefs.
#include "kernel.h"

LICENSE_DUAL;

#define DISK_NAME_LEN 32
#define SLOTS 24
// Requests on their way at one time.
#define IN_FLIGHT_MAX 16384

const volatile bool all_devices = false;

enum operation { READ, WRITE, FLUSH, DISCARD, OTHER };

struct key {
    char device[DISK_NAME_LEN];
    enum operation operation;
};

struct latency {
    u64 requests;
    u64 bytes;
    u64 total_ns;
    u64 longest_ns;
    u64 slots[SLOTS];
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, struct key);
    __type(value, struct latency);
} latency SEC(".maps");

struct start {
    u64 time_ns;
    u32 bytes;
};

// Begun and not yet complete, by the address of the request.
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, IN_FLIGHT_MAX);
    __type(key, u64);
    __type(value, struct start);
} started SEC(".maps");

// Devices that found no room in `latency`.
u64 devices_dropped;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct gendisk {
    char disk_name[DISK_NAME_LEN];
};

struct request_queue {
    struct gendisk *disk;
};

struct request {
    struct request_queue *q;
    u32 cmd_flags;
    u32 __data_len;
};

// Before kernel 5.17 the request itself named the disk.
struct request___old {
    struct gendisk *rq_disk;
};

#pragma clang attribute pop

static struct gendisk *disk_of(struct request *request)
{
    struct request___old *old = (void *)request;

    if (bpf_core_field_exists(old->rq_disk))
        return BPF_CORE_READ(old, rq_disk);
    return BPF_CORE_READ(request, q, disk);
}

static enum operation operation_of(u32 flags)
{
    switch (flags & 0xff) {
    case 0: return READ;
    case 1: return WRITE;
    case 2: return FLUSH;
    case 3: return DISCARD;
    default: return OTHER;
    }
}

static u32 slot_of(u64 nanoseconds)
{
    u64 rest = nanoseconds / 1000;
    u32 slot = 0;

    for (u32 i = 0; i < SLOTS - 1; i++) {
        rest >>= 1;
        if (!rest)
            break;
        slot++;
    }
    return slot;
}

SEC("raw_tp/block_rq_issue")
int issue(struct bpf_raw_tracepoint_args *ctx)
{
    struct request *request = (void *)ctx->args[0];
    u64 address = (u64)request;
    struct start start = {};

    start.time_ns = bpf_ktime_get_ns();
    start.bytes = BPF_CORE_READ(request, __data_len);
    bpf_map_update_elem(&started, &address, &start, BPF_ANY);
    return 0;
}

SEC("raw_tp/block_rq_complete")
int complete(struct bpf_raw_tracepoint_args *ctx)
{
    static const struct latency none;
    struct request *request = (void *)ctx->args[0];
    u64 address = (u64)request, took;
    struct start *start = bpf_map_lookup_elem(&started, &address);
    struct latency *entry;
    struct key key = {};
    u32 slot;

    if (!start)
        return 0;
    took = bpf_ktime_get_ns() - start->time_ns;
    bpf_probe_read_kernel_str(key.device, sizeof(key.device), disk_of(request)->disk_name);
    if (!all_devices && (key.device[0] != 'n' || key.device[1] != 'v' || key.device[2] != 'm' ||
                         key.device[3] != 'e'))
        goto over;
    key.operation = operation_of(BPF_CORE_READ(request, cmd_flags));
    entry = bpf_map_lookup_elem(&latency, &key);
    if (!entry) {
        bpf_map_update_elem(&latency, &key, &none, BPF_NOEXIST);
        entry = bpf_map_lookup_elem(&latency, &key);
    }
    if (!entry) {
        __sync_fetch_and_add(&devices_dropped, 1);
        goto over;
    }
    __sync_fetch_and_add(&entry->requests, 1);
    __sync_fetch_and_add(&entry->bytes, start->bytes);
    __sync_fetch_and_add(&entry->total_ns, took);
    if (took > entry->longest_ns)
        entry->longest_ns = took;
    slot = slot_of(took);
    if (slot < SLOTS)
        __sync_fetch_and_add(&entry->slots[slot], 1);
over:
    bpf_map_delete_elem(&started, &address);
    return 0;
}
