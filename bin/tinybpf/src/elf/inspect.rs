// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is in an object: programs, maps, variables, what it expects of the kernel.

use object::Endianness;
use object::elf::{
    FileHeader64, SHF_EXECINSTR, SHN_UNDEF, SHT_NOBITS, SHT_PROGBITS, SHT_SYMTAB, STB_WEAK,
    STT_FUNC, STT_OBJECT, SectionHeader64, Sym64,
};
use object::read::elf::{FileHeader as _, SectionHeader as _, SectionTable, Sym as _};
use plinth::sorting;

use super::externs::{self, Extern};
use super::maps::{self, Map};
use super::sections::{self, Section};
use super::{Refusal, identify};
use crate::btf::{Btf, BtfError, ByteOrder, TypeId, Variable, core_relocations};
use crate::value::{Shape, Value};

/// Bytes of an instruction.
const INSTRUCTION_LEN: u64 = 8;

/// A program of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its function.
    pub name: String,
    /// Its section, which says what it is for.
    pub section: String,
    /// Instructions, those of functions that it calls in `.text` left out.
    pub instructions: u64,
}

impl Program {
    /// What the name of its section means.
    #[must_use]
    pub fn meaning(&self) -> Section<'_> {
        sections::parse(&self.section)
    }
}

/// A variable of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Global {
    /// Its name.
    pub name: String,
    /// `.rodata`, `.data`, `.bss`, or one of these with a suffix.
    pub section: String,
    /// Its type.
    pub ty: TypeId,
    /// Bytes.
    pub size: u64,
    /// What it is before anybody sets it; `None` if its type cannot be decoded.
    pub default: Option<Value>,
}

/// What is in an object.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// The order of its bytes.
    pub order: ByteOrder,
    /// Its licence, as the kernel will see it.
    pub license: Option<String>,
    /// Its programs in the order of their sections and places.
    pub programs: Vec<Program>,
    /// The maps that it declares; those of its variables left out.
    pub maps: Vec<Map>,
    /// Its variables.
    pub globals: Vec<Global>,
    /// What it expects of the kernel.
    pub externs: Vec<Extern>,
    /// How many places are adapted to the kernel's types.
    pub relocations: u64,
    /// Its type information.
    pub btf: Option<Btf>,
    /// Why type information that is there cannot be read.
    pub damage: Option<BtfError>,
    /// Whether a section that holds no code is marked as code, as no compiler does.
    pub has_executable_data: bool,
}

/// Reads an object without loading it.
///
/// # Errors
/// The file is no eBPF object, or is damaged. Missing or damaged type information is no error.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, Refusal> {
    let order = identify(bytes)?;
    let damaged = |_: object::Error| Refusal::Damaged;
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let table = header.sections(endian, bytes).map_err(damaged)?;
    let file = File { bytes, endian, table };
    let mut found = Inspection { order, ..Inspection::default() };
    for section in file.table.iter() {
        let (name, data) = (file.name(section)?, file.data(section)?);
        match name {
            ".BTF" => match Btf::parse(data) {
                Ok(btf) => found.btf = Some(btf),
                Err(error) => found.damage = Some(error),
            },
            ".BTF.ext" => match core_relocations(data) {
                Ok(count) => found.relocations = count,
                Err(error) => found.damage = Some(error),
            },
            "license" => found.license = Some(c_text(data)),
            _ => {}
        }
        let is_code = section.sh_flags(endian) & u64::from(SHF_EXECINSTR) != 0;
        let is_data = matches!(name, ".maps" | "license" | ".BTF" | ".BTF.ext")
            || DATA.iter().any(|kind| name.starts_with(kind));
        found.has_executable_data |= is_code && is_data;
    }
    let symbols = file.symbols()?;
    found.programs = file.programs(&symbols)?;
    if let Some(btf) = &found.btf {
        found.maps = maps::declared(btf);
        found.globals = file.globals(btf, &symbols)?;
        let undefined: Vec<(String, bool)> = symbols
            .iter()
            .filter(|it| it.section == usize::from(SHN_UNDEF) && !it.name.is_empty())
            .map(|it| (it.name.clone(), it.is_weak))
            .collect();
        found.externs = externs::found(btf, &undefined);
    }
    Ok(found)
}

