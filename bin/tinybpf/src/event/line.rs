// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One line a sample.

use std::fmt::Write as _;
use std::sync::Arc;

use plinth::text::escape_control;

use super::choice::{Chosen, Variant};
use super::filter::Filter;
use crate::btf::ByteOrder;
use crate::value::{Format, Shape, SizeError, push_json_text};

/// Bytes of padding that the kernel may add to a sample of a perf buffer; what is in them is
/// garbage.
const PERF_PADDING_MAX: usize = 7;

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A JSON object.
    #[default]
    Json,
    /// For people: map, type, and the members that are not objects themselves.
    Text,
    /// The sample's bytes.
    Hex,
}

/// Whether samples may be longer than what the program sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Ring buffers: never.
    None,
    /// Perf buffers: by up to 7 bytes.
    Perf,
}

/// What is written of the samples of one map.
#[derive(Clone, Debug)]
pub struct Stream {
    map: String,
    chosen: Chosen,
    form: Form,
    format: Format,
    filters: Vec<Filter>,
    padding: Padding,
    seq: u64,
}

impl Stream {
    /// Samples of `map`, of the type that was chosen. Those that a filter does not pass are counted
    /// and not written.
    #[must_use]
    pub fn new(
        map: &str,
        chosen: Chosen,
        form: Form,
        format: Format,
        filters: Vec<Filter>,
        padding: Padding,
    ) -> Self {
        Self { map: map.to_owned(), chosen, form, format, filters, padding, seq: 0 }
    }

