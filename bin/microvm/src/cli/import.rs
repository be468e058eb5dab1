// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `microvm import-nix`: evaluated options of microvm.nix as a description in TOML.

use std::io;
use std::path::Path;

use plinth::err::{FAILED, Failure, tell};
use serde_json::Value;

use super::load::first_word;
use super::{Args, INVALID, NOT_FOUND, World};
use crate::import::import;

/// The most bytes of evaluated options, which are much longer than what people write.
const OPTIONS_MAX: usize = 64 << 20;

/// `microvm import-nix`
pub(super) fn import_nix(args: &Args, world: &mut World<'_>) -> Result<u8, Failure> {
    let path = Path::new(first_word(args));
    let bytes = plinth::file::read(path, OPTIONS_MAX).map_err(|error| {
        let status = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { FAILED };
        Failure::new(status, format!("cannot read {}: {error}", path.display()))
    })?;
    let invalid = |text: String| Failure::new(INVALID, format!("{}: {text}", path.display()));
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    // Whole configurations have the options one level down.
    let options = value.get("microvm").unwrap_or(&value);
    let Value::Object(options) = options else {
        return Err(invalid("the options are no object".to_owned()));
    };
    let (mut description, notes) = import(options);
    let name = value.pointer("/networking/hostName").and_then(Value::as_str);
    if let (Some(name), false) = (name, description.contains_key("hostName")) {
        description.insert("hostName".to_owned(), name.into());
    }
    for note in &notes {
        let path = plinth::text::escape_control(&note.path);
        tell(format_args!("{path}: {}", note.reason));
    }
    let text = toml::to_string_pretty(&Value::Object(description))?;
    world.print(&text)?;
    Ok(0)
}
