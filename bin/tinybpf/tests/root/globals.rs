// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Global variables: set before the load, shared with the programs after it.

use crate::support::{isolated, object};
use bpf::error::Kind;
use bpf::object::OpenOptions;
use bpf::program::TestRun;
use bpf::value::Value;

#[test]
fn globals_have_first_values_without_privileges() {
    let mut open = OpenOptions::new().open(&object("globals")).expect("opens");
    assert_eq!(open.global("const_s8").expect("known"), Value::I64(-8));
    assert_eq!(open.global("data_u32").expect("known"), Value::U64(320));
    assert_eq!(open.global("bss_u64").expect("known"), Value::U64(0));
    assert_eq!(open.global("own_constant").expect("known"), Value::U64(5));
    let limits = open.global("const_limits").expect("known");
    assert_eq!(limits.at("high"), Some(&Value::U64(9)));
    let names: Vec<String> =
        open.globals().expect("types").into_iter().map(|variable| variable.name).collect();
    assert!(names.len() > 15 && names.iter().any(|name| name == "own_bss"), "{names:?}");
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let mut open = OpenOptions::new().open(&object("globals")).expect("opens");
    let mut refused =
        |name: &str, value: Value| open.set_global(name, &value).expect_err("does not fit").kind();
    assert_eq!(refused("const_u8", Value::U64(256)), Kind::OutOfRange);
    assert_eq!(refused("const_u64", Value::I64(-1)), Kind::OutOfRange);
    assert_eq!(refused("const_u32", Value::from("text")), Kind::Type);
    assert_eq!(refused("const_name", Value::from("longer than 16 bytes")), Kind::Type);
    assert_eq!(refused("no_such_variable", Value::U64(0)), Kind::NotFound);
    let error = open.set_global_bytes("const_u32", &[0; 3]).expect_err("three bytes");
    assert!(error.to_string().contains("3 bytes for a variable of 4"), "{error}");
}

#[test]
fn root_constants_reach_the_program_and_variables_are_shared() {
    isolated(module_path!(), "root_constants_reach_the_program_and_variables_are_shared", || {
        let mut open = OpenOptions::new().open(&object("globals")).expect("opens");
        open.set_global("const_u32", &Value::U64(7)).expect("fits");
        open.set_global("const_name", &Value::from("named")).expect("fits");
        open.set_global_bytes("own_bss", &100_u32.to_ne_bytes()).expect("fits");
        let object = open.load().expect("loads");
        let run = |times: usize| {
            for _ in 0..times {
                object.program("use").expect("p").test_run(&TestRun::default()).expect("runs");
            }
        };
        let get = |name: &str| object.global(name).expect(name).get().expect(name);
        run(2);
        assert_eq!(get("data_u32"), Value::U64(320 + 14));
        assert_eq!(get("bss_u8"), Value::U64(2));
        assert_eq!(get("bss_name"), Value::Str(b"named".to_vec()));
        assert_eq!(get("own_bss"), Value::U64(100 + 2 * 11));
        object.global("bss_u64").expect("v").set(&Value::U64(1 << 40)).expect("written");
        run(1);
        assert_eq!(get("bss_u64"), Value::U64((1 << 40) + 1));
        let limits = object.global("data_limits").expect("v");
        limits
            .set(&Value::Map(vec![("low".into(), Value::U64(1)), ("high".into(), Value::U64(2))]))
            .expect("written");
        assert_eq!(get("data_limits").at("high"), Some(&Value::U64(2)));
        let error = object.global("const_u32").expect("v").set(&Value::U64(1)).expect_err("frozen");
        assert_eq!(error.kind(), Kind::ReadOnly);
        let version = get("kernel_version").as_integer().expect("a number");
        assert!(version > 0x05_00_00);
    });
}

#[test]
fn root_arrays_of_variables_can_be_resized() {
    isolated(module_path!(), "root_arrays_of_variables_can_be_resized", || {
        let mut open = OpenOptions::new().open(&object("globals")).expect("opens");
        let before = open.globals().expect("types");
        let size = |list: &[bpf::object::Variable]| {
            list.iter().find(|variable| variable.name == "resizable").map(|variable| variable.size)
        };
        assert_eq!(size(&before), Some(4096));
        open.map(".data.resizable").expect("map").set_value_size(8192).expect("resized");
        assert_eq!(size(&open.globals().expect("types")), Some(8192));
        let object = open.load().expect("loads");
        assert_eq!(object.map(".data.resizable").expect("map").value_size(), 8192);
    });
}
