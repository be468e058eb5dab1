// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Elements of every type of map, one by one and in batches.

use std::ops::ControlFlow;
use std::path::Path;

use bpf::error::Kind;
use bpf::kinds::MapType;
use bpf::map::{BATCH, Flags, Map, Origin, Spec};
use bpf::object::{Object, OpenOptions};

use crate::support::{isolated, object, shown};

fn spec(name: &str, map_type: MapType, key_size: u32, value_size: u32, most: u32) -> Spec<'_> {
    Spec {
        name,
        map_type,
        key_size,
        value_size,
        max_entries: most,
        flags: 0,
        extra: 0,
        inner: None,
    }
}

fn key(number: u32) -> [u8; 4] {
    number.to_ne_bytes()
}

fn value(number: u64) -> [u8; 8] {
    number.to_ne_bytes()
}

#[test]
fn root_hashes_keep_what_is_set_and_know_their_limits() {
    isolated(module_path!(), "root_hashes_keep_what_is_set_and_know_their_limits", || {
        let map = Map::create(&spec("h", MapType::HASH, 4, 8, 4)).expect("made");
        assert_eq!((map.origin(), map.iter().count()), (Origin::Created, 0));
        assert_eq!(map.get(&key(1)).expect("a look-up"), None);
        assert!(!map.delete(&key(1)).expect("a deletion"));
        map.insert(&key(1), &value(10)).expect("new");
        assert_eq!(map.insert(&key(1), &value(11)).expect_err("known").kind(), Kind::Exists);
        map.replace(&key(1), &value(12)).expect("known");
        assert_eq!(map.replace(&key(2), &value(1)).expect_err("new").kind(), Kind::NotFound);
        assert_eq!(map.get(&key(1)).expect("a look-up"), Some(value(12).to_vec()));
        for number in 2..=4 {
            map.set(&key(number), &value(number.into()), Flags::ANY).expect("room");
        }
        let full = map.set(&key(5), &value(5), Flags::NOEXIST).expect_err("full");
        assert_eq!(full.kind(), Kind::Full, "{full}");
        assert!(full.to_string().contains("(4 elements)"), "{full}");
        let wrong = map.get(&[0; 3]).expect_err("three bytes");
        assert!(wrong.to_string().contains("the key has 3 bytes, the map wants 4"), "{wrong}");
        let wrong = map.set(&key(1), &[0; 7], Flags::ANY).expect_err("seven bytes");
        assert!(wrong.to_string().contains("the value has 7 bytes, the map wants 8"), "{wrong}");
        assert_eq!(map.take(&key(4)).expect("taken"), Some(value(4).to_vec()));
        assert!(!map.contains(&key(4)).expect("a look-up"));
        assert_eq!(map.get_percpu(&key(1)).expect_err("plain").kind(), Kind::InvalidArgument);
        assert_eq!(map.push(&value(1), Flags::ANY).expect_err("keys").kind(), Kind::Unsupported);
        map.freeze().expect("frozen");
        assert_eq!(map.frozen_and_memory().0, Some(true));
        let error = map.set(&key(1), &value(1), Flags::ANY).expect_err("frozen");
        assert_eq!(error.kind(), Kind::ReadOnly);
    });
}