    /// Samples that were delivered so far.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.seq
    }

    /// Appends the line of a sample to `out`, its newline included; returns whether there is one.
    pub fn push(&mut self, sample: &[u8], cpu: Option<u32>, out: &mut String) -> bool {
        self.seq += 1;
        let start = out.len();
        let done = match self.shape(sample) {
            found if self.form == Form::Hex => {
                self.admits(&found, sample) && self.push_hex(sample, cpu, out)
            }
            Found::Shape(shape) => self.push_typed(&shape, sample, cpu, out),
            Found::Unknown => self.push_hex(sample, cpu, out),
            Found::Short { want, name } => {
                let error = SizeError { got: sample.len(), want, name };
                self.push_error(&error, sample, cpu, out)
            }
        };
        if done {
            out.push('\n');
        } else {
            out.truncate(start);
        }
        done
    }

    /// Counts a sample that is written as it came; returns whether the filters pass it.
    pub fn passes(&mut self, sample: &[u8]) -> bool {
        self.seq += 1;
        self.admits(&self.shape(sample), sample)
    }

    /// Whether the filters pass a sample. One that cannot be decoded is for somebody to see; one of
    /// which nobody knows the type has none of the members that they ask for.
    fn admits(&self, found: &Found, sample: &[u8]) -> bool {
        match found {
            _ if self.filters.is_empty() => true,
            Found::Shape(shape) => shape
                .decode(sample, true)
                .map_or(true, |value| self.filters.iter().all(|it| it.passes(&value))),
            Found::Short { .. } => true,
            Found::Unknown => false,
        }
    }

    fn shape(&self, sample: &[u8]) -> Found {
        let variants = match &self.chosen {
            Chosen::One(shape) => return Found::Shape(Arc::clone(shape)),
            Chosen::Hex(_) => return Found::Unknown,
            Chosen::Tagged(variants) => variants,
        };
        let mut short = None;
        for (variant, shape) in variants {
            match tag(variant, sample, shape.order()) {
                Some(tag) if tag == variant.value => return Found::Shape(Arc::clone(shape)),
                Some(_) => {}
                None => short = Some(variant.offset.saturating_add(variant.size)),
            }
        }
        short.map_or(Found::Unknown, |want| Found::Short { want, name: "tag".to_owned() })
    }

    fn push_typed(&self, shape: &Shape, sample: &[u8], cpu: Option<u32>, out: &mut String) -> bool {
        if !self.filters.is_empty() {
            match shape.decode(sample, true) {
                Ok(value) if !self.filters.iter().all(|it| it.passes(&value)) => return false,
                Ok(_) => {}
                Err(error) => return self.push_error(&error, sample, cpu, out),
            }
        }
        let start = out.len();
        let written = match self.form {
            Form::Text => {
                out.push_str(&escape_control(&self.map));
                self.push_text(shape, sample, cpu, out)
            }
            _ => {
                self.begin(Some(shape.name()), cpu, out);
                let _ = write!(out, "\"seq\":{},\"data\":", self.seq);
                shape.write_json(sample, self.format, out)
            }
        };
        if let Err(error) = written {
            out.truncate(start);
            return self.push_error(&error, sample, cpu, out);
        }
        let extra = sample.len().saturating_sub(shape.size());
        let is_padding = self.padding == Padding::Perf && extra <= PERF_PADDING_MAX;
        let is_extra = extra > 0 && !is_padding && !shape.is_flexible();
        match self.form {
            Form::Text if is_extra => {
                let _ = write!(out, " extra={extra}");
            }
            Form::Text => {}
            _ => {
                if is_extra {
                    let _ = write!(out, ",\"extra\":{extra}");
                }
                out.push('}');
            }
        }
        true
    }

    /// `{"map":..,"type":..,"cpu":..,` without what follows.
    fn begin(&self, name: Option<&str>, cpu: Option<u32>, out: &mut String) {
        out.push_str("{\"map\":");
        push_json_text(out, &self.map);
        if let Some(name) = name {
            out.push_str(",\"type\":");
            push_json_text(out, name);
        }
        if let Some(cpu) = cpu {
            let _ = write!(out, ",\"cpu\":{cpu}");
        }
        out.push(',');
    }

    fn push_text(
        &self,
        shape: &Shape,
        sample: &[u8],
        cpu: Option<u32>,
        out: &mut String,
    ) -> Result<(), SizeError> {
        use crate::value::Value;

        let value = shape.decode(sample, self.format.all)?;
        // Names come from the object, and nobody has looked at them.
        let _ = write!(out, " {}", escape_control(shape.name()));
        if let Some(cpu) = cpu {
            let _ = write!(out, " cpu={cpu}");
        }
        match &value {
            Value::Map(members) => {
                for (name, value) in members {
                    let _ = write!(out, " {}=", escape_control(name));
                    value.write_json(self.format, out);
                }
            }
            value => {
                out.push(' ');
                value.write_json(self.format, out);
            }
        }
        Ok(())
    }

    fn push_hex(&self, sample: &[u8], cpu: Option<u32>, out: &mut String) -> bool {
        if !self.filters.is_empty() && self.form != Form::Hex {
            return false; // its type is unknown
        }
        if self.form == Form::Json {
            self.begin(None, cpu, out);
            let _ = write!(out, "\"seq\":{},\"hex\":\"", self.seq);
            crate::value::push_hex(out, sample);
            out.push_str("\"}");
        } else {
            crate::value::push_hex(out, sample);
        }
        true
    }

    fn push_error(
        &self,
        error: &SizeError,
        sample: &[u8],
        cpu: Option<u32>,
        out: &mut String,
    ) -> bool {
        if self.form == Form::Json {
            self.begin(None, cpu, out);
            out.push_str("\"error\":");
            push_json_text(out, &error.to_string());
            out.push_str(",\"hex\":\"");
            crate::value::push_hex(out, sample);
            out.push_str("\"}");
        } else {
            let text = format!("{}: {error}: ", self.map);
            out.push_str(&escape_control(&text));
            crate::value::push_hex(out, sample);
        }
        true
    }
}

enum Found {
    Shape(Arc<Shape>),
    Unknown,
    Short { want: usize, name: String },
}

/// The number at a variant's place; `None` if the sample ends before.
fn tag(variant: &Variant, sample: &[u8], order: ByteOrder) -> Option<u64> {
    let bytes = sample.get(variant.offset..)?.get(..variant.size)?;
    let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    Some(match order {
        ByteOrder::Little => bytes.iter().rev().fold(0, push),
        ByteOrder::Big => bytes.iter().fold(0, push),
    })
}

/// Appends the line that says that events of a map were lost.
pub fn push_loss(map: &str, lost: u64, cpu: Option<u32>, form: Form, out: &mut String) {
    if form == Form::Json {
        out.push_str("{\"map\":");
        push_json_text(out, map);
        let _ = write!(out, ",\"lost\":{lost}");
        if let Some(cpu) = cpu {
            let _ = write!(out, ",\"cpu\":{cpu}");
        }
        out.push_str("}\n");
    } else {
        let map = escape_control(map);
        let _ = match cpu {
            Some(cpu) => writeln!(out, "{map}: {lost} lost on cpu {cpu}"),
            None => writeln!(out, "{map}: {lost} lost"),
        };
    }
}
