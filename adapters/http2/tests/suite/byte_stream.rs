//! Tunnels on bare streams of bytes, and peers that send what is none.

use std::time::Duration;

use bytes::Bytes;
use grpctunnel_driver::{
    BoxError, Channel, Code, Direction, NeverProcessed, Options, ResponseBody, ServerHandle,
    TunnelPeer, TunnelReason,
};
use grpctunnel_http2::{ByteStream, PipeEnd};
use http::{Extensions, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower_service::Service;

use crate::support::*;
use crate::tunnel::Echo;

const MINUTE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(600);

fn request<B>(body: B) -> Request<B> {
    Request::post("/example.Echo/Say").body(body).unwrap()
}

async fn respond<B>(channel: &Channel, body: B) -> Response<ResponseBody>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    channel.clone().call(request(body)).await.unwrap()
}

/// One call that is sent back.
async fn echo(channel: &Channel, len: usize) {
    let mut message = vec![0];
    message.extend(u32::try_from(len).unwrap().to_be_bytes());
    message.resize(5 + len, 7);
    let message = Bytes::from(message);
    let response = respond(channel, Full::new(message.clone())).await;
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), message);
}

/// The status of a call that fails.
async fn failure(response: Response<ResponseBody>) -> String {
    if let Some(status) = response.headers().get("grpc-status") {
        return status.to_str().unwrap().to_owned();
    }
    let body = response.into_body().collect().await.unwrap();
    body.trailers().unwrap()["grpc-status"]
        .to_str()
        .unwrap()
        .to_owned()
}

/// Both ends of a stream on which both make calls.
async fn both(room: usize) -> ((Channel, ServerHandle), (Channel, ServerHandle)) {
    let (near, far) = pipe(room);
    let (options, runtime) = (Options::default(), runtime());
    let opener = ByteStream::new(near, PipeEnd::Opener);
    let acceptor = ByteStream::new(far, PipeEnd::Acceptor);
    let (opener, acceptor) = tokio::join!(
        opener.connect_and_serve(Echo, &runtime, &options),
        acceptor.connect_and_serve(Echo, &runtime, &options),
    );
    (opener.unwrap(), acceptor.unwrap())
}

async fn in_time<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(LIMIT, waiting).await;
    done.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

#[tokio::test]
async fn both_ends_call_at_once_and_end_cleanly() {
    // A stream that takes less than a frame, and one that takes many.
    for room in [100, 1 << 20] {
        let (near, far) = both(room).await;
        let len = room.max(10_000);
        for _ in 0..5 {
            tokio::join!(
                echo(&near.0, len),
                echo(&near.0, 0),
                echo(&far.0, len),
                echo(&far.0, 1),
            );
        }
        near.0.drain(MINUTE);
        let ends = async {
            tokio::join!(
                near.0.closed(),
                near.1.closed(),
                far.0.closed(),
                far.1.closed()
            )
        };
        let (a, b, c, d) = in_time("the ends of the tunnels", ends).await;
        for end in [a, b, c, d] {
            assert!(end.is_clean(), "{end}");
        }
    }
}

#[tokio::test]
async fn one_end_calls_whichever_opened_the_stream() {
    for (caller, handler, direction) in [
        (PipeEnd::Opener, PipeEnd::Acceptor, Direction::Forward),
        (PipeEnd::Acceptor, PipeEnd::Opener, Direction::Reverse),
    ] {
        let (near, far) = pipe(64 << 10);
        let (options, runtime) = (Options::default(), runtime());
        let mut extensions = Extensions::new();
        extensions.insert("a certificate");
        let stream = ByteStream::new(far, handler).with_extensions(extensions);
        let handle = stream.serve(Echo, &runtime, &options).unwrap();
        let channel = ByteStream::new(near, caller)
            .connect(&runtime, &options)
            .await
            .unwrap();
        echo(&channel, 100_000).await;
        let peer: &TunnelPeer = handle.peer().unwrap();
        assert_eq!(peer.direction(), direction);
        assert_eq!(peer.extensions().get(), Some(&"a certificate"));
        drop(channel);
        let end = in_time("the end of the tunnel", handle.closed()).await;
        assert!(end.is_clean(), "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_closed_waits_for_the_calls_of_the_other() {
    let (near, far) = both(64 << 10).await;
    let (sender, body) = channel();
    let response = respond(&far.0, body).await;
    near.0.close();
    // Far longer than a tunnel has to finish once its own calls have ended.
    tokio::time::sleep(MINUTE).await;
    assert!(!near.0.is_open() && near.1.state().draining, "both drain");
    assert!(far.0.state().draining, "and the other end knows");
    sender.send(data(&b"\0\0\0\0\x02hi"[..])).unwrap();
    drop(sender);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), &b"\0\0\0\0\x02hi"[..]);
    let ends = async { tokio::join!(near.0.closed(), near.1.closed(), far.0.closed()) };
    let (a, b, c) = in_time("the ends of the tunnels", ends).await;
    for end in [a, b, c] {
        assert!(end.is_clean(), "{end}");
    }
}

#[tokio::test]
async fn a_stream_that_is_lost_ends_the_calls_of_both_directions() {
    let (near, far) = both(64 << 10).await;
    let (_sender, body) = channel();
    let (_other, other_body) = channel();
    let waiting = respond(&near.0, body).await;
    let other = respond(&far.0, other_body).await;
    near.1.abort();
    let statuses = async { tokio::join!(failure(waiting), failure(other)) };
    let statuses = in_time("the ends of the calls", statuses).await;
    assert_eq!(statuses, ("14".to_owned(), "14".to_owned()));
    for end in [near.0.closed().await, far.0.closed().await] {
        assert!(!end.is_clean(), "{end}");
    }
    let late = respond(&far.0, empty()).await;
    assert!(late.extensions().get::<NeverProcessed>().is_some());
    assert_eq!(failure(late).await, "14");
}

