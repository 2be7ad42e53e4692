use super::*;
use crate::{config::values::Written, probe::target::Endpoint};

fn read(text: &str) -> Result<ProbeConfig, Vec<String>> {
    let parsed = parse(text, Path::new("/etc/probe"), Addresses::default());
    parsed.map_err(|mistakes| mistakes.all().iter().map(ToString::to_string).collect())
}

const AUTH: &str = "auth: {secretFiles: [secret]}\n";

#[test]
fn a_short_file_gets_the_defaults() {
    let config = read(&format!("{AUTH}targets: [{{name: a, uri: 'turn:192.0.2.1'}}]")).unwrap();
    let expected = Settings {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        echo: Echo::Relay,
        packets: 4,
        security_interval: Some(Duration::from_secs(30)),
        forbidden_peers: FORBIDDEN_PEERS.to_vec(),
    };
    assert_eq!(config.settings, expected);
    let endpoint = Endpoint::parse("turn:192.0.2.1").unwrap();
    assert_eq!(config.targets, [Target { name: "a".to_owned(), region: None, endpoint, server_name: None }]);
    let Some(Source::Secret { auth, ttl }) = config.auth.default else { panic!("a secret") };
    assert_eq!((auth.current, auth.previous, ttl), ("/etc/probe/secret".into(), None, Duration::from_hours(6)));
}

#[test]
fn the_timeout_follows_the_interval() {
    for (interval, timeout) in [("250ms", 250), ("1s", 1000), ("30s", 3000)] {
        let config = read(&format!("targets: []\ninterval: {interval}")).unwrap();
        assert_eq!(config.settings.timeout, Duration::from_millis(timeout), "{interval}");
    }
}

#[test]
fn a_target_is_written_as_a_uri_or_in_parts_and_finds_the_credentials_of_its_region() {
    let config = read(&format!(
        "{AUTH}regions: {{north: {{auth: {{username: u, passwordFile: p}}}}}}\n\
         targets:\n\
         - {{name: a, address: 'a.example:443', transport: TLS, serverName: b.example, region: north}}\n\
         - {{name: a, uri: 'turn:a.example', region: south}}\n"
    ))
    .unwrap();
    let [tls, udp] = config.targets.as_slice() else { panic!("two targets") };
    assert_eq!(tls.endpoint.to_string(), "turns:a.example:443");
    assert_eq!(tls.certified_name().unwrap().to_str(), "b.example");
    let named = Source::Password { username: "u".to_owned(), file: "/etc/probe/p".into() };
    assert_eq!((config.auth.find(tls), config.auth.find(udp)), (Some(&named), config.auth.default.as_ref()));
}

#[test]
fn every_mistake_is_told_with_its_path_and_what_to_write() {
    for (case, text, expected) in [
        ("no targets", AUTH, "targets: is missing: write a list such as"),
        ("no credentials", "targets: [{name: a, uri: 'turn:a'}]", "targets[0]: has no credentials: write auth"),
        ("no uri", &format!("{AUTH}targets: [{{name: a}}]"), "targets[0]: needs either uri, or address and transport"),
        ("no name", &format!("{AUTH}targets: [{{uri: 'turn:a'}}]"), "targets[0].name: is missing"),
        (
            "twice",
            &format!("{AUTH}targets: [{{name: a, uri: 'turn:a'}}, {{name: a, uri: 'turn:b'}}]"),
            "targets[1].name: a is the name of another target of this transport",
        ),
        (
            "uncertifiable",
            &format!("{AUTH}targets: [{{name: a, uri: 'turns:a..b'}}]"),
            "targets[0]: no certificate can be for a..b: write serverName",
        ),
        ("both ways", "targets: []\nauth: {secretFiles: [a], username: b}", "auth: needs either secretFiles, or"),
        ("hasty", "targets: []\ninterval: 100ms", "interval: 100ms is out of range: write 250ms to 1h"),
        ("overlapping", "targets: []\ntimeout: 2s", "timeout: 2s is above the interval, 1s: write that or less"),
        (
            "echo",
            "targets: []\necho: {peer: there}",
            "echo.peer: \"there\" is not an echo peer: write relay or here or",
        ),
        ("canary", "targets: []\ncanary: ['udp:a:1']", "canary[0]: \"udp:a:1\" is not a canary: write stun:"),
        ("region", "targets: []\nregions: {north: {}}", "regions.north.auth: is missing"),
        ("unknown", "targets: []\nintervall: 1s", "intervall: there is no such key: those here are targets"),
    ] {
        let mistakes = read(text).expect_err(case);
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(expected), "{case}: {mistakes:?}");
    }
}

#[test]
fn two_thousand_targets_are_read_and_one_more_is_refused() {
    let file = |count: usize| {
        let targets: String = (0..count).map(|n| format!("- {{name: t{n}, uri: 'turn:192.0.2.1'}}\n")).collect();
        format!("{AUTH}targets:\n{targets}")
    };
    assert_eq!(read(&file(2000)).unwrap().targets.len(), 2000);
    assert!(read(&file(2001)).unwrap_err()[0].starts_with("targets: has 2001 entries"));
}
