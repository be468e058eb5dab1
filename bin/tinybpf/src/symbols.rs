// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Functions of a program file: from a name to the offset in the file that a probe wants.
//!
//! Owns the look-up in `.symtab` and `.dynsym`, by plain or versioned name (`sym@VER`), and the
//! search for similar names. The file is not trusted; nothing here panics on any bytes.

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind};

use plinth::sorting;
use plinth::text::escape_control;

/// The functions of a file.
pub struct Symbols<'a> {
    file: object::File<'a>,
}

impl<'a> Symbols<'a> {
    /// The functions in the bytes of a file.
    ///
    /// # Errors
    /// A phrase when it is no ELF file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let file = object::File::parse(bytes);
        let file = file.map_err(|error| escape_control(&error.to_string()).into_owned())?;
        Ok(Self { file })
    }

    fn functions(&self) -> impl Iterator<Item = (&'a str, u64)> {
        let all = self.file.symbols().chain(self.file.dynamic_symbols());
        all.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
            .filter_map(|symbol| Some((symbol.name().ok()?, symbol.address())))
    }

    /// The offset in the file of a function, which may be named with its version.
    #[must_use]
    pub fn offset_of(&self, name: &str) -> Option<u64> {
        let plain = name.split('@').next().unwrap_or(name);
        let exact = |wanted: &str| self.functions().find(|(known, _)| *known == wanted);
        let found = exact(name).or_else(|| exact(plain))?;
        self.file_offset(found.1)
    }

    fn file_offset(&self, address: u64) -> Option<u64> {
        self.file.segments().find_map(|segment| {
            let inside = address.checked_sub(segment.address())?;
            let (start, size) = segment.file_range();
            if inside < size { start.checked_add(inside) } else { None }
        })
    }

    /// Up to `most` names that contain, or are contained in, `name`.
    #[must_use]
    pub fn near(&self, name: &str, most: usize) -> Vec<String> {
        let lower = name.to_lowercase();
        let mut near: Vec<String> = self
            .functions()
            .map(|(known, _)| known)
            .filter(|known| {
                let known = known.to_lowercase();
                known.len() > 2 && (known.contains(&lower) || lower.contains(&known))
            })
            .map(str::to_owned)
            .collect();
        sorting::sort(&mut near);
        near.dedup();
        near.truncate(most);
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The running test: its own functions are in its symbol table.
    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").expect("the test's own file")
    }

    #[test]
    fn a_function_of_this_program_is_found_where_its_code_is() {
        let bytes = own();
        let symbols = Symbols::parse(&bytes).expect("an ELF file");
        let offset = symbols.offset_of("main").expect("main");
        assert!(offset > 0 && offset < bytes.len() as u64);
        assert_eq!(symbols.offset_of("main@GLIBC_2.2.5"), Some(offset));
        assert_eq!(symbols.offset_of("no_such_function_here"), None);
    }

    #[test]
    fn similar_names_are_offered() {
        let bytes = own();
        let symbols = Symbols::parse(&bytes).expect("an ELF file");
        let near = symbols.near("mai", 3);
        assert!(near.len() <= 3 && near.iter().any(|name| name.contains("mai")), "{near:?}");
    }

    #[test]
    fn damaged_files_are_refused_or_empty() {
        for bytes in [&b""[..], b"text", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"] {
            assert!(Symbols::parse(bytes).is_err());
        }
        let bytes = own();
        for length in [64, 200, bytes.len() / 2] {
            let cut = bytes.get(..length).expect("shorter");
            if let Ok(symbols) = Symbols::parse(cut) {
                let _ = symbols.offset_of("main");
            }
        }
    }
}
