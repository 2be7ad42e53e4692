//! The probe role against nodes, and against what fails in each of the ways that there are.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rcgen::{CertificateParams, KeyPair};
use rtcfleet_node_api::{Stage, Transport, Verdict, Verdicts};

use crate::{
    PEER,
    admin::Admin,
    caller::Caller,
    node::{self, Node, PATIENCE, Plan, binary, free_port, lines_of},
    stream::NAME,
};

/// What one `--once` found, and its exit code.
fn once(directory: &Path, arguments: &[&str]) -> (Vec<Verdict>, Option<i32>) {
    let output =
        binary().current_dir(directory).args(["probe", "--once", "-o", "json"]).args(arguments).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let verdicts = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    (verdicts, output.status.code())
}

/// For all of one probe: much more than a node beside it needs, for a machine that is busy.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The one verdict on one target, with the secret of every node of these tests.
fn look(directory: &Path, target: &str, further: &[&str]) -> Verdict {
    let timeout = format!("{}s", TIMEOUT.as_secs());
    let arguments = [&["--target", target, "--secret-file", "secret", "--timeout", &timeout], further].concat();
    let (mut verdicts, code) = once(directory, &arguments);
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    let verdict = verdicts.remove(0);
    let fine = verdict.ok && verdict.security.as_ref().is_none_or(|security| !security.is_alarming());
    assert_eq!(code, Some(i32::from(!fine)), "{verdict:?}");
    verdict
}

fn failed(verdict: &Verdict) -> (Option<Stage>, Option<u16>) {
    (verdict.stage, verdict.code)
}

/// A certificate for `name` that is good until 1 January of `year`, in the node's files, and one who trusts it alone.
fn certify(plan: &Plan, name: &str, year: i32) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().unwrap();
    plan.write("turn.crt", &params.self_signed(&key).unwrap().pem());
    plan.write("turn.key", &key.serialize_pem());
}

/// A node with a listener of each transport, and the URIs of these.
fn with_all_transports(name: &str, year: i32) -> (Node, [String; 3]) {
    let mut plan = Plan::new();
    certify(&plan, name, year);
    let tls = plan.listen("TLS", Ipv4Addr::LOCALHOST.into());
    plan.more = "tls: {certificate: turn.crt, key: turn.key}".into();
    let uris = [format!("turn:{}", plan.listener), format!("turn:{tls}?transport=tcp"), format!("turns:{tls}")];
    (plan.start(), uris)
}

#[test]
fn a_node_that_serves_is_found_to_do_so_over_each_transport_and_keeps_no_allocation() {
    let (node, uris) = with_all_transports(NAME, 2060);
    let directory = node.plan.directory.path();
    for (uri, transport) in uris.iter().zip([Transport::Udp, Transport::Tcp, Transport::Tls]) {
        let verdict = look(directory, uri, &["--server-name", NAME, "--ca-file", "turn.crt"]);
        assert_eq!((failed(&verdict), verdict.ok, verdict.transport), ((None, None), true, transport), "{verdict:?}");
        assert_eq!((verdict.packets_sent, verdict.packets_lost), (10, 0), "{verdict:?}");
        assert!(verdict.rtt_millis.is_some_and(|rtt| rtt > 0.0 && rtt < 1000.0), "{verdict:?}");
        let security = verdict.security.expect("a look at what must be refused");
        assert!(!security.is_alarming(), "{security:?}");
        let year = verdict.certificate_not_after.map(|end| end.to_zoned(jiff::tz::TimeZone::UTC).year());
        assert_eq!(year, (transport == Transport::Tls).then_some(2060));
    }
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 0);
    assert_eq!(node.metric("rtcfleet_turn_relayed_packets_total"), 3 * 10 * 2);
}

#[test]
fn a_certificate_that_a_caller_would_refuse_is_told_with_the_reason() {
    let trusting: &[&str] = &["--server-name", NAME, "--ca-file", "turn.crt"];
    for (case, name, year, further, reason) in [
        ("expired", NAME, 2020, trusting, "expired at 2020-01-01"),
        ("of another name", "other.example.org", 2060, trusting, "other.example.org"),
        ("of nobody known", NAME, 2060, &["--server-name", NAME, "--ca-file", "ca.crt"], "no authority"),
    ] {
        let (node, [_, tcp, tls]) = with_all_transports(name, year);
        let other = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        node.plan.write("ca.crt", &other.cert.pem());
        let verdict = look(node.plan.directory.path(), &tls, further);
        assert_eq!(failed(&verdict), (Some(Stage::Tls), None), "{case}: {verdict:?}");
        assert!(verdict.detail.contains(reason), "{case}: {}", verdict.detail);
        assert!(look(node.plan.directory.path(), &tcp, &[]).ok, "{case}: without TLS all is well");
    }
}

