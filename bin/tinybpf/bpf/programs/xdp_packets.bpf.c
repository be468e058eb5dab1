// SPDX-License-Identifier: Apache-2.0 OR MIT
// Counts the packets that arrive at an interface, by protocol, before the network stack sees them.
//
//   tinybpf load /usr/lib/tinybpf/xdp_packets.bpf.o --pin /sys/fs/bpf/xdp_packets \
//       --hook packets=xdp:eth0
//   tinybpf map dump pin /sys/fs/bpf/xdp_packets/maps/counters
//
// Each CPU counts for itself; the map holds a value for each. Every packet passes. Needs kernel 5.9
// for an attachment that can be pinned.
#include "kernel.h"

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

LICENSE_DUAL;

enum protocol {
    OTHER,
    ARP,
    IPV4_OTHER,
    IPV4_ICMP,
    IPV4_TCP,
    IPV4_UDP,
    IPV6_OTHER,
    IPV6_ICMP,
    IPV6_TCP,
    IPV6_UDP,
};

struct traffic {
    u64 packets;
    u64 bytes;
};

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
    __uint(max_entries, 16);
    __type(key, enum protocol);
    __type(value, struct traffic);
} counters SEC(".maps");

static enum protocol inside(u8 number, enum protocol other, u8 icmp)
{
    if (number == icmp)
        return other + 1;
    if (number == IPPROTO_TCP)
        return other + 2;
    if (number == IPPROTO_UDP)
        return other + 3;
    return other;
}

static enum protocol protocol_of(void *data, void *end)
{
    struct ethhdr *ethernet = data;
    struct iphdr *four = (void *)(ethernet + 1);
    struct ipv6hdr *six = (void *)(ethernet + 1);

    if ((void *)(ethernet + 1) > end)
        return OTHER;
    switch (bpf_ntohs(ethernet->h_proto)) {
    case ETH_P_ARP: return ARP;
    case ETH_P_IP:
        return (void *)(four + 1) > end ? IPV4_OTHER
                                        : inside(four->protocol, IPV4_OTHER, IPPROTO_ICMP);
    case ETH_P_IPV6:
        return (void *)(six + 1) > end ? IPV6_OTHER
                                       : inside(six->nexthdr, IPV6_OTHER, IPPROTO_ICMPV6);
    default: return OTHER;
    }
}

SEC("xdp")
int packets(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    enum protocol protocol = protocol_of(data, end);
    struct traffic first = { .packets = 1, .bytes = end - data };
    struct traffic *traffic = bpf_map_lookup_elem(&counters, &protocol);

    if (traffic) {
        traffic->packets += 1;
        traffic->bytes += end - data;
    } else {
        bpf_map_update_elem(&counters, &protocol, &first, BPF_ANY);
    }
    return XDP_PASS;
}
