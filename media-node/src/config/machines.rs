//! The file that tells each machine of a fleet its addresses.

use super::{Mistakes, check::relay_pairs, raw::RawMachines, yaml};
use crate::turn::proto::RelayAddresses;

/// What a machines file says of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Machine(Machine),
    /// The machine is not in it, or has no address yet: whoever keeps the file may still be at it.
    NotYet,
}

/// One machine with an address at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub relays: RelayAddresses,
    /// As the cloud calls its type.
    pub machine_type: Option<String>,
}

/// Looks `machine` up. Mistakes in the entries of other machines are not this one's business.
pub fn find(text: &str, machine: &str) -> Result<Found, Mistakes> {
    let (RawMachines { machines }, read) = yaml::read::<RawMachines>(text);
    let path = format!("machines.{machine}");
    let mut mistakes = Mistakes::default();
    for mistake in read.all() {
        let of_another = mistake.path.starts_with("machines.")
            && mistake.path != path
            && !mistake.path.starts_with(&format!("{path}."));
        if !of_another {
            mistakes.add(mistake.path.clone(), mistake.what.clone());
        }
    }
    let entry = machines.and_then(|mut machines| machines.remove(machine)).flatten();
    let Some(entry) = entry else {
        return if mistakes.is_empty() { Ok(Found::NotYet) } else { Err(mistakes) };
    };
    let pairs = relay_pairs(&path, entry.addresses, entry.public_addresses, &mut mistakes);
    match (pairs, mistakes.is_empty()) {
        (_, false) => Err(mistakes),
        (Some(relays), true) => Ok(Found::Machine(Machine { relays, machine_type: entry.machine_type })),
        (None, true) => Ok(Found::NotYet),
    }
}
