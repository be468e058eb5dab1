// SPDX-License-Identifier: Apache-2.0 OR MIT
// Every outgoing TCP connection: who opened it, whereto, whether and after how long it came about.
//
//   tinybpf run /usr/lib/tinybpf/tcp_connects.bpf.o
//
// One `struct event` for each attempt, when it has succeeded or failed. Constants, set with --set
// or in the manifest: `port` reports only connections to that port, `failures_only` only those that
// did not come about. Needs kernel 5.13 with BTF; no tracefs.
#include "kernel.h"

LICENSE_DUAL;

#define AF_INET 2
#define AF_INET6 10
#define ADDRESS_LEN 40
// Attempts on their way at one time.
#define IN_FLIGHT_MAX 8192

enum tcp_state { ESTABLISHED = 1, SYN_SENT = 2, CLOSE = 7 };

const volatile u16 port = 0;
const volatile bool failures_only = false;

struct event {
    u64 time_ns; // since boot, when the attempt ended
    u64 took_ns;
    u32 pid;
    u32 uid;
    u16 port;
    bool connected;
    bool ipv6;
    char comm[TASK_COMM_LEN];
    char address[ADDRESS_LEN];
};

struct event anchor_event __attribute__((btf_decl_tag("event:events")));

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} events SEC(".maps");

u64 events_dropped;

struct attempt {
    u64 begun_ns;
    u32 pid;
    u32 uid;
    char comm[TASK_COMM_LEN];
};

// By the address of the socket: the end of an attempt happens outside of the process.
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, IN_FLIGHT_MAX);
    __type(key, u64);
    __type(value, struct attempt);
} attempts SEC(".maps");

struct sock_common___v6 {
    struct {
        u8 bytes[16];
    } skc_v6_daddr;
} __attribute__((preserve_access_index));

struct sock___v6 {
    struct sock_common___v6 __sk_common;
} __attribute__((preserve_access_index));

static void begin(u64 address)
{
    struct attempt attempt = {};

    attempt.begun_ns = bpf_ktime_get_ns();
    attempt.pid = bpf_get_current_pid_tgid() >> 32;
    attempt.uid = bpf_get_current_uid_gid();
    bpf_get_current_comm(attempt.comm, sizeof(attempt.comm));
    bpf_map_update_elem(&attempts, &address, &attempt, BPF_ANY);
}

static void report(struct sock *sk, struct attempt *attempt, bool connected)
{
    struct sock___v6 *six = (void *)sk;
    u16 to = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
    struct event *event;
    u8 address[16] = {};

    if ((port && port != to) || (failures_only && connected))
        return;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) {
        __sync_fetch_and_add(&events_dropped, 1);
        return;
    }
    event->time_ns = bpf_ktime_get_boot_ns();
    event->took_ns = bpf_ktime_get_ns() - attempt->begun_ns;
    event->pid = attempt->pid;
    event->uid = attempt->uid;
    event->port = to;
    event->connected = connected;
    event->ipv6 = BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6;
    __builtin_memcpy(event->comm, attempt->comm, sizeof(event->comm));
    __builtin_memset(event->address, 0, sizeof(event->address));
    if (event->ipv6) {
        bpf_core_read(address, 16, &six->__sk_common.skc_v6_daddr);
        BPF_SNPRINTF(event->address, sizeof(event->address), "%pI6", address);
    } else {
        bpf_core_read(address, 4, &sk->__sk_common.skc_daddr);
        BPF_SNPRINTF(event->address, sizeof(event->address), "%pI4", address);
    }
    bpf_ringbuf_submit(event, 0);
}

SEC("raw_tp/inet_sock_set_state")
int state(struct bpf_raw_tracepoint_args *ctx)
{
    struct sock *sk = (void *)ctx->args[0];
    u64 address = (u64)sk;
    int old = ctx->args[1], new = ctx->args[2];
    struct attempt *attempt;
    u16 family;

    if (new == SYN_SENT) {
        family = BPF_CORE_READ(sk, __sk_common.skc_family);
        if (family == AF_INET || family == AF_INET6)
            begin(address);
        return 0;
    }
    if (old != SYN_SENT)
        return 0;
    attempt = bpf_map_lookup_elem(&attempts, &address);
    if (!attempt)
        return 0;
    report(sk, attempt, new == ESTABLISHED);
    bpf_map_delete_elem(&attempts, &address);
    return 0;
}
