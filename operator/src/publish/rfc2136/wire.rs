//! One question at a time over a TCP connection (RFC 1035 section 4.2.2), bounded in time and size.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::rdata::tsig::TsigError,
};
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{Server, Settings};
use crate::publish::{DnsName, PublishError};

const CONNECT: Duration = Duration::from_secs(2);
/// From the question to the end of its answer.
const ANSWER: Duration = Duration::from_secs(3);
const LOOKUP: Duration = Duration::from_secs(3);
/// Everything that is asked of one server: a dozen questions that it answers at its ease.
const CONVERSATION: Duration = Duration::from_secs(10);
/// Octets. 16 records of each family, an owner and signatures of DNSSEC take less than 4 KiB.
const LONGEST_ANSWER: usize = 16 * 1024;
/// Addresses of one server that are tried: a few of each family.
const MAX_ADDRESSES: usize = 4;

/// What is done at one server, within a time that many short answers cannot stretch.
pub async fn bounded<T>(
    server: impl std::fmt::Display,
    conversation: impl Future<Output = Result<T, PublishError>>,
) -> Result<T, PublishError> {
    let late = |_| PublishError::NoAnswer { server: server.to_string(), seconds: CONVERSATION.as_secs() };
    timeout(CONVERSATION, conversation).await.map_err(late)?
}

/// A connection to one server.
pub struct Connection {
    server: String,
    stream: TcpStream,
}

impl Connection {
    pub async fn open(server: &Server) -> Result<Self, PublishError> {
        Self::open_any(server.to_string(), &server.addresses().await?).await
    }

    /// To the first of the addresses that takes it.
    pub async fn open_any(server: String, addresses: &[SocketAddr]) -> Result<Self, PublishError> {
        let mut last = PublishError::Unresolved { server: server.clone(), source: None };
        for address in addresses.iter().take(MAX_ADDRESSES) {
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(Self { server, stream }),
                Ok(Err(source)) => {
                    last = PublishError::Connect { server: server.clone(), address: address.ip(), source };
                }
                Err(_) => last = PublishError::ConnectTimeout { server: server.clone(), seconds: CONNECT.as_secs() },
            }
        }
        Err(last)
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    /// The message that answers, and its octets.
    pub async fn ask(&mut self, question: &Message) -> Result<(Message, Vec<u8>), PublishError> {
        let octets = timeout(ANSWER, self.exchange(question))
            .await
            .map_err(|_| PublishError::NoAnswer { server: self.server.clone(), seconds: ANSWER.as_secs() })??;
        let message = Message::from_vec(&octets).map_err(|error| self.unreadable(error.to_string()))?;
        if message.id != question.id {
            return Err(self.unreadable("another ID"));
        }
        if message.message_type != MessageType::Response || message.op_code != question.op_code {
            return Err(self.unreadable("not a response of the same kind"));
        }
        Ok((message, octets))
    }

    async fn exchange(&mut self, question: &Message) -> Result<Vec<u8>, PublishError> {
        let question = question.to_vec().map_err(|error| PublishError::Unwritable { what: error.to_string() })?;
        let length =
            u16::try_from(question.len()).map_err(|error| PublishError::Unwritable { what: error.to_string() })?;
        // In one write: some servers read the length and wait for the rest.
        let framed = [&length.to_be_bytes()[..], &question].concat();
        self.stream.write_all(&framed).await.map_err(|source| self.broken(source))?;
        let octets = self.stream.read_u16().await.map_err(|source| self.broken(source))?.into();
        if octets > LONGEST_ANSWER {
            return Err(PublishError::TooLong { server: self.server.clone(), octets, limit: LONGEST_ANSWER });
        }
        let mut answer = vec![0; octets];
        self.stream.read_exact(&mut answer).await.map_err(|source| self.broken(source))?;
        Ok(answer)
    }

    fn broken(&self, source: io::Error) -> PublishError {
        PublishError::Broken { server: self.server.clone(), source }
    }

    pub fn unreadable(&self, what: impl Into<String>) -> PublishError {
        PublishError::Unreadable { server: self.server.clone(), what: what.into() }
    }
}

