// SPDX-License-Identifier: Apache-2.0 OR MIT
// Loads; the raw tracepoint to attach to exists nowhere.
#include "kernel.h"

LICENSE_DUAL;

SEC("raw_tp/plinth_invented")
int nowhere(void *ctx)
{
    return 0;
}
