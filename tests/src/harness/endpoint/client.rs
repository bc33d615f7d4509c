//! What only the tunnel client's application does.

use grpctunnel_core::wire::{self, HeadOptions};
use grpctunnel_core::{
    CommandError, Config, OpenError, OpenOptions, Opening, Part, Side, StreamMut, Time,
};

use super::super::fail;
use super::super::store::Store;
use super::{ClientEnd, Pairs, pairs};

impl<S: Store> ClientEnd<S> {
    /// A tunnel client.
    #[must_use]
    pub fn client(now: Time, config: Config, opening: Opening) -> Self {
        Self::on_side(Side::Client, now, config, opening)
    }

    /// Opens a call and returns its number.
    ///
    /// # Errors
    /// The tunnel's own.
    pub fn open(
        &mut self,
        now: Time,
        method: &str,
        metadata: Pairs<'_>,
        options: OpenOptions,
    ) -> Result<i64, OpenError> {
        let mut head = Vec::new();
        let encoded =
            wire::encode_open(&mut head, method, pairs(metadata), &HeadOptions::default());
        let Ok(encoded) = encoded else {
            fail(format_args!("the head of {method} cannot be encoded"));
        };
        let opened = self.tunnel.open(now, encoded, options);
        let number = i64::try_from(self.calls.len() + 1).unwrap_or(i64::MAX);
        if let Ok(key) = opened {
            let size = head.len();
            self.add(key, number).lent.lend(Part::Open, head, size);
        }
        self.poll_events();
        opened.map(|_| number)
    }

    /// No further request follows.
    ///
    /// # Errors
    /// The tunnel's own.
    pub fn half_close(&mut self, call: i64) -> Result<(), CommandError> {
        let stream = self.tunnel.stream(self.key(call));
        let done = stream.map(|mut stream| stream.half_close());
        self.poll_events();
        Ok(done??)
    }

    /// Gives the call up.
    ///
    /// # Errors
    /// The tunnel's own.
    pub fn cancel(&mut self, call: i64) -> Result<(), CommandError> {
        let done = self.tunnel.stream(self.key(call)).map(StreamMut::cancel);
        self.poll_events();
        Ok(done?)
    }
}
