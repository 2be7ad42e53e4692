//! Clients over TCP and TLS.

use std::io;

use anyhow::{Result, bail};

use crate::row::Transport;

pub struct Streams;

impl Streams {
    pub fn new(transport: Transport) -> Result<Self> {
        bail!("{transport:?} rows are not measured yet: choose udp")
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    pub fn send(&mut self, _index: usize, _messages: &[u8]) -> io::Result<bool> {
        Ok(false)
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    pub fn receive(&mut self, _each: impl FnMut(usize, &[u8])) -> io::Result<usize> {
        Ok(0)
    }
}
