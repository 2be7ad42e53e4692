//! A real name server as a child of the test, on a loopback address and a port of its own.

mod bind;
mod knot;
mod pdns;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use operator::{
    clock::{Clock, SystemClock},
    publish::rfc2136::{Algorithm, Rfc2136, Server, Settings, TsigKey},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

pub const ZONE: &str = "example.org";
/// 48 octets: enough for every algorithm.
pub const SECRET: &str = "c29tZSBmb3J0eS1laWdodCBvY3RldHMgdGhhdCBub2JvZHkgZ3Vlc3NlcyBub3cu";
/// Of the key that no server has under this name.
pub const WRONG_SECRET: &str = "YW5vdGhlciBzZWNyZXQgd2hpY2ggbm8gc2VydmVyIGhhcyBlaXRoZXI=";
/// Name and algorithm of the keys that may update.
pub const KEYS: [(&str, Algorithm); 3] =
    [("rtc-op", Algorithm::HmacSha256), ("rtc-op-384", Algorithm::HmacSha384), ("rtc-op-512", Algorithm::HmacSha512)];
/// A key that servers know and that may do nothing.
pub const STRANGER: &str = "stranger";
/// Until a server answers. Other tests may have the processors.
const START: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bind,
    Knot,
    Pdns,
}

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    pub kind: Kind,
    pub address: SocketAddr,
    /// Names that the keys may write.
    pub names: Vec<String>,
    /// Lines of the zone beside its SOA and NS.
    pub records: String,
    /// BIND alone: where it transfers the zone from.
    pub primary: Option<SocketAddr>,
}

impl Setup {
    pub fn new(kind: Kind, names: &[&str], records: &str) -> Self {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            kind,
            address: SocketAddr::new(ip, free_port(ip)),
            names: names.iter().map(|name| format!("{name}.{ZONE}")).collect(),
            records: records.to_owned(),
            primary: None,
        }
    }

    fn zone_file(&self) -> String {
        let (ip, records) = (self.address.ip(), &self.records);
        format!(
            "$ORIGIN {ZONE}.
$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 30
@ IN NS ns1
ns1 IN A {ip}
{records}"
        )
    }
}

/// Ports that the kernel gives nobody who does not ask for them: it would give one away between our look and a server's,
/// or while a server is away.
const PORTS: Range<u16> = 20_000..32_000;

/// A port that nothing has for UDP and TCP. Given once.
pub fn free_port(ip: IpAddr) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let size = u32::from(PORTS.end - PORTS.start);
    // Another run of these tests begins elsewhere.
    let begin = std::process::id().wrapping_mul(61) % size;
    let port = || {
        let number = (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % size;
        PORTS.start + u16::try_from(number).expect("below the range's size")
    };
    let is_free = |port: &u16| UdpSocket::bind((ip, *port)).is_ok() && TcpListener::bind((ip, *port)).is_ok();
    std::iter::repeat_with(port).take(100).find(is_free).expect("a port that is free for UDP and TCP")
}

/// A server that runs. Dropped, it is killed and its files are gone.
pub struct Running {
    pub setup: Setup,
    directory: TempDir,
    child: Child,
}

impl Running {
    pub async fn start(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("zone"), setup.zone_file()).unwrap();
        match setup.kind {
            Kind::Bind => bind::write(&setup, directory.path()),
            Kind::Knot => knot::write(&setup, directory.path()),
            Kind::Pdns => pdns::write(&setup, directory.path()),
        }
        let child = spawn(&setup, directory.path());
        let mut server = Self { setup, directory, child };
        server.wait_until_it_answers().await;
        server
    }

    /// As if its machine failed.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// With what it has stored.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.setup, self.directory.path());
        self.wait_until_it_answers().await;
    }

    async fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + START;
        loop {
            if self.serial().await.is_some() {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{:?}: {ended:?}\n{}", self.setup.kind, self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Of the zone; none if it does not answer with one.
    pub async fn serial(&self) -> Option<u32> {
        let answer = ask(self.setup.address, &format!("{ZONE}."), RecordType::SOA).await.ok()?;
        answer.answers.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(soa.serial),
            _ => None,
        })
    }

    /// The data of all records of a type, in order.
    pub async fn records(&self, name: &str, kind: RecordType) -> Vec<String> {
        let answer = ask(self.setup.address, &format!("{name}."), kind).await.unwrap();
        assert!(matches!(answer.response_code, ResponseCode::NoError | ResponseCode::NXDomain), "{answer}");
        let mut data: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
        data.sort();
        data
    }

    pub fn server(&self) -> Server {
        self.setup.address.to_string().parse().unwrap()
    }

    /// Who publishes with the first key.
    pub fn publisher(&self) -> Rfc2136 {
        self.publisher_with(ZONE, key(KEYS[0]), Arc::new(SystemClock))
    }

    pub fn publisher_with(&self, zone: &str, key: TsigKey, clock: Arc<dyn Clock>) -> Rfc2136 {
        let settings = Settings::new(zone.parse().unwrap(), vec![self.server()], key).unwrap();
        Rfc2136::new(settings.with_ns_port(self.setup.address.port()), clock)
    }
}

pub fn key((name, algorithm): (&str, Algorithm)) -> TsigKey {
    key_with(name, algorithm, SECRET)
}

pub fn key_with(name: &str, algorithm: Algorithm, secret: &str) -> TsigKey {
    TsigKey::new(name.parse().unwrap(), algorithm, secret).unwrap()
}

/// Keys that a server is to know, those that may update first.
fn known_keys() -> impl Iterator<Item = (&'static str, Algorithm)> {
    KEYS.into_iter().chain([(STRANGER, Algorithm::HmacSha256)])
}

fn spawn(setup: &Setup, directory: &Path) -> Child {
    let (program, arguments) = match setup.kind {
        Kind::Bind => bind::command(directory),
        Kind::Knot => knot::command(directory),
        Kind::Pdns => pdns::command(directory),
    };
    let log = fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
    // Debian has servers in a directory that is not everybody's PATH.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let found = std::env::split_paths(&path).map(|part| part.join(program)).find(|file| file.exists());
    let found = found.unwrap_or_else(|| panic!("{program} is missing: run e2e/setup/packages.sh dns"));
    Command::new(found)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// One question over TCP, without any of the code that is tested.
pub async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> std::io::Result<Message> {
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    send(server, &question).await
}

pub async fn send(server: SocketAddr, question: &Message) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let octets = question.to_vec().unwrap();
    let length = u16::try_from(octets.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes()[..], &octets].concat()).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Ok(Message::from_vec(&answer).unwrap())
}
