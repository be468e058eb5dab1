// SPDX-License-Identifier: Apache-2.0 OR MIT
// More instructions than the verifier is willing to walk: E2BIG, after a million of them.
#include "kernel.h"

LICENSE_DUAL;

u64 sum;

SEC("syscall")
int walks(void *ctx)
{
    for (u64 i = 0; i < 10000000; i++)
        sum += i ^ bpf_ktime_get_ns();
    return 0;
}
