// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Configuration files: syntaxes of which programs make their own sense.

pub mod ini;
