// SPDX-License-Identifier: Apache-2.0 OR MIT
// Rejected at its end only, after so many instructions that the log is of several MiB.
#include "kernel.h"

LICENSE_DUAL;

SEC("raw_tp/sys_enter")
int talks(void *ctx)
{
    u64 sum = 0;

    for (u32 i = 0; i < 10000; i++)
        sum ^= bpf_ktime_get_ns() + i;
    return *(int *)sum;
}
