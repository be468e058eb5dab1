// SPDX-License-Identifier: Apache-2.0 OR MIT
// Loads; the tracepoint to attach to exists nowhere. Its name is close to one that does.
#include "kernel.h"

LICENSE_DUAL;

SEC("tracepoint/sched/sched_swich")
int nowhere(void *ctx)
{
    return 0;
}
