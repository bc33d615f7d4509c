//! The rows that a tunnel client can play against a server: what it does, and what becomes of it.

use grpctunnel_tests::harness::frames::{
    Fields, Frame, cancel, half, metadata, more, msg, new, none, on, strings, wu,
};
use tonic::Code::{
    self, Cancelled, DeadlineExceeded, Internal, InvalidArgument, Ok, ResourceExhausted,
    Unavailable, Unimplemented,
};

use crate::messages::{DUPLEX, UNARY, ask, ask_and_wait, ask_stream, data, envelope, filler};
use crate::play::Begins::{After, Never};
use crate::play::{Play, Step};
use crate::tunnel::WINDOW;

macro_rules! say {
    ($($frame:expr),* $(,)?) => { Step::Say(vec![$(Frame::from($frame)),*]) };
}

/// Frames made by a function of a number.
fn many(numbers: std::ops::Range<i64>, frame: impl Fn(i64) -> Vec<Frame>) -> Step {
    Step::Say(numbers.flat_map(frame).collect())
}

macro_rules! ends {
    ($id:expr, $code:expr) => {{
        const CODES: &[Code] = &[$code];
        Step::Ends($id, CODES)
    }};
}

macro_rules! plays {
    ($($name:ident $(.$with:ident($($argument:expr),*))*: $($step:expr),+;)*) => {
        vec![$(Play::new(stringify!($name), vec![$($step),+])$(.$with($($argument),*))*),*]
    };
}

const INPUT: &str = "/grpc.testing.TestService/StreamingInputCall";
const OUTPUT: &str = "/grpc.testing.TestService/StreamingOutputCall";

/// A call whose handler answers its first request once and then reads no further one.
fn busy(id: i64) -> Vec<Frame> {
    vec![new(id, DUPLEX).into(), data(id, &ask_and_wait())]
}

/// The same in revision zero.
fn busy_zero(id: i64) -> Vec<Frame> {
    let call = new(id, DUPLEX).revision(0);
    vec![call.into(), data(id, &ask_and_wait())]
}

/// A call that ends well whatever happens beside it.
fn idle(id: i64) -> Step {
    say![new(id, DUPLEX)]
}

/// All plays.
pub(crate) fn plays() -> Vec<Play> {
    let mut all = opening();
    all.extend(new_stream());
    all.extend(heads_and_frames());
    all.extend(messages());
    all.extend(flow_control());
    all.extend(half_close_and_cancel());
    all.extend(deadlines());
    all.extend(back_pressure_and_ids());
    all.extend(life_cycle());
    all.extend(floods());
    all
}

fn opening() -> Vec<Play> {
    plays! {
        play_001_server_without_negotiation.zero(): Step::Works(3), say![new(5, UNARY), data(5, &[]), half(5)], ends!(5, Ok);
        play_002_server_settings_come_first: say![new(3, UNARY), data(3, &[]), half(3)], ends!(3, Ok);
        play_003_server_another_case.negotiate(&["On"]): Step::Works(3);
        play_003_server_another_word.negotiate(&["true"]): Step::Works(3);
        play_004_server_off_then_on.negotiate(&["off", "on"]): Step::Works(3);
        play_004_server_on_then_off.negotiate(&["on", "off"]): Step::Works(3);
        play_005_server_nothing_is_said_first.begins(After(1)): Step::Say(Vec::new());
    }
}

