// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Configuration files: where they lie, and syntaxes of which programs make their own sense.

pub mod ini;
pub mod layers;
#[cfg(feature = "toml")]
pub mod toml;