/// Addresses of a host by the resolver of this machine; never none.
pub async fn lookup(host: &str, port: u16, server: impl std::fmt::Display) -> Result<Vec<SocketAddr>, PublishError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let unresolved = |source| PublishError::Unresolved { server: server.to_string(), source };
    let found = timeout(LOOKUP, tokio::net::lookup_host((host, port))).await.map_err(|_| unresolved(None))?;
    let addresses: Vec<_> = found.map_err(|error| unresolved(Some(error)))?.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() { Err(unresolved(None)) } else { Ok(addresses) }
}

/// Signs and sends an UPDATE. `NoError`, which is believed only with a signature, or the code of a prerequisite that
/// does not hold, which is believed without: what is there is read next.
pub async fn update(
    connection: &mut Connection,
    mut message: Message,
    settings: &Settings,
    name: &DnsName,
    now: Timestamp,
) -> Result<ResponseCode, PublishError> {
    let signer = settings.key().signer();
    message.finalize(signer, seconds(now)).map_err(|error| PublishError::Unwritable { what: error.to_string() })?;
    let (answer, octets) = connection.ask(&message).await?;
    let refusal = Refusal { server: connection.server(), settings, name, now };
    match answer.response_code {
        ResponseCode::NoError => {
            let asked = message.signature().map(|record| record.data.mac.clone());
            let checked = signer.verify_message_byte(&octets, asked.as_deref(), true);
            let not_signed = |_| PublishError::NotSigned {
                server: connection.server.clone(),
                key: settings.key().name().to_string(),
            };
            let (_, signed_at, valid) = checked.map_err(not_signed)?;
            if valid.contains(&seconds(now)) { Ok(ResponseCode::NoError) } else { Err(refusal.clock(signed_at)) }
        }
        // RFC 2136 section 2.2: those of prerequisites.
        code @ (ResponseCode::NXDomain | ResponseCode::YXDomain | ResponseCode::YXRRSet | ResponseCode::NXRRSet) => {
            Ok(code)
        }
        code => Err(refusal.of(code, &answer)),
    }
}

fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or_default()
}

/// Who refuses what.
struct Refusal<'a> {
    server: &'a str,
    settings: &'a Settings,
    name: &'a DnsName,
    now: Timestamp,
}

impl Refusal<'_> {
    fn of(&self, code: ResponseCode, answer: &Message) -> PublishError {
        let server = self.server.to_owned();
        let key = self.settings.key();
        let zone = self.settings.zone().clone();
        let tsig = answer.signature().map(|record| &record.data);
        // RFC 8945 section 5.2: the error is in the TSIG record, and the header says NOTAUTH.
        match (tsig.and_then(|tsig| tsig.error.as_ref()), code) {
            (Some(TsigError::BadKey), _) | (_, ResponseCode::BADKEY) => {
                PublishError::UnknownKey { server, key: key.name().to_string(), algorithm: key.algorithm().as_str() }
            }
            (Some(TsigError::BadSig), _) | (_, ResponseCode::BADSIG) => {
                PublishError::WrongSecret { server, key: key.name().to_string() }
            }
            (Some(TsigError::BadTime), _) | (_, ResponseCode::BADTIME) => {
                self.clock(tsig.and_then(|tsig| server_time(&tsig.other)).unwrap_or_default())
            }
            (_, ResponseCode::Refused) => {
                PublishError::Refused { server, name: self.name.clone(), key: key.name().to_string() }
            }
            (_, ResponseCode::NotAuth) => PublishError::NotAuthoritative { server, zone },
            (_, ResponseCode::NotZone) => PublishError::NotInZone { name: self.name.clone(), zone },
            (_, ResponseCode::NotImp) => PublishError::NotImplemented { server },
            (_, ResponseCode::ServFail) => PublishError::Failed { server },
            (_, code) => PublishError::Unforeseen { server, code: code.to_string() },
        }
    }

    fn clock(&self, theirs: u64) -> PublishError {
        PublishError::ClockSkew { server: self.server.to_owned(), seconds: seconds(self.now).abs_diff(theirs) }
    }
}

/// 48 bits, in an answer with BADTIME (RFC 8945 section 5.2.3).
fn server_time(other: &[u8]) -> Option<u64> {
    let six: [u8; 6] = other.try_into().ok()?;
    Some(six.iter().fold(0, |time, octet| time << 8 | u64::from(*octet)))
}