fn new_stream() -> Vec<Play> {
    let keyless = || Fields::new().message(1, &Fields::new().bytes(1, b"k"));
    plays! {
        play_030_server_any_first_id.begins(After(7)): say![new(0, DUPLEX), half(0)], ends!(0, Ok), Step::Works(5);
        play_031_server_a_live_id_again: idle(3), say![new(3, DUPLEX)], Step::Over(Internal);
        play_032_server_a_finished_id_again: Step::Works(3), say![new(3, DUPLEX)], Step::Over(Internal);
        play_033_server_a_lower_id: idle(10), say![new(9, DUPLEX)], Step::Over(Internal);
        play_034_server_a_negative_id: say![new(-1, DUPLEX)], Step::Over(Internal);
        play_034_server_a_negative_id_first.begins(Never): say![new(-1, DUPLEX)], Step::Over(Internal);
        play_034_server_the_lowest_id.begins(Never): say![new(i64::MIN, DUPLEX)], Step::Over(Internal);
        play_035_server_the_highest_id: Step::Works(i64::MAX), say![new(5, DUPLEX)], Step::Over(Internal);
        play_036_server_an_empty_method: say![new(3, "")], ends!(3, InvalidArgument), Step::Works(5);
        play_036_server_an_empty_method_first.begins(After(1)): say![new(0, "")], ends!(0, InvalidArgument);
        play_036_server_an_empty_method_of_revision_zero.zero(): say![new(3, "").revision(0)], ends!(3, InvalidArgument);
        play_037_server_an_empty_method_of_an_unknown_revision: say![new(3, "").revision(9), half(3)],
            ends!(3, Unavailable), Step::Works(5);
        play_038_server_a_slash: say![new(3, "/"), msg(3, 2, 2), half(3)], ends!(3, InvalidArgument);
        play_038_server_no_slash: say![new(3, "foo"), msg(3, 2, 2), half(3)], ends!(3, InvalidArgument);
        play_039_server_two_slashes: say![new(3, "//"), half(3)], ends!(3, Unimplemented);
        play_039_server_an_empty_service: say![new(3, "//a/b"), half(3)], ends!(3, Unimplemented);
        play_039_server_a_slash_in_the_method: say![new(3, "a/b/c"), half(3)], ends!(3, Unimplemented);
        play_040_server_no_leading_slash: say![new(3, "grpc.testing.TestService/UnaryCall"), data(3, &[]), half(3)], ends!(3, Ok);
        play_041_server_an_unknown_service: say![new(3, "nobody.Knows/It"), msg(3, 2, 2), half(3), wu(3, 1)],
            ends!(3, Unimplemented), say![msg(3, 2, 2), more(3, 1)];
        play_041_server_an_unknown_method: say![new(3, "grpc.testing.TestService/Nothing"), msg(3, 2, 2), half(3)], ends!(3, Unimplemented);
        play_042_server_an_unknown_revision: say![new(3, DUPLEX).revision(7), msg(3, 2, 2), half(3)], ends!(3, Unavailable), Step::Works(5);
        play_043_server_an_unknown_revision_on_a_live_id: idle(3), say![new(3, DUPLEX).revision(7)], Step::Over(Internal);
        play_044_server_a_call_at_a_drain.last(): Step::Drains(3), say![new(9_999, DUPLEX)], ends!(9_999, Unavailable);
        play_045_server_a_whole_call_at_a_drain.last(): Step::Drains(3), say![new(9_999, UNARY), data(9_999, &[]), half(9_999)],
            ends!(9_999, Unavailable);
        play_046_server_a_window_of_nothing: say![new(3, UNARY).window(0), data(3, &ask(100)), half(3)], Step::Headers(3),
            Step::NoMoreThan(3, 0, 1), say![wu(3, 1_000)], ends!(3, Ok);
        play_047_server_the_largest_window: say![new(3, UNARY).window(u32::MAX), data(3, &ask(100_000)), half(3)], ends!(3, Ok);
        play_048_server_a_window_of_revision_zero.zero(): say![new(3, UNARY).revision(0), data(3, &ask(100_000)), half(3)], ends!(3, Ok);
        play_049_server_revision_one_without_negotiation.zero(): say![new(3, UNARY).window(10), data(3, &ask(100)), half(3)],
            Step::Gets(3, 10), Step::NoMoreThan(3, 10, 1), say![wu(3, 1_000)], ends!(3, Ok);
        play_050_server_revision_zero_with_negotiation: say![new(3, UNARY).revision(0), data(3, &ask(100_000)), half(3)], ends!(3, Ok);
        play_051_server_revision_one_where_it_is_not_offered.old(): say![new(3, UNARY).window(10), data(3, &ask(100)), half(3)],
            Step::Gets(3, 10), Step::NoMoreThan(3, 10, 1), say![wu(3, 1_000)], ends!(3, Ok);
        play_052_server_no_request_headers: say![new(3, UNARY), data(3, &[]), half(3)], ends!(3, Ok);
        play_053_server_a_key_without_values: say![new(3, UNARY).headers(keyless()), data(3, &[]), half(3)], ends!(3, Ok);
        play_054_server_keys_in_upper_case: say![new(3, UNARY).headers(strings(&[("Foo", "a"), ("foo", "b"), ("Grpc-Timeout", "1n")])), data(3, &[]), half(3)], ends!(3, Ok);
        play_055_server_keys_of_http: say![new(3, UNARY).headers(strings(&[
                (":path", "/x/y"), ("te", "x"), ("content-type", "x"), ("connection", "close"), ("grpc-status", "5"), ("grpc-encoding", "gzip"),
            ])), data(3, &[]), half(3)], ends!(3, Ok);
        play_056_server_an_empty_key: say![new(3, UNARY).headers(strings(&[("", "v")])), data(3, &[]), half(3)], ends!(3, InvalidArgument);
        play_056_server_a_key_with_a_blank: say![new(3, UNARY).headers(strings(&[("x y", "v")]))], ends!(3, InvalidArgument);
        play_056_server_a_key_of_two_lines: say![new(3, UNARY).headers(strings(&[("k\r\n", "v")]))], ends!(3, InvalidArgument);
        play_056_server_a_value_of_two_lines: say![new(3, UNARY).headers(strings(&[("k", "v\r\nx: y")]))], ends!(3, InvalidArgument);
    }
}

