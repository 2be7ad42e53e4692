//! Dynamic updates (RFC 2136) by a person, as with nsupdate: no prerequisites, no owner.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{ZONE, key::Key};

const LIMIT: Duration = Duration::from_secs(5);
/// Seconds.
const TTL: u32 = 30;

/// Replaces all addresses of a name, in one update; none removes them.
pub async fn addresses(server: SocketAddr, key: &Key, name: &str, addresses: &[IpAddr]) -> Result<()> {
    let at = Name::from_ascii(format!("{name}."))?;
    let removed = [RecordType::A, RecordType::AAAA].map(|kind| {
        let mut record = Record::update0(at.clone(), 0, kind).into_record_of_rdata();
        record.dns_class = DNSClass::ANY; // "Delete an RRset" (section 2.5.2).
        record
    });
    let added = addresses.iter().map(|address| {
        let data = match address {
            IpAddr::V4(ipv4) => RData::A(A(*ipv4)),
            IpAddr::V6(ipv6) => RData::AAAA(AAAA(*ipv6)),
        };
        Record::from_rdata(at.clone(), TTL, data)
    });
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.add_query(Query::query(Name::from_ascii(format!("{ZONE}."))?, RecordType::SOA));
    message.add_authorities(removed.into_iter().chain(added));
    message.finalize(&key.signer()?, SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let answer = timeout(LIMIT, send(server, &message)).await.with_context(|| format!("{server}: no answer"))??;
    ensure!(answer.response_code == ResponseCode::NoError, "{server} answers {} to an update", answer.response_code);
    Ok(())
}

async fn send(server: SocketAddr, message: &Message) -> Result<Message> {
    let mut stream = TcpStream::connect(server).await.with_context(|| format!("{server}: no connection"))?;
    let octets = message.to_vec()?;
    stream.write_all(&[&u16::try_from(octets.len())?.to_be_bytes()[..], &octets].concat()).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Ok(Message::from_vec(&answer)?)
}
