//! A reader of protobuf fields.

use core::fmt;

/// Groups that we do not know may nest so deep.
const MAX_GROUP_DEPTH: usize = 32;

/// Bytes that are not a protobuf message: the tunnel that they came over cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a field.
    Truncated,
    /// A varint of more than 64 bits.
    VarintTooLong,
    /// A tag with field number 0, or above 2^29-1.
    FieldNumber,
    /// A tag with a wire type that protobuf does not define.
    WireType,
    /// The end of a group that has not begun.
    GroupEnd,
    /// Unknown groups nested deeper than 32.
    GroupDepth,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the message ends inside a field",
            Self::VarintTooLong => "a varint has more than 64 bits",
            Self::FieldNumber => "a field number is not in 1..=536870911",
            Self::WireType => "a wire type is none of 0, 1, 2, 3, 4 and 5",
            Self::GroupEnd => "a group ends that has not begun",
            Self::GroupDepth => "groups are nested deeper than 32",
        })
    }
}

impl core::error::Error for DecodeError {}

/// The value of a field of 32 bits: protobuf drops what is above them.
#[expect(
    clippy::cast_possible_truncation,
    reason = "protobuf keeps the low 32 bits"
)]
#[inline]
pub(super) const fn low_u32(value: u64) -> u32 {
    value as u32
}

/// The value of a field, by its wire type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'f> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'f [u8]),
    /// A wire type that none of our fields has.
    Other,
}

/// Reads the fields of one message, one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'f> {
    rest: &'f [u8],
}

impl<'f> Fields<'f> {
    pub(crate) const fn new(message: &'f [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read yet.
    pub(crate) const fn rest(&self) -> &'f [u8] {
        self.rest
    }

    /// The next field; `None` at the end of the message.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'f>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.bytes(len)?)
            }
            3 => {
                self.skip_group(number)?;
                Value::Other
            }
            5 => {
                self.array::<4>()?;
                Value::Other
            }
            4 => return Err(DecodeError::GroupEnd),
            _ => return Err(DecodeError::WireType),
        };
        Ok(Some((number, value)))
    }

    /// The next field of a message that was read to its end before.
    pub(super) fn next_checked(&mut self) -> Option<(u32, Value<'f>)> {
        self.next().ok().flatten()
    }

    /// Reads to the end, for a message of which nothing is wanted.
    pub(super) fn check(message: &'f [u8]) -> Result<(), DecodeError> {
        let mut fields = Self::new(message);
        while fields.next()?.is_some() {}
        Ok(())
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), DecodeError> {
        let key = u32::try_from(self.varint()?).map_err(|_| DecodeError::FieldNumber)?;
        match key >> 3 {
            0 => Err(DecodeError::FieldNumber),
            number => Ok((number, (key & 7) as u8)),
        }
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        let mut rest = self.rest;
        for shift in 0..10_u32 {
            let (&byte, after) = rest.split_first().ok_or(DecodeError::Truncated)?;
            rest = after;
            // The tenth byte holds the last of 64 bits.
            if shift == 9 && byte > 1 {
                return Err(DecodeError::VarintTooLong);
            }
            value |= u64::from(byte & 0x7f) << shift.saturating_mul(7);
            if byte < 0x80 {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    #[inline]
    fn bytes(&mut self, len: u64) -> Result<&'f [u8], DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::Truncated)?;
        let (bytes, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }

    /// Skips a group, and the groups in it, without recursion.
    fn skip_group(&mut self, number: u32) -> Result<(), DecodeError> {
        let mut open = heapless::Vec::<u32, MAX_GROUP_DEPTH>::new();
        open.push(number).map_err(|_| DecodeError::GroupDepth)?;
        while let Some(innermost) = open.last().copied() {
            let (number, wire_type) = self.tag()?;
            match wire_type {
                0 => drop(self.varint()?),
                1 => drop(self.array::<8>()?),
                2 => {
                    let len = self.varint()?;
                    self.bytes(len)?;
                }
                3 => open.push(number).map_err(|_| DecodeError::GroupDepth)?,
                4 if number == innermost => drop(open.pop()),
                4 => return Err(DecodeError::GroupEnd),
                5 => drop(self.array::<4>()?),
                _ => return Err(DecodeError::WireType),
            }
        }
        Ok(())
    }
}
