// SPDX-License-Identifier: Apache-2.0 OR MIT
// A ring buffer that declares values as a map of maps does: refused when the object is opened.
#include "kernel.h"

LICENSE_DUAL;

struct event {
    u32 pid;
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
    __array(values, struct event);
} events SEC(".maps");

SEC("syscall")
int plain(void *ctx)
{
    return 0;
}
