// SPDX-License-Identifier: Apache-2.0 OR MIT
//
// What every program of this directory includes: the UAPI types and helpers, and those few kernel
// structures that the programs read, cut down to the fields they use.
//
// No vmlinux.h: a structure below is matched by name with that of the running kernel, and each
// access becomes a relocation, so the same object fits every kernel that has the fields.

#ifndef PLINTH_KERNEL_H
#define PLINTH_KERNEL_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

// The registers under the names that the kernel gives them, in the order that never changes: what
// reads them directly needs no BTF, and what relocates them finds them. bpf_tracing.h takes this
// symbol as the sign for such names.
#if defined(__TARGET_ARCH_x86)
#define __VMLINUX_H__
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx;
    unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
    unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
#define __VMLINUX_H__
struct user_pt_regs {
    __u64 regs[31], sp, pc, pstate;
};
struct pt_regs {
    struct user_pt_regs user_regs;
    __u64 orig_x0;
    __s32 syscallno;
};
#else
#include <linux/ptrace.h>
#endif

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;

// Helpers that are only for GPL-compatible programs are used throughout.
#define LICENSE_DUAL char LICENSE[] SEC("license") = "Dual MIT/GPL"

#define TASK_COMM_LEN 16

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct {
    int pid;
    int tgid;
    struct task_struct *real_parent;
    char comm[TASK_COMM_LEN];
    u64 start_time;
};

struct seq_file {
    u64 count;
};

struct bpf_iter_meta {
    struct seq_file *seq;
    u64 session_id;
    u64 seq_num;
};

struct bpf_iter__task {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
};

struct bpf_iter__bpf_map_elem {
    struct bpf_iter_meta *meta;
    struct bpf_map *map;
    void *key;
    void *value;
};

struct sock_common {
    u16 skc_family;
    u16 skc_num;
    u16 skc_dport;
    u32 skc_daddr;
    u32 skc_rcv_saddr;
};

struct sock {
    struct sock_common __sk_common;
};

#pragma clang attribute pop

#endif
