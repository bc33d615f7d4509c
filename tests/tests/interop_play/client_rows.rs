//! The rows that a tunnel server can play against a client: what it does to the probe's call, and
//! what the application sees.

use grpctunnel_tests::harness::frames::{
    Fields, Frame, close, close_with, hdr, metadata, more, msg, none, on, set, status, wu,
};
use grpctunnel_tests::interop::probe::{Outcome as Bystander, Stage};
use tonic::Code::{
    self, DeadlineExceeded, FailedPrecondition, Internal, NotFound, Ok, PermissionDenied,
    ResourceExhausted, Unavailable, Unimplemented, Unknown,
};
use tonic::Status;

use crate::case::Act::{Answer, Download, Finish, Reset, Respond, Send};
use crate::case::Opening::{NoAnswer, Refused};
use crate::case::{Act, At, Case, Seen, When};
use crate::messages::{data, envelope, filler};
use crate::tunnel::WINDOW;

/// The call succeeds.
const WORKS: Seen = (Ok, Stage::Call, Bystander::Ok);
/// The tunnel ends, and every call on it.
const LOST: Seen = (Unavailable, Stage::Call, Bystander::Fail);

/// The call fails, and nothing else.
const fn fails(code: Code) -> Seen {
    (code, Stage::Call, Bystander::Ok)
}

/// The tunnel is not opened.
const fn unopened(code: Code) -> Seen {
    (code, Stage::Open, Bystander::None)
}

const DUPLEX: &[&str] = &["--call", "duplex"];
const LARGE: &[&str] = &["--payload", "300000"];
const DEADLINE: &[&str] = &["--deadline-ms", "200"];
const UNREAD: &[&str] = &["--call", "duplex", "--read-delay-ms", "300"];

macro_rules! cases {
    ($($name:ident $(.$with:ident($($argument:expr),*))*: $expected:expr, |$at:ident| [$($act:expr),* $(,)?];)*) => {
        vec![$(Case::new(stringify!($name), $expected, |$at: &At| vec![$($act),*])$(.$with($($argument),*))*),*]
    };
}

/// All cases but the slow ones.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = opening_and_settings();
    all.extend(messages());
    all.extend(floods());
    all.extend(flow_control());
    all.extend(headers_and_close());
    all.extend(ends());
    all
}

/// The one that takes as long as a client waits for an answer to its opening, 10 s.
pub(crate) fn unanswered() -> Vec<Case> {
    cases! {
        play_006_client_no_response_headers.opening(NoAnswer): unopened(DeadlineExceeded), |_at| [];
    }
}

/// The one that takes as long as a client waits for settings, 10 s.
pub(crate) fn silent() -> Vec<Case> {
    cases! {
        play_018_client_no_settings.opens(vec![]): unopened(DeadlineExceeded), |_at| [];
    }
}

fn opening_and_settings() -> Vec<Case> {
    let settings = |revisions: &[i32]| vec![set(-1, 65_536, revisions)];
    let twice = || [settings(&[0, 1]), settings(&[0, 1])].concat();
    cases! {
        play_007_client_no_negotiation.zero(): WORKS, |_at| [Answer];
        play_008_client_refused.opening(Refused(Unimplemented)): unopened(Unimplemented), |_at| [];
        play_008_client_denied.opening(Refused(PermissionDenied)): unopened(PermissionDenied), |_at| [];
        play_010_client_revision_zero_with_a_window.opens(settings(&[0])): WORKS, |_at| [Answer];
        play_011_client_headers_first.opens(vec![hdr(-1, &[])]): unopened(Internal), |_at| [];
        play_012_client_settings_of_a_stream.opens(vec![set(0, 65_536, &[0, 1])]): unopened(Internal), |_at| [];
        play_013_client_no_member_first.opens(vec![none(-1)]): unopened(Internal), |_at| [];
        play_014_client_no_revisions.opens(settings(&[])): WORKS, |_at| [Answer];
        play_015_client_an_unknown_revision.opens(settings(&[7])): unopened(FailedPrecondition), |_at| [];
        play_015_client_a_negative_revision.opens(settings(&[-3])): unopened(FailedPrecondition), |_at| [];
        play_016_client_one_unknown_revision.opens(settings(&[0, 7, 0])): WORKS, |_at| [Answer];
        play_017_client_revision_one_alone.opens(settings(&[1])): WORKS, |_at| [Answer];
        play_021_client_the_end_before_settings.opens_with(vec![Finish(Status::ok(""))]): unopened(Unavailable), |_at| [];
        play_021_client_a_cut_before_settings.opens_with(vec![Reset]): unopened(Unavailable), |_at| [];
        play_022_client_a_window_of_nothing.window(0).when(When::New): WORKS, |at| [Send(wu(at.id, 1_000)), Answer];
        play_023_client_the_largest_window.window(u32::MAX): WORKS, |_at| [Answer];
        play_024_client_settings_again: WORKS, |_at| [Send(set(-1, 1, &[0])), Answer];
        play_024_client_a_flood_of_settings: LOST, |_at| [flood(20_000, || set(-1, 1, &[0]))];
        play_025_client_settings_twice.opens(twice()): WORKS, |_at| [Answer];
        play_026_client_settings_without_negotiation.zero(): WORKS, |_at| [Send(set(-1, 1, &[0])), Answer];
        play_027_client_settings_on_a_stream: fails(Internal), |at| [Send(set(at.id, 65_536, &[0, 1]))];
        play_028_client_settings_of_no_stream: LOST, |at| [Send(set(at.id + 1_000, 65_536, &[0, 1]))];
    }
}

