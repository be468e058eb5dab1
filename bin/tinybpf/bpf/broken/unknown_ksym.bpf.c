// SPDX-License-Identifier: Apache-2.0 OR MIT
// Names a kernel variable that no kernel has.
#include "kernel.h"

LICENSE_DUAL;

extern const int plinth_invented_variable __ksym;

SEC("syscall")
int reads(void *ctx)
{
    return plinth_invented_variable;
}
