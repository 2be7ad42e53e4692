//! What is there is neither what is wanted nor what was expected: what does that mean? Pure.

use super::{Answer, Expected, Ownership, PublishError, RecordSet};

/// `server`: where it is.
pub fn refusal(wanted: &RecordSet, expected: &Expected, found: Answer, server: String) -> PublishError {
    let name = wanted.name().clone();
    let is_ours = found.owner.is(wanted.owner());
    let is_free = found.addresses.is_empty() && found.owner == Ownership::Nobody;
    let may_take = matches!(expected, Expected::TakeOver(_));
    let found = Box::new(found);
    if is_ours || is_free || may_take {
        PublishError::Conflict { server, name, found }
    } else {
        PublishError::Foreign { server, name, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::{Addresses, Owner, Ttl};

    fn found(ttl: u32, list: &[&str], owner: Ownership) -> Answer {
        Answer { addresses: Addresses::new(ttl, list.iter().map(|text| text.parse().unwrap())), owner }
    }

    #[test]
    fn whose_it_is_decides_what_a_refused_publication_means() {
        let owner = |name| Owner::new("calls", name, "1").unwrap();
        let ours = || Ownership::Owner(owner("ours"));
        let other = || Ownership::Owner(owner("other"));
        let claimed = || Ownership::Owner(owner("ours").claiming(2));
        let address = "192.0.2.1".parse().unwrap();
        let wanted =
            RecordSet::new("t.example".parse().unwrap(), owner("ours"), Ttl::new(30).unwrap(), [address]).unwrap();
        let take_over = Expected::TakeOver(found(30, &["192.0.2.9"], other()));
        let wild = || Ownership::read([vec![b"v=spf1 -all".to_vec()]].into());
        for (case, expected, found, verdict) in [
            (
                "the wanted set under another claim",
                &Expected::Nothing,
                found(30, &["192.0.2.1"], claimed()),
                "conflict",
            ),
            ("other addresses of ours", &Expected::Nothing, found(30, &["192.0.2.2"], ours()), "conflict"),
            ("the same with another TTL", &Expected::Nothing, found(60, &["192.0.2.1"], ours()), "conflict"),
            ("ours without addresses", &Expected::Nothing, found(0, &[], ours()), "conflict"),
            ("gone", &Expected::Ours(Addresses::default()), found(0, &[], Ownership::Nobody), "conflict"),
            (
                "the same addresses, of nobody",
                &Expected::Nothing,
                found(30, &["192.0.2.1"], Ownership::Nobody),
                "foreign",
            ),
            ("the same addresses, of another", &Expected::Nothing, found(30, &["192.0.2.1"], other()), "foreign"),
            ("another's record and no address", &Expected::Nothing, found(0, &[], other()), "foreign"),
            ("a record that is not ours", &Expected::Nothing, found(0, &[], wild()), "foreign"),
            ("another than was to be taken over", &take_over, found(30, &["192.0.2.8"], other()), "conflict"),
        ] {
            let got = match refusal(&wanted, expected, found, "ns1.example".into()) {
                PublishError::Conflict { .. } => "conflict",
                PublishError::Foreign { .. } => "foreign",
                other => panic!("{case}: {other:?}"),
            };
            assert_eq!(got, verdict, "{case}");
        }
    }
}
