// SPDX-License-Identifier: Apache-2.0 OR MIT
// Healthy, but compiled without -g and so without BTF.
#include "kernel.h"

LICENSE_DUAL;

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 8);
    __type(key, u32);
    __type(value, u32);
} table SEC(".maps");

SEC("raw_tp/sys_enter")
int plain(void *ctx)
{
    u32 key = 0;

    return bpf_map_lookup_elem(&table, &key) != NULL;
}
