// SPDX-License-Identifier: Apache-2.0 OR MIT
// Needs a kernel configuration that no kernel has.
#include "kernel.h"

LICENSE_DUAL;

extern int CONFIG_PLINTH_INVENTED __kconfig;

SEC("syscall")
int reads(void *ctx)
{
    return CONFIG_PLINTH_INVENTED;
}
