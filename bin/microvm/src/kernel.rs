// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compressed kernels: where in an image the real one is, and how it is packed.
//!
//! Pure. Knows the header of the x86 boot protocol (`Documentation/arch/x86/boot.rst` of Linux,
//! version 2.08 and later), and images that are packed as a whole, as on aarch64. Unpacking is left
//! to the programs that do it well.

use std::error::Error;
use std::fmt;
use std::ops::Range;

/// How a kernel is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// LZ4, in the old frame that kernels use.
    Lz4,
    /// bzip2.
    Bzip2,
    /// LZMA without xz.
    Lzma,
    /// LZO.
    Lzo,
}

impl Packing {
    /// The program that unpacks it, and its arguments: from standard input to standard output.
    #[must_use]
    pub const fn program(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Gzip => ("gzip", &["-dc"]),
            Self::Xz => ("xz", &["-dc"]),
            Self::Zstd => ("zstd", &["-qdc"]),
            Self::Lz4 => ("lz4", &["-qdc"]),
            Self::Bzip2 => ("bzip2", &["-dc"]),
            Self::Lzma => ("xz", &["--format=lzma", "-dc"]),
            Self::Lzo => ("lzop", &["-dc"]),
        }
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        const MAGIC: [(&[u8], Packing); 8] = [
            (&[0x1f, 0x8b, 0x08], Packing::Gzip),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Packing::Xz),
            (&[0x28, 0xb5, 0x2f, 0xfd], Packing::Zstd),
            (&[0x02, 0x21, 0x4c, 0x18], Packing::Lz4),
            (&[0x04, 0x22, 0x4d, 0x18], Packing::Lz4),
            (b"BZh", Packing::Bzip2),
            (&[0x5d, 0, 0], Packing::Lzma),
            (&[0x89, b'L', b'Z', b'O'], Packing::Lzo),
        ];
        MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, packing)| *packing)
    }
}

/// The packed kernel inside of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The bytes of the image that are to be unpacked.
    pub bytes: Range<usize>,
    /// How they are packed.
    pub packing: Packing,
    /// How long the kernel is, where the image says so: modulo 2^32.
    pub unpacked: Option<u32>,
}

/// Why an image has no packed kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelError {
    /// It is an uncompressed one already.
    Unpacked,
    /// It is something else.
    NotAKernel,
    /// Its boot protocol, as two numbers, is too old to say where the kernel is.
    TooOld(u8, u8),
    /// The header speaks of bytes that are not there.
    CutOff,
    /// It is packed in an unknown way; the first bytes.
    UnknownPacking([u8; 4]),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unpacked => f.write_str("an uncompressed kernel already"),
            Self::NotAKernel => f.write_str("not a kernel"),
            Self::TooOld(major, minor) => {
                write!(f, "boot protocol {major}.{minor} does not say where the kernel is")
            }
            Self::CutOff => f.write_str("cut off: the kernel is not all there"),
            Self::UnknownPacking([a, b, c, d]) => {
                write!(f, "packed in an unknown way ({a:02x} {b:02x} {c:02x} {d:02x})")
            }
        }
    }
}

impl Error for KernelError {}

const SETUP_SECTS: usize = 0x1f1;
const BOOT_FLAG: usize = 0x1fe;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;
/// Where "no sectors" of an old loader means this many.
const SETUP_SECTS_DEFAULT: usize = 4;

