//! Frames that no client of ours sends, on a real HTTP/2 connection to our server: a stream that
//! goes wrong ends alone, and a tunnel that goes wrong ends with a status.

mod tunnel;

use grpctunnel_proto::v1::client_to_server::Frame;
use grpctunnel_proto::v1::metadata::Values;
use grpctunnel_proto::v1::{ClientToServer, Metadata};
use grpctunnel_tests::interop::{InteropServer, Outcome, options};
use tonic::Code;

use tunnel::{Tunnel, envelope, more, whole};

/// A field that any message may skip: number 15, one byte.
const FIELD: [u8; 2] = [0x78, 0x01];

/// Whether a stream on which these frames are sent ends with this code, and nothing else ends.
async fn stream_ends(negotiate: bool, frames: &[u8], code: Code) -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let mut tunnel = Tunnel::open(&server, negotiate).await?;
    tunnel.writer.write(frames);
    // The stream of the frames, 0 if they name none.
    let id = if frames.first() == Some(&0x08) { 1 } else { 0 };
    assert_eq!(tunnel.closed(id).await?, code);
    tunnel.call(2).await
}

#[tokio::test]
async fn an_empty_method_ends_its_stream_and_nothing_else() -> Outcome {
    for negotiate in [true, false] {
        stream_ends(negotiate, &[0x12, 0x00], Code::InvalidArgument).await?;
    }
    Ok(())
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_its_stream_and_nothing_else() -> Outcome {
    // new_stream of id 1 whose method is the bytes "a/", 0xff.
    let frame = [0x08, 0x01, 0x12, 0x05, 0x0a, 0x03, b'a', b'/', 0xff];
    stream_ends(true, &frame, Code::InvalidArgument).await
}

/// Plays frames of a call of `method` on stream 1 of one tunnel after another; each call must end
/// with the code beside its frames, and another call must then succeed.
async fn calls_end(method: &str, cases: Vec<(&str, Vec<Frame>, Code)>) -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    for (case, frames, code) in cases {
        let mut tunnel = Tunnel::open(&server, true).await?;
        tunnel.begin(1, method);
        for frame in frames {
            tunnel.send(1, frame);
        }
        let ended = tunnel.closed(1).await;
        let ended = ended.map_err(|error| format!("{case}: {error}"))?;
        assert_eq!(ended, code, "{case}");
        let called = tunnel.call(2).await;
        called.map_err(|error| format!("after {case}: {error}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn broken_messages_end_their_stream() -> Outcome {
    let half = Frame::HalfClose(());
    let cases = vec![
        (
            "a truncated one",
            vec![envelope(10, vec![0]), half],
            Code::Internal,
        ),
        (
            "more than was said",
            vec![envelope(0, vec![0, 0])],
            Code::InvalidArgument,
        ),
        (
            "a chunk of none",
            vec![more(vec![0])],
            Code::InvalidArgument,
        ),
        (
            "one in another",
            vec![envelope(10, vec![0]), envelope(10, vec![0])],
            Code::InvalidArgument,
        ),
        (
            "a long chunk",
            vec![envelope(3, vec![0]), more(vec![0; 3])],
            Code::InvalidArgument,
        ),
        (
            "an unparsable one",
            vec![whole(vec![0x0a, 0xff]), Frame::HalfClose(())],
            Code::Internal,
        ),
    ];
    calls_end("UnaryCall", cases).await
}

#[tokio::test]
async fn wrong_numbers_of_requests_end_their_stream() -> Outcome {
    let half = || Frame::HalfClose(());
    let two = || vec![whole(FIELD.into()), whole(FIELD.into()), half()];
    for method in ["UnaryCall", "StreamingOutputCall"] {
        let cases = vec![
            ("none", vec![half()], Code::Internal),
            ("two", two(), Code::InvalidArgument),
        ];
        calls_end(method, cases).await?;
    }
    calls_end("FullDuplexCall", vec![("two", two(), Code::Ok)]).await
}

#[tokio::test]
async fn an_upload_that_was_cut_is_no_upload() -> Outcome {
    let frames = vec![
        whole(FIELD.into()),
        envelope(10, vec![0]),
        Frame::HalfClose(()),
    ];
    calls_end(
        "StreamingInputCall",
        vec![("a cut one", frames, Code::Internal)],
    )
    .await
}

#[tokio::test]
async fn too_much_ends_its_stream() -> Outcome {
    let cases = vec![
        (
            "a window",
            vec![envelope(100_000, vec![0; 65_537])],
            Code::ResourceExhausted,
        ),
        (
            "a message",
            vec![envelope(u32::MAX, Vec::new())],
            Code::ResourceExhausted,
        ),
        (
            "a credit",
            vec![Frame::WindowUpdate(u32::MAX)],
            Code::Internal,
        ),
    ];
    calls_end("FullDuplexCall", cases).await
}

#[tokio::test]
async fn cancelled_streams_are_closed_once() -> Outcome {
    let cancel = || Frame::Cancel(());
    let cases = vec![
        ("at once", vec![cancel()], Code::Cancelled),
        ("twice", vec![cancel(), cancel()], Code::Cancelled),
        (
            "in a message",
            vec![envelope(10, vec![0]), cancel(), more(vec![0])],
            Code::Cancelled,
        ),
    ];
    for method in ["UnaryCall", "FullDuplexCall", "StreamingInputCall"] {
        calls_end(method, cases.clone()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn calls_that_cannot_begin_are_refused() -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let mut tunnel = Tunnel::open(&server, true).await?;
    for (id, method, code) in [
        (1, "nobody.Knows/Method", Code::Unimplemented),
        (2, "grpc.testing.TestService/Nothing", Code::Unimplemented),
        (3, "foo", Code::InvalidArgument),
        (4, "/", Code::InvalidArgument),
        (5, "//", Code::Unimplemented),
    ] {
        let mut new_stream = tunnel.new_stream("");
        method.clone_into(&mut new_stream.method_name);
        tunnel.send(id, Frame::NewStream(new_stream));
        tunnel.send(id, whole(FIELD.into()));
        tunnel.send(id, Frame::HalfClose(()));
        assert_eq!(tunnel.closed(id).await?, code, "{method}");
    }
    let mut new_stream = tunnel.new_stream("UnaryCall");
    new_stream.protocol_revision = 7;
    tunnel.send(6, Frame::NewStream(new_stream));
    tunnel.send(6, whole(FIELD.into()));
    assert_eq!(tunnel.closed(6).await?, Code::Unavailable);
    tunnel.call(7).await
}

#[tokio::test]
async fn deadlines_of_the_caller_are_kept() -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let mut tunnel = Tunnel::open(&server, true).await?;
    for (id, timeout) in [(1, "0S"), (2, "-5S"), (3, "50m"), (4, "8n")] {
        let mut new_stream = tunnel.new_stream("FullDuplexCall");
        let values = Values {
            val: vec![timeout.to_owned()],
            ..Values::default()
        };
        let md = [("grpc-timeout".to_owned(), values)].into();
        new_stream.request_headers = Some(Metadata { md });
        tunnel.send(id, Frame::NewStream(new_stream));
        assert_eq!(
            tunnel.closed(id).await?,
            Code::DeadlineExceeded,
            "{timeout}"
        );
    }
    tunnel.call(5).await
}

/// A tunnel on which these frames are sent ends with this code.
async fn tunnel_ends(frames: Vec<(i64, Frame)>, code: Code) -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let tunnel = Tunnel::open(&server, true).await?;
    tunnel.begin(5, "FullDuplexCall");
    for (id, frame) in frames {
        tunnel.send(id, frame);
    }
    assert_eq!(tunnel.over().await?, code);
    Ok(())
}

#[tokio::test]
async fn ids_that_break_their_order_end_the_tunnel() -> Outcome {
    let new = || Frame::NewStream(grpctunnel_proto::v1::NewStream::default());
    for id in [5, 4, 0, -1, i64::MIN] {
        tunnel_ends(vec![(id, new())], Code::Internal).await?;
    }
    for frame in [
        Frame::HalfClose(()),
        Frame::Cancel(()),
        Frame::WindowUpdate(1),
    ] {
        tunnel_ends(vec![(6, frame)], Code::Internal).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_frame_that_is_too_large_ends_the_tunnel() -> Outcome {
    let large = more(vec![0; 5 << 20]);
    tunnel_ends(vec![(5, large)], Code::ResourceExhausted).await
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_the_tunnel() -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let tunnel = Tunnel::open(&server, true).await?;
    tunnel.begin(1, "FullDuplexCall");
    tunnel.writer.write(&[0x08]);
    assert_eq!(tunnel.over().await?, Code::Internal);
    Ok(())
}

#[tokio::test]
async fn frames_that_mean_nothing_are_ignored() -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let mut tunnel = Tunnel::open(&server, true).await?;
    tunnel.send(-1, Frame::WindowUpdate(0));
    tunnel.send(-5, Frame::HalfClose(()));
    tunnel.writer.send(&ClientToServer {
        stream_id: -9,
        frame: None,
    });
    tunnel.call(1).await?;
    tunnel.send(1, Frame::HalfClose(()));
    tunnel.send(1, whole(FIELD.into()));
    tunnel.call(1_000).await?;
    tunnel.send(7, Frame::Cancel(()));
    tunnel.call(i64::MAX).await
}

#[tokio::test]
async fn the_end_of_the_clients_side_ends_the_tunnel() -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let tunnel = Tunnel::open(&server, true).await?;
    tunnel.begin(1, "FullDuplexCall");
    assert_eq!(tunnel.half_closed().over().await?, Code::Ok);
    Ok(())
}
