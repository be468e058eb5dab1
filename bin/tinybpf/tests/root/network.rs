// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hooks of the network and of control groups, in a network namespace of the test's own.

use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use bpf::error::Kind;
use bpf::host::Host;
use bpf::kinds::LinkType;
use bpf::link::{Link, LinkKind};
use bpf::object::{Object, OpenOptions};
use bpf::program::network::{
    Beside, CgroupOpts, Direction, IfaceRef, NetfilterOpts, NetnsRef, XdpMode,
};
use bpf::program::{Program, TestRun};
use bpf::value::Value;
use plinth::testing::{output, ready};

use crate::support::{ip, isolated, number, object, shown};

/// Sends a datagram to this host, which passes the loopback interface.
fn knock() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let to = socket.local_addr().expect("an address");
    socket.send_to(b"knock", to).expect("sent");
    let mut bytes = [0; 16];
    assert_eq!(ready(&socket).recv(&mut bytes).expect("received"), 5);
}

/// The queueing disciplines of this namespace.
fn disciplines() -> String {
    let output = output(Command::new("tc").args(["qdisc", "show"]));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn veth() -> [String; 2] {
    let names = [format!("va{}", std::process::id()), format!("vb{}", std::process::id())];
    ip(&format!("link add {} type veth peer name {}", names[0], names[1]));
    names
}

fn only(name: &str, programs: &[&str]) -> Object {
    let mut open = OpenOptions::new().open(&object(name)).expect("opens");
    for program in open.program_names() {
        let wanted = programs.contains(&program.as_str());
        open.program(&program).expect("known").set_autoload(wanted).expect("set");
    }
    open.load().expect("loads")
}

#[test]
fn root_xdp_has_modes_and_one_place() {
    isolated(module_path!(), "root_xdp_has_modes_and_one_place", || {
        ip("link set lo up");
        let [near, _far] = veth();
        let object = Object::load(&object("xdp")).expect("loads");
        let (pass, drop_all) =
            (object.program("pass").expect("p"), object.program("drop").expect("p"));
        let lo = IfaceRef::Name("lo");
        let mut link = pass.attach_xdp(IfaceRef::Index(1), XdpMode::Auto).expect("attached");
        assert_eq!(link.info().expect("info").ifindex, Some(1));
        let busy = drop_all.attach_xdp(lo, XdpMode::Skb).expect_err("taken");
        assert_eq!(busy.kind(), Kind::Busy);
        assert!(busy.to_string().contains("program 'pass' (id "), "{busy}");
        knock();
        link.update(&drop_all, Some(&pass)).expect("replaced");
        let error = link.update(&drop_all, Some(&pass)).expect_err("another is there");
        assert_eq!(error.kind(), Kind::Mismatch, "{error}");
        link.force_detach().expect("detached");
        link.detach().expect("released");
        let native = pass.attach_xdp(lo, XdpMode::Native).expect_err("lo has no driver mode");
        assert_eq!(native.kind(), Kind::Unsupported, "{native}");
        pass.attach_xdp(IfaceRef::Name(&near), XdpMode::Native)
            .expect("veth")
            .detach()
            .expect("ok");
        let error = pass.attach_xdp(IfaceRef::Index(9999), XdpMode::Auto).expect_err("none");
        assert_eq!(error.kind(), Kind::NotFound);
        shown("xdp", "run");
        shown("xdp native", "run");
    });
}

#[test]
fn root_tcx_keeps_an_order_and_tc_a_filter() {
    isolated(module_path!(), "root_tcx_keeps_an_order_and_tc_a_filter", || {
        ip("link set lo up");
        let lo = IfaceRef::Name("lo");
        let object = Object::load(&object("tcx")).expect("loads");
        let program = |name: &str| object.program(name).expect(name);
        let first = program("ingress").attach_tcx(lo, Direction::Ingress, Beside::Nothing);
        let first = first.expect("attached");
        let id = program("ingress").info().expect("info").id;
        let second = program("ingress_second");
        let second = second.attach_tcx(lo, Direction::Ingress, Beside::After(id)).expect("behind");
        let egress = program("egress").attach_tcx(lo, Direction::Egress, Beside::Nothing);
        let egress = egress.expect("attached");
        knock();
        assert!(number(&object, "ingress_packets") > 0 && number(&object, "egress_packets") > 0);
        assert_eq!(egress.kind(), LinkKind::Kernel(LinkType::TCX));
        Link::detach_all(vec![first, second, egress]).expect("detached");

        let object = Object::load(&crate::support::object("tc")).expect("loads");
        let program = object.program("ingress").expect("p");
        let link = program.attach_tc(lo, Direction::Ingress, 0, 0).expect("attached");
        knock();
        let packets = number(&object, "ingress_packets");
        assert!(packets > 0);
        assert_eq!((link.kind(), link.as_fd().is_none()), (LinkKind::Filter, true));
        assert!(disciplines().contains("clsact"));
        let other = program.attach_tc(lo, Direction::Egress, 0, 0).expect("attached");
        link.detach().expect("removed");
        knock();
        assert_eq!(number(&object, "egress_packets"), 0);
        assert!(disciplines().contains("clsact"), "the other filter needs it");
        other.detach().expect("removed");
        let first = program.attach_tc(lo, Direction::Ingress, 7, 1).expect("attached");
        first.detach().expect("removed");
        knock();
        assert!(number(&object, "ingress_packets") >= packets);
        for kind in ["tcx", "tcx/egress", "tc"] {
            shown(kind, "run");
        }
    });
}

/// A control group for this test, which joins it; removed with the guard.
struct Group {
    path: PathBuf,
    root: PathBuf,
}

impl Group {
    fn join() -> Self {
        let root = Host::system().cgroup2().expect("unified groups are mounted");
        let path = root.join(format!("tinybpf-test-{}", std::process::id()));
        std::fs::create_dir(&path).expect("a new group");
        std::fs::write(path.join("cgroup.procs"), "0").expect("joined");
        Self { path, root }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        std::fs::write(self.root.join("cgroup.procs"), "0").expect("left");
        std::fs::remove_dir(&self.path).expect("removed");
    }
}

#[test]
fn root_control_groups_judge_packets_and_connections() {
    isolated(module_path!(), "root_control_groups_judge_packets_and_connections", || {
        ip("link set lo up");
        let group = Group::join();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let object = object("cgroup");
        let mut open = OpenOptions::new().open(&object).expect("opens");
        open.set_global("denied_port", &u32::from(port).into()).expect("known");
        let object = open.load().expect("loads");
        let mut attached = 0;
        for program in object.programs() {
            let link = program.attach_cgroup(group.path.as_path(), CgroupOpts::default());
            let link = link.unwrap_or_else(|error| panic!("{}: {error:#}", program.section()));
            assert_eq!(link.kind(), LinkKind::Kernel(LinkType::CGROUP));
            if program.section() == "cgroup/connect4" {
                let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
                assert!(refused.is_err(), "the program refuses this port");
            }
            link.detach().expect("detached");
            shown(program.section(), "run");
            attached += 1;
        }
        assert!(attached >= 10, "{attached} programs");
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("nobody refuses any more");
        // By the group's own path, as people name it.
        let name = Path::new("/").join(group.path.file_name().expect("a name"));
        let program = object.programs().next().expect("a program");
        drop(program.attach_cgroup(name.as_path(), CgroupOpts::default()).expect("found"));
        // A pinned program does not tell what it was loaded for.
        program.pin(Path::new("/sys/fs/bpf/p")).expect("pinned");
        let pinned = Program::from_pin(Path::new("/sys/fs/bpf/p")).expect("the pin");
        drop(pinned.attach_cgroup(group.path.as_path(), CgroupOpts::default()).expect("attached"));
        let error = program.attach_cgroup(Path::new("/tmp"), CgroupOpts::default());
        assert_eq!(error.expect_err("no group").kind(), Kind::Mismatch);
    });
}

#[test]
fn root_a_lower_group_may_have_its_own_program() {
    isolated(module_path!(), "root_a_lower_group_may_have_its_own_program", || {
        ip("link set lo up");
        let group = Group::join();
        let below = group.path.join("below");
        std::fs::create_dir(&below).expect("a new group");
        std::fs::write(below.join("cgroup.procs"), "0").expect("joined");
        let objects = [0, 1].map(|_| Object::load(&object("cgroup")).expect("loads"));
        let attach = |which: usize, path: &Path, is_alone| {
            let options = CgroupOpts { is_alone, ..CgroupOpts::default() };
            objects[which].program("egress").expect("p").attach_cgroup(path, options)
        };
        let seen = || {
            knock();
            objects.each_ref().map(|object| {
                let hits = object.global("hits").expect("v").get().expect("read");
                hits.at("egress").and_then(Value::as_integer).expect("a number") > 0
            })
        };
        let zero = || {
            for object in &objects {
                let hits = object.global("hits").expect("v");
                hits.set_bytes(&vec![0; hits.bytes().expect("read").len()]).expect("zeroed");
            }
        };
        let upper = attach(0, &group.path, true).expect("attached");
        assert_eq!((upper.kind(), upper.as_fd().is_none()), (LinkKind::Direct, true));
        assert_eq!(seen(), [true, false]);
        zero();
        let lower = attach(1, &below, true).expect("attached");
        assert_eq!(seen(), [false, true], "the lower one runs in place of the upper one");
        zero();
        lower.detach().expect("detached");
        assert_eq!(seen(), [true, false]);
        upper.detach().expect("detached");
        // The command does the same, for as long as it runs.
        let hook = format!("egress=cgroup:{},override", group.path.display());
        let file = object("cgroup").display().to_string();
        let run = ["run", &file, "--prog", "egress", "--hook", &hook, "--duration", "1ms"];
        assert_eq!(crate::said::done(&run), "");
        // Links run beside each other, and nothing alone comes among them.
        let upper = attach(0, &group.path, false).expect("attached");
        let error = attach(1, &group.path, true).expect_err("not both ways");
        assert_eq!(error.kind(), Kind::Busy, "{error}");
        let lower = attach(1, &below, false).expect("attached");
        zero();
        assert_eq!(seen(), [true, true]);
        Link::detach_all(vec![upper, lower]).expect("detached");
        std::fs::write(group.path.join("cgroup.procs"), "0").expect("left");
        std::fs::remove_dir(&below).expect("removed");
    });
}

#[test]
fn root_namespaces_take_lookups_and_dissectors() {
    isolated(module_path!(), "root_namespaces_take_lookups_and_dissectors", || {
        ip("link set lo up");
        let object = Object::load(&object("netns")).expect("loads");
        let lookup = object.program("lookup").expect("p");
        let link = lookup.attach_netns(NetnsRef::Own).expect("attached");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        assert!(number(&object, "lookups") > 0);
        link.force_detach().expect("detached");
        drop(link);
        let dissect = object.program("dissect").expect("p");
        dissect.attach_netns(NetnsRef::Own).expect("attached").detach().expect("detached");
        shown("sk_lookup", "run");
        shown("flow_dissector", "run");
    });
}

#[test]
fn root_netfilter_sees_packets() {
    isolated(module_path!(), "root_netfilter_sees_packets", || {
        ip("link set lo up");
        let object = Object::load(&object("netfilter")).expect("loads");
        let program = object.program("accept").expect("p");
        let options = NetfilterOpts { family: 2, hook: 1, priority: -50, defragment: false };
        let mut link = program.attach_netfilter(options).expect("attached");
        knock();
        assert!(number(&object, "packets") > 0);
        assert_eq!(link.update(&program, None).expect_err("cannot").kind(), Kind::Unsupported);
        link.force_detach().expect("detached");
        shown("netfilter", "run");
    });
}

#[test]
fn root_programs_run_without_a_hook() {
    isolated(module_path!(), "root_programs_run_without_a_hook", || {
        let xdp = Object::load(&object("xdp")).expect("loads");
        let packet = vec![0; 64];
        let run = |program: &str, test: &TestRun| xdp.program(program).expect("p").test_run(test);
        let test = TestRun { data_in: packet, data_out_max: 128, ..TestRun::default() };
        let result = run("pass", &test).expect("runs");
        assert_eq!((result.retval, result.data_out.len()), (2, 64));
        let many = TestRun { repeat: 1000, ..test.clone() };
        assert!(run("pass", &many).expect("runs").duration.as_micros() < 1000);
        let short = TestRun { data_in: vec![0; 10], ..test.clone() };
        let error = run("pass", &short).expect_err("ten bytes");
        assert!(error.to_string().contains("must be at least 14 bytes, got 10"), "{error}");
        let narrow = TestRun { data_out_max: 16, ..test };
        let error = run("pass", &narrow).expect_err("too little room");
        assert!(error.to_string().contains("the packet is 64 bytes afterwards"), "{error}");
        let object = only("tracepoints", &["named"]);
        let error = object.program("named").expect("p").test_run(&TestRun::default());
        let error = error.expect_err("tracepoints cannot");
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        shown("test_run", "run");
    });
}
