// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Types as C: names of types, and structs with the offset and the size of every member.

use std::fmt::Write as _;

use plinth::text::escape_control;

use super::{Body, Btf, BtfError, DEPTH_MAX, Kind, Type, TypeId};

/// Lines of one rendering; more help nobody, and hostile tables could ask for any number.
const LINES_MAX: usize = 10_000;
/// Bytes of one declaration, for the same reason.
const DECLARATION_LEN_MAX: usize = 4096;
/// The column at which the offsets begin.
const OFFSET_COLUMN: usize = 48;

impl Btf {
    /// The name of a type as C writes it: `unsigned int`, `struct event *`, `char[16]`.
    #[must_use]
    pub fn spell(&self, id: TypeId) -> String {
        self.declare(id, "")
    }

    /// A declaration of `name` with this type: `char comm[16]`, `int (*call)(void *)`.
    #[must_use]
    pub fn declare(&self, id: TypeId, name: &str) -> String {
        self.declarator(id, name.to_owned(), DEPTH_MAX)
    }

    fn declarator(&self, id: TypeId, inner: String, depth: usize) -> String {
        let Ok(ty) = self.get(id) else { return joined("?", &inner) };
        if depth == 0 || inner.len() > DECLARATION_LEN_MAX {
            return joined("...", &inner);
        }
        let deeper = |to: TypeId, inner: String| self.declarator(to, inner, depth - 1);
        match &ty.body {
            Body::Ptr(to) => {
                let suffixed =
                    matches!(self.get(*to).map(Type::kind), Ok(Kind::Array | Kind::FuncProto));
                let inner = if suffixed { format!("(*{inner})") } else { format!("*{inner}") };
                deeper(*to, inner)
            }
            Body::Array { element, len, .. } => deeper(*element, format!("{inner}[{len}]")),
            Body::FuncProto { ret, params } => {
                let mut list = String::new();
                for (at, param) in params.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    let name = escape_control(self.text(param.name));
                    let text = match (param.ty, &*name) {
                        (TypeId::VOID, "") => "...".to_owned(),
                        (ty, name) => deeper(ty, name.to_owned()),
                    };
                    let _ = write!(list, "{comma}{text}");
                    if list.len() > DECLARATION_LEN_MAX {
                        list.push_str(", ...");
                        break;
                    }
                }
                let list = if list.is_empty() { "void".to_owned() } else { list };
                deeper(*ret, format!("{inner}({list})"))
            }
            Body::Const(to) => self.qualified(*to, "const", inner, depth),
            Body::Volatile(to) => self.qualified(*to, "volatile", inner, depth),
            Body::Restrict(to) => self.qualified(*to, "restrict", inner, depth),
            Body::TypeTag(to) => deeper(*to, inner),
            _ => joined(&self.head(ty), &inner),
        }
    }

    /// Qualifiers of pointers stand behind the star, all others in front.
    fn qualified(&self, to: TypeId, word: &str, inner: String, depth: usize) -> String {
        if matches!(self.get(to).map(Type::kind), Ok(Kind::Ptr)) {
            return self.declarator(to, joined(word, &inner), depth - 1);
        }
        format!("{word} {}", self.declarator(to, inner, depth - 1))
    }

    /// The word or two that name a type without declarator.
    fn head(&self, ty: &Type) -> String {
        let name = escape_control(self.text(ty.name));
        let word = match &ty.body {
            Body::Void => return "void".to_owned(),
            Body::Struct(_) | Body::Fwd { is_union: false } => "struct",
            Body::Union(_) | Body::Fwd { is_union: true } => "union",
            Body::Enum(_) | Body::Enum64(_) => "enum",
            _ => return name.into_owned(),
        };
        if name.is_empty() { format!("{word} {{ ... }}") } else { format!("{word} {name}") }
    }

    /// A struct or a union in C, each member with its offset and its size in bytes; bitfields with
    /// bits. Anonymous members are written out where they stand.
    ///
    /// # Errors
    /// The type is neither, nested too deep, or too long for anyone to read.
    pub fn c_struct(&self, id: TypeId) -> Result<String, BtfError> {
        let at = self.resolve(id)?;
        let ty = self.get(at)?;
        let (Body::Struct(composite) | Body::Union(composite)) = &ty.body else {
            return Err(BtfError::Malformed { id, what: "kind: neither struct nor union" });
        };
        let mut page = Page { btf: self, out: String::new(), lines: 0 };
        page.line(0, &format!("{} {{", self.head(ty)), Some("/* offset size */"))?;
        page.members(at, ty, 0, 1)?;
        page.line(0, "};", Some(&format!("/* size: {} */", composite.size)))?;
        Ok(page.out)
    }
}

/// The lines of one rendering.
struct Page<'a> {
    btf: &'a Btf,
    out: String,
    lines: usize,
}

impl Page<'_> {
    fn line(&mut self, depth: usize, text: &str, note: Option<&str>) -> Result<(), BtfError> {
        self.lines += 1;
        if self.lines > LINES_MAX {
            return Err(BtfError::TooLarge(TypeId::VOID));
        }
        let start = self.out.len();
        self.out.extend(std::iter::repeat_n("    ", depth));
        self.out.push_str(text);
        if let Some(note) = note {
            let width = self.out.get(start..).map_or(0, |line| line.chars().count());
            self.out.extend(std::iter::repeat_n(' ', OFFSET_COLUMN.saturating_sub(width).max(1)));
            self.out.push_str(note);
        }
        self.out.push('\n');
        Ok(())
    }

    /// The members of `ty`, which begins `base` bits into the whole.
    fn members(&mut self, id: TypeId, ty: &Type, base: u64, depth: usize) -> Result<(), BtfError> {
        if depth > DEPTH_MAX {
            return Err(BtfError::TooDeep(id));
        }
        for member in ty.members() {
            let bit = base + u64::from(member.bit_offset);
            let name = &*escape_control(self.btf.text(member.name));
            let inner = self.btf.get(member.ty)?;
            if let (Body::Struct(composite) | Body::Union(composite), true) =
                (&inner.body, self.btf.text(inner.name).is_empty())
            {
                let word = if inner.kind() == Kind::Struct { "struct" } else { "union" };
                self.line(depth, &format!("{word} {{"), None)?;
                self.members(member.ty, inner, bit, depth + 1)?;
                let note = format!("/* {} {} */", bit / 8, composite.size);
                self.line(depth, &format!("{};", joined("}", name)), Some(&note))?;
                continue;
            }
            let declared = self.btf.declare(member.ty, name);
            if member.bit_size > 0 {
                let bits = member.bit_size;
                let note = format!("/* {}:{} {bits} bits */", bit / 8, bit % 8);
                self.line(depth, &format!("{declared}: {bits};"), Some(&note))?;
            } else {
                let size = self.btf.size_of(member.ty).map_or("?".to_owned(), |it| it.to_string());
                let note = format!("/* {} {size} */", bit / 8);
                self.line(depth, &format!("{declared};"), Some(&note))?;
            }
        }
        Ok(())
    }
}

/// Two parts of a declaration, a blank between them where both are there.
fn joined(left: &str, right: &str) -> String {
    match (left, right) {
        (left, "") => left.to_owned(),
        (left, right) if right.starts_with('[') => format!("{left}{right}"),
        (left, right) => format!("{left} {right}"),
    }
}