/// So many frames at once.
fn flood(count: usize, frame: impl Fn() -> Frame) -> Act {
    Act::Many(std::iter::repeat_with(frame).take(count).collect())
}

fn messages() -> Vec<Case> {
    cases! {
        play_057_client_a_key_that_is_not_utf8: fails(Internal), |at| [Send(headers_of(at.id, b"\xff", b"v"))];
        play_057_client_a_value_that_is_not_utf8: fails(Internal), |at| [Send(headers_of(at.id, b"k", b"\xff"))];
        play_057_client_a_status_that_is_not_utf8: fails(Internal), |at| [
            Send(close_with(at.id, &Fields::new().message(2, &status(5, b"\xff")))),
        ];
        play_065_client_a_message.messages(1): WORKS, |at| [Send(data(at.id, &filler(7))), Send(close(at.id, 0))];
        play_066_client_empty_chunks.messages(1): WORKS, |at| [
            Send(envelope(at.id, 7, &[])), Send(more(at.id, 0)), Send(on(at.id, &Fields::new().bytes(4, &filler(7)))), Send(close(at.id, 0)),
        ];
        play_067_client_empty_messages.arguments(DUPLEX).messages(2): WORKS, |at| [
            Send(msg(at.id, 0, 0)), Send(msg(at.id, 0, 0)), Send(close(at.id, 0)),
        ];
        play_068_client_more_than_nothing: fails(Internal), |at| [Send(msg(at.id, 0, 2))];
        play_069_client_a_chunk_of_no_message: fails(Internal), |at| [Send(more(at.id, 1))];
        play_070_client_a_chunk_behind_a_message.arguments(DUPLEX).messages(1): fails(Internal), |at| [
            Send(data(at.id, &filler(7))), Send(more(at.id, 0)),
        ];
        play_071_client_a_message_in_another: fails(Internal), |at| [Send(msg(at.id, 10, 1)), Send(msg(at.id, 10, 1))];
        play_072_client_a_chunk_too_long: fails(Internal), |at| [Send(msg(at.id, 3, 1)), Send(more(at.id, 3))];
        play_073_client_a_chunk_of_a_window.messages(1): WORKS, |at| [Send(data(at.id, &filler(WINDOW))), Send(close(at.id, 0))];
        play_074_client_a_chunk_of_1_mib.zero().messages(1): WORKS, |at| [Send(data(at.id, &filler(1 << 20))), Send(close(at.id, 0))];
        play_076_client_four_gibibytes_announced: fails(ResourceExhausted), |at| [Send(msg(at.id, u32::MAX, 0)), Send(more(at.id, 1))];
        play_081_client_data_behind_close: WORKS, |at| [Answer, Send(msg(at.id, 2, 2)), Send(more(at.id, 9))];
        play_084_client_an_answer_that_is_cut.arguments(DUPLEX).messages(1): fails(Internal), |at| [
            Send(msg(at.id, 0, 0)), Send(msg(at.id, 10, 1)), Send(close(at.id, 0)),
        ];
        play_085_client_not_the_type: fails(Internal), |at| [Send(data(at.id, &[0x0a, 0xff])), Send(close(at.id, 0))];
    }
}

