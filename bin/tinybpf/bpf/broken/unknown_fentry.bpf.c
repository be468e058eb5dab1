// SPDX-License-Identifier: Apache-2.0 OR MIT
// Wants the entry of a function that no kernel has.
#include "kernel.h"

LICENSE_DUAL;

SEC("fentry/plinth_invented_function")
int BPF_PROG(enters)
{
    return 0;
}
