//! The settings of one end of a tunnel.

use crate::error::ConfigError;
use crate::limits::Limits;
use crate::wire::ExtensionSet;

/// What the header `grpctunnel-negotiate` of the other side said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Negotiation {
    /// `on`: the tunnel server sends settings first.
    On,
    /// Absent, or anything else: revision zero, no settings.
    Off,
}

impl Negotiation {
    /// The name of the header.
    pub const HEADER: &'static str = "grpctunnel-negotiate";
    /// Its value.
    pub const VALUE: &'static str = "on";

    /// Reads the values of the header, in wire order: the first one decides, byte for byte.
    pub fn from_header<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        match values.into_iter().next() {
            Some(value) if value == Self::VALUE.as_bytes() => Self::On,
            _ => Self::Off,
        }
    }
}

/// How the carrier comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opening {
    /// This end opens it and waits for response headers; then call `handle_opened`.
    Requested,
    /// This end opens it, to a peer that it was told knows revision zero only and sends its
    /// headers late: nothing is negotiated and nothing is waited for.
    RequestedFromOld,
    /// This end accepted it, and the request headers said this.
    Accepted(Negotiation),
}

/// The settings of one end of a tunnel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// All bounds.
    pub limits: Limits,
    /// Whether this end speaks revision one. Without it a tunnel server offers revision zero
    /// only (and still serves a stream that asks for one), and a tunnel client uses no other.
    pub flow_control: bool,
    /// The id of a tunnel client's first stream. Known clients begin with 1.
    pub first_stream_id: i64,
    /// The extensions that this end offers, or answers with. Default none; a
    /// [bare byte stream](crate::bare) adds `DRAIN` and `PING`.
    ///
    /// `DRAIN` and `PING` need nothing of the caller. With `RAW_METADATA` the caller must read
    /// [`Entry::raw_values`](crate::wire::Entry::raw_values) as well, with `TRANSPARENT` it must
    /// honour [`Envelope::compressed`](crate::Envelope::compressed) and pass on the metadata that belongs to it.
    pub extensions: ExtensionSet,
}

impl Config {
    /// Checks every setting; a tunnel is made of a valid `Config` only.
    ///
    /// # Errors
    /// The first setting that is out of its range, by its name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.first_stream_id < 0 {
            return Err(ConfigError::new("first_stream_id", "0 or more"));
        }
        self.limits.validate()
    }

    /// The same, for a caller whose receive buffers hold `bytes` each and cannot grow, such as
    /// those over [`FixedStore`](crate::receive_buffer::FixedStore).
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and where a receive window may become larger than the
    /// buffer.
    pub fn validate_for_buffers_of(&self, bytes: u32) -> Result<(), ConfigError> {
        self.validate()?;
        let window = &self.limits.receive_window;
        if self.flow_control && window.initial > bytes {
            return Err(ConfigError::new(
                "limits.receive_window.initial",
                "no more than the receive buffer of fixed size holds",
            ));
        }
        if self.flow_control && window.grows() && window.max > bytes {
            return Err(ConfigError::new(
                "limits.receive_window.max",
                "no more than the receive buffer of fixed size holds",
            ));
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            flow_control: true,
            first_stream_id: 1,
            extensions: ExtensionSet::EMPTY,
        }
    }
}