/// What the names of sections of variables begin with.
const DATA: [&str; 3] = [".rodata", ".data", ".bss"];

fn c_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// A symbol, as far as it matters.
struct Symbol {
    name: String,
    section: usize,
    offset: u64,
    size: u64,
    is_function: bool,
    is_object: bool,
    is_weak: bool,
}

struct File<'a> {
    bytes: &'a [u8],
    endian: Endianness,
    table: SectionTable<'a, FileHeader64<Endianness>>,
}

impl<'a> File<'a> {
    fn name(&self, section: &SectionHeader64<Endianness>) -> Result<&'a str, Refusal> {
        let name = self.table.section_name(self.endian, section).map_err(|_| Refusal::Damaged)?;
        std::str::from_utf8(name).map_err(|_| Refusal::Damaged)
    }

    /// The bytes of a section; none for those that have none in the file.
    fn data(&self, section: &SectionHeader64<Endianness>) -> Result<&'a [u8], Refusal> {
        section.data(self.endian, self.bytes).map_err(|_| Refusal::Damaged)
    }

    fn symbols(&self) -> Result<Vec<Symbol>, Refusal> {
        let symbols = self.table.symbols(self.endian, self.bytes, SHT_SYMTAB);
        let symbols = symbols.map_err(|_| Refusal::Damaged)?;
        let mut found = Vec::new();
        for symbol in symbols.iter() {
            let symbol: &Sym64<Endianness> = symbol;
            let name = symbol.name(self.endian, symbols.strings()).map_err(|_| Refusal::Damaged)?;
            found.push(Symbol {
                name: String::from_utf8_lossy(name).into_owned(),
                section: symbol.st_shndx(self.endian).into(),
                offset: symbol.st_value(self.endian),
                size: symbol.st_size(self.endian),
                is_function: symbol.st_type() == STT_FUNC,
                is_object: symbol.st_type() == STT_OBJECT,
                is_weak: symbol.st_bind() == STB_WEAK,
            });
        }
        Ok(found)
    }

    /// Functions of sections with code, except `.text`, which holds what they share.
    fn programs(&self, symbols: &[Symbol]) -> Result<Vec<Program>, Refusal> {
        let mut found = Vec::new();
        for (index, section) in self.table.enumerate() {
            let is_code = section.sh_flags(self.endian) & u64::from(SHF_EXECINSTR) != 0
                && section.sh_type(self.endian) == SHT_PROGBITS;
            let name = self.name(section)?;
            if !is_code || name == ".text" {
                continue;
            }
            let mut functions: Vec<&Symbol> =
                symbols.iter().filter(|it| it.is_function && it.section == index.0).collect();
            sorting::sort_by_key(&mut functions, |it| it.offset);
            found.extend(functions.into_iter().map(|it| Program {
                name: it.name.clone(),
                section: name.to_owned(),
                instructions: it.size / INSTRUCTION_LEN,
            }));
        }
        Ok(found)
    }

    fn globals(&self, btf: &Btf, symbols: &[Symbol]) -> Result<Vec<Global>, Refusal> {
        let mut found = Vec::new();
        let variables = btf.variables().filter(|it| DATA.iter().any(|d| it.section.starts_with(d)));
        for Variable { name, section, ty, .. } in variables {
            let place = self.table.section_by_name(self.endian, section.as_bytes());
            let Some((index, header)) = place else { continue };
            // The file's table has no offsets, the symbols have.
            let symbol =
                symbols.iter().find(|it| it.is_object && it.section == index.0 && it.name == name);
            let Some(symbol) = symbol else { continue };
            let shape = Shape::of(btf, ty).ok();
            let zeros = vec![0; shape.as_ref().map_or(0, Shape::size)];
            let bytes = match header.sh_type(self.endian) {
                SHT_NOBITS => Some(zeros.as_slice()),
                _ => usize::try_from(symbol.offset).ok().and_then(|at| {
                    let rest = self.data(header).ok()?.get(at..)?;
                    rest.get(..usize::try_from(symbol.size).ok()?)
                }),
            };
            let default = shape.and_then(|shape| shape.decode(bytes?, true).ok());
            found.push(Global { name, section, ty, size: symbol.size, default });
        }
        Ok(found)
    }
}
