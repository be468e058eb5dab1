// SPDX-License-Identifier: Apache-2.0 OR MIT
// A license that is not compatible with the GPL, and a helper that wants one that is.
#include "kernel.h"

char LICENSE[] SEC("license") = "Proprietary";

SEC("raw_tp/sys_enter")
int closed(void *ctx)
{
    u64 number = 0;

    bpf_probe_read_kernel(&number, sizeof(number), ctx);
    return number != 0;
}
