// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands, with their options and words.

use plinth::cli::Command;

use super::Args;

pub(super) const COMMANDS: &[Command<Args>] = &[];
