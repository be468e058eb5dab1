// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong, by kind, operation and subject.
