//! Rows 163 to 169 of the catalogue: the end of the carrier, at every point of a call.

use grpctunnel_core::{
    Cause, Hold, Negotiation, OpenError, OpenOptions, Opening, Server, TunnelReason,
};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{close, half, hdr, more, msg, new, set};
use grpctunnel_tests::harness::{Over, Script, Store, client, client_with, config, server};

/// A server on its way through a call, which ends at the given point. Whether call 1 is live then.
fn at_point<S: Store>(point: usize) -> (Script<Server, S>, bool) {
    let mut t = server::<S>();
    t.reading = false;
    type Step<S> = fn(&mut Script<Server, S>);
    let steps: [Step<S>; 8] = [
        |t| {
            t.get(new(1, "svc/m")).sees(&["opened(1,svc/m)"]);
        },
        |t| {
            t.get(msg(1, 10, 4));
        },
        |t| {
            t.get(more(1, 6));
            t.get(half(1)).sees(&["half(1)"]);
        },
        |t| {
            assert_eq!(t.act(|end, _| end.respond(1, &[])), Ok(()));
            t.sends(&["hdr(1)"]);
        },
        |t| {
            t.send(1, 5).sees(&["writable(1)"]).sends(&["msg(1,5,5)"]);
        },
        |t| {
            let message = vec![7; 9];
            assert_eq!(t.act(|end, _| end.send(1, message, 4)), Ok(()));
            t.sends(&["msg(1,9,4)"]);
        },
        |t| {
            assert_eq!(t.act(|end, _| end.provide(1, 5)), Ok(()));
            t.sees(&["writable(1)"]).sends(&["more(1,5)"]);
        },
        |t| {
            t.close(1, 0)
                .sees(&["ended(1,closed)"])
                .sends(&["close(1,OK)"]);
        },
    ];
    for step in steps.iter().take(point) {
        step(&mut t);
    }
    (t, (1..steps.len()).contains(&point))
}

fn every_point<S: Store>(cause: Cause, reason: TunnelReason, carrier: &str) {
    for point in 0..=8 {
        let (mut t, live) = at_point::<S>(point);
        t.ends(cause);
        if live {
            let lost = format!("ended(1,UNAVAILABLE,{reason:?},sent)");
            t.sees(&[&lost, carrier]);
            // The handler is cancelled: nothing that was not read is left to it.
            t.reads(1, &["end"]);
        } else {
            t.sees(&[carrier]);
        }
        t.sends(&[]);
        assert_eq!(t.end.tunnel.active_streams(), 0, "point {point}");
        if point > 0 {
            t.act(|end, _| end.release(1));
        }
        assert_eq!(t.end.tunnel.streams(), 0, "point {point}");
        assert_eq!(t.end.tunnel.poll_timeout(), None, "point {point}");
    }
}

both_stores! {
    fn conf_163_the_end_with_a_live_handler<S>() {
        let mut t = server::<S>().with_call();
        t.ends(Cause::Finished)
            .sees(&["ended(1,UNAVAILABLE,CarrierFinished,sent)", "finish"]);
        t.sends(&[]);
    }

    fn conf_164_the_end_behind_a_whole_request<S>() {
        let mut t = server::<S>().with_call();
        t.get(msg(1, 5, 5)).sees(&["got(1,5)"]);
        t.get(half(1)).sees(&["half(1)"]);
        t.ends(Cause::Finished)
            .sees(&["ended(1,UNAVAILABLE,CarrierFinished,sent)", "finish"]);
        let status = grpctunnel_core::wire::StatusHead { code: 0, message: "", details: &[] };
        let late = t.act(|end, now| end.close(now, 1, status, &[], Hold::Never));
        assert!(late.is_err(), "the response is lost");
        t.sends(&[]);
    }

    fn conf_165_the_end_at_every_point<S>() {
        every_point::<S>(Cause::Finished, TunnelReason::CarrierFinished, "finish");
    }

    fn conf_166_a_cut_at_every_point<S>() {
        every_point::<S>(Cause::Failed, TunnelReason::CarrierFailed, "abort(UNAVAILABLE,CarrierFailed)");
    }

    fn conf_167_the_server_ends_the_tunnel_during_calls<S>() {
        let mut t = client::<S>().with_call();
        t.taking = false;
        assert_eq!(t.open(), 2);
        t.ends(Cause::Finished).sees(&[
            "ended(1,UNAVAILABLE,CarrierFinished,sent)",
            "ended(2,UNAVAILABLE,CarrierFinished,never sent)",
            "finish",
        ]);
        let next = t.act(|end, now| end.open(now, "svc/m", &[], OpenOptions::default()));
        assert_eq!(next, Err(OpenError::Ended));
        assert_eq!(OpenError::Ended.code(), grpctunnel_core::Code::Unavailable);
    }

    fn conf_168_the_carrier_fails_during_calls<S>() {
        let mut t = client::<S>().with_call();
        t.ends(Cause::Failed).sees(&[
            "ended(1,UNAVAILABLE,CarrierFailed,sent)",
            "abort(UNAVAILABLE,CarrierFailed)",
        ]);
        assert_eq!(t.end.tunnel.error().unwrap().reason(), TunnelReason::CarrierFailed);
    }

    fn conf_169_the_end_at_every_point_of_a_call<S>() {
        for cause in [Cause::Finished, Cause::Failed] {
            // Before settings there is no call.
            let mut t = client_with::<S>(config::<S>(), Opening::Accepted(Negotiation::On));
            t.ends(cause);
            assert_eq!(t.seen().len(), 1, "the carrier's end alone");

            let frames = [hdr(1, &[]), msg(1, 3, 3), msg(1, 9, 4), close(1, 5)];
            let messages = [0, 0, 1, 1, 1];
            for (point, messages) in messages.into_iter().enumerate() {
                let mut t = client::<S>().with_call();
                t.reading = false;
                for frame in frames.iter().take(point) {
                    t.get(frame.clone());
                    t.seen();
                }
                t.ends(cause);
                t.seen();
                let lost = matches!(t.over(1), Over::Lost { sent: true, .. });
                assert_eq!(lost, point < frames.len(), "{:?}", t.over(1));
                // What is whole is delivered, what is not never is.
                let got = std::iter::repeat_n("got(1,3)", messages).chain(["end"]);
                t.reads(1, &got.collect::<Vec<_>>());
            }

            // After the close the call is OK already.
            let mut t = client::<S>().with_call();
            t.get(close(1, 0)).sees(&["ended(1,OK)"]);
            t.ends(cause);
            assert_eq!(t.seen().len(), 1, "the carrier's end alone");
        }
    }
}

both_stores! {
    fn nothing_is_heard_after_the_end<S>() {
        let mut t = client::<S>();
        t.ends(Cause::Failed).sees(&["abort(UNAVAILABLE,CarrierFailed)"]);
        let first = t.end.tunnel.error().cloned().unwrap();
        let late = t.act(|end, now| end.feed(now, &set(-1, 1, &[1])));
        assert_eq!(late, Err(first));
        t.ends(Cause::Finished);
        t.is_quiet();
    }
}
