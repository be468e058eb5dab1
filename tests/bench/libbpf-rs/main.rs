// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What libbpf-rs needs: `load OBJECT DIRECTORY [BTF]`, which pins program and link, and
//! `consume OBJECT ROUNDS`, which empties a ring that was filled.
//!
//! Reports `@val load_us N`, and `@val consume_ns N` for an event, once a round.

use std::cell::Cell;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, process};

use libbpf_rs::{MapCore as _, ObjectBuilder, ProgramInput, RingBufferBuilder};

/// Rings that are emptied for one value.
const FILLS: u32 = 50;

fn main() {
    if let Err(error) = run(&env::args().skip(1).collect::<Vec<String>>()) {
        eprintln!("peer-libbpf-rs: {error}");
        process::exit(1);
    }
}

fn run(words: &[String]) -> Result<(), Box<dyn Error>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words {
        ["load", object, pins] => load(Path::new(object), Path::new(pins), None),
        ["load", object, pins, btf] => load(Path::new(object), Path::new(pins), Some(btf)),
        ["consume", object, rounds] => consume(Path::new(object), rounds.parse()?),
        _ => {
            Err("usage: peer-libbpf-rs load OBJECT DIRECTORY [BTF] | consume OBJECT ROUNDS".into())
        }
    }
}

fn load(object: &Path, pins: &Path, btf: Option<&str>) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let mut builder = ObjectBuilder::default();
    if let Some(btf) = btf {
        builder.btf_custom_path(btf)?;
    }
    let object = builder.open_file(object)?.load()?;
    let mut program = object.progs_mut().next().ok_or("the object has no program")?;
    let mut link = program.attach()?;
    let time = begun.elapsed();
    program.pin(pins.join("program"))?;
    link.pin(pins.join("link"))?;
    println!("@val load_us {}", time.as_secs_f64() * 1e6);
    Ok(())
}

fn consume(object: &Path, rounds: u32) -> Result<(), Box<dyn Error>> {
    let object = ObjectBuilder::default().open_file(object)?.load()?;
    let program = object.progs_mut().find(|p| p.name() == "fill").ok_or("no program 'fill'")?;
    let map = object.maps().find(|map| map.name() == "ring").ok_or("no map 'ring'")?;
    let (events, bytes) = (Cell::new(0_u64), Cell::new(0_u64));
    let mut builder = RingBufferBuilder::new();
    builder.add(&map, |sample| {
        events.set(events.get() + 1);
        bytes.set(bytes.get() + sample.len() as u64);
        0
    })?;
    let ring = builder.build()?;
    for _ in 0..rounds {
        let mut time = Duration::ZERO;
        events.set(0);
        for _ in 0..FILLS {
            program.test_run(ProgramInput::default())?;
            let begun = worked();
            ring.consume()?;
            time += worked() - begun;
        }
        println!("@val consume_ns {}", time.as_secs_f64() * 1e9 / events.get() as f64);
    }
    if bytes.get() % 64 != 0 || events.get() == 0 {
        return Err("the ring holds something else".into());
    }
    Ok(())
}

/// The processor time of this thread: what other work on the machine adds nothing to.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::from_secs(time.tv_sec as u64) + Duration::from_nanos(time.tv_nsec as u64)
}