/// Finds the packed kernel in the bytes of an image.
///
/// # Errors
/// There is none that could be unpacked.
pub fn payload(image: &[u8]) -> Result<Payload, KernelError> {
    if image.starts_with(b"\x7fELF") || image.get(0x38..0x3c) == Some(b"ARM\x64") {
        return Err(KernelError::Unpacked);
    }
    let is_bzimage = image.get(HEADER..HEADER + 4) == Some(b"HdrS")
        && image.get(BOOT_FLAG..BOOT_FLAG + 2) == Some(&[0x55, 0xaa]);
    if !is_bzimage {
        // A kernel of aarch64 is packed as a whole.
        let packing = Packing::of(image).ok_or(KernelError::NotAKernel)?;
        return Ok(Payload { bytes: 0..image.len(), packing, unpacked: None });
    }
    let [minor, major] = array(image, VERSION)?;
    if (major, minor) < (2, 8) {
        return Err(KernelError::TooOld(major, minor));
    }
    let [sectors] = array(image, SETUP_SECTS)?;
    let sectors = if sectors == 0 { SETUP_SECTS_DEFAULT } else { usize::from(sectors) };
    let number =
        |at| Ok(usize::try_from(u32::from_le_bytes(array(image, at)?)).unwrap_or(usize::MAX));
    let start = ((sectors + 1) * SECTOR).checked_add(number(PAYLOAD_OFFSET)?);
    let start = start.ok_or(KernelError::CutOff)?;
    let end = start.checked_add(number(PAYLOAD_LENGTH)?).ok_or(KernelError::CutOff)?;
    let packed = image.get(start..end).ok_or(KernelError::CutOff)?;
    let Some(packing) = Packing::of(packed) else {
        return Err(match array(packed, 0) {
            Ok([0x7f, b'E', b'L', b'F']) => KernelError::Unpacked,
            Ok(first) => KernelError::UnknownPacking(first),
            Err(error) => error,
        });
    };
    // The length of the kernel stands behind it; gzip has it in its own format, at the same place.
    let tail = packed.len().checked_sub(4).ok_or(KernelError::CutOff)?;
    let unpacked = Some(u32::from_le_bytes(array(packed, tail)?));
    let end = if packing == Packing::Gzip { end } else { end - 4 };
    Ok(Payload { bytes: start..end, packing, unpacked })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], KernelError> {
    let found = at.checked_add(N).and_then(|end| bytes.get(at..end));
    found.and_then(|found| found.try_into().ok()).ok_or(KernelError::CutOff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An image with `packed` in it, as the kernel's build lays it out.
    fn image(sectors: u8, packed: &[u8]) -> Vec<u8> {
        let mut image = vec![0; (usize::from(sectors) + 1) * SECTOR + 16];
        image[SETUP_SECTS] = sectors;
        image[BOOT_FLAG..BOOT_FLAG + 2].copy_from_slice(&[0x55, 0xaa]);
        image[HEADER..HEADER + 4].copy_from_slice(b"HdrS");
        image[VERSION..VERSION + 2].copy_from_slice(&[0x0f, 2]);
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16_u32.to_le_bytes());
        let length = u32::try_from(packed.len()).expect("small");
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend_from_slice(packed);
        image
    }

    #[test]
    fn the_packed_kernel_is_found_by_the_header() {
        let mut packed = vec![0x02, 0x21, 0x4c, 0x18, 1, 2, 3];
        packed.extend(99_u32.to_le_bytes());
        let image = image(3, &packed);
        let found = payload(&image).expect("a kernel");
        assert_eq!((found.packing, found.unpacked), (Packing::Lz4, Some(99)));
        assert_eq!(&image[found.bytes], &packed[..7]);
    }

    #[test]
    fn gzip_keeps_the_length_that_is_its_own() {
        let packed = [0x1f, 0x8b, 0x08, 0, 1, 0, 0, 0];
        let image = image(1, &packed);
        let found = payload(&image).expect("a kernel");
        assert_eq!((&image[found.bytes], found.unpacked), (&packed[..], Some(1)));
    }

    #[test]
    fn what_cannot_be_unpacked_is_said() {
        assert_eq!(payload(b"\x7fELF\x02"), Err(KernelError::Unpacked));
        assert_eq!(payload(b"#!/bin/sh\n"), Err(KernelError::NotAKernel));
        let mut old = image(1, &[0; 16]);
        old[VERSION] = 7;
        assert_eq!(payload(&old), Err(KernelError::TooOld(2, 7)));
        let unknown = image(1, b"what is this?");
        assert_eq!(payload(&unknown), Err(KernelError::UnknownPacking(*b"what")));
        let mut cut = image(1, &[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3, 4]);
        cut.pop();
        assert_eq!(payload(&cut), Err(KernelError::CutOff));
        assert_eq!(payload(&image(1, b"\x1f\x8b\x08")), Err(KernelError::CutOff));
    }

    proptest! {
        #[test]
        fn what_is_found_lies_within_the_image(
            mut header in proptest::collection::vec(any::<u8>(), 0x250..0x600),
            marked in any::<bool>(),
        ) {
            if marked {
                header[BOOT_FLAG..BOOT_FLAG + 2].copy_from_slice(&[0x55, 0xaa]);
                header[HEADER..HEADER + 4].copy_from_slice(b"HdrS");
            }
            if let Ok(found) = payload(&header) {
                prop_assert!(header.get(found.bytes).is_some());
            }
        }
    }
}
