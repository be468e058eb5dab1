// SPDX-License-Identifier: Apache-2.0 OR MIT
// A loop without a bound that the verifier could see, since its counter has an address: EFAULT.
#include "kernel.h"

LICENSE_DUAL;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, u32);
    __type(value, u32);
} numbers SEC(".maps");

SEC("syscall")
int jumps(void *ctx)
{
    u32 sum = 0;

    for (u32 i = 0; i < 4; i++) {
        u32 *number = bpf_map_lookup_elem(&numbers, &i);

        if (number)
            sum += *number;
    }
    return sum;
}
