// SPDX-License-Identifier: Apache-2.0 OR MIT
// Every program that is started and every process that ends.
//
//   tinybpf run /usr/lib/tinybpf/exec.bpf.o
//
// The ring buffer `events` carries a `struct event` for each execve(2), `exits` a `struct exit` for
// each process that ends; both as JSON lines. What is watched can be changed at any time in the map
// `config`:
//
//   tinybpf map set pin /sys/fs/bpf/exec/maps/config 0 \
//       '{"paused":false,"by_uid":true,"target_uid":1000,"target_parent":0}'
//
// Needs kernel 5.8 with BTF, and tracefs. `events_dropped` and `exits_dropped` count what found no
// room in its ring buffer.
#include "kernel.h"

LICENSE_DUAL;

#define FILE_NAME_LEN 128

// What is reported; all, as long as nobody has written to the map.
struct config {
    // Nothing at all.
    bool paused;
    // Only processes of the user `target_uid`.
    bool by_uid;
    u32 target_uid;
    // Only processes whose parent is this one; 0: of any parent.
    u32 target_parent;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct config);
} config SEC(".maps");

// A program was started.
struct event {
    u64 time_ns; // since boot
    u32 pid;
    u32 parent;
    u32 uid;
    char comm[TASK_COMM_LEN];
    char file[FILE_NAME_LEN];
};

// A process ended.
struct exit {
    u64 time_ns; // since boot
    u64 lived_ns;
    u32 pid;
    u32 parent;
    u32 uid;
    s32 status; // of exit(2); 128 more than the signal when one ended it
    char comm[TASK_COMM_LEN];
};

struct event anchor_event __attribute__((btf_decl_tag("event:events")));
struct exit anchor_exit __attribute__((btf_decl_tag("event:exits")));

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} events SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 * 1024);
} exits SEC(".maps");

u64 events_dropped;
u64 exits_dropped;

struct task_struct___exit {
    int exit_code;
} __attribute__((preserve_access_index));

// The record of the tracepoint, as its `format` file describes it.
struct exec_record {
    u64 common;
    u32 file; // where the name begins in the record, and in the upper half how long it is
    s32 pid;
    s32 old_pid;
};

static u32 parent_of(struct task_struct *task)
{
    return BPF_CORE_READ(task, real_parent, tgid);
}

static bool wanted(u32 uid, u32 parent)
{
    u32 zero = 0;
    struct config *now = bpf_map_lookup_elem(&config, &zero);

    return now && !now->paused && (!now->by_uid || now->target_uid == uid) &&
           (!now->target_parent || now->target_parent == parent);
}

SEC("tracepoint/sched/sched_process_exec")
int trace_exec(struct exec_record *record)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    u32 uid = bpf_get_current_uid_gid(), parent = parent_of(task);
    struct event *event;

    if (!wanted(uid, parent))
        return 0;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) {
        __sync_fetch_and_add(&events_dropped, 1);
        return 0;
    }
    event->time_ns = bpf_ktime_get_boot_ns();
    event->pid = bpf_get_current_pid_tgid() >> 32;
    event->parent = parent;
    event->uid = uid;
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    event->file[0] = 0;
    bpf_probe_read_kernel_str(event->file, sizeof(event->file),
                              (char *)record + (record->file & 0xffff));
    bpf_ringbuf_submit(event, 0);
    return 0;
}

SEC("tracepoint/sched/sched_process_exit")
int trace_exit(void *ctx)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    u64 both = bpf_get_current_pid_tgid();
    u32 uid = bpf_get_current_uid_gid(), parent = parent_of(task);
    struct exit *exit;
    int code;

    // Threads end as well; the process ends with the one that carries its number.
    if ((u32)both != both >> 32 || !wanted(uid, parent))
        return 0;
    exit = bpf_ringbuf_reserve(&exits, sizeof(*exit), 0);
    if (!exit) {
        __sync_fetch_and_add(&exits_dropped, 1);
        return 0;
    }
    exit->time_ns = bpf_ktime_get_boot_ns();
    exit->lived_ns = bpf_ktime_get_ns() - BPF_CORE_READ(task, start_time);
    exit->pid = both >> 32;
    exit->parent = parent;
    exit->uid = uid;
    code = BPF_CORE_READ((struct task_struct___exit *)task, exit_code);
    exit->status = code & 0x7f ? 128 + (code & 0x7f) : (code >> 8) & 0xff;
    bpf_get_current_comm(exit->comm, sizeof(exit->comm));
    bpf_ringbuf_submit(exit, 0);
    return 0;
}
