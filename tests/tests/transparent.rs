//! The extension `TRANSPARENT`: what a receiver checks of what it brings.

use grpctunnel_core::StreamReason;
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{self, Fields, content, new, on, strings};
use grpctunnel_tests::harness::{OnHeap, client_agreed, server_agreed};

const TRANSPARENT: u8 = 2;

both_stores! {
    fn what_transparent_brings_is_checked<S>() {
        for (headers, reason) in HEADERS {
            let metadata = || strings(headers);
            // At a server.
            let mut t = server_agreed::<S>(TRANSPARENT, TRANSPARENT);
            t.get(new(1, "svc/m").headers(metadata()));
            match reason {
                None => t.sees(&["opened(1,svc/m)"]).sends(&[]),
                Some(_) => t.sees(&[]).sends(&["close(1,INVALID_ARGUMENT)"]),
            };
            t.lives();
            // At a client.
            let mut t = client_agreed::<S>(TRANSPARENT, TRANSPARENT).with_call();
            t.get(frames::hdr(1, headers));
            match reason {
                None => t.sees(&["hdr(1)"]).sends(&[]),
                Some(reason) => t
                    .sees(&[&format!("ended(1,INTERNAL,{reason:?})")])
                    .sends(&["cancel(1)"]),
            };
            t.lives();
            // In trailers, too; the peer has closed the call, so it needs no `cancel`.
            let closed = || {
                let trailers = Fields::new().message(1, &strings(headers));
                frames::close_with(1, &trailers.message(2, &frames::status(0, b"")))
            };
            let mut t = client_agreed::<S>(TRANSPARENT, TRANSPARENT).with_call();
            t.get(closed());
            match reason {
                None => t.sees(&["ended(1,OK)"]).sends(&[]),
                Some(reason) => t
                    .sees(&[&format!("ended(1,INTERNAL,{reason:?})")])
                    .sends(&[]),
            };
            t.lives();
            // Where it is not agreed they are keys like any other.
            for (own, theirs) in [(0, 31), (31, 0)] {
                let mut t = server_agreed::<S>(own, theirs);
                t.get(new(1, "svc/m").headers(metadata()))
                    .sees(&["opened(1,svc/m)"]);
                let mut t = client_agreed::<S>(own, theirs).with_call();
                t.get(frames::hdr(1, headers)).sees(&["hdr(1)"]);
                t.get(closed()).sees(&["ended(1,OK)"]);
                t.lives();
            }
        }
    }

    fn a_compressed_message_needs_an_encoding<S>() {
        let compressed = |id| {
            let fields = Fields::new()
                .number(1, 5)
                .bytes(2, &content(0, 5))
                .number(100, 1);
            on(id, &Fields::new().message(3, &fields))
        };
        for (headers, allowed) in [
            (&[][..], false),
            (&[("grpc-encoding", "identity")], false),
            (
                &[("grpc-encoding", "gzip"), ("grpc-encoding", "identity")],
                false,
            ),
            (&[("grpc-encoding", "gzip")], true),
            (
                &[("grpc-encoding", "identity"), ("grpc-encoding", "br")],
                true,
            ),
        ] {
            let mut t = server_agreed::<S>(TRANSPARENT, TRANSPARENT);
            t.get(new(1, "svc/m").headers(strings(headers)))
                .sees(&["opened(1,svc/m)"]);
            t.get(compressed(1));
            if allowed {
                t.sees(&["got(1,5)"]).sends(&[]);
            } else {
                t.sees(&["ended(1,INTERNAL,CompressedWithoutEncoding)"])
                    .sends(&["close(1,INTERNAL)"]);
            }
            t.lives();
            let mut t = client_agreed::<S>(TRANSPARENT, TRANSPARENT).with_call();
            t.get(frames::hdr(1, headers)).sees(&["hdr(1)"]);
            t.get(compressed(1));
            if allowed {
                t.sees(&["got(1,5)"]).sends(&[]);
            } else {
                t.sees(&["ended(1,INTERNAL,CompressedWithoutEncoding)"])
                    .sends(&["cancel(1)"]);
            }
            t.lives();
        }
        // Headers that never came name none.
        let mut t = client_agreed::<S>(TRANSPARENT, TRANSPARENT).with_call();
        t.get(compressed(1))
            .sees(&["ended(1,INTERNAL,CompressedWithoutEncoding)"])
            .sends(&["cancel(1)"]);
        t.lives();
    }
}

/// One end's metadata, and what is wrong with it.
type Checked = (
    &'static [(&'static str, &'static str)],
    Option<StreamReason>,
);

const HEADERS: &[Checked] = &[
    (&[], None),
    (&[("content-type", "application/grpc")], None),
    (&[("content-type", "application/grpc+proto")], None),
    (&[("content-type", "application/grpc;charset=utf-8")], None),
    (&[("content-type", "")], Some(StreamReason::BadContentType)),
    (
        &[("content-type", "application/grp")],
        Some(StreamReason::BadContentType),
    ),
    (
        &[("content-type", "application/grpc-web")],
        Some(StreamReason::BadContentType),
    ),
    (
        &[("content-type", "application/json")],
        Some(StreamReason::BadContentType),
    ),
    (
        &[("content-type", "application/grpc+a\nb")],
        Some(StreamReason::BadContentType),
    ),
    (&[(":authority", "example.com:443")], None),
    (&[(":authority", "[::1]:80")], None),
    (&[(":authority", "")], Some(StreamReason::BadAuthority)),
    (&[(":authority", "a/b")], Some(StreamReason::BadAuthority)),
    (&[(":authority", "a b")], Some(StreamReason::BadAuthority)),
    (
        &[(":authority", "\u{fc}")],
        Some(StreamReason::BadAuthority),
    ),
    (&[("grpc-encoding", "gzip")], None),
    (&[("grpc-encoding", "identity")], None),
    (&[("grpc-encoding", "")], Some(StreamReason::BadEncoding)),
    (
        &[("grpc-encoding", "gzip,br")],
        Some(StreamReason::BadEncoding),
    ),
    (
        &[("grpc-encoding", "g zip")],
        Some(StreamReason::BadEncoding),
    ),
    // The last entry of a key counts.
    (&[("grpc-encoding", ""), ("grpc-encoding", "gzip")], None),
    (
        &[("grpc-encoding", "gzip"), ("grpc-encoding", "")],
        Some(StreamReason::BadEncoding),
    ),
    (
        &[("content-type", "x"), ("content-type", "application/grpc")],
        None,
    ),
    // Nobody checks what a peer accepts.
    (&[("grpc-accept-encoding", "")], None),
];

/// One value each: not two, and not none.
#[test]
fn what_transparent_brings_is_one_value() {
    for key in ["content-type", ":authority", "grpc-encoding"] {
        let value: &[u8] = if key == "content-type" {
            b"application/grpc"
        } else {
            b"a"
        };
        for (values, opens) in [(&[value][..], true), (&[value, value], false), (&[], false)] {
            let mut t = server_agreed::<OnHeap>(TRANSPARENT, TRANSPARENT);
            t.get(new(1, "svc/m").headers(frames::metadata(&[(key.as_bytes(), values)])));
            assert_eq!(t.seen().len(), usize::from(opens), "{key}: {values:?}");
            assert_eq!(t.sent().len(), usize::from(!opens));
        }
    }
}
