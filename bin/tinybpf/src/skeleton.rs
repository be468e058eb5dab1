// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Objects that are part of a program: opened from its own bytes, their names checked, their
//! programs and maps as fields.
//!
//! Owns the macro [`bpf_skeleton!`](crate::bpf_skeleton) and what it needs. `tinybpf inspect
//! --skeleton` prints a call of it for an object.

use crate::error::{Error, Kind, Op, Result};
use crate::map::Map;
use crate::object::OpenObject;
use crate::typed::Plain;

/// What a constant may be: numbers and truth values.
pub trait Constant: Copy {
    /// The value as it lies in memory.
    fn to_bytes(self) -> Vec<u8>;
}

macro_rules! constants {
    ($($number:ty),+) => {$(
        impl Constant for $number {
            fn to_bytes(self) -> Vec<u8> {
                self.to_ne_bytes().to_vec()
            }
        }
    )+};
}

constants!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

impl Constant for bool {
    fn to_bytes(self) -> Vec<u8> {
        vec![u8::from(self)]
    }
}

/// Checks that the object has a constant of this name and size.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Mismatch`].
pub fn check_constant<T: Constant>(object: &OpenObject, name: &str) -> Result<()> {
    let globals = object.globals()?;
    let Some(found) = globals.iter().find(|global| global.name == name) else {
        return Err(Error::new(Kind::NotFound, Op::Check, name).with_detail("no such variable"));
    };
    if found.size as usize == size_of::<T>() {
        return Ok(());
    }
    let detail = format!("the variable has {} bytes, the type {}", found.size, size_of::<T>());
    Err(Error::new(Kind::Mismatch, Op::Check, name).with_detail(detail))
}

/// Checks that the values of a map are of this type.
///
/// # Errors
/// [`Kind::Mismatch`], [`Kind::Type`].
pub fn check_value<T: Plain>(map: &Map) -> Result<()> {
    map.check_value_type::<T>()
}

/// Embeds an object and declares a module with its parts.
///
/// `Open::open()` reads the object and checks every name that is listed; `rodata` takes first
/// values of constants; `load()` gives the programs and maps as fields. The type behind a map's
/// name, where there is one, is that of its values.
///
/// ```no_run
/// # macro_rules! skip { ($($t:tt)*) => {} }
/// # skip! {
/// bpf::bpf_skeleton! {
///     exec "exec.bpf.o";
///     programs { trace_exec }
///     maps { events, config: Config }
///     rodata { burst: u32 }
/// }
/// let mut open = exec::Skeleton::open()?;
/// open.rodata.burst = Some(100);
/// let loaded = open.load()?;
/// let link = loaded.programs.trace_exec.attach()?;
/// # }
/// ```
#[macro_export]
macro_rules! bpf_skeleton {
    (
        $name:ident $path:expr;
        programs { $($program:ident),* $(,)? }
        maps { $($map:ident $(: $value:ty)?),* $(,)? }
        rodata { $($constant:ident: $ty:ty),* $(,)? }
    ) => {
        #[doc = concat!("The object `", stringify!($name), "`.")]
        pub mod $name {
            #[allow(unused_imports, reason = "types of the caller's may be named")]
            use super::*;

            /// The object's file.
            pub static BYTES: &[u8] = include_bytes!($path);

            /// First values of constants; those left out keep the object's.
            #[derive(Clone, Copy, Debug, Default)]
            pub struct Rodata {
                $(
                    #[doc = concat!("`", stringify!($constant), "`")]
                    pub $constant: Option<$ty>,
                )*
            }

            /// The object before its load.
            #[derive(Debug)]
            pub struct Skeleton {
                /// The object, for what has no field here.
                pub object: $crate::object::OpenObject,
                /// First values of constants.
                pub rodata: Rodata,
            }

            /// The programs.
            #[derive(Debug)]
            pub struct Programs {
                $(
                    #[doc = concat!("`", stringify!($program), "`")]
                    pub $program: $crate::program::Program,
                )*
            }

            /// The maps.
            #[derive(Debug)]
            pub struct Maps {
                $(
                    #[doc = concat!("`", stringify!($map), "`")]
                    pub $map: $crate::map::Map,
                )*
            }

            /// The object after its load.
            #[derive(Debug)]
            pub struct Loaded {
                /// The object, for what has no field here.
                pub object: $crate::object::Object,
                /// The programs.
                pub programs: Programs,
                /// The maps.
                pub maps: Maps,
            }

            impl Skeleton {
                /// Reads the object and checks the names.
                ///
                /// # Errors
                /// As for `OpenOptions::open_bytes`; a name that the object does not have.
                pub fn open() -> $crate::error::Result<Self> {
                    let options = $crate::object::OpenOptions::new().name(stringify!($name));
                    #[allow(unused_mut, reason = "an object may have neither programs nor maps")]
                    let mut object = options.open_bytes(BYTES)?;
                    $(object.program(stringify!($program))?;)*
                    $(object.map(stringify!($map))?;)*
                    $(
                        let name = stringify!($constant);
                        $crate::skeleton::check_constant::<$ty>(&object, name)?;
                    )*
                    Ok(Self { object, rodata: Rodata::default() })
                }

                /// Sets the constants and loads the object.
                ///
                /// # Errors
                /// As for `OpenObject::load`; values of a map that are of another type.
                #[allow(unused_mut, reason = "an object may have no constants")]
                pub fn load(mut self) -> $crate::error::Result<Loaded> {
                    $(
                        if let Some(value) = self.rodata.$constant {
                            let bytes = $crate::skeleton::Constant::to_bytes(value);
                            self.object.set_global_bytes(stringify!($constant), &bytes)?;
                        }
                    )*
                    let object = self.object.load()?;
                    let programs = Programs {
                        $($program: object.program(stringify!($program))?,)*
                    };
                    let maps = Maps { $($map: object.map(stringify!($map))?,)* };
                    $($($crate::skeleton::check_value::<$value>(&maps.$map)?;)?)*
                    Ok(Loaded { object, programs, maps })
                }
            }
        }
    };
}
