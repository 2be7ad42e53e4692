//! `media-node probe --once`: every target once, and a table for people.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use jiff::Timestamp;
use rtcfleet_node_api::{Security, Stage, Transport, Verdict};
use rustls::ClientConfig;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    board::verdict_of,
    config::{self, Addresses, FORBIDDEN_PEERS, ProbeConfig, Settings},
    credentials::{Credentials, Followed, Source, read_password},
    fault::Fault,
    metrics::stage_label,
    reach::{self, Finding},
    resolve::Resolver,
    rounds::{doubts, plan, way},
    security,
    session::Report,
    target::{Target, transport_label},
    tls,
};
use crate::{
    cli::{Failure, Output, ProbeArgs},
    turn::secrets,
};

/// Targets at one time.
const AT_ONCE: usize = 64;
const DAY: i64 = 86_400;

pub fn run(args: &ProbeArgs) -> Result<(), Failure> {
    let job = Job::of(args)?;
    let verdicts = super::role::runtime()?.block_on(job.carry_out());
    let text = match args.output {
        Output::Plain => table(&verdicts, Timestamp::now()),
        Output::Json => serde_json::to_string_pretty(&verdicts).map(|json| json + "\n").unwrap_or_default(),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Running(format!("stdout: {error}")))?;
    judge(&verdicts)
}

/// The exit code is for scripts: an alarm is one as well.
fn judge(verdicts: &[Verdict]) -> Result<(), Failure> {
    let failed = verdicts.iter().filter(|verdict| !verdict.ok).count();
    let alarms = verdicts.iter().filter(|verdict| is_alarming(verdict)).count();
    let mut parts = Vec::new();
    if failed > 0 {
        parts.push(format!("{failed} of {} failed", verdicts.len()));
    }
    if alarms > 0 {
        parts.push(format!("{alarms} of {} grant what they must refuse", verdicts.len()));
    }
    if parts.is_empty() { Ok(()) } else { Err(Failure::Running(format!("probe: {}", parts.join(", ")))) }
}

fn is_alarming(verdict: &Verdict) -> bool {
    verdict.security.as_ref().is_some_and(Security::is_alarming)
}

/// What is to be done.
struct Job {
    targets: Vec<(Target, Credentials)>,
    settings: Settings,
    tls: Option<Arc<ClientConfig>>,
}

impl Job {
    fn of(args: &ProbeArgs) -> Result<Self, Failure> {
        let (targets, settings, ca_file) = match &args.config {
            Some(path) => {
                let config = config::load(path, Addresses::default())?;
                let targets = configured(&config, &args.user)?;
                (targets, config.settings, config.ca_file)
            }
            None => (given(args)?, settings_of(args), None),
        };
        let ca_file = args.ca_file.clone().or(ca_file);
        let needs_tls = targets.iter().any(|(target, _)| target.endpoint.transport == Transport::Tls);
        let tls = needs_tls.then(|| tls::client_config(ca_file.as_deref(), "--ca-file")).transpose();
        let tls = tls.map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Self { targets, settings, tls })
    }

    async fn carry_out(self) -> Vec<Verdict> {
        let Self { targets, settings, tls } = self;
        let (settings, resolver) = (Arc::new(settings), Resolver::default());
        let (slots, mut tasks) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        for (number, (target, credentials)) in targets.into_iter().enumerate() {
            let (settings, resolver, tls) = (Arc::clone(&settings), resolver.clone(), tls.clone());
            let slots = Arc::clone(&slots);
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                (number, one(&target, &credentials, &settings, &resolver, tls.as_ref()).await)
            });
        }
        let mut found = BTreeMap::new();
        while let Some(done) = tasks.join_next().await {
            if let Ok((number, verdicts)) = done {
                found.insert(number, verdicts);
            }
        }
        found.into_values().flatten().collect()
    }
}

