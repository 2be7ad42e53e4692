//! Questions over UDP, as callers ask, without any of the code that is tested.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use hickory_proto::{
    op::{Message, MessageType, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use tokio::{net::UdpSocket, time::timeout};

use super::{Answer, ZONE};

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// The longest answer without EDNS (RFC 1035 section 4.2.1) is 512.
const LONGEST: usize = 1500;

/// The addresses of both families that a server tells. No such name, and a name without any, are none of them.
pub async fn ask(server: SocketAddr, name: &str) -> Result<BTreeSet<IpAddr>> {
    let (ipv4, ipv6) =
        futures::try_join!(addresses(server, name, RecordType::A), addresses(server, name, RecordType::AAAA))?;
    Ok(ipv4.into_iter().chain(ipv6).collect())
}

/// The addresses of one family, in the order in which the server tells them.
pub(super) async fn addresses(server: SocketAddr, name: &str, kind: RecordType) -> Result<Vec<IpAddr>> {
    let answer = exchange(server, name, kind).await?;
    match answer.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {
            Ok(answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect())
        }
        code => bail!("{server} answers {code} to {name} {kind}"),
    }
}

/// Of the zone. A server that has not got the zone is an error.
pub(super) async fn serial(server: SocketAddr) -> Result<u32> {
    let answer = exchange(server, ZONE, RecordType::SOA).await?;
    let serial = answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    });
    let serial = serial.filter(|_| answer.authoritative);
    serial.with_context(|| format!("{server} has not got {ZONE}: {}", answer.response_code))
}

async fn exchange(server: SocketAddr, name: &str, kind: RecordType) -> Result<Message> {
    let question = query(name, kind)?;
    let unspecified: SocketAddr = if server.is_ipv4() { "0.0.0.0:0".parse()? } else { "[::]:0".parse()? };
    let answered = async {
        let socket = UdpSocket::bind(unspecified).await?;
        socket.connect(server).await?;
        socket.send(&question.to_vec()?).await?;
        let mut datagram = [0; LONGEST];
        loop {
            let length = socket.recv(&mut datagram).await?;
            if let Some(answer) = message(&datagram[..length]).filter(|answer| answer.id == question.id) {
                return anyhow::Ok(answer);
            }
        }
    };
    let answer = timeout(PATIENCE, answered).await;
    let answer = answer.with_context(|| format!("{server}: no answer to {name} {kind} within {PATIENCE:?}"))?;
    let answer = answer.with_context(|| format!("{server}: no answer to {name} {kind}"))?;
    ensure!(!answer.truncation, "{server}: an answer to {name} {kind} that does not fit");
    Ok(answer)
}

/// A question for A records under this ID.
pub fn write(name: &str, id: u16) -> Result<Vec<u8>> {
    let mut question = query(name, RecordType::A)?;
    question.metadata.id = id;
    Ok(question.to_vec()?)
}

/// The ID of an answer, and what it says. What is none is nothing.
pub fn read(datagram: &[u8]) -> Option<(u16, Answer)> {
    let answer = message(datagram)?;
    Some((answer.id, Answer::of(&answer)))
}

fn message(datagram: &[u8]) -> Option<Message> {
    Message::from_vec(datagram).ok().filter(|message| message.message_type == MessageType::Response)
}

fn query(name: &str, kind: RecordType) -> Result<Message> {
    let mut fqdn = Name::from_ascii(name).with_context(|| format!("{name:?} is no name"))?;
    fqdn.set_fqdn(true);
    let mut message = Message::query();
    message.add_query(Query::query(fqdn, kind));
    Ok(message)
}
