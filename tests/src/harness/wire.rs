//! Holds the core's frame codec against prost: for any bytes the same verdict and the same meaning.
//!
//! They may differ in four ways, all of them meant:
//!
//! - a string that is not UTF-8 makes prost refuse the frame; the codec reports a [`ContentFault`]
//!   and reads the rest;
//! - a known field of a wrong wire type makes prost refuse the frame, or misread it if the field is
//!   a map; the codec skips it;
//! - the codec has size limits, which end in a [`ContentFault`] too;
//! - the codec refuses unknown groups nested more than 32 deep, prost at 100.
//!
//! So prost judges the frame after a rewriting that takes out the first two, and is not asked in
//! the last case.

mod framer;
mod limits;
mod meaning;
mod plain;
mod roundtrip;

use std::fmt;

use grpctunnel_core::wire::{self, ContentFault, DecodeLimits};
use grpctunnel_proto::v1::{ClientToServer, ServerToClient};
use prost::Message;

pub use framer::check_framer;
use limits::{Sizes, UNLIMITED};
use meaning::{Meaning, Reference};
use plain::{CLIENT, Plain, SERVER, Schema};
pub use roundtrip::{Entries, Written, check_roundtrip};

/// The codec's limit on the nesting of unknown groups.
pub const MAX_GROUPS: usize = 32;

/// What both decoders agree on about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It means the same to both.
    Same,
    /// It means the same to both but for strings that are not UTF-8, about which the codec
    /// complains.
    NotUtf8,
    /// It is no frame.
    Undecodable,
    /// It is no frame to the codec because of the nesting of unknown groups.
    TooDeep,
}

/// The codec and prost disagree about a frame, and how.
#[derive(Debug)]
pub struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Difference {}

fn difference<T>(what: impl Into<String>) -> Result<T, Difference> {
    Err(Difference(what.into()))
}

/// Decodes any bytes as a frame from a tunnel client, with both decoders.
///
/// # Errors
///
/// When the decoders do not agree.
pub fn check_client(frame: &[u8]) -> Result<Outcome, Difference> {
    check(
        frame,
        CLIENT,
        |limits| wire::decode_client(frame, limits).ok().map(Decoded::client),
        |reference: &mut Reference<'_>, frame: &ClientToServer| {
            (frame.stream_id, reference.client(frame))
        },
    )
}

/// Decodes any bytes as a frame from a tunnel server, with both decoders.
///
/// # Errors
///
/// When the decoders do not agree.
pub fn check_server(frame: &[u8]) -> Result<Outcome, Difference> {
    check(
        frame,
        SERVER,
        |limits| wire::decode_server(frame, limits).ok().map(Decoded::server),
        |reference: &mut Reference<'_>, frame: &ServerToClient| {
            (frame.stream_id, reference.server(frame))
        },
    )
}

/// A frame as the codec read it.
#[derive(Debug)]
struct Decoded {
    stream_id: i64,
    meaning: Meaning,
    fault: Option<ContentFault>,
    sizes: Sizes,
}

impl Decoded {
    fn client(frame: wire::ClientFrame<'_>) -> Self {
        let (meaning, fault) = Meaning::of_client(&frame.kind);
        Self {
            stream_id: frame.stream_id,
            meaning,
            fault,
            sizes: Sizes::of_client(&frame.kind),
        }
    }

    fn server(frame: wire::ServerFrame<'_>) -> Self {
        let (meaning, fault) = Meaning::of_server(&frame.kind);
        Self {
            stream_id: frame.stream_id,
            meaning,
            fault,
            sizes: Sizes::of_server(&frame.kind),
        }
    }
}

fn check<P: Message + Default>(
    frame: &[u8],
    schema: &Schema,
    decode: impl Fn(&DecodeLimits) -> Option<Decoded>,
    read: impl Fn(&mut Reference<'_>, &P) -> (i64, Meaning),
) -> Result<Outcome, Difference> {
    let ours = decode(&UNLIMITED);
    let mut plain = Plain::new(frame);
    let Ok(rewritten) = plain.rewrite(schema, frame) else {
        return match (ours, P::decode(frame)) {
            (None, Err(_)) => Ok(Outcome::Undecodable),
            (Some(ours), _) => difference(format!("malformed, but decoded: {ours:?}")),
            (None, Ok(_)) if plain.misread_by_prost => Ok(Outcome::Undecodable),
            (None, Ok(_)) => difference("the rewriting refuses what prost accepts"),
        };
    };
    if plain.groups > MAX_GROUPS {
        return match ours {
            None => Ok(Outcome::TooDeep),
            Some(_) => difference(format!("decoded at {} nested groups", plain.groups)),
        };
    }
    let Some(ours) = ours else {
        return difference("well-formed, but refused");
    };
    let theirs = match P::decode(&rewritten[..]) {
        Ok(theirs) => theirs,
        Err(error) => return difference(format!("decoded, but prost refuses: {error}")),
    };
    let mut reference = Reference::new(&plain);
    let (stream_id, meaning) = read(&mut reference, &theirs);
    if ours.stream_id != stream_id || ours.meaning != meaning {
        return difference(format!("decoded {ours:?}, prost: {stream_id} {meaning:?}"));
    }
    let outcome = judge_utf8(&ours, reference.saw_not_utf8(), &plain)?;
    limits::check(&ours, decode)?;
    Ok(outcome)
}

/// A string that is part of the meaning must be complained about; one that was replaced by a later
/// occurrence of its field may be.
fn judge_utf8(ours: &Decoded, in_meaning: bool, plain: &Plain) -> Result<Outcome, Difference> {
    match ours.fault {
        None if in_meaning => difference(format!("not UTF-8, no complaint: {ours:?}")),
        None => Ok(Outcome::Same),
        Some(ContentFault::NotUtf8) if !plain.not_utf8.is_empty() => Ok(Outcome::NotUtf8),
        Some(fault) => difference(format!("{fault:?} without cause: {ours:?}")),
    }
}