fn heads_and_frames() -> Vec<Play> {
    let values = |key: &[u8], value: &[u8]| metadata(&[(key, &[value])]);
    let large = || metadata(&[(b"k", &[&vec![b'v'; 3 << 20]])]);
    plays! {
        play_057_server_a_method_that_is_not_utf8: say![new(3, "").method(b"a/\xff"), msg(3, 2, 2)], ends!(3, InvalidArgument), Step::Works(5);
        play_057_server_a_key_that_is_not_utf8: say![new(3, UNARY).headers(values(b"\xff", b"v"))], ends!(3, InvalidArgument);
        play_057_server_a_value_that_is_not_utf8: say![new(3, UNARY).headers(values(b"k", b"\xff"))], ends!(3, InvalidArgument);
        play_058_server_binary_metadata: say![new(3, UNARY).headers(values(b"k-bin", b"text")), data(3, &[]), half(3)], ends!(3, Ok);
        play_059_server_metadata_of_3_mib: say![new(3, UNARY).headers(large()), msg(3, 2, 2)], ends!(3, ResourceExhausted), Step::Works(5);
        play_060_server_a_frame_of_5_mib: idle(3), say![more(3, 5 << 20)], Step::Over(ResourceExhausted);
        play_061_server_too_many_streams: many(3..1_026, |id| vec![new(id, DUPLEX).into()]), say![new(2_000, DUPLEX), half(2_000)],
            ends!(2_000, ResourceExhausted), many(3..1_026, |id| vec![half(id)]), Step::AllEnd(3, 1_025, &[Ok]), Step::Works(3_000);
        play_062_server_unknown_fields: say![new(3, UNARY).extra(Fields::new().bytes(99, b"x").number(98, 1)), data(3, &[]), half(3)], ends!(3, Ok);
        play_063_server_two_members: say![new(3, DUPLEX), on(3, &Fields::new().bytes(6, &[]).bytes(5, &[]))], ends!(3, Ok);
        play_064_server_a_frame_that_is_cut: idle(3), say![vec![0x08_u8]], Step::Over(Internal);
    }
}

