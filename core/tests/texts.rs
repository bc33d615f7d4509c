//! Every error says what was wrong, in words of its own.

use std::collections::BTreeSet;
use std::fmt::Display;

use grpctunnel_core::receive_buffer::{FixedStore, PushError, ReceiveBuffer};
use grpctunnel_core::window::WindowError;
use grpctunnel_core::wire::{DecodeError, EncodeError, FrameTooLarge, SinkFull};
use grpctunnel_core::{
    Code, CommandError, Config, Fixed, Negotiation, OpenError, Opening, Reason, Side, StreamReason,
    Time, TunnelClient, TunnelReason,
};

fn distinct(errors: &[&dyn Display]) {
    let texts: BTreeSet<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), errors.len(), "{texts:?}");
    for text in texts {
        assert!(text.len() > 10 && !text.ends_with('.'), "{text}");
    }
}

#[test]
fn errors_differ_in_their_texts() {
    use CommandError as Command;
    use DecodeError as Decode;
    use EncodeError as Encode;
    distinct(&[
        &Command::Gone,
        &Command::Busy,
        &Command::SendSideClosed,
        &Command::SecondMessage,
        &Command::TooManyBytes,
        &Command::MessageIncomplete,
        &Command::HeadersLate,
        &Command::CompressionNotAgreed,
        &Command::HeadTooLarge,
    ]);
    distinct(&[
        &OpenError::NotSettled,
        &OpenError::Full,
        &OpenError::Draining,
        &OpenError::Ended,
        &OpenError::IdsExhausted,
        &OpenError::HeadTooLarge,
    ]);
    distinct(&[
        &Decode::Truncated,
        &Decode::VarintTooLong,
        &Decode::FieldNumber,
        &Decode::WireType,
        &Decode::GroupEnd,
        &Decode::GroupDepth,
    ]);
    distinct(&[
        &Encode::MethodEmpty,
        &Encode::MethodSyntax,
        &Encode::MethodTooLong,
        &Encode::MetadataKey,
        &Encode::MetadataNotUtf8,
        &Encode::MetadataTooLarge,
        &Encode::TooManyMetadataEntries,
        &Encode::DuplicateKey,
        &Encode::SinkFull,
    ]);
    distinct(&[
        &PushError::Full,
        &PushError::Misplaced,
        &SinkFull,
        &WindowError,
    ]);
    let too_large = FrameTooLarge { len: 5, max: 4 };
    assert_eq!(
        too_large.to_string(),
        "a message of 5 bytes exceeds the limit of 4"
    );
}

#[test]
fn every_reason_has_a_text_and_a_code_of_its_side() {
    let of_streams = StreamReason::ALL.iter().copied().map(Reason::from);
    let of_tunnels = TunnelReason::ALL.iter().copied().map(Reason::from);
    let all: Vec<Reason> = of_streams.chain(of_tunnels).collect();
    let texts: Vec<&dyn Display> = all.iter().map(|reason| reason as _).collect();
    distinct(&texts);
    for reason in StreamReason::ALL {
        assert_eq!(reason.to_string(), Reason::from(*reason).to_string());
    }
    for reason in TunnelReason::ALL {
        assert_eq!(reason.to_string(), Reason::from(*reason).to_string());
    }
    for reason in &all {
        for side in [Side::Client, Side::Server] {
            assert_ne!(reason.code(side), Code::Ok, "{reason:?}");
        }
    }
}

#[test]
fn codes_are_those_of_grpc() {
    for number in 0..=16 {
        let code = Code::from_i32(number);
        assert_eq!(code.map(Code::as_i32), Some(number));
    }
    assert_eq!(Code::from_i32(17), None);
    assert_eq!(Code::from_i32(-1), None);
    assert_eq!(OpenError::Full.code(), Code::ResourceExhausted);
    assert_eq!(OpenError::Ended.code(), Code::Unavailable);
    assert_eq!(CommandError::Gone.code(), Code::Cancelled);
    assert_eq!(CommandError::HeadTooLarge.code(), Code::ResourceExhausted);
    assert_eq!(CommandError::Busy.code(), Code::Internal);
}

#[test]
fn what_is_shown_of_a_tunnel_is_its_state() {
    let opening = Opening::Accepted(Negotiation::Off);
    let mut tunnel =
        TunnelClient::<Fixed<1, 1>>::new(Time::ZERO, Config::default(), opening).unwrap();
    assert!(format!("{tunnel:?}").contains("Open"), "{tunnel:?}");
    assert!(!tunnel.is_draining());
    assert_eq!(tunnel.limits().max_frame, 4 << 20);
    let error = tunnel
        .abort(Time::ZERO, TunnelReason::FrameTruncated)
        .unwrap();
    assert_eq!(error.to_string(), TunnelReason::FrameTruncated.text());
    assert_eq!(tunnel.abort(Time::ZERO, TunnelReason::Stalled), Some(error));
    assert!(
        format!("{tunnel:?}").contains("FrameTruncated"),
        "{tunnel:?}"
    );
    let buffer = ReceiveBuffer::<FixedStore<8, 2>, ()>::new();
    assert!(format!("{buffer:?}").contains("buffered: 0"), "{buffer:?}");
}
