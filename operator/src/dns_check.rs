//! `operator dns check`: can answers be published? Asks all servers, writes nothing.

use std::{collections::BTreeSet, fs, io, path::PathBuf, sync::Arc};

use crate::{
    cli::DnsCheck,
    clock::SystemClock,
    error::with_causes,
    publish::{
        DnsName, Ownership, PublishError, ServerAnswer,
        rfc2136::{Availability, NoKey, NoSettings, Rfc2136, Server, Settings, TsigKey},
    },
    table::{Align, Table},
};

#[derive(Debug, thiserror::Error)]
pub enum DnsCheckError {
    #[error("--key-file {}: cannot be read", .file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("--key-file {}", .file.display())]
    Key { file: PathBuf, source: NoKey },
    #[error("--server")]
    Settings(#[from] NoSettings),
    #[error("--name {name} is not in --zone {zone}: write a name that ends in .{zone}")]
    NotInZone { name: DnsName, zone: DnsName },
}

impl DnsCheckError {
    /// The flags do not fit each other, which clap cannot see.
    pub fn is_wrong_usage(&self) -> bool {
        matches!(self, Self::Settings(_) | Self::NotInZone { .. })
    }
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// A line a server.
    pub table: String,
    /// What is to be mended first, a sentence each. None: answers can be published.
    pub problems: Vec<String>,
}

pub async fn check(args: DnsCheck) -> Result<Report, DnsCheckError> {
    let DnsCheck { servers, zone, name, key_name, algorithm, key_file, ns_port } = args;
    if !name.is_in(&zone) {
        return Err(DnsCheckError::NotInZone { name, zone });
    }
    let secret =
        fs::read_to_string(&key_file).map_err(|source| DnsCheckError::Unreadable { file: key_file.clone(), source })?;
    let key =
        TsigKey::new(key_name, algorithm, &secret).map_err(|source| DnsCheckError::Key { file: key_file, source })?;
    let settings = Settings::new(zone, servers, key)?.with_ns_port(ns_port);
    let publisher = Rfc2136::new(settings, Arc::new(SystemClock));
    let (updates, answers) = futures::join!(publisher.may_update(&name), publisher.read_back(&name));
    Ok(report(&name, &updates, &answers))
}

type Updates = [(Server, Result<Availability, PublishError>)];

/// Pure.
fn report(name: &DnsName, updates: &Updates, answers: &Result<Vec<ServerAnswer>, PublishError>) -> Report {
    let columns = ["server", "update", "serial", name.as_str(), "owner"].map(|column| (column, Align::Left));
    let mut table = Table::new(&columns);
    let mut problems: Vec<String> = Vec::new();
    let none = Vec::new();
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => {
            problems.push(with_causes(error));
            &none
        }
    };
    let update =
        |server: &str| updates.iter().find(|(known, _)| known.to_string() == server).map(|(_, outcome)| outcome);
    for ServerAnswer { server, serial, answer } in answers {
        let update = match update(server) {
            Some(Ok(_)) => "allowed",
            Some(Err(_)) => "no",
            None => "",
        };
        let serial = serial.map(|serial| serial.to_string()).unwrap_or_default();
        let (addresses, owner) = match answer {
            Ok(answer) => (answer.addresses.to_string(), answer.owner.to_string()),
            Err(_) => ("cannot be asked".to_owned(), String::new()),
        };
        table.row(vec![server.clone(), update.to_owned(), serial, addresses, owner]);
    }
    problems.extend(updates.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).map(|error| with_causes(error)));
    problems.extend(answers.iter().filter_map(|answer| answer.answer.as_ref().err()).map(|error| with_causes(error)));
    let mut told = answers.iter().filter_map(|answer| Some((&answer.server, answer.answer.as_ref().ok()?)));
    if let Some((first, reference)) = told.next() {
        problems.extend(told.filter(|(_, answer)| *answer != reference).map(|(server, _)| {
            format!("{server}: tells something else than {first}: see that it is notified of changes and may transfer the zone")
        }));
    }
    for ServerAnswer { server, serial: _, answer } in answers {
        if let (Some(Ok(Availability::InUse)), Ok(answer)) = (update(server), answer)
            && !matches!(answer.owner, Ownership::Owner(_))
        {
            problems.push(format!(
                "{server}: {name} is in use by somebody else ({answer}): remove what is there, or publish another name"
            ));
        }
    }
    // A server that is down fails in both ways.
    let mut seen = BTreeSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    Report { table: table.text(""), problems }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::{Addresses, Answer, Owner, Ownership};

    fn answer(server: &str, last: u8) -> ServerAnswer {
        let addresses = Addresses::new(30, [[192, 0, 2, last].into()]);
        let owner = Ownership::Owner(Owner::new("calls", "turn", "1").unwrap());
        ServerAnswer { server: server.into(), serial: Some(7), answer: Ok(Answer { addresses, owner }) }
    }

    fn silent(server: &str) -> PublishError {
        PublishError::NoAnswer { server: server.into(), seconds: 3 }
    }

    #[test]
    fn servers_that_take_updates_and_tell_the_same_are_told_without_a_problem() {
        let name = "turn.example.org".parse().unwrap();
        let updates = [("ns1.example.org".parse().unwrap(), Ok(Availability::InUse))];
        let got = report(&name, &updates, &Ok(vec![answer("ns1.example.org", 1), answer("ns2.example.org", 1)]));
        let table = "\
server           update   serial  turn.example.org      owner
ns1.example.org  allowed  7       192.0.2.1 (TTL 30 s)  calls/turn/1
ns2.example.org           7       192.0.2.1 (TTL 30 s)  calls/turn/1
";
        assert_eq!(got.table, table);
        assert_eq!(got.problems, [""; 0]);
    }

    #[test]
    fn each_thing_to_mend_is_told_once() {
        let name = "turn.example.org".parse().unwrap();
        let down = || ServerAnswer { server: "ns3".into(), serial: None, answer: Err(silent("ns3")) };
        let updates = [("ns1".parse().unwrap(), Ok(Availability::InUse)), ("ns3".parse().unwrap(), Err(silent("ns3")))];
        let got = report(&name, &updates, &Ok(vec![answer("ns1", 1), answer("ns2", 2), down()]));
        assert_eq!(got.problems.len(), 2, "{got:?}");
        assert!(got.problems[0].starts_with("ns3: no answer in 3 s"), "{got:?}");
        assert!(got.problems[1].starts_with("ns2: tells something else than ns1"), "{got:?}");
        assert!(got.table.contains("cannot be asked"), "{got:?}");
        let got = report(&name, &updates[1..], &Err(silent("ns3")));
        assert_eq!(got.problems.len(), 1, "{got:?}");
    }
}
