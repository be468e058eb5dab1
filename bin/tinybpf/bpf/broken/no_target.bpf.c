// SPDX-License-Identifier: Apache-2.0 OR MIT
// Loads; its section does not say where to attach.
#include "kernel.h"

LICENSE_DUAL;

SEC("kprobe")
int nowhere(struct pt_regs *ctx)
{
    return 0;
}
