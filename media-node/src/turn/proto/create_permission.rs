//! CreatePermission (RFC 8656 section 10.2): every peer named, or none.

use std::net::IpAddr;

use super::allocation::Slot;
use super::config::Family;
use super::counters::{Outcome, Refusal};
use super::peer::{Standing, standing};
use super::server::{Request, Server, Success};

impl Server {
    pub(super) fn create_permission(&mut self, request: &Request<'_>, slot: Slot) -> Result<Success, Outcome> {
        let allocation = self.allocations.get_mut(slot).ok_or(Outcome::AllocationMismatch)?;
        let peers: Option<Vec<IpAddr>> = request.message.peers().map(|peer| peer.map(|peer| peer.ip())).collect();
        let peers = peers.filter(|peers| !peers.is_empty()).ok_or(Outcome::BadRequest)?;
        // Each is looked up in the lists of the deployment, which are long: so not thousands of them for one datagram.
        if peers.len() > self.terms.limits.permissions {
            return Err(self.counters().refuse(Refusal::Permissions));
        }
        if peers.iter().any(|peer| allocation.relay(Family::of(*peer)).is_none()) {
            return Err(Outcome::PeerAddressFamilyMismatch);
        }
        let own = self.shared.own_addresses();
        let policy = &self.terms.peers;
        if peers.iter().any(|peer| standing(&self.config.relays, policy, &own, *peer) == Standing::Forbidden) {
            return Err(Outcome::Forbidden);
        }
        let (lifetime, limit) = (self.config.lifetimes.permission, self.terms.limits.permissions);
        allocation
            .permissions
            .install(&peers, request.now.instant, lifetime, limit)
            .map_err(|_| self.counters().refuse(Refusal::Permissions))?;
        Ok(Success::Done)
    }
}