#[test]
fn each_grey_failure_is_told_by_its_stage_and_within_the_timeout() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "north").unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The kernel accepts, nobody reads.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp, tcp) = (silent.local_addr().unwrap(), deaf.local_addr().unwrap());
    let nobody = free_port();
    for (case, uri, stage) in [
        ("silence over UDP", format!("turn:{udp}"), Stage::Allocate),
        ("nothing listens over UDP", format!("turn:127.0.0.1:{nobody}"), Stage::Allocate),
        ("nothing listens over TCP", format!("turn:127.0.0.1:{nobody}?transport=tcp"), Stage::Connect),
        ("a connection and silence", format!("turn:{tcp}?transport=tcp"), Stage::Allocate),
        ("a connection and no TLS", format!("turns:{tcp}"), Stage::Tls),
        ("no such name", "turn:no-such-name.invalid".to_owned(), Stage::Resolve),
    ] {
        let ca = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        std::fs::write(directory.path().join("ca.crt"), ca.cert.pem()).unwrap();
        let verdict = look(directory.path(), &uri, &["--ca-file", "ca.crt"]);
        assert_eq!(failed(&verdict), (Some(stage), None), "{case}: {verdict:?}");
        let took = Duration::from_secs_f64(verdict.took_millis / 1000.0);
        assert!(took < TIMEOUT + Duration::from_secs(2) && !verdict.detail.is_empty(), "{case}: {verdict:?}");
    }
}

#[test]
fn what_a_node_refuses_is_told_by_its_code() {
    let mut plan = Plan::new();
    plan.more = "quotas: {allocationsPerUser: 1}".into();
    let node = plan.start();
    let (directory, uri) = (node.plan.directory.path(), format!("turn:{}", node.plan.listener));
    node.plan.write("wrong", "south");
    let (verdicts, code) = once(directory, &["--target", &uri, "--secret-file", "wrong"]);
    assert_eq!((failed(&verdicts[0]), code), ((Some(Stage::Allocate), Some(401)), Some(1)), "{verdicts:?}");

    let verdict = look(directory, &uri, &["--echo", "10.0.0.9:7"]);
    assert_eq!(failed(&verdict), (Some(Stage::Permission), Some(403)), "{verdict:?}");
    assert!(verdict.detail.contains("10.0.0.9"), "{verdict:?}");

    let mut same = Caller::new(node.plan.listener, &directory.join("secret"), "rtc-fleet-prober");
    assert_eq!(same.allocate().code(), 0);
    let verdict = look(directory, &uri, &[]);
    assert_eq!(failed(&verdict), (Some(Stage::Allocate), Some(486)), "{verdict:?}");
}

#[test]
fn an_echo_peer_that_answers_is_heard_and_a_silent_one_is_a_failure_of_the_echo() {
    let node = Plan::new().start();
    let (directory, uri) = (node.plan.directory.path(), format!("turn:{}", node.plan.listener));
    let peer = crate::echo(PEER).to_string();
    assert_eq!(look(directory, &uri, &["--echo", &peer]).packets_lost, 0);
    let silent = UdpSocket::bind((PEER, 0)).unwrap();
    let verdict = look(directory, &uri, &["--echo", &silent.local_addr().unwrap().to_string()]);
    assert_eq!((failed(&verdict), verdict.packets_lost), ((Some(Stage::Echo), None), 10), "{verdict:?}");
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 0, "given back all the same");
}

/// Hands datagrams on to `server` and back, each such indication (RFC 8656 sections 11.3, 11.4) but for one in three.
fn lossy_way(server: SocketAddr) -> SocketAddr {
    let near = UdpSocket::bind("127.0.0.1:0").unwrap();
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    far.connect(server).unwrap();
    let address = near.local_addr().unwrap();
    let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let (told, client) = channel();
    thread::spawn(move || {
        let (mut buffer, mut indications) = (vec![0; 2048], 0);
        while let Ok((len, from)) = near.recv_from(&mut buffer) {
            let _ = told.send(from);
            indications += u32::from(buffer[..2] == [0x00, 0x16]);
            if buffer[..2] != [0x00, 0x16] || indications % 3 != 0 {
                let _ = far.send(&buffer[..len]);
            }
        }
    });
    thread::spawn(move || {
        let Ok(mut to) = client.recv() else { return };
        let mut buffer = vec![0; 2048];
        while let Ok(len) = far_too.recv(&mut buffer) {
            to = client.try_iter().last().unwrap_or(to);
            let _ = near_too.send_to(&buffer[..len], to);
        }
    });
    address
}

