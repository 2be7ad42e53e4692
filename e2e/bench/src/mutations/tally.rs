//! What was answered to what, in bytes on the wire.

use std::collections::BTreeMap;

use media_node::turn::proto::attribute::ERROR_CODE;
use media_node::turn::proto::message::{ChannelData, Class, Message, method};

use crate::table::Table;

/// Headers of IPv4 and UDP.
const HEADERS: u64 = 28;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// No credentials for this address, ever.
    Stranger,
    /// With an allocation and its nonce.
    Member,
}

/// Sums over the packets of one kind.
#[derive(Clone, Debug, Default)]
struct Sum {
    sent: u64,
    /// By code, 0 for success.
    answered: BTreeMap<u16, u64>,
    bytes_in: u64,
    bytes_out: u64,
    /// Answer over request, of the worst packet.
    worst: f64,
}

/// One answer: how long, and its code.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    length: usize,
    code: u16,
}

impl Answered {
    /// Whatever came back; what is no answer has code 0, too, and counts in full.
    pub fn read(message: &[u8]) -> Self {
        let error = Message::decode(message).ok().and_then(|message| message.attribute(ERROR_CODE));
        let code = match error {
            Some(&[_, _, class, number, ..]) => u16::from(class) * 100 + u16::from(number),
            _ => 0,
        };
        Self { length: message.len(), code }
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    sums: BTreeMap<(Sender, &'static str), Sum>,
}

impl Tally {
    /// `answers` are all that came back for `packet`. Returns the ratio on the wire.
    pub fn add(&mut self, sender: Sender, packet: &[u8], answers: &[Answered]) -> f64 {
        let bytes_in = packet.len() as u64 + HEADERS;
        let bytes_out: u64 = answers.iter().map(|answer| answer.length as u64 + HEADERS).sum();
        let ratio = bytes_out as f64 / bytes_in as f64;
        let sum = self.sums.entry((sender, name(packet))).or_default();
        sum.sent += 1;
        for answer in answers {
            *sum.answered.entry(answer.code).or_default() += 1;
        }
        sum.bytes_in += bytes_in;
        sum.bytes_out += bytes_out;
        sum.worst = sum.worst.max(ratio);
        ratio
    }

    /// Answers of success to members: without any, the packets never got past authentication.
    pub fn successes(&self) -> u64 {
        let members = self.sums.iter().filter(|((sender, _), _)| *sender == Sender::Member);
        members.filter_map(|(_, sum)| sum.answered.get(&0)).sum()
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new(&["sender", "packet", "sent", "answers, by code", "bytes out / in", "worst packet"]);
        for ((sender, name), sum) in &self.sums {
            table.push(vec![
                format!("{sender:?}").to_lowercase(),
                (*name).to_owned(),
                sum.sent.to_string(),
                codes(&sum.answered),
                format!("{:.2}", sum.bytes_out as f64 / sum.bytes_in as f64),
                format!("{:.2}", sum.worst),
            ]);
        }
        table
    }
}

fn codes(answered: &BTreeMap<u16, u64>) -> String {
    let word = |(code, count): (&u16, &u64)| match code {
        0 => format!("success: {count}"),
        code => format!("{code}: {count}"),
    };
    answered.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// What a packet is after it was changed.
fn name(packet: &[u8]) -> &'static str {
    let Ok(message) = Message::decode(packet) else {
        return match packet.first() {
            Some(0x40..=0x7F) if ChannelData::decode(packet).is_some() => "channel data",
            _ => "no message",
        };
    };
    match (message.class(), message.method()) {
        (Class::Request, method::BINDING) => "Binding request",
        (Class::Request, method::ALLOCATE) => "Allocate request",
        (Class::Request, method::REFRESH) => "Refresh request",
        (Class::Request, method::CREATE_PERMISSION) => "CreatePermission request",
        (Class::Request, method::CHANNEL_BIND) => "ChannelBind request",
        (Class::Request, _) => "request of another method",
        (Class::Indication, _) => "indication",
        (Class::Success | Class::Error, _) => "answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_count_the_headers_of_ip_and_udp() {
        let mut tally = Tally::default();
        let ratio = tally.add(Sender::Stranger, &[0; 20], &[Answered { length: 116, code: 401 }]);
        assert!((ratio - 3.0).abs() < f64::EPSILON, "{ratio}");
        assert!((tally.add(Sender::Stranger, &[0; 20], &[])).abs() < f64::EPSILON);
    }

    #[test]
    fn a_packet_is_named_by_what_it_is() {
        for (name_of, bytes) in media_node::turn::proto::fuzzing::messages() {
            let expected = match name_of.as_str() {
                "channel-data" => "channel data",
                send if send.ends_with("send") => "indication",
                answer if answer.ends_with("answer") => "answer",
                _ => "request",
            };
            assert!(name(&bytes).contains(expected), "{name_of}: {}", name(&bytes));
        }
        assert_eq!(name(&[0xFF; 30]), "no message");
    }
}
