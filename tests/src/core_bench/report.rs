//! The tables that the timed benchmarks print.

use std::fmt::{self, Write as _};

use grpctunnel_core::{Fixed, Growing, TunnelClient, TunnelServer};

use super::measure::medians;
use super::{Codec, Copy, Kind, Order, Relayed, decode, encode, memcpy, receive, relay, send};

/// Decoding and encoding of each frame kind, the core beside prost.
///
/// # Errors
/// The output fails.
pub fn codec_table(out: &mut impl fmt::Write) -> fmt::Result {
    writeln!(
        out,
        "{:<36}{:>10}{:>10}{:>8}{:>12}{:>10}{:>8}",
        "median ns", "decode", "prost", "ratio", "encode", "prost", "ratio"
    )?;
    for kind in Kind::ALL {
        let [ours, prost] = medians([decode(*kind, Codec::Core), decode(*kind, Codec::Prost)]);
        let [write, prost_write] =
            medians([encode(*kind, Codec::Core), encode(*kind, Codec::Prost)]);
        writeln!(
            out,
            "{:<36}{ours:>10.1}{prost:>10.1}{:>8.2}{write:>12.1}{prost_write:>10.1}{:>8.2}",
            kind.name,
            ours / prost,
            write / prost_write,
        )?;
    }
    writeln!(
        out,
        "prost copies the payload when it encodes; the core leaves it where it is"
    )
}

/// 16 KiB chunks through both cores, beside a memcpy of the same bytes.
///
/// # Errors
/// The output fails.
pub fn relay_table(out: &mut impl fmt::Write) -> fmt::Result {
    write!(out, "{:<44}", "median ns for 16 KiB, and beside memcpy")?;
    for title in [
        "memcpy",
        "grown",
        "windows",
        "chunks",
        "messages",
        "grown, read",
    ] {
        write!(out, "{title:>13}")?;
    }
    writeln!(out)?;
    for (title, bytes) in [("512 KiB", 512 << 10), ("64 MiB", 64 << 20)] {
        let times = medians([
            memcpy(bytes),
            relay(Relayed::Grown, Copy::None, bytes),
            relay(Relayed::Windows, Copy::None, bytes),
            relay(Relayed::Chunks, Copy::None, bytes),
            relay(Relayed::Messages, Copy::None, bytes),
            relay(Relayed::Grown, Copy::Once, bytes),
        ]);
        let [memcpy, ..] = times;
        write!(out, "{:<44}", format!("working set of {title}"))?;
        for time in times {
            write!(out, "{time:>13.0}")?;
        }
        write!(out, "\n{:<44}", "")?;
        for time in times {
            write!(out, "{:>13.2}", time / memcpy)?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "read: the server's caller copies each chunk once; the cores copy none"
    )
}

/// The cost of a frame by the number of open streams.
///
/// # Errors
/// The output fails.
pub fn streams_table(out: &mut impl fmt::Write) -> fmt::Result {
    writeln!(
        out,
        "{:<58}{:>10}{:>8}{:>10}{:>8}",
        "median ns a frame, and beside 10 streams", "receive", "ratio", "send", "ratio"
    )?;
    let cases = [
        (Order::InOrder, "ids in order"),
        (Order::Random, "ids at random"),
        (Order::Retired, "ids at random, nine of ten retired"),
    ];
    for open in [10, 1_000, 100_000] {
        for (order, title) in cases {
            if order == Order::Retired && open == 10 {
                continue;
            }
            let [base, received] = medians([receive(10, Order::InOrder), receive(open, order)]);
            let title = format!("{open} streams, {title}");
            write!(out, "{title:<58}{received:>10.1}{:>8.2}", received / base)?;
            // A client finds its streams by key: no id is looked up.
            if order != Order::Retired {
                let [base, sent] = medians([send(10, Order::InOrder), send(open, order)]);
                write!(out, "{sent:>10.1}{:>8.2}", sent / base)?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// Bytes of memory, without buffers.
///
/// # Errors
/// The output fails.
pub fn sizes_table(out: &mut String) -> fmt::Result {
    type Four = Fixed<4, 4>;
    // Two more, so that no padding is counted.
    let two_more =
        size_of::<TunnelServer<Fixed<66, 8>>>() - size_of::<TunnelServer<Fixed<64, 8>>>();
    let a_stream = two_more / 2;
    for (what, bytes) in [
        (
            "a stream, by the core's own account",
            TunnelServer::<Growing>::STREAM_BYTES,
        ),
        ("a stream, as tunnels grow by", a_stream),
        ("TunnelClient, growing", size_of::<TunnelClient<Growing>>()),
        ("TunnelServer, growing", size_of::<TunnelServer<Growing>>()),
        (
            "TunnelClient, in place for 4 streams",
            size_of::<TunnelClient<Four>>(),
        ),
        (
            "TunnelServer, in place for 4 streams",
            size_of::<TunnelServer<Four>>(),
        ),
    ] {
        writeln!(out, "{what:<44}{bytes:>8} bytes")?;
    }
    Ok(())
}