/// A verdict for each address that the target's name has.
async fn one(
    target: &Target,
    credentials: &Credentials,
    settings: &Settings,
    resolver: &Resolver,
    tls: Option<&Arc<ClientConfig>>,
) -> Vec<Verdict> {
    let began = Instant::now();
    let by = tokio::time::Instant::from_std(began + settings.timeout);
    let failed = |stage, why: String| Finding {
        report: Report::failed(Fault::new(stage, why)),
        not_after: None,
        took: began.elapsed(),
    };
    let addresses = match resolver.resolve(&target.endpoint.place, by).await {
        Ok(addresses) => addresses,
        Err(why) => return vec![verdict_of(target, None, failed(Stage::Resolve, why), Timestamp::now())],
    };
    let mut verdicts = Vec::new();
    for address in addresses {
        let Some(way) = way(target, tls) else { continue };
        let found = Mutex::new(None);
        let tell = |finding| *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(finding);
        let probed = reach::probe(&way, address, plan(settings, credentials, address), Instant::now(), tell).await;
        let finding = match (probed, found.into_inner().unwrap_or_else(PoisonError::into_inner)) {
            (Err(error), _) => failed(Stage::Connect, error.to_string()),
            (Ok(()), Some(finding)) => finding,
            (Ok(()), None) => continue,
        };
        let mut verdict = verdict_of(target, Some(address), finding, Timestamp::now());
        let holes = doubts(credentials, settings).filter(|_| verdict.ok && settings.security_interval.is_some());
        if let Some(holes) = holes {
            verdict.security = security::look(&way, address, &holes).await;
        }
        verdicts.push(verdict);
    }
    verdicts
}

fn configured(config: &ProbeConfig, user: &str) -> Result<Vec<(Target, Credentials)>, Failure> {
    let mut known: Vec<(&Source, Credentials)> = Vec::new();
    let mut targets = Vec::new();
    for target in &config.targets {
        let Some(source) = config.auth.find(target) else { continue };
        let credentials = if let Some((_, credentials)) = known.iter().find(|(each, _)| *each == source) {
            credentials.clone()
        } else {
            let credentials = read(source, user)?;
            known.push((source, credentials.clone()));
            credentials
        };
        targets.push((target.clone(), credentials));
    }
    Ok(targets)
}

fn read(source: &Source, user: &str) -> Result<Credentials, Failure> {
    let mut followed = Followed::new(source.clone(), user.into());
    followed.look();
    let file = match source {
        Source::Secret { auth, .. } => &auth.current,
        Source::Password { file, .. } => file,
    };
    let missing = || Failure::Usage(format!("{}: holds no secret that can be read: write it there", file.display()));
    followed.credentials().ok_or_else(missing)
}

/// From the command line alone.
fn given(args: &ProbeArgs) -> Result<Vec<(Target, Credentials)>, Failure> {
    if args.target.is_empty() {
        return Err(Failure::Usage(
            "probe --once: there is nothing to probe: write --target turn:HOST:PORT, or --config FILE".to_owned(),
        ));
    }
    let credentials = credentials_of(args)?;
    let target = |endpoint: &super::target::Endpoint| {
        let server_name = args.server_name.clone().map(|name| name.0);
        let target = Target { name: endpoint.to_string(), region: None, endpoint: endpoint.clone(), server_name };
        match (target.endpoint.transport, target.certified_name()) {
            (Transport::Tls, None) => Err(Failure::Usage(format!(
                "--target {}: no certificate can be for {}: write --server-name NAME",
                target.name, target.endpoint.place.host
            ))),
            _ => Ok((target, credentials.clone())),
        }
    };
    args.target.iter().map(target).collect()
}

fn credentials_of(args: &ProbeArgs) -> Result<Credentials, Failure> {
    match (&args.secret_file, &args.username, &args.password_file) {
        (Some(file), _, _) => {
            let secret = secrets::read_file(file)
                .map_err(|error| Failure::Usage(format!("--secret-file {}: {error}", file.display())))?;
            let secrets = crate::turn::proto::Secrets { current: secret, previous: None };
            Ok(Credentials::Secrets { secrets, ttl: args.ttl, user: args.user.as_str().into() })
        }
        (None, Some(username), Some(file)) => {
            let password = read_password(file)
                .map_err(|error| Failure::Usage(format!("--password-file {}: {error}", file.display())))?;
            Ok(Credentials::Password { username: username.clone(), password })
        }
        (None, _, _) => Err(Failure::Usage(
            "probe --once: there are no credentials: write --secret-file FILE (TURN REST), or --username NAME and \
             --password-file FILE"
                .to_owned(),
        )),
    }
}

fn settings_of(args: &ProbeArgs) -> Settings {
    Settings {
        interval: args.timeout,
        timeout: args.timeout,
        echo: args.echo,
        packets: args.packets,
        security_interval: (!args.no_security).then_some(args.timeout),
        forbidden_peers: FORBIDDEN_PEERS.to_vec(),
    }
}

