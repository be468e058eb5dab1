// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes type tables for tests: raw bytes in either order, one call a type.

use super::{Btf, ByteOrder, TypeId};

/// A table under construction. Every method that adds a type returns its number.
pub(crate) struct Builder {
    order: ByteOrder,
    types: Vec<u8>,
    strings: Vec<u8>,
    next: u32,
    first_name: u32,
}

/// A member for [`Builder::composite`]: name, type, bit offset, bits of a bitfield or 0.
pub(crate) type MemberSpec<'a> = (&'a str, TypeId, u32, u8);

impl Builder {
    pub(crate) fn new(order: ByteOrder) -> Self {
        Self { order, types: Vec::new(), strings: vec![0], next: 1, first_name: 0 }
    }

    /// A part that goes on where `base` ends.
    pub(crate) fn over(base: &Btf) -> Self {
        let next = u32::try_from(base.len()).expect("few");
        let first_name = u32::try_from(base.strings.len()).expect("short");
        Self { order: base.order, types: Vec::new(), strings: Vec::new(), next, first_name }
    }

    fn word(&mut self, word: u32) {
        self.types.extend(match self.order {
            ByteOrder::Little => word.to_le_bytes(),
            ByteOrder::Big => word.to_be_bytes(),
        });
    }

    fn text(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).expect("short") + self.first_name;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        at
    }

    /// The three words that every type begins with.
    pub(crate) fn head(
        &mut self,
        name: &str,
        kind: u32,
        vlen: usize,
        flag: bool,
        word: u32,
    ) -> TypeId {
        let name = self.text(name);
        self.word(name);
        let vlen = u32::try_from(vlen).expect("few");
        self.word(u32::from(flag) << 31 | kind << 24 | vlen);
        self.word(word);
        self.next += 1;
        TypeId(self.next - 1)
    }

    /// `encoding`: 1 signed, 2 char, 4 bool.
    pub(crate) fn int(&mut self, name: &str, size: u32, encoding: u32) -> TypeId {
        let id = self.head(name, 1, 0, false, size);
        self.word(encoding << 24 | (size * 8));
        id
    }

    /// An integer with fewer bits than its bytes hold.
    pub(crate) fn narrow_int(
        &mut self,
        size: u32,
        encoding: u32,
        offset: u32,
        bits: u32,
    ) -> TypeId {
        let id = self.head("narrow", 1, 0, false, size);
        self.word(encoding << 24 | offset << 16 | bits);
        id
    }

    pub(crate) fn float(&mut self, name: &str, size: u32) -> TypeId {
        self.head(name, 16, 0, false, size)
    }

    pub(crate) fn ptr(&mut self, to: TypeId) -> TypeId {
        self.head("", 2, 0, false, to.0)
    }

    pub(crate) fn array(&mut self, element: TypeId, index: TypeId, len: u32) -> TypeId {
        let id = self.head("", 3, 0, false, 0);
        self.word(element.0);
        self.word(index.0);
        self.word(len);
        id
    }

    /// `kind`: 8 typedef, 9 volatile, 10 const, 11 restrict, 18 type tag, 12 function.
    pub(crate) fn refer(&mut self, kind: u32, name: &str, to: TypeId) -> TypeId {
        self.head(name, kind, 0, false, to.0)
    }

    fn composite(
        &mut self,
        kind: u32,
        name: &str,
        size: u32,
        members: &[MemberSpec<'_>],
    ) -> TypeId {
        let flag = members.iter().any(|it| it.3 > 0);
        let id = self.head(name, kind, members.len(), flag, size);
        for &(name, ty, bit_offset, bit_size) in members {
            let name = self.text(name);
            self.word(name);
            self.word(ty.0);
            self.word(u32::from(bit_size) << 24 | bit_offset);
        }
        id
    }

    pub(crate) fn structure(
        &mut self,
        name: &str,
        size: u32,
        members: &[MemberSpec<'_>],
    ) -> TypeId {
        self.composite(4, name, size, members)
    }

    pub(crate) fn union(&mut self, name: &str, size: u32, members: &[MemberSpec<'_>]) -> TypeId {
        self.composite(5, name, size, members)
    }

    pub(crate) fn enumeration(
        &mut self,
        name: &str,
        size: u32,
        is_signed: bool,
        values: &[(&str, u32)],
    ) -> TypeId {
        let id = self.head(name, 6, values.len(), is_signed, size);
        for &(name, value) in values {
            let name = self.text(name);
            self.word(name);
            self.word(value);
        }
        id
    }

    pub(crate) fn enum64(&mut self, name: &str, is_signed: bool, values: &[(&str, u64)]) -> TypeId {
        let id = self.head(name, 19, values.len(), is_signed, 8);
        for &(name, value) in values {
            let name = self.text(name);
            self.word(name);
            self.word(u32::try_from(value & 0xffff_ffff).expect("masked"));
            self.word(u32::try_from(value >> 32).expect("shifted"));
        }
        id
    }

    pub(crate) fn proto(&mut self, ret: TypeId, params: &[(&str, TypeId)]) -> TypeId {
        let id = self.head("", 13, params.len(), false, ret.0);
        for &(name, ty) in params {
            let name = self.text(name);
            self.word(name);
            self.word(ty.0);
        }
        id
    }

    pub(crate) fn var(&mut self, name: &str, ty: TypeId, linkage: u32) -> TypeId {
        let id = self.head(name, 14, 0, false, ty.0);
        self.word(linkage);
        id
    }

    pub(crate) fn datasec(&mut self, name: &str, size: u32, vars: &[(TypeId, u32, u32)]) -> TypeId {
        let id = self.head(name, 15, vars.len(), false, size);
        for &(var, offset, size) in vars {
            self.word(var.0);
            self.word(offset);
            self.word(size);
        }
        id
    }

    pub(crate) fn tag(&mut self, text: &str, ty: TypeId) -> TypeId {
        let id = self.head(text, 17, 0, false, ty.0);
        self.word(u32::MAX);
        id
    }

    pub(crate) fn fwd(&mut self, name: &str, is_union: bool) -> TypeId {
        self.head(name, 7, 0, is_union, 0)
    }

    /// The section's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let len = |part: &[u8]| u32::try_from(part.len()).expect("short");
        let mut header = Self::new(self.order);
        let types_len = len(&self.types);
        for word in [24, 0, types_len, types_len, len(&self.strings)] {
            header.word(word);
        }
        let magic = match self.order {
            ByteOrder::Little => [0x9f, 0xeb, 1, 0],
            ByteOrder::Big => [0xeb, 0x9f, 1, 0],
        };
        [&magic[..], &header.types, &self.types, &self.strings].concat()
    }

    /// The table.
    pub(crate) fn table(&self) -> Btf {
        Btf::parse(&self.bytes()).expect("well-formed")
    }
}