fn messages() -> Vec<Play> {
    let part = |id| envelope(id, 10, &[0x7a]);
    plays! {
        play_065_server_a_message: say![new(3, UNARY), data(3, &filler(7)), half(3)], ends!(3, Ok);
        play_066_server_empty_chunks: say![new(3, UNARY), envelope(3, 7, &[]), more(3, 0), on(3, &Fields::new().bytes(4, &filler(7))), half(3)], ends!(3, Ok);
        play_067_server_empty_messages: say![new(3, INPUT), msg(3, 0, 0), msg(3, 0, 0), half(3)], ends!(3, Ok);
        play_068_server_more_than_nothing: say![new(3, DUPLEX), msg(3, 0, 2)], ends!(3, InvalidArgument);
        play_069_server_a_chunk_of_no_message: say![new(3, DUPLEX), more(3, 1)], ends!(3, InvalidArgument);
        play_070_server_a_chunk_behind_a_message: say![new(3, DUPLEX), data(3, &ask_stream(&[100])), more(3, 0)], ends!(3, InvalidArgument);
        play_071_server_a_message_in_another: say![new(3, DUPLEX), msg(3, 10, 1), msg(3, 10, 1)], ends!(3, InvalidArgument);
        play_072_server_a_chunk_too_long: say![new(3, DUPLEX), msg(3, 3, 1), more(3, 3)], ends!(3, InvalidArgument);
        play_073_server_a_chunk_of_a_window: say![new(3, INPUT), data(3, &filler(WINDOW)), half(3)], ends!(3, Ok);
        play_074_server_a_chunk_of_1_mib.zero(): say![new(3, INPUT).revision(0), data(3, &filler(1 << 20)), half(3)], ends!(3, Ok);
        play_075_server_a_message_of_64_mib.zero(): say![new(3, INPUT).revision(0), msg(3, 64 << 20, 9), more(3, 9)], ends!(3, ResourceExhausted);
        play_076_server_four_gibibytes_announced: say![new(3, DUPLEX), msg(3, u32::MAX, 0), more(3, 1)], ends!(3, ResourceExhausted);
        play_077_server_empty_messages_unread: Step::Say(busy(3)), many(0..10_000, |_| vec![msg(3, 0, 0)]), say![cancel(3)], ends!(3, Cancelled);
        play_077_server_empty_messages_read: say![new(3, INPUT)], many(0..10_000, |_| vec![msg(3, 0, 0)]), say![half(3)], ends!(3, Ok);
        play_078_server_empty_chunks_for_ever: say![new(3, DUPLEX), msg(3, 10, 0)], many(0..102, |_| vec![more(3, 0)]), ends!(3, ResourceExhausted);
        play_079_server_messages_of_a_byte: Step::Say(busy(3)), many(0..10_000, |_| vec![msg(3, 1, 1)]), say![cancel(3)], ends!(3, Cancelled);
        play_080_server_data_behind_half_close: say![new(3, DUPLEX), half(3), msg(3, 2, 2), more(3, 9)], ends!(3, Ok);
        play_081_server_data_behind_cancel: Step::Say(busy(3)), say![cancel(3), msg(3, 2, 2), more(3, 9)], ends!(3, Cancelled);
        play_081_server_data_behind_close: Step::Works(3), say![msg(3, 2, 2), more(3, 9)], Step::Works(5);
        play_082_server_an_upload_that_is_cut: say![new(3, INPUT), data(3, &filler(7)), part(3), half(3)], ends!(3, Internal);
        play_083_server_a_request_that_is_cut: say![new(3, UNARY), part(3), half(3)], ends!(3, Internal);
        play_085_server_not_the_type: say![new(3, UNARY), data(3, &[0x0a, 0xff]), half(3)], ends!(3, Internal);
    }
}

