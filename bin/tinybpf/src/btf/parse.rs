// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bytes to types. Every length and offset is checked against the section; every name and every
//! reference is checked against the table, so that a parsed table needs no further checks of these.

use std::sync::Arc;

use super::{
    Body, Btf, BtfError, ByteOrder, Composite, Enumeration, Enumerator, Int, Kind, Linkage, Member,
    Name, Param, SectionVar, Type, TypeId, string_at,
};

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// Bytes of the header that version 1 defines; longer ones are extensions.
const HEADER_LEN: usize = 24;

/// A cursor over numbers of one byte order.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    order: ByteOrder,
    part: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], order: ByteOrder, part: &'static str) -> Self {
        Self { bytes, at: 0, order, part }
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], BtfError> {
        let found = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let found = found.ok_or(BtfError::Truncated(self.part))?;
        self.at += N;
        Ok(*found)
    }

    pub(super) fn skip(&mut self, len: usize) -> Result<(), BtfError> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        self.at = end.ok_or(BtfError::Truncated(self.part))?;
        Ok(())
    }

    pub(super) fn u32(&mut self) -> Result<u32, BtfError> {
        let bytes = self.take::<4>()?;
        Ok(match self.order {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        })
    }

    fn len(&mut self) -> Result<usize, BtfError> {
        usize::try_from(self.u32()?).map_err(|_| BtfError::Truncated(self.part))
    }
}

/// Splits header and rest of a `.BTF` or `.BTF.ext` section, and tells the order of its bytes.
pub(super) fn header(bytes: &[u8]) -> Result<(ByteOrder, Reader<'_>, &[u8]), BtfError> {
    let magic = *bytes.first_chunk::<2>().ok_or(BtfError::NotBtf)?;
    let order = match magic {
        _ if u16::from_le_bytes(magic) == MAGIC => ByteOrder::Little,
        _ if u16::from_be_bytes(magic) == MAGIC => ByteOrder::Big,
        _ => return Err(BtfError::NotBtf),
    };
    let mut fields = Reader::new(bytes, order, "header");
    let [_, _, version, _flags] = fields.take::<4>()?;
    if version != VERSION {
        return Err(BtfError::Version(version));
    }
    let len = fields.len()?;
    let head = bytes.get(..len).filter(|_| len >= HEADER_LEN);
    let head = head.ok_or(BtfError::Truncated("header"))?;
    let mut fields = Reader::new(head, order, "header");
    fields.skip(8)?;
    Ok((order, fields, bytes.get(len..).unwrap_or_default()))
}

/// The part of `body` that an offset and a length in the header name.
pub(super) fn section<'a>(
    fields: &mut Reader<'_>,
    body: &'a [u8],
    part: &'static str,
) -> Result<&'a [u8], BtfError> {
    let (offset, len) = (fields.len()?, fields.len()?);
    let end = offset.checked_add(len).ok_or(BtfError::Truncated(part))?;
    body.get(offset..end).ok_or(BtfError::Truncated(part))
}

/// Reads a table, alone or over `base`.
pub(super) fn table(bytes: &[u8], base: Option<Arc<Btf>>) -> Result<Btf, BtfError> {
    let (order, mut fields, body) = header(bytes)?;
    let types = section(&mut fields, body, "types")?;
    let strings = section(&mut fields, body, "strings")?;
    // The empty name is the first one of a table that stands alone.
    let is_odd = base.is_none() && strings.first() != Some(&0);
    if is_odd || base.as_ref().is_some_and(|base| base.order != order) {
        return Err(BtfError::Malformed { id: TypeId::VOID, what: "string section" });
    }
    let (first_id, first_name) = match &base {
        None => (0, 0),
        Some(base) => (
            u32::try_from(base.len()).map_err(|_| BtfError::TooLarge(TypeId::VOID))?,
            u32::try_from(base.strings.len())
                .ok()
                .and_then(|own| own.checked_add(base.first_name))
                .ok_or(BtfError::TooLarge(TypeId::VOID))?,
        ),
    };
    let mut btf =
        Btf { base, order, first_id, types: Vec::new(), first_name, strings: strings.to_vec() };
    if btf.base.is_none() {
        btf.types.push(Type { name: Name(0), body: Body::Void });
    }
    let mut decoder = Decoder {
        reader: Reader::new(types, order, "types"),
        id: TypeId(0),
        highest: TypeId(0),
        btf: &btf,
    };
    let mut found = Vec::new();
    let mut next = u32::try_from(btf.len()).map_err(|_| BtfError::TooLarge(TypeId::VOID))?;
    while !decoder.reader.is_at_end() {
        decoder.id = TypeId(next);
        found.push(decoder.one()?);
        next = next.checked_add(1).ok_or(BtfError::TooLarge(TypeId::VOID))?;
    }
    if decoder.highest.0 >= next {
        return Err(BtfError::NoSuchType(decoder.highest));
    }
    btf.types.append(&mut found);
    Ok(btf)
}

/// Reads one type after the other.
struct Decoder<'a> {
    reader: Reader<'a>,
    /// The type that is being read.
    id: TypeId,
    /// The highest reference seen; forward ones are judged when all types are known.
    highest: TypeId,
    btf: &'a Btf,
}

