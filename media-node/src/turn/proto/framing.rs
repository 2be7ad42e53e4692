//! Where a message on a stream ends and the next begins (RFC 8489 section 6.2.2, RFC 8656 section 12.5). Nothing else is
//! between them, so what is no message cannot be skipped: the connection has to be closed.

use super::attribute::MAGIC_COOKIE;
use super::message::HEADER;

/// Of a channel data message: number and length.
const CHANNEL_HEADER: usize = 4;
/// Where the magic cookie ends.
const COOKIE_END: usize = 8;

/// The longest frame: a STUN header, and the largest length that is a multiple of four.
pub const FRAME_MAX: usize = HEADER + 65_532;

/// What a stream begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A frame of so many bytes, padding included, all of which are there.
    Frame(usize),
    /// So many more bytes are needed to tell more. Never 0, and never more than the frame has.
    Missing(usize),
}

/// A stream that is neither STUN nor channel data from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Whether a message of ours can begin so. RFC 7983, except that channel numbers reach up to 0x7FFF: clients of RFC 5766
/// choose from all of them.
pub fn can_begin(first: u8) -> bool {
    matches!(first, 0x00..=0x03 | 0x40..=0x7F)
}

/// The first frame in `bytes`, which follow the last one, if it may have `longest` bytes.
pub fn next(bytes: &[u8], longest: usize) -> Result<Next, Broken> {
    let Some(first) = bytes.first() else { return Ok(Next::Missing(CHANNEL_HEADER)) };
    if !can_begin(*first) {
        return Err(Broken);
    }
    let is_stun = *first < 0x40;
    // As soon as enough is there, and not only with the whole header: who says little may never say more.
    if is_stun && bytes.get(COOKIE_END - MAGIC_COOKIE.len()..COOKIE_END).is_some_and(|cookie| cookie != MAGIC_COOKIE) {
        return Err(Broken);
    }
    let &[_, _, high, low, ..] = bytes else { return Ok(Next::Missing(CHANNEL_HEADER - bytes.len())) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let frame = match is_stun {
        true if !length.is_multiple_of(4) => return Err(Broken),
        true => HEADER + length,
        false => CHANNEL_HEADER + length.next_multiple_of(4),
    };
    if frame > longest {
        return Err(Broken);
    }
    match frame.saturating_sub(bytes.len()) {
        0 => Ok(Next::Frame(frame)),
        // The cookie first: see above.
        _ if is_stun && bytes.len() < COOKIE_END => Ok(Next::Missing(COOKIE_END - bytes.len())),
        missing => Ok(Next::Missing(missing)),
    }
}

/// The beginning of a frame whose end has not arrived. Takes no memory while there is none.
#[derive(Debug, Default)]
pub struct Rest(Vec<u8>);

impl Rest {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves bytes from the front of `input` behind what is kept, up to the end of the frame and no further. The frame, once
    /// it is whole; then nothing is kept any more.
    pub fn complete(&mut self, input: &mut &[u8], longest: usize) -> Result<Option<Vec<u8>>, Broken> {
        loop {
            match next(&self.0, longest)? {
                Next::Frame(_) => return Ok(Some(std::mem::take(&mut self.0))),
                Next::Missing(_) if input.is_empty() => return Ok(None),
                Next::Missing(missing) => {
                    let (now, later) = input.split_at(missing.min(input.len()));
                    self.0.extend_from_slice(now);
                    *input = later;
                }
            }
        }
    }

    /// Keeps the beginning of a frame. Only when nothing is kept.
    pub fn keep(&mut self, beginning: &[u8]) {
        self.0 = beginning.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn stun(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let header = [&[0, 1, high, low], &MAGIC_COOKIE[..], &[7; 12]].concat();
        [header, vec![0xAB; length.into()]].concat()
    }

    fn channel(number: u16, length: u16) -> Vec<u8> {
        let header = [number.to_be_bytes(), length.to_be_bytes()].concat();
        [header, vec![0xCD; usize::from(length).next_multiple_of(4)]].concat()
    }

    /// The frames in pieces of a stream, as a connection finds them, and whether it broke.
    fn frames(pieces: &[&[u8]], longest: usize) -> (Vec<Vec<u8>>, bool) {
        let (mut found, mut rest) = (Vec::new(), Rest::default());
        for piece in pieces {
            let mut input = *piece;
            if !rest.is_empty() {
                match rest.complete(&mut input, longest) {
                    Ok(Some(frame)) => found.push(frame),
                    Ok(None) => continue,
                    Err(Broken) => return (found, true),
                }
            }
            while !input.is_empty() {
                match next(input, longest) {
                    Ok(Next::Frame(length)) => {
                        found.push(input[..length].to_vec());
                        input = &input[length..];
                    }
                    Ok(Next::Missing(missing)) => {
                        assert!(missing > 0);
                        rest.keep(input);
                        input = &[];
                    }
                    Err(Broken) => return (found, true),
                }
            }
        }
        (found, false)
    }

    #[test]
    fn a_frame_ends_where_its_length_says_and_channel_data_behind_its_padding() {
        for (case, bytes, expected) in [
            ("nothing", vec![], Next::Missing(4)),
            ("a header of channel data", vec![0x40, 0, 0, 5], Next::Missing(8)),
            ("padded", channel(0x4000, 5), Next::Frame(12)),
            ("empty", channel(0x4000, 0), Next::Frame(4)),
            ("a channel of RFC 5766", channel(0x7FFF, 4), Next::Frame(8)),
            ("the longest channel data", channel(0x4000, 65_535), Next::Frame(65_540)),
            ("a STUN header", stun(0), Next::Frame(20)),
            ("the longest STUN message", stun(65_532), Next::Frame(FRAME_MAX)),
            ("up to the cookie first", stun(8)[..4].to_vec(), Next::Missing(4)),
            ("behind the cookie", stun(8)[..8].to_vec(), Next::Missing(20)),
            ("more than one", [stun(4), stun(4)].concat(), Next::Frame(24)),
        ] {
            assert_eq!(next(&bytes, FRAME_MAX), Ok(expected), "{case}");
        }
    }

    #[test]
    fn what_is_no_message_of_ours_is_found_broken_as_early_as_can_be() {
        for (case, bytes) in [
            ("TLS", vec![0x16]),
            ("HTTP", vec![b'\x80']),
            ("DTLS", vec![20]),
            ("no multiple of four", vec![0, 1, 0, 6]),
            ("another cookie", vec![0, 1, 0, 8, 0x21, 0x12, 0xA4, 0x43]),
            ("RFC 3489", vec![0, 1, 0, 8, 1, 2, 3, 4]),
        ] {
            assert_eq!(next(&bytes, FRAME_MAX), Err(Broken), "{case}");
        }
    }

    #[test]
    fn a_frame_longer_than_is_allowed_is_found_broken_by_its_header() {
        assert_eq!(next(&stun(480)[..8], 500), Ok(Next::Missing(492)));
        assert_eq!(next(&stun(484)[..4], 500), Err(Broken));
        assert_eq!(next(&[0x40, 0, 0xFF, 0xFF], 65_536), Err(Broken));
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_same_frames_come_out(
            lengths in vec((any::<bool>(), 0u16..300), 0..12),
            cuts in vec(0usize..4000, 0..24),
        ) {
            let sent: Vec<Vec<u8>> = lengths
                .iter()
                .map(|(is_stun, length)| if *is_stun { stun(length & !3) } else { channel(0x4000 | length, *length) })
                .collect();
            let stream = sent.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            prop_assert_eq!(frames(&pieces, FRAME_MAX), (sent.clone(), false));
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            prop_assert_eq!(frames(&bytes, FRAME_MAX), (sent, false), "byte by byte");
        }

        #[test]
        fn no_bytes_make_the_framing_panic_or_differ_with_the_cuts(
            bytes in vec(prop_oneof![Just(0u8), Just(0x40), Just(0x21), any::<u8>()], 0..400),
            cut in 0usize..400,
        ) {
            let cut = cut.min(bytes.len());
            let whole = frames(&[&bytes], FRAME_MAX);
            let (first, second) = bytes.split_at(cut);
            prop_assert_eq!(frames(&[first, second], FRAME_MAX), whole);
        }
    }
}
