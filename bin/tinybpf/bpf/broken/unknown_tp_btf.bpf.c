// SPDX-License-Identifier: Apache-2.0 OR MIT
// Wants a tracepoint that no kernel has, typed. The name is close to one that exists.
#include "kernel.h"

LICENSE_DUAL;

SEC("tp_btf/sched_swich")
int BPF_PROG(switches)
{
    return 0;
}