/// An end of ours that both calls and is called, and what a peer sees of it: its settings, and
/// nothing more.
async fn attacked(options: &Options) -> (ServerHandle, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let stream = ByteStream::new(TokioIo::new(near), PipeEnd::Acceptor);
    let handle = stream.serve(Echo, &runtime(), options).unwrap();
    let mut prefix = [0; 5];
    far.read_exact(&mut prefix).await.unwrap();
    let [flags, len @ ..] = prefix;
    assert_eq!(flags, 0, "the opener makes the calls");
    let mut settings = vec![0; usize::try_from(u32::from_be_bytes(len)).unwrap()];
    far.read_exact(&mut settings).await.unwrap();
    (handle, far)
}

#[tokio::test]
async fn what_is_no_frame_ends_the_stream_and_says_why() {
    let too_long = (Options::default().limits.max_frame + 1).to_be_bytes();
    let too_long = [&[0][..], &too_long].concat();
    for (what, bytes, reason) in [
        (
            "text",
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            TunnelReason::FrameFlags,
        ),
        ("an unknown flag", b"\x01\0\0\0\0", TunnelReason::FrameFlags),
        ("all flags", b"\xff\0\0\0\x01a", TunnelReason::FrameFlags),
        (
            "a direction that there is not",
            b"\x02\0\0\0\0",
            TunnelReason::FrameFlags,
        ),
        (
            "a frame above the limit",
            &too_long,
            TunnelReason::FrameTooLarge,
        ),
        (
            "no protobuf",
            b"\0\0\0\0\x02\xff\xff",
            TunnelReason::Undecodable,
        ),
    ] {
        let (handle, mut peer) = attacked(&Options::default()).await;
        peer.write_all(bytes).await.unwrap();
        let end = in_time(what, handle.closed()).await;
        assert_eq!(end.error().unwrap().reason(), reason, "{what}: {end}");
        assert!(!end.is_clean());
        // The stream is given up.
        let mut rest = Vec::new();
        in_time(what, peer.read_to_end(&mut rest)).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_no_clean_end() {
    for (what, bytes) in [
        ("inside a prefix", &b"\0\0\0"[..]),
        ("inside a frame", b"\0\0\0\x01\0abc"),
    ] {
        let (handle, mut peer) = attacked(&Options::default()).await;
        peer.write_all(bytes).await.unwrap();
        drop(peer);
        let end = in_time(what, handle.closed()).await;
        assert!(!end.is_clean(), "{what}: {end}");
        assert_eq!(end.status().code(), Code::Unavailable, "{what}: {end}");
    }
    let (handle, peer) = attacked(&Options::default()).await;
    drop(peer);
    let end = in_time("an end between frames", handle.closed()).await;
    assert!(end.is_clean(), "{end}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_given_up() {
    let (near, _far) = pipe(64 << 10);
    let stream = ByteStream::new(near, PipeEnd::Opener);
    let (runtime, options) = (runtime(), Options::default());
    let refused = stream.connect(&runtime, &options);
    let error = in_time("the end of the opening", refused)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_given_up() {
    let (near, far) = pipe(1_000);
    let (options, runtime) = (Options::default(), runtime());
    // A peer that does not ask whether this end lives.
    let patient = options
        .clone()
        .with_limits(|limits| limits.liveness.ping = LIMIT);
    let stream = ByteStream::new(far, PipeEnd::Acceptor);
    let handle = stream.serve(Echo, &runtime, &patient).unwrap();
    let (gate, near) = Gated::new(near);
    let channel = ByteStream::new(near, PipeEnd::Opener)
        .connect(&runtime, &options)
        .await
        .unwrap();
    gate.send_replace(true);
    let response = respond(&channel, Full::new(Bytes::from_static(b"\0\0\0\0\0")));
    let response = in_time("the end of the call", response).await;
    assert_eq!(failure(response).await, "14");
    let end = channel.closed().await;
    assert_eq!(
        end.error().unwrap().reason(),
        TunnelReason::Stalled,
        "{end}"
    );
    drop(handle);
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_is_given_up_ends_the_stream() {
    let (near, mut far) = tokio::io::duplex(64 << 10);
    let (runtime, options) = (runtime(), Options::default());
    let stream = ByteStream::new(TokioIo::new(near), PipeEnd::Opener);
    let opening = stream.connect(&runtime, &options);
    let given_up = tokio::time::timeout(Duration::from_secs(1), opening).await;
    assert!(given_up.is_err(), "nobody answered");
    let mut rest = Vec::new();
    let ended = far.read_to_end(&mut rest);
    in_time("the end of the stream", ended).await.unwrap();
}

#[tokio::test]
async fn a_handle_that_is_dropped_drains_the_stream() {
    let (near, far) = both(64 << 10).await;
    let (sender, body) = channel();
    let response = respond(&far.0, body).await;
    let closed = far.0.closed();
    drop(near.1);
    in_time("the drain", far.0.draining()).await;
    in_time("the drain of the other", near.0.draining()).await;
    drop(sender);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    let end = in_time("the end of the tunnel", closed).await;
    assert!(end.is_clean(), "{end}");
}