impl Decoder<'_> {
    fn one(&mut self) -> Result<Type, BtfError> {
        let name = self.name()?;
        let info = self.reader.u32()?;
        let word = self.reader.u32()?;
        let (kind, vlen, flag) = ((info >> 24) & 0x1f, info & 0xffff, info >> 31 == 1);
        let known = Kind::from_number(kind).filter(|&kind| kind != Kind::Void);
        let kind = known.ok_or(BtfError::UnknownKind { id: self.id, kind })?;
        let body = match kind {
            Kind::Void => Body::Void,
            Kind::Int => self.int(word)?,
            Kind::Ptr => Body::Ptr(self.refer(word)),
            Kind::Array => {
                let (element, index) = (self.reader.u32()?, self.reader.u32()?);
                let (element, index) = (self.refer(element), self.refer(index));
                Body::Array { element, index, len: self.reader.u32()? }
            }
            Kind::Struct => Body::Struct(self.composite(word, vlen, flag)?),
            Kind::Union => Body::Union(self.composite(word, vlen, flag)?),
            Kind::Enum => Body::Enum(self.enumeration(word, vlen, flag, false)?),
            Kind::Enum64 => Body::Enum64(self.enumeration(word, vlen, flag, true)?),
            Kind::Fwd => Body::Fwd { is_union: flag },
            Kind::Typedef => Body::Typedef(self.refer(word)),
            Kind::Volatile => Body::Volatile(self.refer(word)),
            Kind::Const => Body::Const(self.refer(word)),
            Kind::Restrict => Body::Restrict(self.refer(word)),
            Kind::TypeTag => Body::TypeTag(self.refer(word)),
            Kind::Func => Body::Func { proto: self.refer(word), linkage: linkage(vlen) },
            Kind::FuncProto => {
                let params = self.repeat(vlen, |it| {
                    let (name, ty) = (it.name()?, it.reader.u32()?);
                    Ok(Param { name, ty: it.refer(ty) })
                })?;
                Body::FuncProto { ret: self.refer(word), params }
            }
            Kind::Var => {
                let linkage = linkage(self.reader.u32()?);
                Body::Var { ty: self.refer(word), linkage }
            }
            Kind::Datasec => {
                let vars = self.repeat(vlen, |it| {
                    let ty = it.reader.u32()?;
                    let (offset, size) = (it.reader.u32()?, it.reader.u32()?);
                    Ok(SectionVar { ty: it.refer(ty), offset, size })
                })?;
                Body::Datasec { size: word, vars }
            }
            Kind::Float => match word {
                2 | 4 | 8 | 12 | 16 => Body::Float { size: word },
                _ => return Err(self.malformed("size")),
            },
            Kind::DeclTag => {
                // -1 is the declaration itself; others are members or parameters.
                let component = self.reader.u32()?;
                let component = (component != u32::MAX).then_some(component);
                Body::DeclTag { ty: self.refer(word), component }
            }
        };
        Ok(Type { name, body })
    }

    const fn malformed(&self, what: &'static str) -> BtfError {
        BtfError::Malformed { id: self.id, what }
    }

    fn refer(&mut self, id: u32) -> TypeId {
        self.highest = self.highest.max(TypeId(id));
        TypeId(id)
    }

    fn name(&mut self) -> Result<Name, BtfError> {
        let offset = self.reader.u32()?;
        let known = match (offset.checked_sub(self.btf.first_name), &self.btf.base) {
            (Some(own), _) => string_at(&self.btf.strings, own),
            (None, Some(base)) => string_at(&base.strings, offset),
            (None, None) => None,
        };
        known.map(|_| Name(offset)).ok_or(BtfError::BadName { id: self.id, offset })
    }

    fn repeat<T>(
        &mut self,
        count: u32,
        one: impl Fn(&mut Self) -> Result<T, BtfError>,
    ) -> Result<Vec<T>, BtfError> {
        // Grows as bytes are found, not as a number promises.
        let mut found = Vec::new();
        for _ in 0..count {
            found.push(one(self)?);
        }
        found.shrink_to_fit();
        Ok(found)
    }

    fn int(&mut self, size: u32) -> Result<Body, BtfError> {
        let [encoding, offset, _, bits] = self.reader.u32()?.to_be_bytes();
        if !matches!(size, 1 | 2 | 4 | 8 | 16) {
            return Err(self.malformed("size"));
        }
        if bits == 0 || u32::from(offset) + u32::from(bits) > size * 8 {
            return Err(self.malformed("number of bits"));
        }
        let (is_signed, is_char, is_bool) =
            (encoding & 1 != 0, encoding & 2 != 0, encoding & 4 != 0);
        Ok(Body::Int(Int { size, bits, offset, is_signed, is_char, is_bool }))
    }

    fn composite(&mut self, size: u32, vlen: u32, flag: bool) -> Result<Composite, BtfError> {
        let members = self.repeat(vlen, |it| {
            let (name, ty, word) = (it.name()?, it.reader.u32()?, it.reader.u32()?);
            let ty = it.refer(ty);
            let [bits, ..] = word.to_be_bytes();
            let (bit_offset, bit_size) = if flag { (word & 0x00ff_ffff, bits) } else { (word, 0) };
            Ok(Member { name, ty, bit_offset, bit_size })
        })?;
        Ok(Composite { size, members })
    }

    fn enumeration(
        &mut self,
        size: u32,
        vlen: u32,
        is_signed: bool,
        is_wide: bool,
    ) -> Result<Enumeration, BtfError> {
        if !matches!(size, 1 | 2 | 4 | 8) {
            return Err(self.malformed("size"));
        }
        let values = self.repeat(vlen, |it| {
            let (name, low) = (it.name()?, it.reader.u32()?);
            let high = match (is_wide, is_signed && low > u32::MAX / 2) {
                (true, _) => it.reader.u32()?,
                (false, true) => u32::MAX,
                (false, false) => 0,
            };
            Ok(Enumerator { name, value: u64::from(high) << 32 | u64::from(low) })
        })?;
        Ok(Enumeration { size, is_signed, values })
    }
}

const fn linkage(number: u32) -> Linkage {
    match number {
        0 => Linkage::Static,
        1 => Linkage::Global,
        2 => Linkage::Extern,
        other => Linkage::Other(other),
    }
}