#[test]
fn root_arrays_queues_tries_and_filters_have_their_ways() {
    isolated(module_path!(), "root_arrays_queues_tries_and_filters_have_their_ways", || {
        let array = Map::create(&spec("a", MapType::ARRAY, 4, 8, 3)).expect("made");
        assert_eq!(array.iter().count(), 3);
        let error = array.set(&key(3), &value(0), Flags::ANY).expect_err("beyond");
        assert_eq!(error.kind(), Kind::OutOfRange, "{error}");
        assert_eq!(array.delete(&key(0)).expect_err("an array").kind(), Kind::Unsupported);
        assert_eq!(array.get(&key(3)).expect("a look-up"), None);

        let queue = Map::create(&spec("q", MapType::QUEUE, 0, 4, 2)).expect("made");
        for number in 1..=2 {
            queue.push(&key(number), Flags::ANY).expect("room");
        }
        assert_eq!(queue.push(&key(3), Flags::ANY).expect_err("full").kind(), Kind::Full);
        queue.push(&key(3), Flags::EXIST).expect("pushes the oldest out");
        assert_eq!(queue.peek().expect("a look"), Some(key(2).to_vec()));
        assert_eq!(queue.pop().expect("taken"), Some(key(2).to_vec()));
        let walk = queue.iter().next().expect("an answer").expect_err("a queue");
        assert_eq!(walk.kind(), Kind::Unsupported, "{walk}");
        assert_eq!(queue.pop_all(|_, _| {}).expect("emptied"), 1);
        assert_eq!(queue.pop().expect("empty"), None);

        let trie = Map::create(&spec("t", MapType::LPM_TRIE, 8, 4, 8)).expect("made");
        let route = |bits: u32, address: [u8; 4]| [bits.to_ne_bytes(), address].concat();
        trie.set(&route(8, [10, 0, 0, 0]), &key(8), Flags::ANY).expect("room");
        trie.set(&route(16, [10, 1, 0, 0]), &key(16), Flags::ANY).expect("room");
        let longest = trie.get(&route(32, [10, 1, 2, 3])).expect("a look-up");
        assert_eq!(longest, Some(key(16).to_vec()));

        let filter = Spec { extra: 3, ..spec("b", MapType::BLOOM_FILTER, 0, 8, 64) };
        let filter = Map::create(&filter).expect("made");
        filter.push(&value(7), Flags::ANY).expect("room");
        assert!(filter.contains(&value(7)).expect("a look-up"));
        assert!(!filter.contains(&value(8)).expect("a look-up"));

        let ring = Map::create(&spec("r", MapType::RINGBUF, 0, 0, 4096)).expect("made");
        let error = ring.get(&[]).expect_err("no elements");
        assert!(error.to_string().contains("not supported by maps of type ringbuf"), "{error}");
        let error = Map::create(&spec("r", MapType::RINGBUF, 0, 0, 5000)).expect_err("5000");
        assert_eq!(error.kind(), Kind::InvalidArgument);
    });
}

#[test]
fn root_values_per_cpu_are_read_written_and_summed() {
    isolated(module_path!(), "root_values_per_cpu_are_read_written_and_summed", || {
        let map = Map::create(&spec("p", MapType::PERCPU_HASH, 4, 4, 8)).expect("made");
        let cpus = bpf::host::Host::system().possible_cpus().len();
        let values: Vec<[u8; 4]> = (1..).take(cpus).map(key).collect();
        let values: Vec<&[u8]> = values.iter().map(<[u8; 4]>::as_slice).collect();
        map.set_percpu(&key(9), &values, Flags::ANY).expect("set");
        let found = map.get_percpu(&key(9)).expect("a look-up").expect("there");
        assert!(found.iter().map(Vec::as_slice).eq(values.iter().copied()));
        let sum = u32::try_from(cpus * (cpus + 1) / 2).expect("few");
        assert_eq!(map.sum_percpu::<u32>(&key(9)).expect("a sum"), Some(sum));
        assert_eq!(map.sum_percpu::<u32>(&key(1)).expect("nothing"), None);
        assert_eq!(map.sum_percpu::<u64>(&key(9)).expect_err("eight bytes").kind(), Kind::Mismatch);
        let error = map.get(&key(9)).expect_err("per CPU");
        assert!(error.to_string().contains("use the per-CPU operations"), "{error}");
        let error = map.set_percpu(&key(9), &values[1..], Flags::ANY).expect_err("too few");
        assert!(error.to_string().contains("possible CPUs"), "{error}");
        let element = map.iter().next().expect("one").expect("read");
        assert_eq!(map.slots_of(&element.1).count(), cpus);
    });
}

