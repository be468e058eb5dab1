// SPDX-License-Identifier: Apache-2.0 OR MIT
// Reads a field that no kernel has, where the code is reached.
#include "kernel.h"

LICENSE_DUAL;

struct task_struct___invented {
    int plinth_invented_field;
} __attribute__((preserve_access_index));

u64 value;

SEC("raw_tp/sys_enter")
int misses(void *ctx)
{
    struct task_struct___invented *task = (void *)bpf_get_current_task();

    value = BPF_CORE_READ(task, plinth_invented_field);
    return 0;
}
