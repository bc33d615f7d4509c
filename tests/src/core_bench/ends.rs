//! Two ends of a tunnel, joined by hand.

use grpctunnel_core::wire::{HeadOptions, PREFIX_LEN, Revision, encode_open, prefix};
use grpctunnel_core::{
    Body, Config, Growing, Input, Key, Negotiation, OpenOptions, Opening, ReceiveWindowPolicy,
    Time, Transmit, TunnelClient, TunnelServer,
};

use super::{right, there};
use crate::harness::fail;

/// Time stands still: no timer of an open tunnel is due.
pub(super) const NOW: Time = Time::ZERO;
pub(super) const METHOD: &str = "package.Service/Method";
/// The window that known peers use.
pub(super) const WINDOW: u32 = 65_536;
/// The most that may be granted.
pub(super) const LARGE_WINDOW: u32 = 0x7fff_ffff;

pub(super) type Client = TunnelClient<Growing>;
pub(super) type Server = TunnelServer<Growing>;

/// No bound that a scenario with so many streams and endless messages would meet.
pub(super) fn config(streams: u32) -> Config {
    let mut config = Config::default();
    config.limits.max_streams = streams;
    config.limits.max_message = u32::MAX;
    config.limits.receive_window = ReceiveWindowPolicy::GROWING;
    config.limits.window_updates.capacity = u32::MAX;
    config.limits.useless_frames.capacity = u32::MAX;
    config
}

/// A tunnel client whose server granted so much for each stream.
pub(super) fn client(streams: u32, window: u32) -> Client {
    let opening = Opening::Accepted(Negotiation::On);
    let mut client = right(Client::new(NOW, config(streams), opening));
    let revisions = [Revision::Zero, Revision::One];
    let settings = prefix::settings(window, &revisions, None);
    let _ = right(client.handle_frame(NOW, without_length(&settings)));
    while client.poll_event().is_some() {}
    client
}

/// A tunnel server that has sent its settings, with such a window.
pub(super) fn server(streams: u32, window: u32) -> Server {
    let opening = Opening::Accepted(Negotiation::On);
    let mut config = config(streams);
    config.limits.receive_window.initial = window;
    config.limits.receive_window.max = window;
    let mut server = right(Server::new(NOW, config, opening));
    drop(there(server.poll_transmit(NOW)));
    server
}

/// A frame without gRPC's length prefix.
#[inline]
pub(super) fn without_length(frame: &[u8]) -> &[u8] {
    there(frame.get(PREFIX_LEN..))
}

/// Puts a frame together, without its length prefix.
pub(super) fn assemble<'w>(wire: &'w mut Vec<u8>, transmit: &Transmit, memory: &[u8]) -> &'w [u8] {
    wire.clear();
    wire.extend_from_slice(without_length(&transmit.prefix));
    match &transmit.body {
        Body::None => {}
        Body::Static(text) => wire.extend_from_slice(text.as_bytes()),
        Body::Caller { range, .. } => {
            let range = range.start as usize..range.end as usize;
            wire.extend_from_slice(there(memory.get(range)));
        }
    }
    wire
}

/// Opens a stream whose `new_stream` the server has got: the client's key and the server's.
pub(super) fn open(client: &mut Client, server: &mut Server) -> (Key, Key) {
    let (ours, transmit, head) = open_at(client);
    let mut wire = Vec::new();
    let frame = assemble(&mut wire, &transmit, &head);
    match right(server.handle_frame(NOW, frame)) {
        Input::Opened { stream, .. } => (ours, stream),
        other => fail(format_args!("{other:?}")),
    }
}

/// Opens a stream whose `new_stream` has left.
pub(super) fn open_at(client: &mut Client) -> (Key, Transmit, Vec<u8>) {
    let mut head = Vec::new();
    let options = HeadOptions::default();
    let encoded = right(encode_open(&mut head, METHOD, std::iter::empty(), &options));
    let key = right(client.open(NOW, encoded, OpenOptions::default()));
    let transmit = there(client.poll_transmit(NOW));
    if client.poll_transmit(NOW).is_some() {
        fail("a second frame for the opening of a stream");
    }
    (key, transmit, head)
}

/// Opens so many streams at both ends, all of them open at the end; returns what keeps them.
pub fn open_together(streams: u32) -> impl Sized {
    let mut client = client(streams, WINDOW);
    let mut server = server(streams, WINDOW);
    for _ in 0..streams {
        open(&mut client, &mut server);
    }
    (client, server)
}