#[test]
fn root_batches_and_single_steps_agree() {
    isolated(module_path!(), "root_batches_and_single_steps_agree", || {
        const COUNT: u32 = 10_000;
        let map = Map::create(&spec("h", MapType::HASH, 4, 8, COUNT)).expect("made");
        let keys: Vec<u8> = (0..COUNT).flat_map(key).collect();
        let values: Vec<u8> = (0..COUNT).flat_map(|number| value(number.into())).collect();
        assert_eq!(map.set_many(&keys, &values, Flags::ANY).expect("written"), 10_000);
        for batch in [1, 7, BATCH, usize::MAX] {
            let mut sum = 0;
            let (mut count, mut square) = (0_u32, true);
            map.for_each_batch(batch, |key, value| {
                count += 1;
                sum += u64::from_ne_bytes(value.try_into().expect("8 bytes"));
                square &= key == &value[..4];
                ControlFlow::Continue(())
            })
            .expect("read");
            assert_eq!((count, sum, square), (COUNT, 49_995_000, true), "batches of {batch}");
        }
        assert_eq!(map.iter().count(), COUNT as usize);
        let error = map.set_many(&keys[..8], &values[..8], Flags::ANY).expect_err("unequal");
        assert_eq!(error.kind(), Kind::Mismatch);
        let mut taken = 0;
        assert_eq!(map.pop_all(|_, _| taken += 1).expect("emptied"), u64::from(COUNT));
        assert_eq!((taken, map.keys().count()), (COUNT, 0));
        map.set_many(&keys, &values, Flags::ANY).expect("written");
        assert_eq!(map.delete_all().expect("emptied"), u64::from(COUNT));
        // Types without batches are walked.
        let trie = Map::create(&spec("t", MapType::LPM_TRIE, 8, 4, 8)).expect("made");
        trie.set(&[0; 8], &key(1), Flags::ANY).expect("room");
        let mut seen = 0;
        trie.for_each_batch(4, |_, _| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .expect("walked");
        assert_eq!(seen, 1);
        shown("batch", "run");
    });
}

#[test]
fn root_a_walk_survives_deletions_by_others() {
    isolated(module_path!(), "root_a_walk_survives_deletions_by_others", || {
        let map = Map::create(&spec("h", MapType::HASH, 4, 8, 1000)).expect("made");
        for number in 0..1000 {
            map.set(&key(number), &value(0), Flags::ANY).expect("room");
        }
        let mut seen = 0;
        for element in map.iter() {
            let (key, _) = element.expect("read");
            seen += 1;
            assert!(map.delete(&key).expect("deleted"));
        }
        assert_eq!((seen, map.iter().count()), (1000, 0));
        let other = map.try_clone().expect("a copy");
        let busy = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut number = 0_u32;
                while busy.load(std::sync::atomic::Ordering::Relaxed) {
                    other.set(&key(number % 1000), &value(1), Flags::ANY).expect("room");
                    let _gone = other.delete(&key(number.wrapping_mul(7919) % 1000));
                    number = number.wrapping_add(1);
                }
            });
            for _ in 0..50 {
                let steps = map.iter().take(5000).count();
                assert!(steps <= 2 * 1000 + 64 + 1, "{steps} steps");
            }
            busy.store(false, std::sync::atomic::Ordering::Relaxed);
        });
    });
}

#[test]
fn root_maps_of_maps_and_reuse_compare_shapes() {
    isolated(module_path!(), "root_maps_of_maps_and_reuse_compare_shapes", || {
        let inner = Map::create(&spec("i", MapType::ARRAY, 4, 8, 1)).expect("made");
        let outer = Spec { inner: Some(&inner), ..spec("o", MapType::HASH_OF_MAPS, 4, 4, 2) };
        let outer = Map::create(&outer).expect("made");
        let fd = std::os::fd::AsRawFd::as_raw_fd(&inner.as_fd()).to_ne_bytes();
        outer.set(&key(0), &fd, Flags::ANY).expect("an inner map");
        let id = outer.get(&key(0)).expect("a look-up").expect("there");
        assert_eq!(id, inner.info().expect("info").id.to_ne_bytes());

        let path = object("maps");
        let first = Object::load(&path).expect("loads").map("hash").expect("m");
        first.set(&key(5), &value(50), Flags::ANY).expect("room");
        let mut open = OpenOptions::new().open(&path).expect("opens");
        open.map("hash").expect("m").reuse(&first).expect("equal");
        let error = open.map("array").expect("m").reuse(&first).expect_err("other shape");
        assert_eq!(error.kind(), Kind::Mismatch);
        let text = error.to_string();
        assert!(text.contains("type differs: the object wants array, the map has hash"), "{text}");
        let mut smaller = OpenOptions::new().open(&path).expect("opens");
        smaller.map("hash").expect("m").set_max_entries(7).expect("set");
        let error = smaller.map("hash").expect("m").reuse(&first).expect_err("other size");
        assert!(error.to_string().contains("wants 7, the map has 1024"), "{error}");
        let second = open.load().expect("loads").map("hash").expect("m");
        assert_eq!(second.get(&key(5)).expect("a look-up"), Some(value(50).to_vec()));
    });
}

