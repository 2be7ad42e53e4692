//! What the kinds of fleets have in common: slots that serve sessions, one a machine; how many there should be, which one
//! goes, and when. Pure: no client, no clock, no async. The same code decides in the cluster, in `operator plan` and in
//! `operator simulate`.
//!
//! A slot is a Deployment of one node. Slots are numbered from 0; a slot that goes frees its number.
//!
//! In the order of a pass:
//!
//! | file | asks |
//! |---|---|
//! | `policy` | what does the user ask for |
//! | `slot`, `machine` | what is there |
//! | `load` | how busy is it |
//! | `rules` | how many nodes does each rule want (R6.3, R8.4) |
//! | `schedule` | and the timetable |
//! | `history` | what was wanted before, and where is it going |
//! | `scale` | how many there should be, and what limits it |
//! | `rollout` | may the next node get the new revision |
//! | `victims` | which node goes first |
//! | `ending` | may this node be ended |
//! | `plan` | what to do next |
//! | `pace` | when to look again |
//!
//! `imagined` makes slots of nodes that nobody runs.

#![allow(clippy::cast_precision_loss, reason = "counts of nodes, seconds and bits a second are far below 2^52")]

pub mod ending;
pub mod history;
pub mod imagined;
pub mod load;
pub mod machine;
pub mod pace;
pub mod plan;
pub mod policy;
pub mod rollout;
pub mod rules;
pub mod scale;
pub mod schedule;
pub mod slot;
#[cfg(test)]
pub mod test_support;
pub mod victims;
