// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What loading and attaching costs with aya: `load OBJECT DIRECTORY`, which pins program and link.
//!
//! Reports `@val load_us N`, the time inside the process.

use std::error::Error;
use std::path::Path;
use std::time::Instant;
use std::{env, process};

use aya::Ebpf;
use aya::programs::RawTracePoint;
use aya::programs::links::FdLink;

fn main() {
    if let Err(error) = run(&env::args().skip(1).collect::<Vec<String>>()) {
        eprintln!("peer-aya: {error}");
        process::exit(1);
    }
}

fn run(words: &[String]) -> Result<(), Box<dyn Error>> {
    match words {
        [command, object, pins] if command == "load" => load(Path::new(object), Path::new(pins)),
        _ => Err("usage: peer-aya load OBJECT DIRECTORY".into()),
    }
}

fn load(object: &Path, pins: &Path) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let mut object = Ebpf::load_file(object)?;
    let (_, program) = object.programs_mut().next().ok_or("the object has no program")?;
    let program: &mut RawTracePoint = program.try_into()?;
    program.load()?;
    let link = program.attach("sys_enter")?;
    let link = program.take_link(link)?;
    let time = begun.elapsed();
    program.pin(pins.join("program"))?;
    let _pinned = FdLink::from(link).pin(pins.join("link"))?;
    println!("@val load_us {}", time.as_secs_f64() * 1e6);
    Ok(())
}