#[test]
fn root_pinned_maps_keep_shape_and_types() {
    isolated(module_path!(), "root_pinned_maps_keep_shape_and_types", || {
        let object = Object::load(&object("maps")).expect("loads");
        let map = object.map("hash").expect("m");
        map.set(&key(1), &value(2), Flags::ANY).expect("room");
        map.pin(Path::new("/sys/fs/bpf/hash")).expect("pinned");
        let shape = map.shape();
        drop((map, object));
        let map = Map::from_pin(Path::new("/sys/fs/bpf/hash")).expect("the pin");
        assert_eq!((map.name(), map.shape().max_entries), ("hash", shape.max_entries));
        assert_eq!(map.get(&key(1)).expect("a look-up"), Some(value(2).to_vec()));
        let btf = map.btf().expect("read").expect("types");
        let ty = bpf::btf::TypeId(map.shape().value_type);
        assert_eq!(btf.size_of(ty).expect("a size"), 8);
        let error = Map::from_pin(Path::new("/sys/fs/bpf/none")).expect_err("missing");
        assert_eq!(error.kind(), Kind::NotFound);
        let same = Map::from_id(map.info().expect("info").id).expect("by id");
        assert_eq!(same.name(), "hash");
    });
}

bpf::bpf_type! {
    /// `struct route` of the object.
    struct Route {
        prefix_bits: u32,
        address: [u8; 4],
    }
}

#[test]
fn root_typed_views_compare_types_once_and_outlive_their_map() {
    isolated(module_path!(), "root_typed_views_compare_types_once_and_outlive_their_map", || {
        let object = Object::load(&object("maps")).expect("loads");
        let map = object.map("hash").expect("m");
        let view = map.typed::<u32, u64>().expect("these are the types");
        let wrong = map.typed::<u32, u32>().expect_err("four bytes");
        assert_eq!(wrong.kind(), Kind::Mismatch);
        let wrong = map.typed::<u32, f64>().expect_err("no float");
        assert_eq!(wrong.kind(), Kind::Type, "{wrong}");
        let routes = object.map("lpm_trie").expect("m").typed::<Route, u32>().expect("the types");
        let route = Route { prefix_bits: 8, address: [10, 0, 0, 0] };
        routes.set(&route, &5, Flags::ANY).expect("room");
        drop((map, object));
        view.set(&1, &u64::MAX, Flags::ANY).expect("room");
        assert_eq!(view.get(&1).expect("a look-up"), Some(u64::MAX));
        assert_eq!(view.get(&2).expect("a look-up"), None);
        let all: Vec<(u32, u64)> = view.iter().map(|element| element.expect("read")).collect();
        assert_eq!(all, [(1, u64::MAX)]);
        assert!(view.delete(&1).expect("deleted"));
        let inside = Route { prefix_bits: 32, address: [10, 1, 2, 3] };
        assert_eq!(routes.get(&inside).expect("a look-up"), Some(5));
    });
}

#[test]
fn root_values_of_any_type_are_read_and_written() {
    isolated(module_path!(), "root_values_of_any_type_are_read_and_written", || {
        use bpf::value::Value;
        let object = Object::load(&object("maps")).expect("loads");
        let routes = object.map("lpm_trie").expect("m").dynamic().expect("types");
        let address =
            Value::List(vec![Value::U64(10), Value::U64(0), Value::U64(0), Value::U64(0)]);
        let key =
            Value::Map(vec![("prefix_bits".into(), Value::U64(8)), ("address".into(), address)]);
        routes.set(&key, &Value::U64(7), Flags::ANY).expect("room");
        assert_eq!(routes.get(&key).expect("a look-up"), Some(Value::U64(7)));
        let percpu = object.map("percpu_array").expect("m").dynamic().expect("types");
        let Some(Value::List(values)) = percpu.get(&Value::U64(0)).expect("a look-up") else {
            panic!("a list of values");
        };
        assert!(values.iter().all(|value| *value == Value::U64(0)) && !values.is_empty());
        let error = routes.get(&Value::from("text")).expect_err("no table");
        assert_eq!(error.kind(), Kind::Type);
        let plain = Map::create(&spec("p", MapType::HASH, 4, 4, 1)).expect("made");
        assert_eq!(plain.dynamic().map(|_| ()).expect_err("no types").kind(), Kind::MissingBtf);
    });
}
