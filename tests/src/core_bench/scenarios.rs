//! What is counted in instructions, and what may not be exceeded.

use super::{
    Codec, Copy, Kind, Order, Relayed, Rounds, cancelled_call, decode, deframe, encode, place,
    receive, relay, send, unary_call, window_update,
};

/// Bytes of the chunks that are relayed; the core never looks at them.
const WORKING_SET: usize = 512 << 10;

/// What a scenario's instructions may not exceed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// So many more than another scenario, which is a part of it that is not the core's.
    Beyond(f64, &'static str),
    /// So many times those of another scenario.
    Times(f64, &'static str),
    /// None; shown beside another scenario.
    Beside(&'static str),
    /// None.
    Alone,
}

/// Something that is counted.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// Rounds that are counted; a tenth as many go before. Multiples of 16 chunks.
    pub(super) rounds: u32,
    pub(super) limit: Limit,
    pub(super) make: fn() -> Rounds,
}

const fn scenario(name: &'static str, limit: Limit, make: fn() -> Rounds) -> Scenario {
    Scenario {
        name,
        rounds: 3_200,
        limit,
        make,
    }
}

/// Enough rounds to meet streams everywhere.
const fn many(name: &'static str, limit: Limit, make: fn() -> Rounds) -> Scenario {
    Scenario {
        rounds: 20_000,
        ..scenario(name, limit, make)
    }
}

fn kind(name: &str) -> Kind {
    super::there(Kind::named(name))
}

fn decode_kind(name: &str, codec: Codec) -> Rounds {
    decode(kind(name), codec)
}

fn encode_kind(name: &str, codec: Codec) -> Rounds {
    encode(kind(name), codec)
}

const DATA: &str = "request_message, 16 KiB";
const MORE: &str = "more_request_data, 16 KiB";
const NEW: &str = "new_stream, 8 entries";
const HEADERS: &str = "response_headers, 8 entries";
const CLOSE: &str = "close_stream, status and 8 entries";

use Limit::{Alone, Beside, Beyond, Times};

/// All of them; what a limit names comes first.
pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("relay/place", Alone, || place(WORKING_SET)),
    scenario("relay/grown", Beyond(700.0, "relay/place"), || {
        relay(Relayed::Grown, Copy::None, WORKING_SET)
    }),
    scenario("relay/windows", Beyond(700.0, "relay/place"), || {
        relay(Relayed::Windows, Copy::None, WORKING_SET)
    }),
    scenario("relay/chunks", Alone, || {
        relay(Relayed::Chunks, Copy::None, WORKING_SET)
    }),
    scenario("relay/messages", Alone, || {
        relay(Relayed::Messages, Copy::None, WORKING_SET)
    }),
    scenario("deframe", Alone, deframe),
    scenario("receive/10", Alone, || receive(10, Order::InOrder)),
    many("receive/100000/in-order", Times(1.5, "receive/10"), || {
        receive(100_000, Order::InOrder)
    }),
    many("receive/100000/random", Times(1.5, "receive/10"), || {
        receive(100_000, Order::Random)
    }),
    many("receive/100000/retired", Times(2.5, "receive/10"), || {
        receive(100_000, Order::Retired)
    }),
    scenario("send/10", Alone, || send(10, Order::InOrder)),
    many("send/100000/in-order", Times(1.5, "send/10"), || {
        send(100_000, Order::InOrder)
    }),
    many("send/100000/random", Times(1.5, "send/10"), || {
        send(100_000, Order::Random)
    }),
    scenario("decode/request_message/prost", Alone, || {
        decode_kind(DATA, Codec::Prost)
    }),
    scenario(
        "decode/request_message",
        Times(1.0 / 3.0, "decode/request_message/prost"),
        || decode_kind(DATA, Codec::Core),
    ),
    scenario("decode/more_request_data/prost", Alone, || {
        decode_kind(MORE, Codec::Prost)
    }),
    scenario(
        "decode/more_request_data",
        Times(1.0 / 3.0, "decode/more_request_data/prost"),
        || decode_kind(MORE, Codec::Core),
    ),
    scenario("decode/new_stream/prost", Alone, || {
        decode_kind(NEW, Codec::Prost)
    }),
    scenario(
        "decode/new_stream",
        Times(0.5, "decode/new_stream/prost"),
        || decode_kind(NEW, Codec::Core),
    ),
    scenario(
        "decode/new_stream/and-read",
        Beside("decode/new_stream/prost"),
        || decode_kind(NEW, Codec::CoreRead),
    ),
    scenario("encode/new_stream/prost", Alone, || {
        encode_kind(NEW, Codec::Prost)
    }),
    scenario(
        "encode/new_stream",
        Beside("encode/new_stream/prost"),
        || encode_kind(NEW, Codec::Core),
    ),
    scenario("encode/response_headers/prost", Alone, || {
        encode_kind(HEADERS, Codec::Prost)
    }),
    scenario(
        "encode/response_headers",
        Beside("encode/response_headers/prost"),
        || encode_kind(HEADERS, Codec::Core),
    ),
    scenario("encode/close_stream/prost", Alone, || {
        encode_kind(CLOSE, Codec::Prost)
    }),
    scenario(
        "encode/close_stream",
        Beside("encode/close_stream/prost"),
        || encode_kind(CLOSE, Codec::Core),
    ),
    scenario("window-update", Alone, window_update),
    scenario("call/unary", Alone, unary_call),
    scenario("call/cancelled", Alone, cancelled_call),
    #[cfg(feature = "driver")]
    scenario("driver/unary-call", Alone, super::tunnelled_call),
    #[cfg(feature = "driver")]
    scenario("driver/chunk", Alone, super::tunnelled_chunk),
];
