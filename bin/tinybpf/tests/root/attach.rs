// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hooks of tracing programs: attached, triggered, counted, detached.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bpf::error::Kind;
use bpf::host::Host;
use bpf::kinds::LinkType;
use bpf::link::{Link, LinkKind};
use bpf::map::{Flags, Map};
use bpf::object::{Object, OpenOptions};
use bpf::program::attach::{At, IterTarget, KprobeOpts, PerfEventOpts, Rate, UprobeOpts, UsdtOpts};

use plinth::testing::Patient;
use rustix::mount::{UnmountFlags, unmount};

use crate::compiled::objects;
use crate::support::{getpgid, isolated, number, object, shown};

/// Number of getpgid(2).
const GETPGID: i64 = libc_getpgid();

const fn libc_getpgid() -> i64 {
    if cfg!(target_arch = "x86_64") { 121 } else { 155 }
}

fn tracepoints(programs: &[&str]) -> Object {
    let mut open = OpenOptions::new().open(&object("tracepoints")).expect("opens");
    open.set_global("pid", &i64::from(std::process::id()).into()).expect("known");
    open.set_global("system_call", &GETPGID.into()).expect("known");
    for name in open.program_names() {
        let wanted = programs.contains(&name.as_str());
        open.program(&name).expect("known").set_autoload(wanted).expect("set");
    }
    open.load().expect("loads")
}

#[test]
fn root_tracepoints_count_by_name_raw_and_typed() {
    isolated(module_path!(), "root_tracepoints_count_by_name_raw_and_typed", || {
        let object = tracepoints(&["named", "raw", "typed"]);
        let link = |name: &str| object.program(name).expect(name).attach().expect(name);
        let links = ["named", "raw", "typed"].map(link);
        getpgid(5);
        for variable in ["named_hits", "raw_hits", "typed_hits"] {
            assert_eq!(number(&object, variable), 5, "{variable}");
        }
        let kinds = links.each_ref().map(Link::kind);
        assert_eq!(
            kinds,
            [
                LinkKind::Kernel(LinkType::PERF_EVENT),
                LinkKind::Kernel(LinkType::RAW_TRACEPOINT),
                LinkKind::Kernel(LinkType::RAW_TRACEPOINT),
            ]
        );
        assert!(links.iter().all(|link| link.as_fd().is_some() && link.info().is_ok()));
        Link::detach_all(links.into()).expect("detached");
        getpgid(5);
        assert_eq!(number(&object, "named_hits"), 5);
        let cookie = object.program("named").expect("p");
        let _link =
            cookie.attach_tracepoint("syscalls", "sys_enter_getpgid", 77).expect("attached");
        getpgid(1);
        assert_eq!(number(&object, "cookie"), 77);
        for kind in ["tracepoint", "raw_tp", "tp_btf"] {
            shown(kind, "run");
        }
    });
}

#[test]
fn root_a_pinned_tracepoint_outlives_its_handle() {
    isolated(module_path!(), "root_a_pinned_tracepoint_outlives_its_handle", || {
        let object = tracepoints(&["named"]);
        let mut link = object.program("named").expect("p").attach().expect("attached");
        link.pin(Path::new("/sys/fs/bpf/link")).expect("pinned");
        assert_eq!(link.leak_pinned().as_deref(), Some(Path::new("/sys/fs/bpf/link")));
        getpgid(3);
        assert_eq!(number(&object, "named_hits"), 3);
        let link = Link::from_pin(Path::new("/sys/fs/bpf/link")).expect("the pin");
        let update = |mut link: Link| link.update(&object.program("named").expect("p"), None);
        let again = Link::from_id(link.info().expect("info").id).expect("by id");
        assert_eq!(again.force_detach().expect_err("perf links cannot").kind(), Kind::Unsupported);
        assert_eq!(update(again).expect_err("nor this").kind(), Kind::Unsupported);
        link.detach().expect("detached");
        getpgid(3);
        assert_eq!(number(&object, "named_hits"), 3);
    });
}

#[test]
fn root_unknown_tracepoints_and_missing_tracefs_differ() {
    isolated(module_path!(), "root_unknown_tracepoints_and_missing_tracefs_differ", || {
        let object = tracepoints(&["named", "raw"]);
        let named = object.program("named").expect("p");
        let error = named.attach_tracepoint("syscalls", "sys_enter_nothing", 0).expect_err("none");
        assert_eq!(error.kind(), Kind::NoSuchTarget);
        let raw = object.program("raw").expect("p");
        let error = raw.attach_raw_tracepoint("nothing", 0).expect_err("none");
        assert_eq!(error.kind(), Kind::NoSuchTarget);
        assert!(error.to_string().contains("no raw tracepoint 'nothing'"), "{error}");
        while let Some(place) = Host::system().tracefs() {
            unmount(&place, UnmountFlags::DETACH).expect("unmounted");
        }
        let error = named.attach().expect_err("no tracefs");
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("tracefs is not mounted"), "{error}");
        let _link = raw.attach().expect("raw tracepoints need none");
    });
}