fn headers_of(id: i64, key: &[u8], value: &[u8]) -> Frame {
    on(id, &Fields::new().message(2, &metadata(&[(key, &[value])])))
}

/// Floods in small: 10,000 of what a peer can do for free.
fn floods() -> Vec<Case> {
    cases! {
        play_077_client_empty_messages.arguments(DUPLEX).messages(10_000): WORKS, |at| [
            flood(10_000, || msg(at.id, 0, 0)), Send(close(at.id, 0)),
        ];
        play_078_client_empty_chunks_for_ever: fails(ResourceExhausted), |at| [Send(msg(at.id, 10, 0)), flood(102, || more(at.id, 0))];
        play_079_client_messages_of_a_byte.arguments(UNREAD): fails(Internal), |at| [flood(10_000, || msg(at.id, 1, 1))];
        play_098_client_a_flood_of_credit: LOST, |at| [flood(10_000, || wu(at.id, 1))];
        play_111_client_a_flood_for_a_finished_call: LOST, |at| [Send(hdr(at.id, &[])), flood(20_000, || hdr(at.id, &[]))];
        play_111_client_a_flood_below_the_budget: WORKS, |at| [Send(hdr(at.id, &[])), flood(9_000, || hdr(at.id, &[])), Answer];
    }
}

fn flow_control() -> Vec<Case> {
    cases! {
        play_086_client_credit_beyond_the_largest: fails(Internal), |at| [Send(wu(at.id, u32::MAX)), Send(wu(at.id, u32::MAX))];
        play_089_client_a_byte_beyond_the_window: fails(ResourceExhausted), |at| [Send(msg(at.id, 100_000, WINDOW + 1))];
        play_092_client_credit_of_nothing: WORKS, |at| [Send(wu(at.id, 0)), Answer];
        play_093_client_credit_for_a_finished_call: WORKS, |at| [Answer, Send(wu(at.id, 1)), Send(wu(at.id, u32::MAX))];
        play_094_client_credit_for_no_stream: LOST, |at| [Send(wu(at.id + 1_000, 1))];
        play_095_client_credit_in_revision_zero.zero(): WORKS, |at| [Send(wu(at.id, u32::MAX)), Send(wu(at.id, u32::MAX)), Answer];
        play_099_client_credit_for_every_chunk.arguments(LARGE): WORKS, |_at| [Answer];
        play_101_client_a_message_beyond_the_window.messages(1): WORKS, |_at| [Download(200_000)];
        play_102_client_a_window_of_ten_bytes.window(10): WORKS, |_at| [Answer];
        play_153_client_a_slow_reader_without_flow_control.zero()
            .arguments(&["--call", "duplex", "--read-delay-ms", "200"]).messages(3): WORKS, |at| [
            Send(data(at.id, &filler(2 << 20))), Send(data(at.id, &filler(2 << 20))), Send(data(at.id, &filler(2 << 20))), Send(close(at.id, 0)),
        ];
    }
}

