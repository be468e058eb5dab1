// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an object expects to find in the kernel.

use crate::btf::{Body, Btf, Kind, Linkage, TypeId};

/// What sort of thing is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternKind {
    /// An option of the kernel's configuration, or something that the loader computes.
    Kconfig,
    /// A variable of the kernel.
    Variable,
    /// A function of the kernel.
    Function,
}

/// Something that is defined elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extern {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ExternKind,
    /// Whether the object copes without it.
    pub is_weak: bool,
    /// Its type.
    pub ty: TypeId,
}

/// Those of a table's externs that `undefined` (names, and whether they are weak) has.
pub(super) fn found(btf: &Btf, undefined: &[(String, bool)]) -> Vec<Extern> {
    let mut externs = Vec::new();
    for (id, section) in btf.types().filter(|(_, ty)| ty.kind() == Kind::Datasec) {
        let is_kconfig = match btf.name(id) {
            ".kconfig" => true,
            ".ksyms" => false,
            _ => continue,
        };
        let Body::Datasec { vars, .. } = &section.body else { continue };
        for place in vars {
            let Ok(it) = btf.get(place.ty) else { continue };
            let (kind, ty) = match it.body {
                Body::Var { ty, .. } if is_kconfig => (ExternKind::Kconfig, ty),
                Body::Var { ty, .. } => (ExternKind::Variable, ty),
                Body::Func { proto, linkage: Linkage::Extern | Linkage::Other(_) } => {
                    (ExternKind::Function, proto)
                }
                _ => continue,
            };
            let name = btf.text(it.name);
            if let Some((name, is_weak)) = undefined.iter().find(|it| it.0 == name) {
                externs.push(Extern { name: name.clone(), kind, is_weak: *is_weak, ty });
            }
        }
    }
    externs
}
