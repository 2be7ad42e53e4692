//! What servers answer, as callers are told: without a signature.

use std::{collections::BTreeSet, net::SocketAddr};

use futures::future::join_all;
use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};

use super::{
    Settings,
    change::{Names, name_of},
    first,
    wire::{self, Connection},
};
use crate::publish::{Addresses, Answer, DnsName, Ownership, PublishError, ServerAnswer};

/// Servers by NS records; the root has 13. The first by name are asked of a zone with more.
const MAX_NS: usize = 16;
/// A zone that changes between two questions is read again; one that always does is taken as it comes.
const READS: usize = 3;

/// Every configured server, and every one that an NS record of the zone names; those with an address in common once.
pub async fn everywhere(settings: &Settings, name: &DnsName) -> Result<Vec<ServerAnswer>, PublishError> {
    let by_ns = first(settings.servers(), |server| async move {
        let mut connection = Connection::open(server).await?;
        name_servers(&mut connection, settings).await
    });
    let configured = join_all(
        settings
            .servers()
            .iter()
            .map(|server| async move { Target { server: server.to_string(), addresses: server.addresses().await } }),
    );
    let (by_ns, configured) = futures::join!(by_ns, configured);
    let targets = distinct(configured.into_iter().chain(by_ns?));
    Ok(join_all(targets.into_iter().map(|target| target.read(settings.zone(), name))).await)
}

/// A server to ask.
struct Target {
    server: String,
    addresses: Result<Vec<SocketAddr>, PublishError>,
}

impl Target {
    async fn read(self, zone: &DnsName, name: &DnsName) -> ServerAnswer {
        let Self { server, addresses } = self;
        let outcome = async {
            let mut connection = Connection::open_any(server.clone(), &addresses?).await?;
            answer(&mut connection, zone, name).await
        };
        let (serial, answer) = match wire::bounded(&server, outcome).await {
            Ok((serial, answer)) => (Some(serial), Ok(answer)),
            Err(error) => (None, Err(error)),
        };
        ServerAnswer { server, serial, answer }
    }
}

fn distinct(targets: impl Iterator<Item = Target>) -> Vec<Target> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for target in targets {
        let addresses = target.addresses.as_deref().unwrap_or_default();
        if !addresses.iter().any(|address| seen.contains(address)) {
            seen.extend(addresses.iter().copied());
            all.push(target);
        }
    }
    all
}

async fn name_servers(connection: &mut Connection, settings: &Settings) -> Result<Vec<Target>, PublishError> {
    let zone = settings.zone();
    let records = rrset(connection, &name_of(zone)?, RecordType::NS, zone, zone).await?;
    let names: BTreeSet<Name> = records
        .into_iter()
        .filter_map(|record| match record.data {
            RData::NS(name) => Some(name.0.to_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        // Every zone has some; a name inside of one has none: the zone is named too long.
        return Err(PublishError::NotAuthoritative { server: connection.server().to_owned(), zone: zone.clone() });
    }
    let mut targets = Vec::new();
    for name in names.into_iter().take(MAX_NS) {
        let server = name.to_ascii().trim_end_matches('.').to_owned();
        let addresses = addresses_of(connection, &name, &server, settings).await;
        targets.push(Target { server, addresses });
    }
    Ok(targets)
}

/// Of a name server: from the zone itself where it is in it, which the resolver of this machine may not know yet.
async fn addresses_of(
    connection: &mut Connection,
    name: &Name,
    server: &str,
    settings: &Settings,
) -> Result<Vec<SocketAddr>, PublishError> {
    let (zone, port) = (settings.zone(), settings.ns_port());
    let mut found = Vec::new();
    if name_of(zone)?.zone_of(name) {
        for kind in [RecordType::A, RecordType::AAAA] {
            // A part of the zone may be delegated, and then it is not told with authority.
            let Ok(records) = rrset(connection, name, kind, zone, zone).await else { break };
            found.extend(records.iter().filter_map(|record| record.data.ip_addr()).map(|ip| SocketAddr::new(ip, port)));
        }
    }
    if found.is_empty() { wire::lookup(server, port, server).await } else { Ok(found) }
}

/// Serial and answer of one server. Between the questions the zone may change, so its serial is read before and after.
pub async fn answer(
    connection: &mut Connection,
    zone: &DnsName,
    name: &DnsName,
) -> Result<(u32, Answer), PublishError> {
    let mut before = serial(connection, zone).await?;
    let mut tries = 0;
    loop {
        let found = once(connection, zone, name).await?;
        let after = serial(connection, zone).await?;
        tries += 1;
        if before == after || tries == READS {
            return Ok((after, found));
        }
        before = after;
    }
}

async fn serial(connection: &mut Connection, zone: &DnsName) -> Result<u32, PublishError> {
    let records = rrset(connection, &name_of(zone)?, RecordType::SOA, zone, zone).await?;
    let serial = records.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    });
    serial.ok_or_else(|| PublishError::NotAuthoritative { server: connection.server().to_owned(), zone: zone.clone() })
}

async fn once(connection: &mut Connection, zone: &DnsName, name: &DnsName) -> Result<Answer, PublishError> {
    let at = Names::of(name)?;
    let ipv4 = rrset(connection, &at.addresses, RecordType::A, zone, name).await?;
    let ipv6 = rrset(connection, &at.addresses, RecordType::AAAA, zone, name).await?;
    let txt = rrset(connection, &at.owner, RecordType::TXT, zone, name).await?;
    let ttls: BTreeSet<u32> = ipv4.iter().chain(&ipv6).map(|record| record.ttl).collect();
    let ttl = if ttls.len() == 1 { ttls.first().copied().unwrap_or_default() } else { 0 };
    let addresses = Addresses::new(ttl, ipv4.iter().chain(&ipv6).filter_map(|record| record.data.ip_addr()));
    let strings = |record: Record| match record.data {
        RData::TXT(txt) => Some(txt.txt_data.iter().map(|string| string.to_vec()).collect()),
        _ => None,
    };
    Ok(Answer { addresses, owner: Ownership::read(txt.into_iter().filter_map(strings).collect()) })
}

/// The records of one type at a name; none if there is no such name. Only what is told with authority counts.
async fn rrset(
    connection: &mut Connection,
    at: &Name,
    kind: RecordType,
    zone: &DnsName,
    name: &DnsName,
) -> Result<Vec<Record>, PublishError> {
    let mut question = Message::query();
    question.add_query(Query::query(at.clone(), kind));
    let (answer, _) = connection.ask(&question).await?;
    let server = || connection.server().to_owned();
    match answer.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain if answer.authoritative => {}
        ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::NotAuth => {
            return Err(PublishError::NotAuthoritative { server: server(), zone: zone.clone() });
        }
        ResponseCode::Refused => return Err(PublishError::QueryRefused { server: server(), name: name.clone() }),
        ResponseCode::ServFail => return Err(PublishError::Failed { server: server() }),
        code => return Err(PublishError::Unforeseen { server: server(), code: code.to_string() }),
    }
    let mut records = answer.answers;
    records.retain(|record| &record.name == at);
    let alias = records.iter().find_map(|record| match &record.data {
        RData::CNAME(target) => Some(target.0.to_ascii()),
        _ => None,
    });
    if let Some(target) = alias {
        return Err(PublishError::Alias { server: server(), name: name.clone(), target });
    }
    records.retain(|record| record.record_type() == kind);
    Ok(records)
}
