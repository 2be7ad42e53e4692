//! The rtcfleet.dev API.
