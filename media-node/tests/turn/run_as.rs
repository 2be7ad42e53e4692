//! Giving up root.

use std::{fs, os::unix::fs::PermissionsExt};

use nix::unistd::geteuid;

use crate::{
    caller::Caller,
    node::Plan,
    stream::Stream,
    streams::{HERE, call, caller},
};

const USER: u32 = 65532;

#[test]
fn a_node_gives_up_root_with_every_thread_and_serves_on() {
    if !geteuid().is_root() {
        println!("left out: needs root");
        return;
    }
    let mut plan = Plan::new();
    let tcp = plan.listen("TCP", HERE);
    fs::set_permissions(plan.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let node = plan.spawn_with(&["--run-as", &USER.to_string()]);
    node.wait_for_line(&["root is given up", &format!("\"uid\":{USER}")]);
    node.wait_for_state("Active");
    let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap().map(Result::unwrap).collect();
    assert!(threads.len() >= 3, "two of them relay");
    for thread in threads {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        assert!(status.contains(&format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}\n")), "{status}");
        assert!(status.contains("CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"), "{status}");
        assert!(status.contains("Groups:\t \n") || status.contains("Groups:\t\n"), "{status}");
    }
    assert!(node.metric("process_open_fds") > 3, "its own files in /proc are still there");

    call(&mut caller(&node, Stream::plain(tcp), "alice"));
    node.plan.write("secret", "south");
    node.wait_for_line(&["other secrets are in force"]);
    let secret = node.plan.directory.path().join("secret");
    assert_eq!(Caller::new(node.plan.listener, &secret, "bob").allocate().code(), 0);
}

#[test]
fn a_user_that_cannot_be_become_ends_the_node_with_a_remedy() {
    let output = Plan::new().command().args(["--run-as", "0"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2) && said.contains("--run-as"),
        "root is no user to give up root for: {said}"
    );
    if !geteuid().is_root() {
        let output = Plan::new().command().args(["--run-as", "1"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("CAP_SETUID"), "{said}");
    }
}