/// A row a verdict; below, why those failed that did.
fn table(verdicts: &[Verdict], now: Timestamp) -> String {
    let header =
        ["TARGET", "ADDRESS", "TRANSPORT", "OK", "STAGE", "RTT", "LOST", "CERT", "SECURITY"].map(str::to_owned);
    let rows: Vec<[String; 9]> =
        std::iter::once(header).chain(verdicts.iter().map(|verdict| row(verdict, now))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..9).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for verdict in verdicts {
        let place = verdict.address.map_or_else(String::new, |address: SocketAddr| format!(" at {address}"));
        if !verdict.ok {
            let _ = writeln!(text, "\n{}{place}: {}", verdict.target, verdict.detail);
        }
        if let Some(security) = verdict.security.as_ref().filter(|security| security.is_alarming()) {
            let _ = writeln!(text, "\n{}{place}: SECURITY: {}", verdict.target, holes(security));
        }
    }
    text
}

fn holes(security: &Security) -> String {
    let password = security.accepts_wrong_password.then(|| "it accepts a wrong password".to_owned());
    let peers: Vec<String> = security.granted_peers.iter().map(ToString::to_string).collect();
    let peers = (!peers.is_empty()).then(|| format!("it grants peers that it must refuse: {}", peers.join(", ")));
    password.into_iter().chain(peers).collect::<Vec<_>>().join("; ")
}

fn row(verdict: &Verdict, now: Timestamp) -> [String; 9] {
    let dash = || "-".to_owned();
    let days = |end: Timestamp| format!("{} d", (end.as_second() - now.as_second()).div_euclid(DAY));
    let code = verdict.code.map_or_else(String::new, |code| format!(" {code}"));
    [
        verdict.target.clone(),
        verdict.address.map_or_else(dash, |address| address.to_string()),
        transport_label(verdict.transport).to_owned(),
        if verdict.ok { "yes" } else { "NO" }.to_owned(),
        verdict.stage.map_or_else(dash, |stage| format!("{}{code}", stage_label(stage))),
        verdict.rtt_millis.map_or_else(dash, |rtt| format!("{rtt:.1} ms")),
        if verdict.packets_sent == 0 { dash() } else { format!("{}/{}", verdict.packets_lost, verdict.packets_sent) },
        verdict.certificate_not_after.map_or_else(dash, days),
        match &verdict.security {
            None => dash(),
            Some(security) if security.is_alarming() => "ALARM".to_owned(),
            Some(_) => "fine".to_owned(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict() -> Verdict {
        Verdict {
            target: "turns:a.example:443".to_owned(),
            transport: Transport::Tls,
            region: None,
            address: Some("192.0.2.1:443".parse().unwrap()),
            ok: true,
            stage: None,
            code: None,
            detail: String::new(),
            rtt_millis: Some(12.34),
            packets_sent: 4,
            packets_lost: 1,
            took_millis: 100.0,
            at: Timestamp::UNIX_EPOCH,
            sequence: 0,
            age_millis: 0,
            streak: 1,
            certificate_not_after: Some(Timestamp::from_second(30 * DAY).unwrap()),
            security: None,
        }
    }

    #[test]
    fn the_table_has_a_row_a_verdict_and_says_below_why_it_is_bad() {
        let hole = Security {
            checked_at: Timestamp::UNIX_EPOCH,
            granted_peers: vec!["127.0.0.1".parse().unwrap()],
            accepts_wrong_password: true,
        };
        let bad = Verdict {
            ok: false,
            stage: Some(Stage::Allocate),
            code: Some(486),
            detail: "answered 486: no more".to_owned(),
            rtt_millis: None,
            packets_sent: 0,
            packets_lost: 0,
            certificate_not_after: None,
            ..verdict()
        };
        let verdicts = [verdict(), bad, Verdict { security: Some(hole), ..verdict() }];
        assert_eq!(
            table(&verdicts, Timestamp::UNIX_EPOCH),
            "\
TARGET               ADDRESS        TRANSPORT  OK   STAGE         RTT      LOST  CERT  SECURITY
turns:a.example:443  192.0.2.1:443  tls        yes  -             12.3 ms  1/4   30 d  -
turns:a.example:443  192.0.2.1:443  tls        NO   allocate 486  -        -     -     -
turns:a.example:443  192.0.2.1:443  tls        yes  -             12.3 ms  1/4   30 d  ALARM

turns:a.example:443 at 192.0.2.1:443: answered 486: no more

turns:a.example:443 at 192.0.2.1:443: SECURITY: it accepts a wrong password; it grants peers that it must refuse: 127.0.0.1
"
        );
        let failure = judge(&verdicts).unwrap_err().to_string();
        assert_eq!(failure, "probe: 1 of 3 failed, 1 of 3 grant what they must refuse");
        assert!(judge(&verdicts[..1]).is_ok());
    }
}
