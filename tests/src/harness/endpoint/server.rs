//! What only the tunnel server's application does.

use grpctunnel_core::wire::{self, HeadOptions, StatusHead};
use grpctunnel_core::{CommandError, Config, Hold, MethodKind, Opening, Part, Side, Time};

use super::super::fail;
use super::super::store::Store;
use super::{Pairs, ServerEnd, pairs};

impl<S: Store> ServerEnd<S> {
    /// A tunnel server.
    #[must_use]
    pub fn server(now: Time, config: Config, opening: Opening) -> Self {
        Self::on_side(Side::Server, now, config, opening)
    }

    /// Tells the kind of the call's method.
    pub fn set_kind(&mut self, call: i64, kind: MethodKind) {
        let Ok(mut stream) = self.tunnel.stream(self.key(call)) else {
            fail(format_args!("call {call}, which has just come in, is over"));
        };
        stream.set_method_kind(kind);
    }

    /// Sends response headers.
    ///
    /// # Errors
    /// The tunnel's own.
    pub fn respond(&mut self, call: i64, metadata: Pairs<'_>) -> Result<(), CommandError> {
        let mut head = Vec::new();
        let encoded = wire::encode_headers(&mut head, pairs(metadata), &HeadOptions::default());
        let Ok(encoded) = encoded else {
            fail("response headers cannot be encoded");
        };
        self.tunnel.stream(self.key(call))?.respond(encoded)?;
        let size = head.len();
        self.call_mut(call).lent.lend(Part::Headers, head, size);
        self.poll_events();
        Ok(())
    }

    /// Ends the call.
    ///
    /// # Errors
    /// The tunnel's own.
    pub fn close(
        &mut self,
        now: Time,
        call: i64,
        status: StatusHead<'_>,
        trailers: Pairs<'_>,
        hold: Hold,
    ) -> Result<(), CommandError> {
        let mut head = Vec::new();
        let options = HeadOptions::default();
        let encoded = wire::encode_close(&mut head, status, pairs(trailers), &options);
        let Ok(encoded) = encoded else {
            fail("the status cannot be encoded");
        };
        self.tunnel
            .stream(self.key(call))?
            .close(now, encoded, Some(hold))?;
        let size = head.len();
        let record = self.call_mut(call);
        if !record.rest.is_empty() {
            record.lent.abandon();
            record.rest.clear();
        }
        record.lent.lend(Part::Close, head, size);
        self.poll_events();
        Ok(())
    }
}
