// SPDX-License-Identifier: Apache-2.0 OR MIT
// A ring buffer with a type for its values: in BTF, but the kernel wants a value size of zero.
#include "kernel.h"

LICENSE_DUAL;

struct event {
    u32 pid;
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
    __type(value, struct event);
} events SEC(".maps");

SEC("syscall")
int plain(void *ctx)
{
    return 0;
}