fn headers_and_close() -> Vec<Case> {
    cases! {
        play_111_client_an_answer_behind_our_cancel.arguments(DEADLINE).when(When::Cancel): fails(DeadlineExceeded), |at| [
            Send(hdr(at.id, &[])), Answer, Send(none(at.id)),
        ];
        play_112_client_messages_behind_close: WORKS, |_at| [Answer, Respond, Respond];
        play_114_client_headers_message_close: WORKS, |at| [Send(hdr(at.id, &[("k", "v")])), Answer];
        play_115_client_no_headers: WORKS, |_at| [Answer];
        play_116_client_headers_behind_a_message: WORKS, |at| [
            Respond, Send(hdr(at.id, &[("a", "1")])), Send(hdr(at.id, &[("b", "1")])), Send(close(at.id, 0)),
        ];
        play_117_client_headers_twice: WORKS, |at| [Send(hdr(at.id, &[("a", "1")])), Send(hdr(at.id, &[("b", "1")])), Answer];
        play_118_client_close_without_status: WORKS, |at| [Respond, Send(close_with(at.id, &Fields::new()))];
        play_119_client_no_response: fails(Internal), |at| [Send(close_with(at.id, &Fields::new()))];
        play_120_client_ok_with_a_text: WORKS, |at| [Respond, Send(close_with(at.id, &Fields::new().message(2, &status(0, b"fine"))))];
        play_121_client_code_99: fails(Unknown), |at| [Send(close(at.id, 99))];
        play_121_client_a_negative_code: fails(Unknown), |at| [Send(close(at.id, -1))];
        play_122_client_an_error_with_trailers: fails(NotFound), |at| [
            Send(close_with(at.id, &Fields::new().message(1, &metadata(&[(b"k", &[b"v"])])).message(2, &status(5, b"none")))),
        ];
        play_123_client_close_twice: WORKS, |at| [Answer, Send(close(at.id, 13)), Respond];
        play_124_client_two_responses: fails(Internal), |at| [Respond, Respond, Send(close(at.id, 0))];
        play_125_client_a_response_and_an_error.messages(0): fails(NotFound), |at| [Respond, Send(close(at.id, 5))];
        play_126_client_no_member: fails(Internal), |at| [Send(none(at.id))];
        play_127_client_headers_of_no_stream: LOST, |at| [Send(hdr(at.id + 1_000, &[]))];
        play_128_client_frames_of_no_stream: WORKS, |_at| [Send(hdr(0, &[])), Send(hdr(-7, &[])), Send(none(-1)), Send(none(0)), Answer];
        play_129_client_an_answer_before_half_close.arguments(LARGE).when(When::New): WORKS, |at| [Send(hdr(at.id, &[])), Answer];
        play_130_client_an_error_while_it_waits_for_credit.arguments(LARGE).when(When::New).stingy(): fails(PermissionDenied), |at| [
            Send(close(at.id, 7)),
        ];
        play_131_client_a_response_of_5_mib: fails(ResourceExhausted), |at| [Send(msg(at.id, 5 << 20, 9))];
    }
}

fn ends() -> Vec<Case> {
    let mut all = cases! {
        play_148_client_a_deadline_without_an_answer.arguments(DEADLINE): fails(DeadlineExceeded), |_at| [];
        play_148_client_a_deadline_behind_headers.arguments(DEADLINE): fails(DeadlineExceeded), |at| [Send(hdr(at.id, &[]))];
        play_148_client_a_deadline_in_a_message.arguments(DEADLINE): fails(DeadlineExceeded), |at| [Send(msg(at.id, 10, 1))];
        play_148_client_a_deadline_while_it_waits_for_credit.arguments(&["--deadline-ms", "200", "--payload", "300000"]).stingy():
            fails(DeadlineExceeded), |_at| [];
        play_149_client_the_deadline_is_told.arguments(&["--deadline-ms", "9000"]): WORKS, |at| [
            if at.has_timeout { Answer } else { Send(close(at.id, 13)) },
        ];
        play_167_client_the_end_of_the_tunnel: LOST, |_at| [Finish(Status::ok(""))];
        play_168_client_an_error_of_the_tunnel: LOST, |_at| [Finish(Status::data_loss("as asked"))];
        play_169_client_the_end_at_once.when(When::New): LOST, |_at| [Finish(Status::ok(""))];
        play_169_client_the_end_behind_headers: LOST, |at| [Send(hdr(at.id, &[])), Finish(Status::ok(""))];
        play_169_client_the_end_in_a_message: LOST, |at| [Send(msg(at.id, 10, 1)), Finish(Status::ok(""))];
        play_169_client_the_end_behind_a_message: LOST, |_at| [Respond, Finish(Status::ok(""))];
    };
    let closed = (Ok, Stage::Call, Bystander::Fail);
    all.extend(cases! {
        play_169_client_the_end_behind_close: closed, |_at| [Answer, Finish(Status::ok(""))];
        play_169_client_a_cut_at_once.when(When::New): LOST, |_at| [Reset];
        play_169_client_a_cut_behind_headers: LOST, |at| [Send(hdr(at.id, &[])), Reset];
        play_169_client_a_cut_in_a_message: LOST, |at| [Send(msg(at.id, 10, 1)), Reset];
    });
    all
}
