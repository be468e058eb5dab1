// SPDX-License-Identifier: Apache-2.0 OR MIT
// Calls a kernel function that no kernel has.
#include "kernel.h"

LICENSE_DUAL;

extern int plinth_invented_function(int number) __ksym;

SEC("syscall")
int calls(void *ctx)
{
    return plinth_invented_function(1);
}