fn flow_control() -> Vec<Play> {
    // A window of which every byte is taken, by a handler that reads no more than its first.
    let fill = |id| say![msg(id, 100_000, WINDOW - ask_and_wait().len())];
    plays! {
        play_086_server_credit_beyond_the_largest: say![new(3, DUPLEX), wu(3, u32::MAX)], ends!(3, Internal);
        play_087_server_credit_that_wraps: say![new(3, DUPLEX).window(70_000), wu(3, u32::MAX)], ends!(3, Internal);
        play_088_server_a_byte_beyond_the_window: Step::Say(busy(3)), Step::Gets(3, 1), fill(3), Step::NoMoreThan(3, 9, 1), say![more(3, 1)],
            ends!(3, ResourceExhausted), say![more(3, 1)];
        play_090_server_a_frame_beyond_the_window: say![new(3, DUPLEX), msg(3, 100_000, WINDOW + 1)], ends!(3, ResourceExhausted);
        play_091_server_two_full_windows: Step::Say(busy(3)), Step::Say(busy(5)), Step::Gets(3, 1), Step::Gets(5, 1), fill(3), fill(5),
            Step::Works(7), say![cancel(3), cancel(5)], ends!(3, Cancelled), ends!(5, Cancelled);
        play_092_server_credit_of_nothing: say![new(3, DUPLEX), wu(3, 0), half(3)], ends!(3, Ok);
        play_093_server_credit_for_a_finished_stream: Step::Works(3), say![wu(3, 1), wu(3, u32::MAX)], Step::Works(5);
        play_094_server_credit_for_no_stream: idle(3), say![wu(6, 1)], Step::Over(Internal);
        play_095_server_credit_in_revision_zero.zero(): say![new(3, DUPLEX).revision(0), wu(3, u32::MAX), wu(3, u32::MAX), half(3)], ends!(3, Ok);
        play_096_server_credit_behind_half_close: say![new(3, UNARY).window(9), data(3, &ask(100)), half(3)], Step::Gets(3, 9), say![wu(3, 1_000)], ends!(3, Ok);
        play_097_server_credit_byte_by_byte: say![new(3, UNARY).window(1), data(3, &ask(50_000)), half(3)], many(0..200, |_| vec![wu(3, 1)]),
            Step::Gets(3, 201), Step::NoMoreThan(3, 201, 201), say![wu(3, 60_000)], ends!(3, Ok);
        play_098_server_a_flood_of_credit: idle(3), many(0..10_000, |_| vec![wu(3, 1)]), Step::Over(ResourceExhausted);
        play_099_server_credit_for_every_message: say![new(3, DUPLEX), data(3, &ask_stream(&[20_000; 10])), half(3)],
            many(0..10, |_| vec![wu(3, 20_010)]), ends!(3, Ok);
        play_101_server_a_message_beyond_the_window: say![new(3, INPUT)], Step::Uploads(3, 200_000), say![half(3)], ends!(3, Ok);
    }
}

fn half_close_and_cancel() -> Vec<Play> {
    plays! {
        play_103_server_half_close_twice: say![new(3, DUPLEX), half(3), half(3)], ends!(3, Ok);
        play_104_server_ends_of_a_finished_stream: Step::Works(3), say![half(3), cancel(3)], Step::Works(5);
        play_105_server_half_close_of_no_stream: idle(3), say![half(6)], Step::Over(Internal);
        play_105_server_cancel_of_no_stream: idle(3), say![cancel(6)], Step::Over(Internal);
        play_106_server_cancel_behind_half_close: Step::Say(busy(3)), say![half(3), cancel(3)], ends!(3, Cancelled);
        play_107_server_cancel: say![new(3, INPUT), msg(3, 10, 1)], Step::NoMoreThan(3, 0, 0), say![cancel(3)], ends!(3, Cancelled);
        play_108_server_cancel_and_more: Step::Say(busy(3)), say![cancel(3), cancel(3), msg(3, 2, 2), wu(3, 1), half(3), none(3)], ends!(3, Cancelled);
        play_109_server_cancel_at_once: say![new(3, UNARY), cancel(3)], ends!(3, Cancelled);
        play_110_server_cancel_that_crosses_a_close: say![new(3, UNARY), data(3, &[]), half(3), cancel(3)], Step::Ends(3, &[Cancelled, Ok]);
        play_113_server_cancel_of_what_is_not_read: say![new(3, DUPLEX).window(u32::MAX), data(3, &ask_stream(&[1 << 20; 20])), cancel(3)],
            Step::Works(5), ends!(3, Cancelled);
        play_133_server_no_request: say![new(3, UNARY), half(3)], ends!(3, Internal);
        play_134_server_two_requests: say![new(3, UNARY), data(3, &[]), data(3, &[]), half(3)], ends!(3, InvalidArgument);
        play_135_server_two_requests_for_a_stream: say![new(3, OUTPUT), data(3, &[]), data(3, &[]), half(3)], ends!(3, InvalidArgument);
        play_136_server_a_request_that_does_not_end: say![new(3, UNARY).timeout("100m"), data(3, &[])], ends!(3, DeadlineExceeded);
    }
}

