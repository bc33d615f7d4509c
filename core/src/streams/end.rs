//! The end of a stream, with what is still to be reported about it.

use crate::reason::{StreamReason, TunnelReason};
use crate::types::Unread;

/// How a stream ended, as far as the record keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Terminal {
    Status,
    PeerCancelled,
    Cancelled,
    Deadline,
    Violation(StreamReason),
    TunnelLost(TunnelReason),
    /// The same, and the peer cannot have processed the call.
    NotProcessed(TunnelReason),
    Closed,
}

impl Terminal {
    /// The tunnel is gone for the stream. `sent`: its `new_stream` may have been processed.
    pub(crate) const fn lost(cause: TunnelReason, sent: bool) -> Self {
        if sent {
            Self::TunnelLost(cause)
        } else {
            Self::NotProcessed(cause)
        }
    }
}

/// What a stream's peer has to be told about its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Notice {
    Nothing,
    Cancel,
    Close,
}

/// Whether the caller gets an event about the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Report {
    /// It knows, or was told.
    Nothing,
    /// The event was not polled yet.
    Event,
}

/// What is known of the end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ended {
    pub(crate) why: Terminal,
    pub(crate) unread: Unread,
    pub(crate) report: Report,
    pub(crate) notice: Notice,
}

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// The record is of no stream.
    Vacant,
    Open,
    Ended(Ended),
}

impl End {
    pub(super) fn is_open(self) -> bool {
        self == Self::Open
    }

    /// The stream ends. Its first end stays: false for a second one.
    pub(super) fn end(&mut self, end: Ended) -> bool {
        let first = self.is_open();
        if first {
            *self = Self::Ended(end);
        }
        first
    }

    /// The event about the end, which the caller gets once.
    pub(super) fn take_report(&mut self) -> Option<(Terminal, Unread)> {
        match self {
            Self::Ended(end) if end.report == Report::Event => {
                end.report = Report::Nothing;
                Some((end.why, end.unread))
            }
            _ => None,
        }
    }

    /// What the peer is to be told, once, and how the stream ended.
    pub(super) fn take_notice(&mut self) -> Option<(Notice, Terminal)> {
        match self {
            Self::Ended(end) if end.notice != Notice::Nothing => {
                let notice = core::mem::replace(&mut end.notice, Notice::Nothing);
                Some((notice, end.why))
            }
            _ => None,
        }
    }

    /// Whether the peer is to be told.
    pub(super) fn has_notice(self) -> bool {
        matches!(self, Self::Ended(end) if end.notice != Notice::Nothing)
    }

    /// Whether the stream has ended, and everybody was told.
    pub(super) fn is_told(self) -> bool {
        matches!(
            self,
            Self::Ended(Ended {
                report: Report::Nothing,
                notice: Notice::Nothing,
                ..
            })
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_the_first_one_and_told_once_to_each() {
        let mut end = End::Open;
        let first = Ended {
            why: Terminal::Deadline,
            unread: Unread::Discard,
            report: Report::Event,
            notice: Notice::Cancel,
        };
        assert!(end.take_report().is_none() && !end.is_told() && !end.has_notice());
        assert!(end.end(first));
        assert!(!end.end(Ended {
            why: Terminal::Cancelled,
            ..first
        }));
        assert_eq!(
            end.take_report(),
            Some((Terminal::Deadline, Unread::Discard))
        );
        assert_eq!(end.take_report(), None);
        assert!(end.has_notice() && !end.is_told());
        assert_eq!(
            end.take_notice(),
            Some((Notice::Cancel, Terminal::Deadline))
        );
        assert_eq!(end.take_notice(), None);
        assert!(end.is_told());
    }

    #[test]
    fn a_vacant_record_has_no_end_to_tell() {
        let mut end = End::Vacant;
        assert!(!end.is_open() && !end.is_told());
        assert!(end.take_report().is_none() && end.take_notice().is_none());
    }
}
