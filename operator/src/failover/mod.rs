//! Which regions the answer of a name holds. A dead region leaves it in seconds, a healthy one never does. R1.6, R8.3.
//!
//! Pure: no client, no clock, no async. What was seen is a value ([`watch::Watch`], in memory, bounded, and safe to lose:
//! until enough is known again nothing changes), and so is what was decided ([`region::Region`], which stands in the
//! status, so that hold-downs and failbacks outlive a leader).
//!
//! In the order of a look:
//!
//! | file | asks |
//! |---|---|
//! | `policy`, `validate` | what does the user ask for |
//! | `verdict` | what do probers tell |
//! | `probe` | does one vantage point see one relay work |
//! | `watch` | what has been told, and by whom |
//! | `seen` | what is there, and which relays can be published |
//! | `votes` | what does a quorum of vantage points agree on |
//! | `region` | what was decided about a region |
//! | `freeze` | may anything change |
//! | `turns` | who leaves, who returns, who takes a step |
//! | `hold_down` | how long does a region stay out |
//! | `survivors` | how much can the others carry |
//! | `shares` | which part of the callers does each region get |
//! | `slots`, `answer` | which addresses is that |
//! | `decide` | all of it |

#![allow(clippy::cast_precision_loss, reason = "counts of nodes, votes and percents are far below 2^52")]

pub mod answer;
pub mod choice;
pub mod decide;
pub mod freeze;
pub mod hold_down;
pub mod policy;
pub mod probe;
#[cfg(test)]
mod properties;
pub mod region;
pub mod seen;
pub mod shares;
pub mod slots;
pub mod survivors;
#[cfg(test)]
mod test_support;
pub mod turns;
pub mod validate;
pub mod verdict;
pub mod votes;
pub mod watch;