fn deadlines() -> Vec<Play> {
    let lasts = |timeout| say![new(3, DUPLEX).timeout(timeout), half(3)];
    let two = || metadata(&[(b"grpc-timeout", &[b"0S", b"7S"])]);
    plays! {
        play_137_server_a_deadline_in_milliseconds: say![new(3, DUPLEX).timeout("50m")], ends!(3, DeadlineExceeded);
        play_137_server_a_deadline_in_nanoseconds: say![new(3, DUPLEX).timeout("8n")], ends!(3, DeadlineExceeded);
        play_137_server_a_deadline_in_hours: lasts("1H"), ends!(3, Ok);
        play_138_server_a_deadline_without_a_unit: lasts("0"), ends!(3, Ok);
        play_138_server_a_deadline_without_a_number: lasts("S"), ends!(3, Ok);
        play_138_server_a_deadline_with_a_blank: lasts(" 0S"), ends!(3, Ok);
        play_139_server_a_deadline_with_a_plus: lasts("+0S"), ends!(3, Ok);
        play_140_server_a_deadline_of_nothing: say![new(3, DUPLEX).timeout("0S"), half(3)], ends!(3, DeadlineExceeded);
        play_140_server_a_deadline_in_the_past: say![new(3, DUPLEX).timeout("-5S"), half(3)], ends!(3, DeadlineExceeded);
        play_141_server_the_longest_deadline: lasts("99999999H"), ends!(3, Ok);
        play_142_server_too_many_digits: lasts("100000000H"), ends!(3, Ok);
        play_143_server_two_deadlines: say![new(3, DUPLEX).headers(two()), half(3)], ends!(3, Ok);
        play_144_server_a_deadline_while_it_waits: say![new(3, INPUT).timeout("100m")], ends!(3, DeadlineExceeded), Step::NoMoreThan(3, 0, 0);
        play_145_server_a_deadline_in_a_message: say![new(3, INPUT).timeout("100m"), msg(3, 10, 2)], ends!(3, DeadlineExceeded), Step::NoMoreThan(3, 0, 0);
        play_146_server_a_deadline_while_it_answers: say![new(3, DUPLEX).timeout("100m"), data(3, &ask_and_wait())], ends!(3, DeadlineExceeded);
    }
}

