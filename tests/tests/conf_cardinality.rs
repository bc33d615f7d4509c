//! Rows 133 to 136 of the catalogue: the number of requests.

use grpctunnel_core::MethodKind;
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::frames::{half, msg, new};
use grpctunnel_tests::harness::server;

both_stores! {
    fn conf_133_no_request_where_one_is_due<S>() {
        for kind in [MethodKind::Unary, MethodKind::ServerStreaming] {
            let mut t = server::<S>();
            t.open_kind(1, kind);
            t.get(half(1)).sees(&["ended(1,INTERNAL,MissingRequest)"]).sends(&["close(1,INTERNAL)"]);
            t.lives();
        }
        for kind in [MethodKind::Unknown, MethodKind::ClientStreaming, MethodKind::Bidi] {
            let mut t = server::<S>();
            t.open_kind(1, kind);
            t.get(half(1)).sees(&["half(1)"]);
            t.lives();
        }
    }

    fn conf_134_two_requests_of_a_unary_call<S>() {
        let mut t = server::<S>();
        t.open_kind(1, MethodKind::Unary);
        t.get(msg(1, 7, 7)).sees(&["got(1,7)"]);
        t.get(msg(1, 7, 7))
            .sees(&["ended(1,INVALID_ARGUMENT,SecondRequest)"])
            .sends(&["close(1,INVALID_ARGUMENT)"]);
        t.get(half(1));
        t.lives();
    }

    fn conf_135_two_requests_of_a_server_stream<S>() {
        let mut t = server::<S>();
        t.open_kind(1, MethodKind::ServerStreaming);
        t.get(msg(1, 0, 0)).sees(&["got(1,0)"]);
        t.get(msg(1, 0, 0))
            .sees(&["ended(1,INVALID_ARGUMENT,SecondRequest)"])
            .sends(&["close(1,INVALID_ARGUMENT)"]);
        t.lives();
        // The other kinds take any number.
        for (id, kind) in [(2, MethodKind::ClientStreaming), (3, MethodKind::Bidi)] {
            t.open_kind(id, kind);
            t.get(msg(id, 0, 0)).sees(&[&format!("got({id},0)")]);
            t.get(msg(id, 0, 0)).sees(&[&format!("got({id},0)")]);
        }
        t.lives();
    }

    fn conf_136_one_request_and_never_a_half_close<S>() {
        let mut t = server::<S>();
        t.get(new(1, "svc/m").timeout("1H")).sees(&["opened(1,svc/m)"]);
        t.act(|end, _| end.set_kind(1, MethodKind::Unary));
        t.get(msg(1, 7, 7)).sees(&["got(1,7)"]);
        t.wait(core::time::Duration::from_secs(3_599));
        t.lives();
        t.wait(core::time::Duration::from_secs(1))
            .sees(&["ended(1,DEADLINE_EXCEEDED)"])
            .sends(&["close(1,DEADLINE_EXCEEDED)"]);
        t.lives();
    }
}
