//! A TURN client over UDP, as far as scenarios need one: its protocol side is the node's own test client.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use media_node::turn::proto::{
    Secret,
    attribute::{CHANNEL_NUMBER, LIFETIME},
    message::method,
    test_support::{Answer, Client, Draft, Style},
};
use tokio::{net::UdpSocket, time::timeout};

/// Between two tries of one request (RFC 8489 section 6.2.1).
const RETRY: Duration = Duration::from_millis(500);
const TRIES: usize = 20;
const LONGEST_DATAGRAM: usize = 2048;

/// A user name and a password, made by the TURN REST rules.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl Credentials {
    /// For an hour from now.
    pub fn new(secret: &str, user: &str) -> Result<Self> {
        let secret = Secret::new(secret.as_bytes()).context("no usable secret")?;
        let expiry = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 3600;
        let username = format!("{expiry}:{user}");
        Ok(Self { password: secret.password(&username), username })
    }
}

/// An allocation on a relay. Dropping it leaves it to expire, as a caller does who has lost the network.
pub struct Allocation {
    pub relayed: SocketAddr,
    pub socket: UdpSocket,
    client: Client,
}

impl Allocation {
    pub async fn new(server: SocketAddr, credentials: &Credentials) -> Result<Self> {
        let local: SocketAddr = if server.is_ipv4() { "0.0.0.0:0".parse()? } else { "[::]:0".parse()? };
        let socket = UdpSocket::bind(local).await?;
        socket.connect(server).await?;
        let mut client = Client::new(socket.local_addr()?, server, &credentials.username, &credentials.password);
        client.style = Style::Sha256;
        let mut allocation = Self { relayed: server, socket, client };
        let answer = allocation.ask(Client::allocate).await.with_context(|| format!("no allocation on {server}"))?;
        allocation.relayed = *answer.relayed().first().context("an answer without a relayed address")?;
        Ok(allocation)
    }

    /// Lets `peer` in, and binds it to `channel`.
    pub async fn bind(&mut self, channel: u16, peer: SocketAddr) -> Result<()> {
        self.ask(|client| channel_bind(client, channel, peer))
            .await
            .with_context(|| format!("no channel to {peer}"))?;
        Ok(())
    }

    /// Asks for allocation, channel and permission to last on. Waits for nothing: [`Allocation::hears`] takes the answers.
    pub async fn renew(&mut self, channel: u16, peer: SocketAddr) -> Result<()> {
        let drafts = [self.client.request(method::REFRESH), channel_bind(&mut self.client, channel, peer)];
        for draft in drafts {
            self.socket.send(&self.client.sign(draft)).await?;
        }
        Ok(())
    }

    /// A datagram from the server, which may say that the nonce has ended (438), and bring another one.
    pub fn hears(&mut self, datagram: &[u8]) {
        let is_refusal = datagram.len() >= 20 && datagram[0] & 0xC1 == 0x01 && datagram[1] & 0x10 != 0;
        if is_refusal {
            let answer = Answer(datagram.to_vec());
            if answer.code() == 438 {
                self.client.learn(&answer);
            }
        }
    }

    /// Gives the allocation back.
    pub async fn end(mut self) -> Result<()> {
        self.ask(|client| client.request(method::REFRESH).number(LIFETIME, 0)).await?;
        Ok(())
    }

    /// A request that must succeed, with the nonce that a first refusal brings.
    async fn ask(&mut self, write: impl Fn(&mut Client) -> Draft) -> Result<Answer> {
        for challenges in 0.. {
            let draft = write(&mut self.client);
            let transaction = draft.transaction;
            let bytes = if self.client.nonce.is_empty() { draft.bare() } else { self.client.sign(draft) };
            let answer = self.exchange(&bytes, transaction).await?;
            match answer.code() {
                0 => return Ok(answer),
                401 | 438 if challenges == 0 => self.client.learn(&answer),
                code => bail!("refused with {code}"),
            }
        }
        bail!("challenged without end")
    }

    async fn exchange(&self, request: &[u8], transaction: [u8; 12]) -> Result<Answer> {
        let mut datagram = [0; LONGEST_DATAGRAM];
        for _ in 0..TRIES {
            self.socket.send(request).await?;
            while let Ok(received) = timeout(RETRY, self.socket.recv(&mut datagram)).await {
                let answer = &datagram[..received?];
                if answer.len() >= 20 && answer[0] & 0xC0 == 0 && answer[8..20] == transaction {
                    return Ok(Answer(answer.to_vec()));
                }
            }
        }
        bail!("no answer to {TRIES} tries, {RETRY:?} apart")
    }
}

fn channel_bind(client: &mut Client, channel: u16, peer: SocketAddr) -> Draft {
    let [high, low] = channel.to_be_bytes();
    client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[high, low, 0, 0]).peer(peer)
}

/// ChannelData (RFC 8656 section 12.4), without padding, as UDP has it.
pub fn channel_data(channel: u16, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(payload.len())?;
    ensure!(usize::from(length) + 4 <= LONGEST_DATAGRAM, "{length} bytes are too long for a test");
    Ok([&channel.to_be_bytes()[..], &length.to_be_bytes(), payload].concat())
}

/// The payload, if this is ChannelData of that channel.
pub fn payload_of(channel: u16, datagram: &[u8]) -> Option<&[u8]> {
    let (header, rest) = datagram.split_at_checked(4)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    (header[..2] == channel.to_be_bytes()).then(|| rest.get(..length)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_data_reads_back() {
        let datagram = channel_data(0x4000, b"seven").unwrap();
        assert_eq!(payload_of(0x4000, &datagram), Some(&b"seven"[..]));
        assert_eq!(payload_of(0x4001, &datagram), None);
        assert_eq!(payload_of(0x4000, &datagram[..7]), None);
    }
}
