# SPDX-License-Identifier: Apache-2.0 OR MIT
# Every command a person needs. `make help` lists them.

CARGO      ?= cargo
DESTDIR    ?=
PREFIX     ?= /usr
SYSCONFDIR ?= /etc
SEEDS      ?= 300
PART       ?=

BUILD      := $(or $(CARGO_TARGET_DIR),target)
TARGET     := $(shell uname -m)-unknown-linux-gnu

# How the static tinybpf stays small, in the file and in memory. It cannot be moved, so that nothing
# has to be relocated and dirtied when it starts; and nothing unwinds (src/sys/absent.rs). The code of
# libbpf is the one that is built for speed: it searches the kernel's types. Repeated instructions are
# outlined only where that brings something: every line of JSON pays for it.
SMALL_C := -O2 -falign-functions=1 -falign-jumps=1 -falign-loops=1 -fno-asynchronous-unwind-tables
SMALL    = --cfg small $(STATIC) -C relocation-model=static -C force-unwind-tables=no \
	-C llvm-args=-enable-machine-outliner=always -C llvm-args=-outliner-benefit-threshold=20 \
	-C link-arg=-Wl,-z,muldefs -C link-arg=-Wl,-O2 $(shell $(PROBE) && echo "$(LLD)")
STATIC  := -C target-feature=+crt-static
# The static microvm: small by the same means, as far as they cost nothing.
FIXED    = $(STATIC) -C relocation-model=static -C force-unwind-tables=no $(shell $(PROBE) && echo "$(LLD)")
# Folding equal functions and dropping the tables is what rust-lld can, the linker on x86_64.
LLD     := -C link-arg=-Wl,--icf=all -C link-arg=-Wl,--no-eh-frame-hdr \
	-C link-arg=-Wl,-T,bin/tinybpf/static.ld
PROBE    = mkdir -p $(BUILD)/tmp && echo 'fn main() {}' | \
	rustc --crate-name probe --out-dir $(BUILD)/tmp $(STATIC) -C relocation-model=static $(LLD) - 2>/dev/null

.DEFAULT_GOAL := all
.PHONY: help setup all demo check test bench sim static static-stas static-tinybpf static-microvm man install clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 10

setup: ## install what building and testing needs (Debian packages; asks for root only if some are missing)
	@tests/setup.sh

all: ## build every program, optimised, and the BPF objects that are installed
	$(CARGO) build --release --locked -p stas -p tinybpf -p microvm
	@CARGO='$(CARGO)' bin/tinybpf/bpf/build.sh $(BUILD)/bpf programs

demo: ## show the programs at work against a real kernel in a guest; ends with `demo: ok`
	@tests/setup.sh demo
	@$(CARGO) run --locked -p guest -- demo

check: ## format, lints, tests without root and without guest
	@tests/ci.sh check

# What is shipped compiles while setup waits for the network; whether it does is said by its stage.
test: ## everything, with the number of tests at each layer
	@tests/setup.sh system
	@$(MAKE) --silent static >/dev/null 2>&1 & tests/setup.sh; done=$$?; wait; exit $$done
	@tests/ci.sh all

bench: setup ## sizes, speed, memory, wake-ups, beside peers; fails when a bar is missed (root). PART=host, bpf or microvm: only that
	@PART='$(PART)' tests/ci.sh bench

sim: ## the state machines under SEEDS=n random fault plans
	@SEEDS=$(SEEDS) tests/ci.sh sim

static: static-stas static-tinybpf static-microvm ## the static build, for an initramfs: no shared library, built-in netlink uevents

static-stas:
	RUSTFLAGS='$(STATIC)' \
	$(CARGO) build --release --locked --target $(TARGET) -p stas --no-default-features

static-tinybpf:
	CARGO_PROFILE_RELEASE_OPT_LEVEL=z LIBBPF_SYS_EXTRA_CFLAGS='$(SMALL_C)' RUSTFLAGS='$(SMALL)' \
	$(CARGO) build --release --locked --target $(TARGET) -p tinybpf

static-microvm:
	CARGO_PROFILE_RELEASE_OPT_LEVEL=z RUSTFLAGS='$(FIXED)' \
	$(CARGO) build --release --locked --target $(TARGET) -p microvm

man: ## check the manual pages, and against the programs' tables
	@tests/ci.sh man

install: all ## install below DESTDIR; PREFIX=/usr, SYSCONFDIR=/etc. Existing configuration is kept
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' SYSCONFDIR='$(SYSCONFDIR)' BUILT='$(BUILD)/release' bin/stas/dist/install.sh
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' SYSCONFDIR='$(SYSCONFDIR)' BUILT='$(BUILD)/release' OBJECTS='$(BUILD)/bpf' bin/tinybpf/dist/install.sh
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' BUILT='$(BUILD)/release' bin/microvm/dist/install.sh

clean: ## remove everything built
	$(CARGO) clean
