// SPDX-License-Identifier: Apache-2.0 OR MIT
// A congestion control for TCP that leaves all decisions to the kernel's reno, but for the section
// that its map stands in: RENO(".struct_ops") registers it, RENO(".struct_ops.link") makes a link.
#pragma once

struct tcp_congestion_ops {
    char name[16];
    u32 (*ssthresh)(struct sock *sk);
    u32 (*undo_cwnd)(struct sock *sk);
    void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
} __attribute__((preserve_access_index));

extern u32 tcp_reno_ssthresh(struct sock *sk) __ksym;
extern u32 tcp_reno_undo_cwnd(struct sock *sk) __ksym;
extern void tcp_reno_cong_avoid(struct sock *sk, u32 ack, u32 acked) __ksym;

u64 acknowledged;

SEC("struct_ops/ssthresh")
u32 BPF_PROG(ssthresh, struct sock *sk)
{
    return tcp_reno_ssthresh(sk);
}

SEC("struct_ops/undo_cwnd")
u32 BPF_PROG(undo_cwnd, struct sock *sk)
{
    return tcp_reno_undo_cwnd(sk);
}

SEC("struct_ops/cong_avoid")
void BPF_PROG(cong_avoid, struct sock *sk, u32 ack, u32 acked)
{
    __sync_fetch_and_add(&acknowledged, acked);
    tcp_reno_cong_avoid(sk, ack, acked);
}

#define RENO(section)                        \
    SEC(section)                             \
    struct tcp_congestion_ops plinth_reno = { \
        .name = "plinth_reno",               \
        .ssthresh = (void *)ssthresh,        \
        .undo_cwnd = (void *)undo_cwnd,      \
        .cong_avoid = (void *)cong_avoid,    \
    }
