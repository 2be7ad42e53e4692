//! Behaviour, in virtual time. A file a topic; what must hold in any order of events is in `properties`.

mod properties;
mod vectors;
