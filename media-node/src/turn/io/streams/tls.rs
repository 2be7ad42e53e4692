//! TLS between a socket's bytes and messages. rustls keeps nothing between two calls but what it cannot do without: the
//! beginning of a record that is not whole, at the most 18 KiB (64 KiB in a handshake).

use std::io::{BufRead, Write};

use rustls::{HandshakeKind, ServerConnection};

use super::counters::Handshake;

/// What came of received bytes.
#[derive(Debug)]
pub struct Opened {
    /// The handshake that they finished.
    pub handshake: Option<Handshake>,
    pub end: Option<End>,
}

/// There is nothing more to come.
#[derive(Debug)]
pub enum End {
    /// The client said so.
    Closed,
    Broken(rustls::Error),
}

/// Decrypts into `plain`, which is empty. What was whole before an end is in it.
pub fn open(tls: &mut ServerConnection, mut wire: &[u8], plain: &mut Vec<u8>) -> Opened {
    let mut opened = Opened { handshake: None, end: None };
    let handshaking = tls.is_handshaking();
    while !wire.is_empty() && opened.end.is_none() {
        opened.end = match tls.read_tls(&mut wire) {
            Ok(0) => Some(End::Closed),
            Ok(_) => match tls.process_new_packets() {
                Ok(state) if state.peer_has_closed() => Some(End::Closed),
                Ok(_) => None,
                Err(error) => Some(End::Broken(error)),
            },
            Err(error) => Some(End::Broken(rustls::Error::General(error.to_string()))),
        };
        take(tls, plain);
    }
    if handshaking && !tls.is_handshaking() {
        let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
        opened.handshake = Some(if resumed { Handshake::Resumed } else { Handshake::Full });
    }
    opened
}

fn take(tls: &mut ServerConnection, plain: &mut Vec<u8>) {
    let mut reader = tls.reader();
    // An error is that there is nothing more now.
    while let Ok(chunk @ [_, ..]) = reader.fill_buf() {
        let len = chunk.len();
        plain.extend_from_slice(chunk);
        reader.consume(len);
    }
}

/// Puts a message into a record of its own (more, if it is longer than a record can be) and that behind `out`. Some
/// clients see no more than the first message of a record.
pub fn seal(tls: &mut ServerConnection, message: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    tls.writer().write_all(message)?;
    flush(tls, out);
    Ok(())
}

/// Moves what rustls has to say itself behind `out`: handshakes, tickets, alerts.
pub fn flush(tls: &mut ServerConnection, out: &mut Vec<u8>) {
    while tls.wants_write() {
        // A Vec takes everything.
        if !matches!(tls.write_tls(out), Ok(1..)) {
            return;
        }
    }
}
