// SPDX-License-Identifier: Apache-2.0 OR MIT
// No license, and a helper that wants one.
#include "kernel.h"

SEC("raw_tp/sys_enter")
int unlicensed(void *ctx)
{
    u64 number = 0;

    bpf_probe_read_kernel(&number, sizeof(number), ctx);
    return number != 0;
}
