// SPDX-License-Identifier: Apache-2.0 OR MIT
// Implements an interface that no kernel has.
#include "kernel.h"

LICENSE_DUAL;

struct plinth_invented_ops {
    int (*act)(void);
} __attribute__((preserve_access_index));

SEC("struct_ops/act")
int BPF_PROG(act)
{
    return 0;
}

SEC(".struct_ops")
struct plinth_invented_ops invented = {
    .act = (void *)act,
};