fn back_pressure_and_ids() -> Vec<Play> {
    let two_mib = |id| data(id, &filler(2 << 20));
    plays! {
        play_150_server_messages_unread_in_revision_zero.zero(): Step::Say(busy_zero(3)), say![data(3, &filler(1_000)), data(3, &filler(1_000)), data(3, &filler(1_000))],
            Step::Works(5), say![cancel(3)], ends!(3, Cancelled);
        play_152_server_a_deadline_ends_the_stall.zero(): say![new(3, DUPLEX).revision(0).timeout("300m"), data(3, &ask_and_wait()),
            two_mib(3), two_mib(3), two_mib(3)], ends!(3, DeadlineExceeded), Step::Works(5);
        play_154_server_revision_zero_beside_revision_one: Step::Say(busy_zero(3)), say![two_mib(3), two_mib(3), two_mib(3)], ends!(3, ResourceExhausted);
        play_155_server_a_message_first_of_all.begins(Never): say![msg(0, 2, 2)], Step::Over(Internal);
        play_156_server_negative_ids_first.begins(After(1)): say![half(-5), cancel(-1), msg(i64::MIN, 2, 2), none(-9)];
        play_156_server_negative_ids: say![half(-5), cancel(-1), msg(i64::MIN, 2, 2), none(-9), wu(-1, 0)];
        play_157_server_ids_that_were_skipped: Step::Works(5), say![half(2), cancel(3), msg(4, 2, 2), wu(2, 1)], Step::Works(7);
        play_158_server_an_id_above: idle(5), say![msg(6, 2, 2)], Step::Over(Internal);
        play_159_server_no_member: say![new(3, DUPLEX), none(3)], ends!(3, Internal);
        play_159_server_an_unknown_member: say![new(3, DUPLEX), on(3, &Fields::new().bytes(200, b"x"))], ends!(3, Internal);
        play_160_server_no_member_for_a_finished_stream: Step::Works(3), say![none(3)], Step::Works(5);
        play_161_server_a_member_and_an_unknown_field: say![new(3, DUPLEX), on(3, &Fields::new().bytes(5, &[]).bytes(200, b"x"))], ends!(3, Ok);
        play_162_server_a_flood_for_a_finished_stream: Step::Works(3), many(0..20_000, |_| vec![half(3)]), Step::Over(ResourceExhausted);
    }
}

fn life_cycle() -> Vec<Play> {
    let mut plays = plays! {
        play_163_server_the_end_with_a_live_call: idle(3), Step::Eof, Step::Over(Ok);
        play_164_server_the_end_behind_a_request: say![new(3, UNARY), data(3, &[]), half(3)], Step::Eof, Step::Over(Ok);
        play_165_server_the_end_before_anything.begins(Never): Step::Eof, Step::Over(Ok);
        play_165_server_the_end_in_a_message: say![new(3, DUPLEX), msg(3, 10, 1)], Step::Eof, Step::Over(Ok);
        play_165_server_the_end_behind_half_close: Step::Say(busy(3)), say![half(3)], Step::Eof, Step::Over(Ok);
        play_165_server_the_end_behind_close: Step::Works(3), Step::Eof, Step::Over(Ok);
        play_165_server_the_end_in_an_answer: say![new(3, UNARY).window(9), data(3, &ask(100)), half(3)], Step::Gets(3, 9), Step::Eof, Step::Over(Ok);
    };
    plays.extend(plays! {
        play_166_server_a_cut_before_anything.begins(Never): Step::Cut;
        play_166_server_a_cut_with_a_live_call: idle(3), Step::Cut;
        play_166_server_a_cut_in_a_message: say![new(3, DUPLEX), msg(3, 10, 1)], Step::Cut;
        play_166_server_a_cut_behind_half_close: Step::Say(busy(3)), say![half(3)], Step::Cut;
        play_166_server_a_cut_behind_close: Step::Works(3), Step::Cut;
        play_166_server_a_cut_in_an_answer: say![new(3, UNARY).window(9), data(3, &ask(100)), half(3)], Step::Gets(3, 9), Step::Cut;
    });
    plays
}

/// Floods in small: 10,000 of what a peer can do for free.
fn floods() -> Vec<Play> {
    plays! {
        play_041_server_a_flood_of_refused_calls: Step::Flood(3, |id| vec![new(id, "nobody.Knows/It").into()], &[Unimplemented, ResourceExhausted]),
            Step::Works(20_000);
        play_107_server_a_flood_of_cancelled_calls: Step::Flood(3, |id| vec![new(id, DUPLEX).into(), cancel(id)], &[Cancelled, ResourceExhausted]),
            Step::Works(20_000);
        play_157_server_a_flood_below_the_budget: Step::Works(20), many(0..9_000, |_| vec![half(2)]), Step::Works(22);
    }
}
