use hickory_proto::rr::RecordData as _;

use super::*;
use crate::publish::Ttl;

fn owner(name: &str) -> Owner {
    Owner::new("calls", name, "1").unwrap()
}

fn addresses(ttl: u32, list: &[&str]) -> Addresses {
    Addresses::new(ttl, list.iter().map(|text| text.parse().unwrap()))
}

fn wanted(ttl: u32, list: &[&str]) -> RecordSet {
    let all = list.iter().map(|text| text.parse().unwrap());
    RecordSet::new("t.example".parse().unwrap(), owner("ours"), Ttl::new(ttl).unwrap(), all).unwrap()
}

/// A line a record: its section, name, class and type, and for one that is added its TTL, then its data.
fn told(change: &Change) -> Vec<String> {
    let line = |sign: &str, record: &Record| {
        let data = if record.data.is_update() { String::new() } else { format!(" {}", record.data) };
        let ttl =
            if sign == "!" && record.dns_class == DNSClass::IN { format!(" {}", record.ttl) } else { String::new() };
        format!("{sign} {} {} {}{ttl}{data}", record.name, record.dns_class, record.record_type())
    };
    let prerequisites = change.prerequisites.iter().map(|record| line("?", record));
    prerequisites.chain(change.updates.iter().map(|record| line("!", record))).collect()
}

const NO_ALIAS: &str = "? t.example. NONE CNAME";
const NO_A: &str = "? t.example. NONE A";
const NO_AAAA: &str = "? t.example. NONE AAAA";
const NO_OWNER: &str = "? _rtc-fleet.t.example. NONE TXT";
const OUR_OWNER: &str = "? _rtc-fleet.t.example. IN TXT heritage=rtc-fleet,owner=calls/ours/1";
const WRITE_OWNER: &str = "! _rtc-fleet.t.example. IN TXT 60 heritage=rtc-fleet,owner=calls/ours/1";

#[test]
fn an_update_replaces_what_is_expected_and_nothing_else() {
    let both = ["192.0.2.1", "2001:db8::1"];
    let foreign = Answer { addresses: addresses(300, &["192.0.2.9"]), owner: Ownership::Owner(owner("other")) };
    for (case, wanted, expected, lines) in [
        (
            "a first publication asks that nothing is there, and writes all",
            wanted(30, &both),
            Expected::Nothing,
            vec![
                NO_ALIAS,
                NO_A,
                NO_AAAA,
                NO_OWNER,
                "! t.example. IN A 30 192.0.2.1",
                "! t.example. IN AAAA 30 2001:db8::1",
                WRITE_OWNER,
            ],
        ),
        (
            "a change asks for all of it, and writes the family that changes",
            wanted(30, &["192.0.2.2", "2001:db8::1"]),
            Expected::Ours(addresses(30, &both)),
            vec![
                "? t.example. IN A 192.0.2.1",
                "? t.example. IN AAAA 2001:db8::1",
                OUR_OWNER,
                "! t.example. ANY A",
                "! t.example. IN A 30 192.0.2.2",
            ],
        ),
        (
            "another TTL writes both families anew",
            wanted(60, &both),
            Expected::Ours(addresses(30, &both)),
            vec![
                "? t.example. IN A 192.0.2.1",
                "? t.example. IN AAAA 2001:db8::1",
                OUR_OWNER,
                "! t.example. ANY A",
                "! t.example. IN A 60 192.0.2.1",
                "! t.example. ANY AAAA",
                "! t.example. IN AAAA 60 2001:db8::1",
            ],
        ),
        (
            "a family that goes is deleted",
            wanted(30, &["192.0.2.1"]),
            Expected::Ours(addresses(30, &both)),
            vec!["? t.example. IN A 192.0.2.1", "? t.example. IN AAAA 2001:db8::1", OUR_OWNER, "! t.example. ANY AAAA"],
        ),
        (
            "what is there already is asked for and not written",
            wanted(30, &["192.0.2.1"]),
            Expected::Ours(addresses(30, &["192.0.2.1"])),
            vec!["? t.example. IN A 192.0.2.1", NO_AAAA, OUR_OWNER],
        ),
        (
            "addresses that somebody removed are written again",
            wanted(30, &["192.0.2.1"]),
            Expected::Ours(Addresses::default()),
            vec![NO_ALIAS, NO_A, NO_AAAA, OUR_OWNER, "! t.example. IN A 30 192.0.2.1"],
        ),
        (
            "taking over replaces exactly what was seen, its owner included",
            wanted(30, &["192.0.2.1"]),
            Expected::TakeOver(foreign),
            vec![
                "? t.example. IN A 192.0.2.9",
                NO_AAAA,
                "? _rtc-fleet.t.example. IN TXT heritage=rtc-fleet,owner=calls/other/1",
                "! t.example. ANY A",
                "! t.example. IN A 30 192.0.2.1",
                "! _rtc-fleet.t.example. ANY TXT",
                WRITE_OWNER,
            ],
        ),
    ] {
        let got = publish(&wanted, &expected).unwrap();
        assert_eq!(told(&got), lines, "{case}");
    }
}

#[test]
fn a_withdrawal_removes_what_was_found_if_it_still_is_there() {
    let found = Answer { addresses: addresses(30, &["192.0.2.1"]), owner: Ownership::Owner(owner("ours")) };
    let got = withdraw(&"t.example".parse().unwrap(), &found).unwrap();
    let lines =
        ["? t.example. IN A 192.0.2.1", NO_AAAA, OUR_OWNER, "! t.example. ANY A", "! _rtc-fleet.t.example. ANY TXT"];
    assert_eq!(told(&got), lines);
}

#[test]
fn whether_a_name_is_free_is_asked_without_a_change() {
    let got = free(&"t.example".parse().unwrap()).unwrap();
    assert_eq!(told(&got), [NO_ALIAS, NO_A, NO_AAAA, NO_OWNER]);
    assert!(got.is_empty());
}

#[test]
fn the_update_that_changes_nothing_deletes_one_impossible_record_of_each_type() {
    let got = nothing(&"t.example".parse().unwrap()).unwrap();
    let lines = [
        "! t.example. NONE A 0.0.0.0",
        "! t.example. NONE AAAA ::",
        "! _rtc-fleet.t.example. NONE TXT rtc-fleet check",
    ];
    assert_eq!(told(&got), lines);
}

#[test]
fn sixteen_addresses_of_each_family_fit_into_one_message() {
    let list: Vec<String> = (1..=16).flat_map(|n| [format!("192.0.2.{n}"), format!("2001:db8::{n}")]).collect();
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let before = addresses(60, &list);
    let change = publish(&wanted(30, &list), &Expected::Ours(before)).unwrap();
    let octets = change.message(&"example".parse().unwrap()).unwrap().to_vec().unwrap().len();
    assert!(octets < 4096, "{octets}");
}