#[test]
fn a_lossy_way_is_usable_and_its_loss_is_told() {
    let node = Plan::new().start();
    let way = lossy_way(node.plan.listener);
    let verdict = look(node.plan.directory.path(), &format!("turn:{way}"), &["--packets", "9"]);
    assert_eq!((verdict.ok, verdict.packets_sent, verdict.packets_lost), (true, 9, 3), "{verdict:?}");
}

#[test]
fn what_a_node_grants_and_must_not_is_an_alarm_and_no_failure() {
    let mut plan = Plan::new();
    plan.relay = plan.relay.replace("127.0.0.0/8", "127.0.0.0/8, 169.254.0.0/16");
    let node = plan.start();
    let verdict = look(node.plan.directory.path(), &format!("turn:{}", node.plan.listener), &[]);
    assert!(verdict.ok);
    let security = verdict.security.unwrap();
    assert_eq!(security.granted_peers, ["169.254.169.254".parse::<IpAddr>().unwrap()]);
    assert!(!security.accepts_wrong_password);
}

#[test]
fn a_table_is_printed_for_people_and_wrong_usage_says_what_to_write() {
    let node = Plan::new().start();
    let uri = format!("turn:{}", node.plan.listener);
    let run = |arguments: &[&str]| {
        let output = binary().current_dir(node.plan.directory.path()).arg("probe").args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, table, _) = run(&["--once", "--target", &uri, "--secret-file", "secret"]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!((code, rows.len()), (Some(0), 2), "{table}");
    assert!(rows[0].starts_with("TARGET ") && rows[1].contains(" yes ") && rows[1].ends_with("fine"), "{table}");
    for (arguments, expected) in [
        (&[][..], "--config FILE is missing"),
        (&["--once"], "there is nothing to probe: write --target"),
        (&["--once", "--target", &uri], "there are no credentials: write --secret-file"),
        (&["--once", "--target", &uri, "--secret-file", "gone"], "--secret-file gone: there is no such file"),
        (&["--once", "--target", "turn:"], "is not a TURN URI: write turn:"),
        (&["--config", "gone.yaml"], "gone.yaml: cannot be read"),
    ] {
        let (code, _, error) = run(arguments);
        assert!(code == Some(2) && error.contains(expected), "{arguments:?}: {code:?} {error}");
    }
}

/// A prober that goes on. Killed when dropped.
struct Prober {
    process: Child,
    lines: Receiver<String>,
    admin: Admin,
    files: Plan,
}

impl Prober {
    /// With this YAML, and what an admin API needs.
    fn start(yaml: &str) -> Self {
        Self::with(yaml, &[])
    }

    fn with(yaml: &str, flags: &[&str]) -> Self {
        let mut files = Plan::new();
        let admin = Admin::new(&mut files);
        let prober = |files: &Plan| {
            Self::write(files, yaml);
            let mut command: Command = binary();
            command.args(["probe", "--log-format", "json"]).args(flags);
            command.arg("--config").arg(files.directory.path().join("probe.yaml"));
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        };
        let mut process = prober(&files);
        let lines = lines_of(&mut process);
        let prober = Self { process, lines, admin, files };
        prober.wait_for_line("probing");
        prober
    }

    fn whole(files: &Plan, yaml: &str) -> String {
        let common = format!("metrics: {{address: '{}'}}\n{}", files.metrics, files.more);
        format!("auth: {{secretFiles: [secret]}}\n{common}\n{yaml}\n")
    }

    fn write(files: &Plan, yaml: &str) {
        files.write("probe.yaml", &Self::whole(files, yaml));
    }

    fn wait_for_line(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no line with {part}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// The verdicts once they are as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&Verdicts) -> bool) -> Verdicts {
        let began = Instant::now();
        loop {
            let verdicts = self.admin.verdicts();
            if wanted(&verdicts) {
                return verdicts;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: {verdicts:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_prober_goes_on_and_tells_of_a_dead_node_with_its_next_probe_and_of_its_return() {
    let plan = Plan::new();
    let (listener, uri) = (plan.listener, format!("turn:{}", plan.listener));
    let node = plan.start();
    let prober = Prober::start(&format!(
        "interval: 1s\nsecurity: {{interval: 1s}}\ntargets: [{{name: north-0, region: north, uri: '{uri}'}}]"
    ));
    let said = prober.until("three good verdicts and a look at security", |said| {
        let one = said.verdicts.first();
        said.canary.ok && one.is_some_and(|one| one.ok && one.streak >= 3 && one.security.is_some())
    });
    let one = &said.verdicts[0];
    assert_eq!((one.target.as_str(), one.region.as_deref(), one.packets_lost), ("north-0", Some("north"), 0));
    assert_eq!(one.address, Some(listener));
    let later = prober.admin.verdicts_after(said.boot, one.sequence);
    assert!(later.verdicts.iter().all(|new| new.sequence > one.sequence), "what was told is not told again: {later:?}");

    let (_, page) = node::get(prober.files.metrics, "/metrics");
    for row in [
        "rtcfleet_probe_up{target=\"north-0\",transport=\"udp\"} 1",
        "rtcfleet_probe_canary 1",
        "rtcfleet_probe_rtt_seconds_bucket{le=\"+Inf\",target=\"north-0\",transport=\"udp\"} ",
        "rtcfleet_probe_sessions_total{target=\"north-0\",transport=\"udp\",outcome=\"ok\"} ",
        "rtcfleet_probe_packets_total{target=\"north-0\",transport=\"udp\",result=\"lost\"} ",
        "rtcfleet_probe_security_alarm{target=\"north-0\",transport=\"udp\",kind=\"wrong_password_accepted\"} 0",
        "rtcfleet_probe_skipped_total{reason=\"overlap\"} ",
    ] {
        assert!(page.contains(row), "no {row} in\n{page}");
    }

    let plan = node.end();
    let said = prober.until("a bad verdict", |said| !said.verdicts[0].ok);
    assert_eq!((said.verdicts[0].stage, said.verdicts[0].streak), (Some(Stage::Allocate), 1));
    prober.wait_for_line("a caller cannot use this target");
    prober.until("a canary that says that this is no evidence", |said| !said.canary.ok);
    let _node = plan.start();
    prober.until("a good verdict again", |said| said.verdicts[0].ok && said.canary.ok);
}

#[test]
fn targets_come_and_go_with_the_file_and_a_broken_file_changes_nothing() {
    let node = Plan::new().start();
    let uri = format!("turn:{}", node.plan.listener);
    let target = |name: &str| format!("{{name: {name}, uri: '{uri}'}}");
    let file = |names: &[&str]| {
        let targets: Vec<String> = names.iter().map(|name| target(name)).collect();
        format!("interval: 250ms\ntargets: [{}]", targets.join(", "))
    };
    let names = |said: &Verdicts| said.verdicts.iter().map(|one| one.target.clone()).collect::<Vec<_>>();
    let prober = Prober::start(&file(&["a", "b"]));
    let before = prober.until("two verdicts", |said| names(said) == ["a", "b"]);
    Prober::write(&prober.files, &file(&["b", "c"]));
    let after = prober.until("another two", |said| names(said) == ["b", "c"]);
    assert_ne!(before.config_hash, after.config_hash);
    assert!(after.verdicts[0].streak > 1, "one that stays is not begun anew: {after:?}");
    Prober::write(&prober.files, "targets: {}");
    let line = prober.wait_for_line("the configuration cannot be used");
    assert!(line.contains("targets") && line.contains("WARN"), "{line}");
    let still = prober.until("verdicts that go on", |said| said.verdicts[0].streak > after.verdicts[0].streak + 2);
    assert_eq!(names(&still), ["b", "c"]);
    let put = prober.admin.put_config(&Prober::whole(&prober.files, &file(&["d"])));
    assert!(put.unwrap_err().starts_with("404 "), "nobody has said that it takes any");
}

#[test]
fn what_is_put_is_in_force_at_once_and_stays_when_the_file_catches_up() {
    let node = Plan::new().start();
    let file = |name: &str| format!("interval: 250ms\ntargets: [{{name: {name}, uri: 'turn:{}'}}]", node.plan.listener);
    let names = |said: &Verdicts| said.verdicts.iter().map(|one| one.target.clone()).collect::<Vec<_>>();
    let prober = Prober::with(&file("a"), &["--accept-config"]);
    prober.until("a verdict of the file", |said| names(said) == ["a"]);
    let put = |name: &str| prober.admin.put_config(&Prober::whole(&prober.files, &file(name)));

    let hash = put("b").unwrap();
    let said = prober.until("a verdict of what was put", |said| names(said) == ["b"]);
    assert_eq!(said.config_hash, hash);
    let refused = prober.admin.put_config("targets: {}").unwrap_err();
    assert!(refused.starts_with("400 ") && refused.contains("targets"), "{refused}");
    assert_eq!(prober.admin.verdicts().config_hash, hash, "a refusal changes nothing");

    Prober::write(&prober.files, &file("b"));
    let hash = put("c").unwrap();
    let goes_on = |said: &Verdicts| said.verdicts.first().is_some_and(|one| one.target == "c" && one.streak > 6);
    let said = prober.until("a file that is behind does not come back", goes_on);
    assert_eq!(said.config_hash, hash);
    Prober::write(&prober.files, &file("d"));
    prober.until("a file that is new counts", |said| names(said) == ["d"]);
}

#[test]
fn a_prober_that_is_told_to_end_gives_back_what_it_has_and_ends() {
    let node = Plan::new().start();
    let mut prober =
        Prober::start(&format!("interval: 250ms\ntargets: [{{name: a, uri: 'turn:{}'}}]", node.plan.listener));
    prober.until("a verdict", |said| said.verdicts.first().is_some_and(|one| one.ok));
    let pid = Pid::from_raw(i32::try_from(prober.process.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    prober.wait_for_line("ended");
    assert_eq!(prober.process.wait().unwrap().code(), Some(0));
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 0);
}

#[test]
fn a_canary_of_the_configuration_decides_whether_the_word_of_a_prober_counts() {
    let node = Plan::new().start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let spot = listener.local_addr().unwrap();
    let yaml = |spots: &str| format!("interval: 1s\ncanary: [{spots}]\ntargets: []");
    let prober = Prober::start(&yaml(&format!("'tcp:{spot}'")));
    prober.until("a canary that accepts", |said| said.canary.ok);
    Prober::write(&prober.files, &yaml(&format!("'stun:127.0.0.1:{}'", free_port())));
    prober.until("a canary that is silent", |said| !said.canary.ok);
    Prober::write(&prober.files, &yaml(&format!("'stun:{}'", node.plan.listener)));
    prober.until("a canary that answers", |said| said.canary.ok);
}

#[test]
fn the_example_of_the_documentation_is_a_good_configuration_and_the_documentation_names_every_key() {
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let example = documents.join("examples/media-node/probe.yaml");
    media_node::probe::config::load(&example, media_node::probe::config::Addresses::default())
        .unwrap_or_else(|error| panic!("{error}"));
    let output = binary().args(["config-schema", "probe"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let document = std::fs::read_to_string(documents.join("probe.md")).unwrap();
    let keys = crate::keys_of(&schema);
    assert!(keys.len() > 20, "{keys:?}");
    let missing: Vec<_> = keys.iter().filter(|key| !document.contains(&format!("{key}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Killed when dropped.
struct Coturn(Child, SocketAddr);

impl Coturn {
    /// None where it is not installed.
    fn start(directory: &Path) -> Option<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = Command::new("turnserver")
            .current_dir(directory)
            .args(["-n", "--no-cli", "--no-tls", "--no-dtls", "--no-rfc5780", "--log-file=stdout", "--simple-log"])
            .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--allow-loopback-peers", "--realm=a.example"])
            .args(["--use-auth-secret", "--static-auth-secret=north", "--min-port=62200", "--max-port=62999"])
            .args(["--pidfile=coturn.pid", "--userdb=coturn.db", &format!("--listening-port={}", address.port())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self(child, address))
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_coturn_is_probed_like_a_node_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let Some(coturn) = Coturn::start(directory.path()) else {
        eprintln!("turnserver is not installed: nothing is tested");
        return;
    };
    std::fs::write(directory.path().join("secret"), "north").unwrap();
    let deadline = Instant::now() + PATIENCE;
    // It opens its listeners one after the other.
    let listens = |query: &str| {
        let uri = format!("turn:{}{query}", coturn.1);
        once(directory.path(), &["--target", &uri, "--secret-file", "secret", "--no-security"]).0[0].ok
    };
    while !(listens("") && listens("?transport=tcp")) {
        assert!(Instant::now() < deadline, "coturn does not listen");
    }
    for query in ["?transport=udp", "?transport=tcp"] {
        for echo in ["relay", "here"] {
            let uri = format!("turn:{}{query}", coturn.1);
            let verdict = look(directory.path(), &uri, &["--echo", echo, "--no-security"]);
            assert!(verdict.ok && verdict.packets_lost == 0, "{query} {echo}: {verdict:?}");
        }
    }
}
