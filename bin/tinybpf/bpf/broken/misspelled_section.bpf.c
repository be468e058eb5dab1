// SPDX-License-Identifier: Apache-2.0 OR MIT
// A section name with a letter too few.
#include "kernel.h"

LICENSE_DUAL;

SEC("tracepont/sched/sched_switch")
int lost(void *ctx)
{
    return 0;
}
