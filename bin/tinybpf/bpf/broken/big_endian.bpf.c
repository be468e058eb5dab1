// SPDX-License-Identifier: Apache-2.0 OR MIT
// Healthy, but for machines of the other byte order; with types for a decoder of its BTF.
#include "kernel.h"

LICENSE_DUAL;

struct event {
    u32 pid;
    u16 port;
    s8 level : 4;
    s8 rest : 4;
    char comm[TASK_COMM_LEN];
};

struct event anchor_event __attribute__((btf_decl_tag("event:events")));

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("raw_tp/sys_enter")
int plain(void *ctx)
{
    return 0;
}
