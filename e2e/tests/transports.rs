//! Relays that listen on UDP, TCP and TLS, as the clients of others see them.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use e2e::{
    certificates::{Authority, Issued},
    checks::Checks,
    firewall::Opening,
    judges::{
        Server, Transport, aioice, browser,
        pion::{self, Call},
        uclient::{self, EchoPeer},
    },
    netns::Netns,
    operator,
    scenario::{self, METRICS_PORT, OUTSIDE, PORT, Scenario, machine_addresses},
    wait,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use rtcfleet_crds::condition;
use serde_json::json;

const REGION: &str = "centralindia";
const TLS_PORT: u16 = 443;
const TLS_SECRET: &str = "turn-tls";
const LISTENERS: &str = "
listeners:
  - {name: udp, protocol: UDP, port: 3478}
  - {name: tcp, protocol: TCP, port: 3478}
  - {name: tls, protocol: TLS, port: 443}
tls: {secretName: turn-tls}
";
const NO_PRIVATE_PEERS: &str = "relay: null";
/// The kubelet looks at a pod's Secrets every 60 to 90 s; the rest is the relay's look, the operator's, and a busy machine.
const EXCHANGED_WITHIN: Duration = Duration::from_mins(4);
/// Nodes are asked every few seconds.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
const ECHO_PORT: u16 = 3491;
/// Where the browser's namespace has its address: 10.200.0.90.
const BROWSER: u8 = 90;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coturns_client_loses_nothing_over_any_listener_in_any_form() -> Result<()> {
    with_listeners("coturn", "", async |region| {
        let mut checks = Checks::default();
        let echo = EchoPeer::start(&OUTSIDE, ECHO_PORT).await?;
        for (port, transport) in region.ways() {
            uclient::judge(&mut checks, REGION, &region.addresses, port, &transport, &echo).await?;
        }
        checks.check("allocations have moved with the callers of -M", region.has_moved_allocations()).await;
        checks.verdict()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aioice_calls_over_any_listener_and_is_refused_where_it_must_be() -> Result<()> {
    with_listeners("aioice", "", async |region| {
        let mut checks = Checks::default();
        for server in region.servers(region.addresses[0]) {
            aioice::judge(&mut checks, &format!("{REGION}: {server}"), &server).await;
        }
        checks.verdict()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pion_loses_nothing_over_any_listener_of_either_family() -> Result<()> {
    with_listeners("pion", "", async |region| {
        let mut checks = Checks::default();
        let echo = EchoPeer::start(&OUTSIDE, ECHO_PORT).await?;
        for address in &region.addresses {
            for server in region.servers(*address) {
                pion::judge(&mut checks, &format!("{REGION} at {address}"), &server, &echo).await;
            }
        }
        checks.verdict()
    })
    .await
}

/// Both callers use the same relay, so each sends to the other's relayed address on it. It is private, and the region opens
/// no private network: a relay lets its own callers reach each other all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_call_each_other_over_whatever_their_network_lets_out() -> Result<()> {
    with_listeners("browser", NO_PRIVATE_PEERS, async |region| {
        let mut checks = Checks::default();
        let relay = region.addresses[0];
        let IpAddr::V4(address) = relay else { bail!("{relay} is no IPv4 address") };
        let [udp, tcp, tcp_at_443, tls] = region.servers(relay);
        let all = [udp.clone(), tcp.clone(), tls.clone()];
        let plain = [udp.clone(), tcp.clone(), tcp_at_443.clone()];
        let [udp_3478, tcp_3478, tcp_443] = [
            Opening::Udp(SocketAddrV4::new(address, PORT)),
            Opening::Tcp(SocketAddrV4::new(address, PORT)),
            Opening::Tcp(SocketAddrV4::new(address, TLS_PORT)),
        ];
        let netns = Netns::new("browser", BROWSER)?;
        for (opening, offered, expected) in [
            (udp_3478, &all, &udp),
            (tcp_3478, &all, &tcp),
            (tcp_443, &all, &tls),
            // A listener for TLS takes plain TURN, too.
            (tcp_443, &plain, &tcp_at_443),
        ] {
            let name = format!("{REGION}: where only {opening:?} gets out, browsers call over {expected}");
            let call = async {
                netns.opens_only(&[opening]).await?;
                browser::goes_over(&netns, offered, expected).await
            };
            checks.check(&name, call).await;
        }
        let shut = async {
            netns.opens_only(&[]).await?;
            browser::fails(&netns, &all).await
        };
        checks.check(&format!("{REGION}: where nothing gets out, nobody reaches anybody"), shut).await;
        let stranger = Authority::new()?;
        let distrusting = [Server { address: tls.address, transport: Transport::Tls(stranger.file().to_owned()) }];
        let distrusted = async {
            netns.opens_only(&[tcp_443]).await?;
            browser::fails(&netns, &distrusting).await
        };
        checks
            .check(&format!("{REGION}: a browser that does not trust the certificate does not call"), distrusted)
            .await;
        checks.verdict()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchanged_certificate_is_shown_to_new_callers_and_costs_running_ones_nothing() -> Result<()> {
    with_listeners("certificate", "", async |region| {
        let mut checks = Checks::default();
        let relays = region.scenario.relays(REGION).await?;
        let echo = EchoPeer::start(&OUTSIDE, ECHO_PORT).await?;
        checks.check("every relay shows the certificate", region.all_show(&region.issued)).await;
        let mut calls = Vec::new();
        for server in region.tls_servers() {
            calls.push(Call::start(&server, &echo).await?);
        }
        let new = region.authority.issue(&names(&region.addresses))?;
        region.replace_certificate(&new).await?;
        let shown = wait::until("every relay shows the new certificate", EXCHANGED_WITHIN, async || {
            region.all_show(&new).await
        });
        checks.check("new connections see the new certificate in time", shown).await;
        for server in region.tls_servers() {
            pion::judge(&mut checks, &format!("{REGION} with the new certificate"), &server, &echo).await;
        }
        for call in calls {
            checks.check("a call from before has lost nothing", call.end()).await;
        }
        let unchanged = async {
            ensure!(region.scenario.relays(REGION).await? == relays, "relays were exchanged");
            Ok(())
        };
        checks.check("no relay was exchanged for it", unchanged).await;
        checks.verdict()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_ends_soon_is_told_of_until_it_is_renewed_and_the_region_is_ready_all_the_time() -> Result<()>
{
    let few_days = 10;
    with_certificate("expiry", "", few_days, async |region| {
        let mut checks = Checks::default();
        let unknown =
            wait::until("the network of these machines, which is virtual, is told of", TOLD_WITHIN, async || {
                region.tells(condition::CAPACITY_UNKNOWN, Some("NicUnknown")).await
            });
        checks.check("a machine of unknown capacity is told of", unknown).await;
        let told = wait::until("the certificate is told of", TOLD_WITHIN, async || {
            region.tells(condition::CERTIFICATE_EXPIRING, Some("ExpiresSoon")).await?;
            region.tells(condition::READY, Some("Serving")).await
        });
        checks.check("a certificate that ends soon is told of, and Ready is true", told).await;
        region.replace_certificate(&region.authority.issue(&names(&region.addresses))?).await?;
        let forgotten = wait::until("the new certificate is seen", EXCHANGED_WITHIN, async || {
            region.tells(condition::CERTIFICATE_EXPIRING, None).await?;
            region.tells(condition::READY, Some("Serving")).await
        });
        checks.check("a renewed certificate is not told of, and Ready is true", forgotten).await;
        checks.verdict()
    })
    .await
}

/// A region of two relays that serves, with what a client has to know of it.
struct Region {
    scenario: Scenario,
    authority: Authority,
    issued: Issued,
    /// Of its machines, IPv4 first.
    addresses: Vec<IpAddr>,
}

async fn with_listeners(topic: &str, more: &str, body: impl AsyncFnOnce(Region) -> Result<()>) -> Result<()> {
    with_certificate(topic, more, 90, body).await
}

async fn with_certificate(
    topic: &str,
    more: &str,
    days: i32,
    body: impl AsyncFnOnce(Region) -> Result<()>,
) -> Result<()> {
    scenario::with(topic, async |scenario| {
        let addresses = machine_addresses(&scenario.client, REGION).await?;
        let authority = Authority::new()?;
        let issued = authority.issue_for(&names(&addresses), days)?;
        scenario.secrets().create(&PostParams::default(), &secret(&issued)).await.context("no Secret for TLS")?;
        scenario.serving(REGION, &format!("{LISTENERS}{more}")).await?;
        body(Region { scenario, authority, issued, addresses }).await
    })
    .await
}

/// As cert-manager writes it.
fn secret(issued: &Issued) -> Secret {
    let parts = [("tls.crt", &issued.certificate), ("tls.key", &issued.key)];
    Secret {
        metadata: ObjectMeta { name: Some(TLS_SECRET.into()), ..ObjectMeta::default() },
        type_: Some("kubernetes.io/tls".into()),
        string_data: Some(parts.map(|(key, text)| (key.to_owned(), text.clone())).into()),
        ..Secret::default()
    }
}

/// Some clients know a relay by its address only.
fn names(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

impl Region {
    /// The listeners. The one for TLS takes plain TURN, too.
    fn ways(&self) -> [(u16, Transport); 4] {
        let tls = Transport::Tls(self.authority.file().to_owned());
        [(PORT, Transport::Udp), (PORT, Transport::Tcp), (TLS_PORT, Transport::Tcp), (TLS_PORT, tls)]
    }

    /// One relay over each of [`Region::ways`].
    fn servers(&self, relay: IpAddr) -> [Server; 4] {
        self.ways().map(|(port, transport)| Server { address: SocketAddr::new(relay, port), transport })
    }

    /// Every relay over TLS.
    fn tls_servers(&self) -> impl Iterator<Item = Server> {
        let v4 = self.addresses.iter().filter(|address| address.is_ipv4());
        v4.map(|address| {
            let [.., tls] = self.servers(*address);
            tls
        })
    }

    async fn all_show(&self, issued: &Issued) -> Result<()> {
        for server in self.tls_servers() {
            let shown = self.authority.served(server.address).await?;
            ensure!(shown == issued.der, "{server} at {} shows another certificate", server.address.ip());
        }
        Ok(())
    }

    /// Whether the region has this condition as true with this reason, or not at all.
    async fn tells(&self, kind: &str, reason: Option<&str>) -> Result<()> {
        let region = self.scenario.regions().get(REGION).await?;
        let told = wait::conditions(&region).iter().find(|one| one.type_ == kind && one.status == "True");
        ensure!(told.map(|one| one.reason.as_str()) == reason, "{kind} is {told:?}, not {reason:?}");
        Ok(())
    }

    async fn has_moved_allocations(&self) -> Result<()> {
        let mut moves = 0.0;
        for relay in self.scenario.relays(REGION).await? {
            let pod = self.scenario.pods().get(&relay.pod).await?;
            let text = operator::metrics(&self.scenario.client, &self.scenario.namespace, &pod, METRICS_PORT).await?;
            let of_relay = text.lines().filter(|line| line.starts_with("rtcfleet_turn_moves_total{"));
            moves += of_relay.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>();
        }
        ensure!(moves > 0.0, "no allocation has moved");
        Ok(())
    }

    async fn replace_certificate(&self, new: &Issued) -> Result<()> {
        let patch = json!({"stringData": {"tls.crt": new.certificate, "tls.key": new.key}});
        self.scenario.secrets().patch(TLS_SECRET, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }
}
