// SPDX-License-Identifier: Apache-2.0 OR MIT
// A section whose name says nothing about the program's type.
#include "kernel.h"

LICENSE_DUAL;

SEC("nonsense/foo")
int lost(void *ctx)
{
    return 0;
}
