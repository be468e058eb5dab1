// SPDX-License-Identifier: Apache-2.0 OR MIT
// Counts what the processes of each control group send.
//
//   tinybpf load /usr/lib/tinybpf/cgroup_egress.bpf.o --pin /sys/fs/bpf/cgroup_egress \
//       --hook egress=cgroup:/
//   tinybpf map dump pin /sys/fs/bpf/cgroup_egress/maps/sent
//
// Attached to the root it sees every control group; the key is the group's number, which is the
// inode number of its directory (`ls -di`). Constant: `limit_bytes`, set with --set or in the
// manifest, drops what a group sends beyond that many bytes; 0 drops nothing. Needs kernel 5.7 for
// an attachment that can be pinned.
#include "kernel.h"

LICENSE_DUAL;

const volatile u64 limit_bytes = 0;

struct sent {
    u64 packets;
    u64 bytes;
    u64 dropped;
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 8192);
    __type(key, u64);
    __type(value, struct sent);
} sent SEC(".maps");

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
    struct sent first = { .packets = 1, .bytes = skb->len };
    u64 group = bpf_skb_cgroup_id(skb);
    struct sent *sum = bpf_map_lookup_elem(&sent, &group);

    if (!sum) {
        bpf_map_update_elem(&sent, &group, &first, BPF_NOEXIST);
        return 1;
    }
    if (limit_bytes && sum->bytes + skb->len > limit_bytes) {
        __sync_fetch_and_add(&sum->dropped, 1);
        return 0;
    }
    __sync_fetch_and_add(&sum->packets, 1);
    __sync_fetch_and_add(&sum->bytes, skb->len);
    return 1;
}
