//! Steps made of any bytes. Each takes few of them, and what ends a tunnel is rare, so that random
//! bytes go deep.

use arbitrary::{Arbitrary, Result, Unstructured};

use super::any_peer::{Sent, Step};
use super::op::{At, Kind, Op};

/// Sizes around everything that matters: nothing, a few bytes, a chunk, a window, any.
fn size(u: &mut Unstructured<'_>) -> Result<u16> {
    Ok(match u.arbitrary::<u8>()? {
        0..=31 => 0,
        byte @ 32..=159 => u16::from(byte - 31),
        byte @ 160..=191 => 16_300 + u16::from(byte - 160) * 6,
        byte @ 192..=223 => u16::from(byte - 191) * 1_000,
        _ => u.arbitrary()?,
    })
}

/// One of the first few calls, so that steps meet.
fn call(u: &mut Unstructured<'_>) -> Result<u8> {
    Ok(u.arbitrary::<u8>()? % 5)
}

fn at(byte: u8) -> At {
    if byte & 1 == 0 {
        At::Client
    } else {
        At::Server
    }
}

impl<'a> Arbitrary<'a> for Op {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let byte = u.arbitrary::<u8>()?;
        let at = at(byte);
        Ok(match byte {
            0..=19 => Self::Open {
                kind: kind(u.arbitrary()?),
                deadline: deadline(u)?,
                headers: u.arbitrary::<u8>()? % 4,
            },
            20..=67 => Self::Send {
                at,
                call: call(u)?,
                size: size(u)?,
                ready: size(u)?,
            },
            68..=87 => Self::Provide {
                at,
                call: call(u)?,
                bytes: size(u)?,
            },
            88..=101 => Self::HalfClose { call: call(u)? },
            102..=113 => Self::Respond {
                call: call(u)?,
                headers: u.arbitrary::<u8>()? % 4,
            },
            114..=125 => Self::Close {
                call: call(u)?,
                code: u.arbitrary::<u8>()? % 34 / 2 * u8::from(byte % 3 == 0),
                hold: deadline(u)?,
            },
            126..=159 => Self::Read {
                at,
                call: call(u)?,
                bytes: size(u)?,
            },
            160..=195 => Self::Transmit {
                at,
                frames: u.arbitrary::<u8>()? % 20,
            },
            196..=231 => Self::Deliver {
                at,
                frames: u.arbitrary::<u8>()? % 20,
            },
            232..=238 => Self::Advance {
                tenths: u.arbitrary::<u8>()?,
            },
            239..=243 => Self::Cancel { call: call(u)? },
            244..=248 => Self::StopReading { at, call: call(u)? },
            249..=253 => Self::Release { at, call: call(u)? },
            254 => Self::Drain {
                at: self::at(u.arbitrary()?),
                tenths: u.arbitrary()?,
            },
            255 => rare(u, Self::Cut)?,
        })
    }
}

/// What nothing survives is rarer than a byte can tell.
fn rare(u: &mut Unstructured<'_>, op: Op) -> Result<Op> {
    let often = Op::Advance { tenths: 1 };
    Ok(if u.ratio(1, 4)? { op } else { often })
}

const fn kind(byte: u8) -> Kind {
    match byte % 8 {
        0..=2 => Kind::Unknown,
        3 => Kind::Unary,
        4 => Kind::ClientStreaming,
        5 => Kind::ServerStreaming,
        _ => Kind::Bidi,
    }
}

fn deadline(u: &mut Unstructured<'_>) -> Result<Option<u8>> {
    let byte = u.arbitrary::<u8>()?;
    Ok((byte < 60).then_some(byte))
}

impl<'a> Arbitrary<'a> for Sent {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let kind = u.arbitrary()?;
        let id = match u.arbitrary::<u8>()? {
            byte @ 0..=223 => i64::from(byte % 8) + 1,
            byte @ 224..=247 => i64::from(byte - 224) + 1,
            248..=251 => -1,
            252 => 0,
            253 => i64::MAX,
            254 => -2,
            255 => u.arbitrary()?,
        };
        let len = size(u)?;
        let size = match u.arbitrary::<u8>()? {
            byte @ 0..=99 => u32::from(byte),
            100..=199 => u32::from(len),
            200..=239 => u32::from(u.arbitrary::<u16>()?),
            _ => u.arbitrary()?,
        };
        Ok(Self {
            kind,
            id,
            size,
            len,
        })
    }
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? {
            0..=137 => Self::Frame(u.arbitrary()?),
            138..=139 => Self::Bulk(u.arbitrary()?),
            140 => {
                let len = usize::from(u.arbitrary::<u8>()? % 40).min(u.len());
                Self::Raw(u.bytes(len)?.to_vec())
            }
            141..=142 => Self::Opened { on: u.ratio(3, 4)? },
            143 => match rare(u, Op::Cut)? {
                Op::Cut => Self::Finished,
                other => Self::Do(other),
            },
            _ => Self::Do(u.arbitrary()?),
        })
    }
}
