//! Storage in place that is smaller than the limits allow: a full table is an answer, not a fault.

use grpctunnel_core::wire::prefix;
use grpctunnel_core::wire::{Encoded, HeadOptions, PREFIX_LEN, Revision, encode_open};
use grpctunnel_core::*;

type Store = Fixed<1, 1>;

/// Of some head of five bytes.
const HEAD: Encoded = Encoded::kept(5, true);
const ON: Opening = Opening::Accepted(Negotiation::On);

/// A `new_stream` of `s/m`, without its length prefix.
#[expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn new_stream(id: i64, revision: Revision) -> Vec<u8> {
    let mut head = heapless::Vec::<u8, 16>::new();
    let none = core::iter::empty();
    let encoded = encode_open(&mut head, "s/m", none, &HeadOptions::default()).unwrap();
    let prefix = prefix::new_stream(id, encoded.len(), 10, revision, None);
    [&prefix[PREFIX_LEN..], &head].concat()
}

#[test]
fn a_client_without_room_says_so_and_when_there_is_some() {
    let mut client = TunnelClient::<Store>::new(Time::ZERO, Config::default(), ON).unwrap();
    let settings = prefix::settings(65_536, &[Revision::Zero, Revision::One], None);
    let _ = client
        .handle_frame(Time::ZERO, &settings[PREFIX_LEN..])
        .unwrap();
    assert!(client.limits().max_streams > 1);
    let first = client
        .open(Time::ZERO, HEAD, OpenOptions::default())
        .unwrap();
    let second = client.open(Time::ZERO, HEAD, OpenOptions::default());
    assert_eq!(second, Err(OpenError::Full));
    while client.poll_event().is_some() {}
    client.stream(first).unwrap().cancel();
    client.release(first).unwrap();
    assert!(matches!(client.poll_event(), Some(Event::Ended { .. })));
    assert!(matches!(client.poll_event(), Some(Event::MayOpen)));
    assert!(
        client
            .open(Time::ZERO, HEAD, OpenOptions::default())
            .is_ok()
    );
}

#[test]
fn a_server_without_room_refuses_and_without_room_for_that_gives_up() {
    let mut server = TunnelServer::<Store>::new(Time::ZERO, Config::default(), ON).unwrap();
    let frames = [
        new_stream(1, Revision::Zero),
        new_stream(2, Revision::One),
        new_stream(3, Revision::One),
    ];
    let opened = server.handle_frame(Time::ZERO, &frames[0]);
    let Ok(Input::Opened { stream, .. }) = opened else {
        panic!("{opened:?}");
    };
    assert_eq!(
        server.inspect(stream).map(|stream| stream.unread()),
        Some(0)
    );
    let waiting = server.budgets(Time::ZERO).pending_rejections;
    let refused = server.handle_frame(Time::ZERO, &frames[1]);
    assert!(matches!(refused, Ok(Input::Ignored)));
    assert_eq!(server.budgets(Time::ZERO).pending_rejections, waiting - 1);
    assert_eq!(server.counters().refused, 1);
    let refused = server.handle_frame(Time::ZERO, &frames[2]);
    assert_eq!(
        refused.unwrap_err().reason(),
        TunnelReason::TooManyRejections
    );
}
