// SPDX-License-Identifier: Apache-2.0 OR MIT
// Follows a pointer that is none: the verifier refuses.
#include "kernel.h"

LICENSE_DUAL;

SEC("raw_tp/sys_enter")
int scalar(struct bpf_raw_tracepoint_args *ctx)
{
    return *(int *)ctx->args[1];
}
