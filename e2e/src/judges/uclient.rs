//! coturn's test client and echo peer, judges that know nothing of our code.

use std::{
    net::{IpAddr, SocketAddr},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use tokio::{
    net::UdpSocket,
    process::{Child, Command},
    time::timeout,
};

use super::{Server, Transport};
use crate::{
    checks::Checks,
    command,
    scenario::{OUTSIDE, SECRET},
    turn::Credentials,
    wait,
};

/// Packets that each session sends, and expects back.
const PACKETS: u32 = 20;
/// The client needs three seconds, most of them for its own pauses.
const LONGEST: Duration = Duration::from_secs(40);
/// The echo peer has to start, and to open its ports.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// Of one datagram, to a process beside us.
const ANSWER: Duration = Duration::from_secs(1);
/// Calls at a time: each is mostly waiting.
const AT_ONCE: usize = 4;

/// How the client calls: what it is, its flags, and the family of the peer and of the way to the relay.
struct Form {
    name: &'static str,
    flags: &'static [&'static str],
    peer: usize,
    way: fn(&IpAddr) -> bool,
}

const V4: usize = 0;
const V6: usize = 1;

const fn form(name: &'static str, flags: &'static [&'static str], peer: usize) -> Form {
    Form { name, flags, peer, way: IpAddr::is_ipv4 }
}

/// With -M the client moves to another socket (RFC 8016). Over UDP only: over TCP and TLS it goes on with what belonged to the
/// connection that it left, and ends with `send: Success`, also with coturn's own server.
///
/// Over TLS it asks for old versions, too, until it finds one that both have, so a relay sees handshakes that fail. And it
/// reads one message from a record: it loses packets, above all with -y, through a relay that puts two into one.
const FORMS: [Form; 20] = [
    form("channels, for media and its RTCP", &[], V4),
    form("Send indications", &["-s"], V4),
    form("no RTCP", &["-c"], V4),
    form("an IPv6 relayed address", &["-x"], V6),
    form("an IPv6 relayed address, Send indications", &["-x", "-s"], V6),
    form("an IPv4 relayed address by its name", &["-X"], V4),
    form("DONT-FRAGMENT", &["-g"], V4),
    form("DONT-FRAGMENT, Send indications", &["-g", "-s"], V4),
    form("padded channel data", &["-D"], V4),
    form("a dual allocation, IPv4 peer", &["-Z"], V4),
    form("a dual allocation, IPv6 peer", &["-Z"], V6),
    form("a dual allocation, Send indications", &["-Z", "-s"], V4),
    form("caller to caller", &["-y"], V4),
    form("caller to caller, Send indications", &["-y", "-s"], V4),
    form("caller to caller over IPv6", &["-y", "-x"], V6),
    form("mobility", &["-M"], V4),
    form("mobility, Send indications", &["-M", "-s"], V4),
    form("more permissions and bindings than needed", &["-G"], V4),
    form("packets of 1200 bytes", &["-l", "1200"], V4),
    Form { way: IpAddr::is_ipv6, ..form("reached over IPv6", &["-c"], V4) },
];

/// Calls in every form through one listener of each relay, another relay for each form. `addresses` are those of the relays,
/// of both families, and `echo` listens on [`OUTSIDE`].
pub async fn judge(
    checks: &mut Checks,
    label: &str,
    addresses: &[IpAddr],
    port: u16,
    transport: &Transport,
    echo: &EchoPeer,
) -> Result<()> {
    let peers: [IpAddr; 2] = [OUTSIDE[0].parse()?, OUTSIDE[1].parse()?];
    let mut calls = Vec::new();
    let moves = |form: &Form| form.flags.contains(&"-M");
    let is_udp = matches!(transport, Transport::Udp);
    for (number, form) in FORMS.iter().enumerate().filter(|(_, form)| is_udp || !moves(form)) {
        let ways: Vec<&IpAddr> = addresses.iter().filter(|address| (form.way)(address)).collect();
        ensure!(!ways.is_empty(), "no relay has an address for: {}", form.name);
        let server =
            Server { address: SocketAddr::new(*ways[number % ways.len()], port), transport: transport.clone() };
        // A user of its own for each call: the quota is by user, and the client leaves its allocations behind.
        let user = format!("{}-{}-{port}-{number}", label.replace(' ', "-"), transport.text());
        calls.push(async move {
            let began = Instant::now();
            let outcome = match Credentials::new(SECRET, &user) {
                Ok(credentials) => call(&server, (peers[form.peer], echo), form.flags, &credentials).await,
                Err(error) => Err(error),
            };
            let name = format!("{label}: {server}: coturn's client loses nothing: {} {:?}", form.name, form.flags);
            (name, began, outcome)
        });
    }
    let mut calls = stream::iter(calls).buffered(AT_ONCE);
    while let Some((name, began, outcome)) = calls.next().await {
        checks.note(&name, began, outcome);
    }
    Ok(())
}

/// An echo server, ended when this is dropped.
pub struct EchoPeer {
    _process: Child,
    pub port: u16,
}

impl EchoPeer {
    /// Listens on every address, and answers there.
    pub async fn start(addresses: &[&str], port: u16) -> Result<Self> {
        let mut command = Command::new("turnutils_peer");
        for address in addresses {
            command.args(["-L", address]);
        }
        let quiet = command.args(["-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let process = quiet.kill_on_drop(true).spawn();
        let mut process = process.context("turnutils_peer does not start: apt-get install coturn, or run `make up`")?;
        for address in addresses {
            let address = SocketAddr::new(address.parse()?, port);
            wait::until(&format!("turnutils_peer answers at {address}"), ANSWERS_WITHIN, async || {
                let ended = process.try_wait()?;
                ensure!(ended.is_none(), "it has ended: {ended:?}");
                answers(address).await
            })
            .await?;
        }
        Ok(Self { _process: process, port })
    }
}

/// One datagram comes back.
async fn answers(peer: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(peer.ip(), 0)).await?;
    socket.connect(peer).await?;
    socket.send(b"echo").await?;
    let mut answer = [0; 16];
    let length = timeout(ANSWER, socket.recv(&mut answer)).await.context("no answer")??;
    ensure!(&answer[..length] == b"echo", "it answers {:?}", &answer[..length]);
    Ok(())
}

/// Relays packets through `server` to `peer` and back, in the form that the flags ask for. Fails on the first one lost.
pub async fn call(server: &Server, peer: (IpAddr, &EchoPeer), flags: &[&str], credentials: &Credentials) -> Result<()> {
    let (address, EchoPeer { port, .. }) = peer;
    let (relay, turn_port) = (server.address.ip().to_string(), server.address.port().to_string());
    let (address, port, packets) = (address.to_string(), port.to_string(), PACKETS.to_string());
    let mut arguments = vec!["-u", &credentials.username, "-w", &credentials.password, "-p", &turn_port];
    arguments.extend(["-e", &address, "-r", &port, "-n", &packets, "-m", "1", "-z", "20"]);
    match &server.transport {
        Transport::Udp => {}
        Transport::Tcp => arguments.push("-t"),
        // It takes any certificate, whatever authority it is told to trust: the other judges look at that.
        Transport::Tls(_) => arguments.extend(["-t", "-S"]),
    }
    arguments.extend(flags);
    arguments.push(&relay);
    let finished = command::output("turnutils_uclient", &arguments, LONGEST).await?;
    let output = finished.stdout + &finished.stderr;
    let tail = || output.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    let told = Told::read(&output).with_context(|| format!("it ended with {:?}, saying\n{}", finished.code, tail()))?;
    ensure!(
        finished.code == Some(0) && told.sent >= PACKETS.into() && told.is_whole(),
        "{told:?}, and it ended with {:?}, saying\n{}",
        finished.code,
        tail()
    );
    Ok(())
}

/// What the client says in the end.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    sent: u64,
    received: u64,
    lost: i64,
    dropped: u64,
}

impl Told {
    fn read(output: &str) -> Option<Self> {
        let after = |what: &str| output.rfind(what).map(|at| &output[at + what.len()..]);
        let number = |what: &str| {
            let text = after(what)?;
            let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
            text[..end].parse::<i64>().ok()
        };
        let unsigned = |what: &str| u64::try_from(number(what)?).ok();
        Some(Self {
            sent: unsigned("tot_send_msgs=")?,
            received: unsigned("tot_recv_msgs=")?,
            lost: number("Total lost packets ")?,
            dropped: unsigned("total send dropped ")?,
        })
    }

    fn is_whole(&self) -> bool {
        (self.lost, self.dropped) == (0, 0) && self.sent == self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
1: : start_mclient: msz=2, tot_send_msgs=0, tot_recv_msgs=0, tot_send_bytes ~ 0, tot_recv_bytes ~ 0
2: : start_mclient: tot_send_msgs=40, tot_recv_msgs=39
2: : Total lost packets 1 (2.500000%), total send dropped 0 (0.000000%)
";

    #[test]
    fn the_last_figures_count() {
        let told = Told::read(OUTPUT).unwrap();
        assert_eq!(told, Told { sent: 40, received: 39, lost: 1, dropped: 0 });
        assert!(!told.is_whole());
    }

    #[test]
    fn a_client_that_never_came_to_sending_has_told_nothing() {
        assert_eq!(Told::read("0: : ERROR: cannot complete Allocation\n"), None);
    }
}
