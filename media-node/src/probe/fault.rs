//! Why a probe failed: the stage, the server's code, and what to look at.

use std::net::{IpAddr, SocketAddr};

use rtcfleet_node_api::{MAX_DETAIL, Stage};

/// What kept a caller from talking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub stage: Stage,
    /// What the server answered, if it did.
    pub code: Option<u16>,
    /// For people. At most [`MAX_DETAIL`] bytes, printable.
    pub detail: String,
}

impl Fault {
    pub fn new(stage: Stage, detail: impl Into<String>) -> Self {
        Self { stage, code: None, detail: printable(&detail.into()) }
    }

    pub fn silence(stage: Stage) -> Self {
        Self::new(stage, "no answer in time: nothing listens there, or packets do not get there or back")
    }

    /// An error code where there should have been none.
    pub fn refused(stage: Stage, code: u16, peer: Option<IpAddr>) -> Self {
        let advice = match (stage, code) {
            (_, 300) => "it sends new clients to other servers: it drains".to_owned(),
            (Stage::Allocate, 401) => "the credentials are refused: compare the secrets, the clocks, and the server's \
                                       longest ttl with the prober's auth.ttl"
                .to_owned(),
            (Stage::Allocate, 486) => "no more allocations for this user".to_owned(),
            (Stage::Allocate, 508) => "it takes no new allocations: it is full, or drains".to_owned(),
            (Stage::Permission, 403) => {
                let peer = peer.map_or_else(String::new, |peer| format!(" {peer}"));
                format!("the relay refuses the echo peer{peer}: allow it as a peer, or choose another `echo`")
            }
            (Stage::Permission, 443) => "the echo peer is of another address family than the relay".to_owned(),
            (Stage::Allocate, 440) => "it relays in neither address family that was asked for".to_owned(),
            (_, 438) => "the nonce is stale again and again".to_owned(),
            _ => String::new(),
        };
        let detail = if advice.is_empty() { format!("answered {code}") } else { format!("answered {code}: {advice}") };
        Self { code: Some(code), ..Self::new(stage, detail) }
    }

    /// Nothing came back.
    pub fn black_hole(sent: u32, halfway: u32, peer: SocketAddr) -> Self {
        let way = if halfway > 0 {
            format!("{halfway} of them came as far as the client: what the relay sends does not arrive")
        } else {
            "look at firewalls between relayed ports and their peers, and at the relay's public address".to_owned()
        };
        Self::new(Stage::Echo, format!("none of {sent} packets came back by way of {peer}: {way}"))
    }
}

/// Without anything that could play tricks on a terminal, and of bounded length: parts of it may come from a server.
fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().map(clean).take(MAX_DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_printable_and_bounded_whatever_a_server_says() {
        let fault = Fault::new(Stage::Tls, format!("\u{1b}[2J\u{2028}é{}", "x".repeat(1000)));
        assert!(fault.detail.starts_with("?[2J??x"), "{}", fault.detail);
        assert_eq!(fault.detail.len(), MAX_DETAIL);
    }

    #[test]
    fn a_refusal_says_its_code_and_what_to_do() {
        let peer = Some("10.0.0.9".parse().unwrap());
        let fault = Fault::refused(Stage::Permission, 403, peer);
        assert_eq!((fault.stage, fault.code), (Stage::Permission, Some(403)));
        assert!(fault.detail.contains("10.0.0.9") && fault.detail.contains("allow it"), "{}", fault.detail);
        assert_eq!(Fault::refused(Stage::Allocate, 599, None).detail, "answered 599");
    }
}
