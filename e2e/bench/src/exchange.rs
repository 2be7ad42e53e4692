//! Requests of many clients to the server, some at a time, each repeated until it is answered.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use media_node::turn::proto::test_support::Answer;

use crate::clients::Clients;

/// Before a request is repeated; RFC 8489 section 6.2.1 has half a second, too, for a start.
const REPEAT: Duration = Duration::from_millis(500);
const TRIES: u32 = 8;

struct Waiting {
    request: Vec<u8>,
    asked: Instant,
    tries: u32,
}

/// Lets each of `members` ask what `next` says, `window` of them at a time, until all are through.
///
/// `next(member, answer)` gives the following request, or `None` when the member is through; its first call has no
/// answer. `other` gets what is no answer, with its client.
pub fn exchange(
    clients: &mut Clients,
    mut members: impl Iterator<Item = usize>,
    window: usize,
    mut next: impl FnMut(usize, Option<Answer>) -> Result<Option<Vec<u8>>>,
    mut other: impl FnMut(usize, &[u8]),
) -> Result<()> {
    let mut waiting: HashMap<usize, Waiting> = HashMap::with_capacity(window);
    let mut answers: Vec<(usize, Answer)> = Vec::new();
    let mut looked = Instant::now();
    loop {
        while waiting.len() < window {
            let Some(member) = members.next() else { break };
            if let Some(request) = next(member, None)? {
                ask(clients, &mut waiting, member, request)?;
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        clients.receive(|member, message| {
            if is_answer(message) {
                answers.push((member, Answer(message.to_vec())));
            } else {
                other(member, message);
            }
        })?;
        for (member, answer) in answers.drain(..) {
            // The answer to a repeated request may come twice.
            if waiting.get(&member).is_none_or(|waiting| waiting.request[8..20] != answer.0[8..20]) {
                continue;
            }
            waiting.remove(&member);
            if let Some(request) = next(member, Some(answer))? {
                ask(clients, &mut waiting, member, request)?;
            }
        }
        if looked.elapsed() > REPEAT / 10 {
            looked = Instant::now();
            repeat(clients, &mut waiting)?;
        }
    }
}

fn ask(clients: &mut Clients, waiting: &mut HashMap<usize, Waiting>, member: usize, request: Vec<u8>) -> Result<()> {
    // What is not taken now is repeated like what is lost.
    clients.send(member, &request, request.len())?;
    waiting.insert(member, Waiting { request, asked: Instant::now(), tries: 1 });
    Ok(())
}

fn repeat(clients: &mut Clients, waiting: &mut HashMap<usize, Waiting>) -> Result<()> {
    for (member, waiting) in waiting.iter_mut().filter(|(_, waiting)| waiting.asked.elapsed() > REPEAT) {
        if waiting.tries == TRIES {
            bail!("client {member} asked {TRIES} times in {:?} and got no answer", REPEAT * TRIES);
        }
        clients.send(*member, &waiting.request, waiting.request.len())?;
        waiting.tries += 1;
        waiting.asked = Instant::now();
    }
    Ok(())
}

/// A STUN success or error (RFC 8489 section 5, figure 3), whole.
pub fn is_answer(message: &[u8]) -> bool {
    message.len() >= 20 && message[0] < 0x40 && message[0] & 1 == 1
}
