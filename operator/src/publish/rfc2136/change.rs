//! What an UPDATE asks for: prerequisites from what is expected, changes from the difference to what is wanted. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::{
    ProtoError,
    op::{Message, OpCode, Query},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, TXT},
    },
};

use crate::publish::{Addresses, Answer, DnsName, Expected, Owner, Ownership, PublishError, RecordSet};

/// Before a name for the record of its owner.
const OWNER_LABEL: &str = "_rtc-fleet";
/// Seconds. Nobody looks at it but us, and we ask the authoritative servers.
const OWNER_TTL: u32 = 60;

/// The two middle sections of an UPDATE (RFC 2136 section 2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    prerequisites: Vec<Record>,
    updates: Vec<Record>,
}

impl Change {
    /// Nothing would be written; the prerequisites are checked all the same.
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }

    pub fn message(&self, zone: &DnsName) -> Result<Message, PublishError> {
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.add_query(Query::query(name_of(zone)?, RecordType::SOA));
        message.add_answers(self.prerequisites.iter().cloned());
        message.add_authorities(self.updates.iter().cloned());
        Ok(message)
    }
}

/// From `expected` to `wanted`. An RRset that stays is not mentioned, so that nothing is transferred for it; one that
/// changes is deleted and added, because that alone changes the TTL of every record on every server.
pub fn publish(wanted: &RecordSet, expected: &Expected) -> Result<Change, PublishError> {
    let found = before(wanted.owner(), expected);
    let at = Names::of(wanted.name())?;
    let before = Wanted { addresses: &found.addresses, owner: &found.owner };
    let ours = Ownership::Owner(wanted.owner().clone());
    let after = Wanted { addresses: wanted.addresses(), owner: &ours };
    Ok(change(&at, &before, &after))
}

/// Removes what was found.
pub fn withdraw(name: &DnsName, found: &Answer) -> Result<Change, PublishError> {
    let before = Wanted { addresses: &found.addresses, owner: &found.owner };
    let after = Wanted { addresses: &Addresses::default(), owner: &Ownership::Nobody };
    Ok(change(&Names::of(name)?, &before, &after))
}

/// Only asks whether the name is free, and an answer by a wildcard does not count.
pub fn free(name: &DnsName) -> Result<Change, PublishError> {
    let nothing = Wanted { addresses: &Addresses::default(), owner: &Ownership::Nobody };
    Ok(change(&Names::of(name)?, &nothing, &nothing))
}

/// An update that needs every right of a publication and changes nothing: deletes single records (RFC 2136 section
/// 2.5.4) that no `RecordSet` and no `Owner` can hold.
pub fn nothing(name: &DnsName) -> Result<Change, PublishError> {
    let at = Names::of(name)?;
    let none = [
        (&at.addresses, RData::A(A(Ipv4Addr::UNSPECIFIED))),
        (&at.addresses, RData::AAAA(AAAA(Ipv6Addr::UNSPECIFIED))),
        (&at.owner, RData::TXT(TXT::from_bytes(vec![b"rtc-fleet check"]))),
    ];
    let delete = |(name, data): (&Name, RData)| {
        let mut record = Record::from_rdata(name.clone(), 0, data);
        record.dns_class = DNSClass::NONE;
        record
    };
    Ok(Change { prerequisites: Vec::new(), updates: none.into_iter().map(delete).collect() })
}

fn before(owner: &Owner, expected: &Expected) -> Answer {
    match expected {
        Expected::Nothing => Answer { addresses: Addresses::default(), owner: Ownership::Nobody },
        Expected::Ours(addresses) => Answer { addresses: addresses.clone(), owner: Ownership::Owner(owner.clone()) },
        Expected::TakeOver(found) => found.clone(),
    }
}

/// One side of the difference.
struct Wanted<'a> {
    addresses: &'a Addresses,
    owner: &'a Ownership,
}

/// A name, and that of its owner's record.
pub struct Names {
    pub addresses: Name,
    pub owner: Name,
}

impl Names {
    pub fn of(name: &DnsName) -> Result<Self, PublishError> {
        let addresses = name_of(name)?;
        let owner = addresses.prepend_label(OWNER_LABEL).map_err(|error| unwritable(&error))?;
        Ok(Self { addresses, owner })
    }
}

pub fn name_of(name: &DnsName) -> Result<Name, PublishError> {
    let mut name = Name::from_ascii(name.as_str()).map_err(|error| unwritable(&error))?;
    name.set_fqdn(true);
    Ok(name)
}

fn unwritable(error: &ProtoError) -> PublishError {
    PublishError::Unwritable { what: error.to_string() }
}

fn change(at: &Names, before: &Wanted<'_>, after: &Wanted<'_>) -> Change {
    let mut change = Change::default();
    if before.addresses.is_empty() {
        // Servers ignore an address beside an alias in silence (RFC 2136 section 3.4.2.2).
        change.prerequisites.push(bare(&at.addresses, DNSClass::NONE, RecordType::CNAME));
    }
    let ttl = |side: &Wanted<'_>| side.addresses.ttl;
    let sides = [before, after];
    let ipv4 = sides.map(|side| (ttl(side), side.addresses.ipv4.iter().map(|ip| RData::A(A(*ip))).collect()));
    let ipv6 = sides.map(|side| (ttl(side), side.addresses.ipv6.iter().map(|ip| RData::AAAA(AAAA(*ip))).collect()));
    let txt = sides.map(|side| (OWNER_TTL, side.owner.records().iter().map(|strings| txt(strings)).collect()));
    change.rrset(&at.addresses, RecordType::A, ipv4);
    change.rrset(&at.addresses, RecordType::AAAA, ipv6);
    change.rrset(&at.owner, RecordType::TXT, txt);
    change
}

fn txt(strings: &[Vec<u8>]) -> RData {
    RData::TXT(TXT::from_bytes(strings.iter().map(Vec::as_slice).collect()))
}

/// TTL and records of one RRset.
type Rrset = (u32, Vec<RData>);

impl Change {
    fn rrset(&mut self, name: &Name, kind: RecordType, [before, after]: [Rrset; 2]) {
        if before.1.is_empty() {
            self.prerequisites.push(bare(name, DNSClass::NONE, kind));
        }
        self.prerequisites.extend(before.1.iter().map(|data| Record::from_rdata(name.clone(), 0, data.clone())));
        if before == after || (before.1.is_empty() && after.1.is_empty()) {
            return;
        }
        if !before.1.is_empty() {
            self.updates.push(bare(name, DNSClass::ANY, kind));
        }
        let (ttl, records) = after;
        self.updates.extend(records.into_iter().map(|data| Record::from_rdata(name.clone(), ttl, data)));
    }
}

/// A record without data: as a prerequisite of class NONE "there is no such RRset" (RFC 2136 section 2.4.3), as an
/// update of class ANY "delete it" (section 2.5.2).
fn bare(name: &Name, class: DNSClass, kind: RecordType) -> Record {
    let mut record = Record::update0(name.clone(), 0, kind).into_record_of_rdata();
    record.dns_class = class;
    record
}

#[cfg(test)]
mod tests;
