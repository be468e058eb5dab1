// SPDX-License-Identifier: Apache-2.0 OR MIT
// Loads; the function to attach to exists nowhere.
#include "kernel.h"

LICENSE_DUAL;

SEC("kprobe/plinth_invented_function")
int nowhere(void *ctx)
{
    return 0;
}
