// SPDX-License-Identifier: Apache-2.0 OR MIT
// A map of maps whose template is said nowhere.
#include "kernel.h"

LICENSE_DUAL;

struct {
    __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
    __uint(max_entries, 4);
    __uint(key_size, sizeof(u32));
    __uint(value_size, sizeof(u32));
} outer SEC(".maps");

SEC("syscall")
int plain(void *ctx)
{
    return 0;
}
