//! What the application knows of its calls, and no more.

use core::hash::{Hash, Hasher};

use grpctunnel_core::{Key, Side};

/// How far one end's part of a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Not opened, or not arrived yet.
    #[default]
    Fresh,
    /// Opened, not ended.
    Live,
    /// It has had its terminal event.
    Ended,
    /// Released.
    Over,
}

/// One end's part of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Half {
    pub(super) key: Option<Key>,
    pub(super) stage: Stage,
    /// Messages begun.
    pub(super) begun: u8,
    /// The last one's memory is not free yet.
    pub(super) writing: bool,
    /// Bytes of it that are not provided yet.
    pub(super) rest: u32,
    /// Headers were sent.
    pub(super) responded: bool,
    /// Half-closed by the client, closed by the server.
    pub(super) closed: bool,
    /// The client's half-close came.
    pub(super) peer_closed: bool,
    /// Whole messages that came, and bytes of the next one.
    pub(super) messages: u8,
    pub(super) partial: u32,
    pub(super) inside: bool,
    /// Bytes that came and were not read, and how many of them belong to a message that is not
    /// whole.
    pub(super) held: u32,
    pub(super) tail: u32,
    pub(super) stopped: bool,
    /// Closed with an error.
    pub(super) failed: bool,
    /// The handle or the handler is gone.
    pub(super) released: bool,
    /// Bytes that came and that were granted in all: history, to check the books by.
    pub(super) taken: u32,
    pub(super) granted: u32,
}

impl Half {
    /// Ended and released: the key names nothing any more.
    pub(super) const fn over(&mut self) {
        self.stage = Stage::Over;
        self.key = None;
    }

    fn fingerprint<H: Hasher>(&self, state: &mut H) {
        let Self {
            key,
            stage,
            begun,
            writing,
            rest,
            responded,
            closed,
            peer_closed,
            messages,
            partial,
            inside,
            held,
            tail,
            stopped,
            failed,
            released,
            taken: _,
            granted: _,
        } = *self;
        key.map(Key::index).hash(state);
        stage.hash(state);
        (begun, writing, rest, responded, closed).hash(state);
        (peer_closed, messages, partial, held, tail).hash(state);
        (inside, stopped, failed, released).hash(state);
    }
}

/// A call, seen from both ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call {
    /// Once it has one.
    pub(super) id: Option<i64>,
    pub(super) client: Half,
    pub(super) server: Half,
}

impl Call {
    pub(super) const fn half(&self, side: Side) -> &Half {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub(super) const fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    pub(super) fn fingerprint<H: Hasher>(&self, base: i64, state: &mut H) {
        let Self { id, client, server } = self;
        id.map(|id| id.wrapping_sub(base)).hash(state);
        client.fingerprint(state);
        server.fingerprint(state);
    }
}
