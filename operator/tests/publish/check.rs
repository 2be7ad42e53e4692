//! `operator dns check` against servers that are set up well, and not.

use std::fs;

use operator::{
    cli::DnsCheck,
    dns_check::{Report, check},
    publish::{Expected, Publisher as _},
};

use super::{
    behaviours::set,
    harness::{KEYS, Kind, Running, SECRET, STRANGER, Setup, WRONG_SECRET, ZONE},
};

async fn checked(server: &Running, name: &str, key: &str, secret: &str) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let key_file = directory.path().join("secret");
    fs::write(&key_file, format!("{secret}\n")).unwrap();
    let (zone, name) = (ZONE.parse().unwrap(), format!("{name}.{ZONE}").parse().unwrap());
    let ns_port = server.setup.address.port();
    let (key_name, algorithm) = (key.parse().unwrap(), KEYS[0].1);
    check(DnsCheck { servers: vec![server.server()], zone, name, key_name, algorithm, key_file, ns_port })
        .await
        .unwrap()
}

#[tokio::test]
async fn a_server_that_is_set_up_well_has_no_problem_and_shows_what_is_published() {
    for kind in [Kind::Bind, Kind::Knot, Kind::Pdns] {
        let server = Running::start(Setup::new(kind, &["turn"], "")).await;
        let before = checked(&server, "turn", KEYS[0].0, SECRET).await;
        assert_eq!(before.problems, [""; 0], "{kind:?}");
        assert!(before.table.contains("allowed") && before.table.contains("no address"), "{kind:?}: {}", before.table);
        server.publisher().publish(&set("turn", 30, &["192.0.2.1"]), &Expected::Nothing).await.unwrap();
        let Report { table, problems } = checked(&server, "turn", KEYS[0].0, SECRET).await;
        assert_eq!(problems, [""; 0], "{kind:?}");
        assert!(table.contains("192.0.2.1 (TTL 30 s)") && table.contains("calls/ours/"), "{kind:?}: {table}");
    }
}

#[tokio::test]
async fn what_is_to_be_mended_is_told() {
    let mut server = Running::start(Setup::new(Kind::Bind, &["turn", "used"], "used IN A 192.0.2.9\n")).await;
    for (case, name, key, secret, expected) in [
        ("an unknown key", "turn", "nobody", SECRET, "does not know the key nobody with hmac-sha256"),
        ("a wrong secret", "turn", KEYS[0].0, WRONG_SECRET, "the secret differs from the server's"),
        (
            "a key without rights",
            "turn",
            STRANGER,
            SECRET,
            "allow key stranger to write A and AAAA at turn.example.org",
        ),
        (
            "a name without rights",
            "else",
            KEYS[0].0,
            SECRET,
            "allow key rtc-op to write A and AAAA at else.example.org",
        ),
    ] {
        let Report { table, problems } = checked(&server, name, key, secret).await;
        assert!(matches!(&problems[..], [problem] if problem.contains(expected)), "{case}: {problems:?}");
        assert!(table.lines().count() == 2 && !table.contains("allowed"), "{case}: {table}");
    }
    let Report { problems, .. } = checked(&server, "used", KEYS[0].0, SECRET).await;
    assert!(matches!(&problems[..], [problem] if problem.contains("is in use by somebody else")), "{problems:?}");
    server.kill().await;
    let Report { problems, .. } = checked(&server, "turn", KEYS[0].0, SECRET).await;
    assert!(matches!(&problems[..], [problem] if problem.contains("no connection to 127.0.0.1")), "{problems:?}");
}
