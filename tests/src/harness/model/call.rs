//! What is known of one call: what was done with it at both ends.

use grpctunnel_core::{Code, CommandError, MethodKind, Side, StreamReason, Time};

use super::super::seen::Over;
use super::super::sent::{Headers, Status};

/// What is known of one end of a call.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct CallEnd {
    /// Sizes of the messages that it has begun to send, and whether all of the last one is
    /// provided.
    pub(in super::super) sent: Vec<usize>,
    pub(in super::super) whole: bool,
    /// Messages that it has sent, as its tunnel reported.
    pub(in super::super) left: usize,
    /// Messages that it has read.
    pub(in super::super) got: usize,
    /// Its reader went away.
    pub(in super::super) stopped: bool,
    pub(in super::super) released: bool,
    pub(in super::super) over: Option<Over>,
}

/// What is known of one call.
#[derive(Clone, Debug)]
pub(in super::super) struct Call {
    pub(in super::super) kind: MethodKind,
    pub(in super::super) deadline: Option<Time>,
    pub(in super::super) request_headers: Headers,
    pub(in super::super) response_headers: Option<Headers>,
    pub(in super::super) client: CallEnd,
    pub(in super::super) server: CallEnd,
    /// The id, once the server has seen the call.
    pub(in super::super) id: Option<i64>,
    pub(in super::super) half_closed: bool,
    pub(in super::super) cancelled: bool,
    /// What the server's application closed with, and the trailers.
    pub(in super::super) closed: Option<(Status, Headers)>,
    pub(super) headers_seen: bool,
    pub(super) half_close_seen: bool,
}

impl Call {
    pub(in super::super) const fn new(
        kind: MethodKind,
        deadline: Option<Time>,
        request_headers: Headers,
    ) -> Self {
        const END: CallEnd = CallEnd {
            sent: Vec::new(),
            whole: true,
            left: 0,
            got: 0,
            stopped: false,
            released: false,
            over: None,
        };
        Self {
            kind,
            deadline,
            request_headers,
            response_headers: None,
            client: END,
            server: END,
            id: None,
            half_closed: false,
            cancelled: false,
            closed: None,
            headers_seen: false,
            half_close_seen: false,
        }
    }

    pub(in super::super) const fn end(&mut self, side: Side) -> &mut CallEnd {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    const fn single_request(&self) -> bool {
        matches!(self.kind, MethodKind::Unary | MethodKind::ServerStreaming)
    }

    const fn single_response(&self) -> bool {
        matches!(self.kind, MethodKind::Unary | MethodKind::ClientStreaming)
    }

    /// What a command on a live stream of this end answers, if nothing else is in its way.
    fn gone(&self, side: Side) -> Result<(), CommandError> {
        let end = match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        };
        if end.over.is_some() || end.released {
            return Err(CommandError::Gone);
        }
        Ok(())
    }

    /// What `send_message` must answer.
    pub(in super::super) fn may_send(&self, side: Side) -> Result<(), CommandError> {
        self.gone(side)?;
        let (end, closed, single) = match side {
            Side::Client => (&self.client, self.half_closed, self.single_request()),
            Side::Server => (&self.server, self.closed.is_some(), self.single_response()),
        };
        if closed {
            return Err(CommandError::SendSideClosed);
        }
        if end.left < end.sent.len() {
            return Err(CommandError::Busy);
        }
        if single && !end.sent.is_empty() {
            return Err(CommandError::SecondMessage);
        }
        Ok(())
    }

    /// What `provide` must answer, for no more than is missing.
    pub(in super::super) fn may_provide(&self, side: Side) -> Result<(), CommandError> {
        self.gone(side)?;
        let end = match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        };
        // An error abandons what is not whole.
        let abandoned = side == Side::Server && self.closed.is_some() && !end.whole;
        if end.left == end.sent.len() || abandoned {
            return Err(CommandError::TooManyBytes);
        }
        Ok(())
    }

    /// What `half_close` must answer.
    pub(in super::super) fn may_half_close(&self) -> Result<(), CommandError> {
        self.gone(Side::Client)?;
        if !self.half_closed && !self.client.whole {
            return Err(CommandError::MessageIncomplete);
        }
        Ok(())
    }

    /// What `cancel` must answer.
    pub(in super::super) fn may_cancel(&self) -> Result<(), CommandError> {
        self.gone(Side::Client)
    }

    /// What `respond` must answer.
    pub(in super::super) fn may_respond(&self) -> Result<(), CommandError> {
        self.gone(Side::Server)?;
        if self.closed.is_some() {
            return Err(CommandError::SendSideClosed);
        }
        if self.response_headers.is_some() || !self.server.sent.is_empty() {
            return Err(CommandError::HeadersLate);
        }
        Ok(())
    }

    /// What `close` must answer.
    pub(in super::super) fn may_close(&self, ok: bool) -> Result<(), CommandError> {
        self.gone(Side::Server)?;
        if self.closed.is_some() {
            return Err(CommandError::SendSideClosed);
        }
        if ok && !self.server.whole {
            return Err(CommandError::MessageIncomplete);
        }
        Ok(())
    }

    /// Messages that the end has wholly handed to its tunnel.
    pub(in super::super) fn whole_messages(end: &CallEnd) -> usize {
        end.sent.len() - usize::from(!end.whole)
    }
}

impl Call {
    /// Our own ends never accuse each other: what is left is what is true.
    pub(super) fn may_violate(&self, side: Side, reason: StreamReason, zero: bool) -> bool {
        match (reason, side) {
            (StreamReason::HandlerGone, Side::Server) => {
                self.server.released && self.closed.is_none()
            }
            (StreamReason::MissingRequest, Side::Server) => {
                self.single_request() && self.half_closed && self.client.sent.is_empty()
            }
            (StreamReason::MissingResponse, Side::Client) => {
                self.single_response() && self.closed.is_some() && self.server.sent.is_empty()
            }
            (StreamReason::RevisionZeroBudget, _) => zero,
            _ => false,
        }
    }

    pub(super) fn status_is_the_servers(
        &self,
        status: &Status,
        trailers: &Headers,
        server_drains: bool,
        server_was_full: bool,
    ) -> bool {
        let code = Code::from_i32(status.code);
        match (&self.server.over, &self.closed) {
            // Refused: it never came in.
            (None, None) => {
                self.id.is_none()
                    && match code {
                        Some(Code::Unavailable) => server_drains,
                        Some(Code::ResourceExhausted) => server_was_full,
                        Some(Code::DeadlineExceeded) => self.deadline.is_some(),
                        _ => false,
                    }
            }
            (Some(Over::Closed), Some((closed, sent))) => closed == status && sent == trailers,
            (Some(over), _) => trailers.is_empty() && status.code == over.code(Side::Server),
            (None, Some(_)) => false,
        }
    }
}
