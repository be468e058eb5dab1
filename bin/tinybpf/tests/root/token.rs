// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A user namespace that may use bpf(2), since a file system was mounted for it that says so.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use bpf::error::Kind;
use bpf::object::{OpenOptions, Token};
use plinth::testing::{LONG, finished, until};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::support::{isolated, object, shown};

/// Where the process in the user namespace finds this one.
const SOCKET: &str = "TINYBPF_TEST_TOKEN";

/// Room for one descriptor.
const SPACE: usize = rustix::cmsg_space!(ScmRights(1));

fn send(stream: &UnixStream, fd: BorrowedFd<'_>) {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(stream, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).expect("sent");
}

fn receive(stream: &UnixStream) -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut into = [IoSliceMut::new(&mut byte)];
    recvmsg(stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC).expect("received");
    let fds = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.expect("a descriptor")
}

/// In the user namespace: begins a mount there, has it delegated to, uses it.
fn inside(socket: &Path) {
    let stream = UnixStream::connect(socket).expect("the outer process listens");
    stream.set_read_timeout(Some(LONG)).expect("a limit");
    let context = fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC).expect("a new bpf file system");
    send(&stream, context.as_fd());
    let mounted = receive(&stream);
    let place = Path::new("/sys/fs/bpf");
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&mounted, "", rustix::fs::CWD, place, flags).expect("mounted");

    let open = |token| OpenOptions::new().token(token).open(&object("socket")).expect("opens");
    let error = open(Token::Disabled).load().expect_err("no privileges");
    assert_eq!(error.kind(), Kind::Permission);
    assert!(error.to_string().contains("has no token"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("delegate_cmds")));
    drop(open(Token::Bpffs(place.to_owned())).load().expect("the token allows it"));
    drop(open(Token::Auto).load().expect("found without being named"));
}

#[test]
fn root_a_token_lets_a_user_namespace_load() {
    const NAME: &str = "root_a_token_lets_a_user_namespace_load";
    if let Some(socket) = std::env::var_os(SOCKET) {
        return inside(Path::new(&socket));
    }
    isolated(module_path!(), NAME, || {
        let socket = std::env::temp_dir().join(format!("tinybpf-token-{}", std::process::id()));
        let listener = UnixListener::bind(&socket).expect("a socket");
        let mut child = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(std::env::current_exe().expect("the test's own path"))
            .args(["--exact", &format!("token::{NAME}"), "--nocapture"])
            .env(SOCKET, &socket)
            .spawn()
            .expect("unshare(1) can be run");
        listener.set_nonblocking(true).expect("set");
        let mut stream = None;
        until("the inner process is there", || {
            stream = listener.accept().ok();
            let over = child.try_wait().expect("a child of ours");
            assert!(stream.is_some() || over.is_none(), "in the user namespace: {over:?}");
            stream.is_some()
        });
        let (stream, _) = stream.expect("it is there");
        stream.set_read_timeout(Some(LONG)).expect("a limit");
        std::fs::remove_file(&socket).expect("no longer needed");
        let context = receive(&stream);
        for what in ["delegate_cmds", "delegate_maps", "delegate_progs", "delegate_attachs"] {
            fsconfig_set_string(context.as_fd(), what, "any").expect(what);
        }
        fsconfig_create(context.as_fd()).expect("made");
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let mounted = fsmount(context.as_fd(), flags, MountAttrFlags::empty()).expect("mounted");
        send(&stream, mounted.as_fd());
        let output = finished(child);
        assert!(output.status.success(), "in the user namespace: {}", output.status);
        shown("token", "run");
    });
}