#[test]
fn root_kprobes_are_refused_where_the_kernel_has_none() {
    isolated(module_path!(), "root_kprobes_are_refused_where_the_kernel_has_none", || {
        let has = Path::new("/sys/bus/event_source/devices/kprobe").exists();
        let object = Object::load(&object("kprobe")).expect("loads");
        let program = object.programs().next().expect("a program");
        let unknown = KprobeOpts { function: "no_such_function", ..KprobeOpts::default() };
        let error = program.attach_kprobe(&unknown).expect_err("unknown");
        if has {
            assert_eq!(error.kind(), Kind::NoSuchTarget, "{error}");
        } else {
            assert_eq!(error.kind(), Kind::Unsupported);
            assert!(error.to_string().contains("this kernel has no kprobes"), "{error}");
            shown("kprobe", "refused");
        }
    });
}

/// The process that user probes look into.
struct Probed {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Probed {
    fn start() -> Self {
        let mut child = Command::new(objects().join("probed"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("probed can be run");
        let input = child.stdin.take().expect("a pipe");
        let output = child.stdout.take().expect("a pipe");
        Self { child, input, output }
    }

    /// One line in and one out: calls, length of the line, the guarded probe's counter.
    fn say(&mut self, text: &str) -> Vec<i32> {
        writeln!(self.input, "{text}").expect("a pipe");
        let mut line = String::new();
        let mut output = BufReader::new(Patient::new(&mut self.output));
        assert_ne!(output.read_line(&mut line).expect("an answer"), 0, "it ended");
        line.split_whitespace().map(|word| word.parse().expect("a number")).collect()
    }
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it ends");
    }
}

#[test]
fn root_user_functions_are_probed_at_both_ends() {
    isolated(module_path!(), "root_user_functions_are_probed_at_both_ends", || {
        let mut probed = Probed::start();
        let path = objects().join("probed").display().to_string();
        let object = Object::load(&object("uprobe")).expect("loads");
        let entry = UprobeOpts {
            path: &path,
            at: At::Symbol("probed_add", 0),
            pid: Some(probed.child.id()),
            returns: false,
            reference_counter: 0,
            cookie: 9,
        };
        let leave =
            UprobeOpts { at: At::Symbol("probed_length", 0), returns: true, cookie: 0, ..entry };
        let links = vec![
            object.program("entry").expect("p").attach_uprobe(&entry).expect("attached"),
            object.program("leave").expect("p").attach_uprobe(&leave).expect("attached"),
        ];
        assert_eq!(probed.say("four"), [1, 4, 0]);
        assert_eq!(probed.say("five5"), [2, 5, 0]);
        assert_eq!(number(&object, "entries"), 2);
        assert_eq!((number(&object, "first_argument"), number(&object, "second_argument")), (1, 1));
        assert_eq!((number(&object, "returns"), number(&object, "result")), (2, 5));
        assert_eq!(number(&object, "cookie"), 9);
        Link::detach_all(links).expect("detached");
        probed.say("six");
        assert_eq!(number(&object, "entries"), 2);

        let program = object.program("entry").expect("p");
        let missing = UprobeOpts { path: "/no/such/file", ..entry };
        let error = program.attach_uprobe(&missing).expect_err("no file");
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        let missing = UprobeOpts { at: At::Symbol("probed_ad", 0), ..entry };
        let error = program.attach_uprobe(&missing).expect_err("no function");
        assert_eq!(error.kind(), Kind::NoSuchTarget, "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("probed_add")), "{error:#}");
        shown("uprobe", "run");
        shown("uretprobe", "run");
    });
}

#[test]
fn root_patterns_of_user_functions_are_probed_together() {
    isolated(module_path!(), "root_patterns_of_user_functions_are_probed_together", || {
        let mut probed = Probed::start();
        let path = objects().join("probed").display().to_string();
        let object = Object::load(&object("uprobe_multi")).expect("loads");
        let program = object.program("entry").expect("p");
        // Other tests run the same file at the same time.
        let pid = Some(probed.child.id());
        let link = program.attach_uprobe_multi(&path, "probed_*", pid, false).expect("attached");
        probed.say("x");
        assert_eq!(number(&object, "entries"), 2);
        link.detach().expect("detached");
        let error = program.attach_uprobe_multi(&path, "none_*", None, false).expect_err("none");
        assert_eq!(error.kind(), Kind::NoSuchTarget, "{error}");
        shown("uprobe.multi", "run");
    });
}

#[test]
fn root_static_probes_are_links_without_descriptor() {
    isolated(module_path!(), "root_static_probes_are_links_without_descriptor", || {
        let mut probed = Probed::start();
        let path = objects().join("probed").display().to_string();
        let object = Object::load(&object("usdt")).expect("loads");
        let program = object.program("step").expect("p");
        // Other tests run the same file at the same time.
        let pid = Some(probed.child.id());
        let options = UsdtOpts { path: &path, provider: "plinth", name: "step", pid, cookie: 5 };
        let mut link = program.attach_usdt(&options).expect("attached");
        probed.say("hello");
        assert_eq!(number(&object, "steps"), 1);
        assert_eq!((number(&object, "constant"), number(&object, "cookie")), (-5, 5));
        assert_eq!((link.kind(), link.as_fd().is_none()), (LinkKind::Usdt, true));
        let error = link.pin(Path::new("/sys/fs/bpf/usdt")).expect_err("composite");
        assert_eq!(error.kind(), Kind::Unsupported);
        assert_eq!(link.info().expect_err("composite").kind(), Kind::Unsupported);
        // The object's own handles go first; the link holds it.
        let steps = object.global("steps").expect("v");
        drop((program, object));
        probed.say("again");
        assert_eq!(steps.get().expect("v").as_integer(), Some(2));
        link.detach().expect("detached");
        let object = Object::load(&crate::support::object("usdt")).expect("loads");
        let none = UsdtOpts { path: "/bin/true", ..options };
        let error = object.program("step").expect("p").attach_usdt(&none).expect_err("none");
        assert_eq!(error.kind(), Kind::NoSuchTarget, "{error:#}");
        shown("usdt", "run");
    });
}

#[test]
fn root_counters_run_programs() {
    isolated(module_path!(), "root_counters_run_programs", || {
        let object = Object::load(&object("perf_event")).expect("loads");
        let program = object.program("sample").expect("p");
        // PERF_COUNT_SW_CPU_CLOCK of this process.
        let options = PerfEventOpts {
            hardware: false,
            config: 0,
            rate: Rate::Frequency(1000),
            cpu: None,
            pid: Some(0),
            cookie: 0,
        };
        let link = program.attach_perf_event(&options).expect("attached");
        let mut turns = 0_u64;
        while number(&object, "overflows") == 0 {
            turns += 1;
            assert!(turns < 1 << 32, "the clock never ran over");
        }
        link.detach().expect("detached");
        let none = PerfEventOpts { config: 4711, ..options };
        let error = program.attach_perf_event(&none).expect_err("no such counter");
        assert_eq!(error.kind(), Kind::NoSuchTarget, "{error}");
        shown("perf_event", "run");
    });
}

#[test]
fn root_iterators_give_text() {
    isolated(module_path!(), "root_iterators_give_text", || {
        let object = Object::load(&object("iter")).expect("loads");
        let read = |link: &Link| {
            let mut text = String::new();
            link.read_iter().expect("a walk").read_to_string(&mut text).expect("text");
            text
        };
        let tasks = object.program("tasks").expect("p").attach().expect("attached");
        let text = read(&tasks);
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert!(text.lines().count() > 2 && read(&tasks).lines().count() > 2, "it runs again");
        let walked = object.map("walked").expect("m");
        let elements = object.program("elements").expect("p");
        let (key, value) = (7_u32.to_ne_bytes(), vec![1; walked.value_size()]);
        walked.set(&key, &value, Flags::ANY).expect("set");
        let link = elements.attach_iter(IterTarget::MapFd(&walked)).expect("attached");
        assert!(!read(&link).is_empty());
        shown("iter", "run");
    });
}

#[test]
fn root_struct_operations_are_registered_by_a_link() {
    isolated(module_path!(), "root_struct_operations_are_registered_by_a_link", || {
        let object = Object::load(&object("struct_ops_link")).expect("loads");
        let algorithms = || {
            let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
            std::fs::read_to_string(path).expect("the list")
        };
        let link = Map::attach_struct_ops(&object, "plinth_reno").expect("registered");
        assert!(algorithms().contains("plinth_reno"));
        assert_eq!(link.kind(), LinkKind::Kernel(LinkType::STRUCT_OPS));
        assert!(link.info().is_ok());
        link.detach().expect("unregistered");
        let error = Map::attach_struct_ops(&object, "nothing").expect_err("unknown");
        assert_eq!(error.kind(), Kind::NoSuchMap);
        shown("struct_ops.link", "run");
    });
}

#[test]
fn root_types_without_own_hook_name_the_method() {
    isolated(module_path!(), "root_types_without_own_hook_name_the_method", || {
        for (name, method) in [
            ("xdp", "attach_xdp"),
            ("tc", "attach_tcx or attach_tc"),
            ("cgroup", "attach_cgroup"),
            ("netns", "attach_netns"),
            ("netfilter", "attach_netfilter"),
            ("perf_event", "attach_perf_event"),
            ("socket", "attach_socket"),
        ] {
            let object = Object::load(&object(name)).expect(name);
            let error = object.programs().next().expect(name).attach().expect_err(name);
            assert_eq!(error.kind(), Kind::Unsupported);
            let text = error.to_string();
            assert!(text.contains("has no automatic hook") && text.contains(method), "{text}");
        }
    });
}
