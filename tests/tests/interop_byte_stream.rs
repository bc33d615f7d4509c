//! The adapters' byte streams over TCP against the Go module and the core's TCP example: either end
//! opens the stream, either end calls, with and without flow control at the Go end.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grpctunnel_tests::interop::{Outcome, Peers, tcp_example};
use grpctunnel_tokio::{Channel, Options, PipeEnd, byte_stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);
const ANY: &str = "127.0.0.1:0";

/// Sends each message of `Echo` back, and fails `Fail`.
#[derive(Clone)]
struct Echo;

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let refused = match request.uri().path() {
            "/example.Echo/Echo" => None,
            "/example.Echo/Fail" => Some(Status::failed_precondition("it was to fail")),
            _ => Some(Status::unimplemented("no such method")),
        };
        if let Some(status) = refused {
            return ready(Ok(status.into_http()));
        }
        // A peer that sends a message does not read meanwhile, so reading waits for no sending.
        let (sender, frames) = mpsc::unbounded_channel();
        let mut body = request.into_body();
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let _ = sender.send(frame);
            }
            let mut ok = HeaderMap::new();
            ok.insert("grpc-status", HeaderValue::from_static("0"));
            let _ = sender.send(Ok(Frame::trailers(ok)));
        });
        let body = StreamBody::new(UnboundedReceiverStream::new(frames));
        let mut response = Response::new(Body::new(body));
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", grpc);
        ready(Ok(response))
    }
}

/// A call of `Echo` with one `google.protobuf.BytesValue`, of which every byte comes back.
async fn call(channel: &mut Channel, len: usize) -> Outcome {
    let mut value = vec![0x0a];
    let mut rest = len;
    while rest >= 0x80 {
        value.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    value.push(rest.to_le_bytes()[0]);
    value.extend((0..=u8::MAX).cycle().take(len));
    let mut message = vec![0];
    message.extend(u32::try_from(value.len())?.to_be_bytes());
    message.extend(value);
    let message = Bytes::from(message);

    let request = Request::post("/example.Echo/Echo").body(Full::new(message.clone()))?;
    let response = channel.call(request).await?;
    let body = response.into_body().collect().await?;
    let trailers = body.trailers().ok_or("no trailers")?;
    assert_eq!(trailers.get("grpc-status").ok_or("no status")?, "0");
    assert!(body.to_bytes() == message, "other bytes than were sent");
    Ok(())
}

/// Calls the other end, and finishes in good order.
async fn calls(stream: TcpStream, end: PipeEnd) -> Outcome {
    stream.set_nodelay(true)?;
    let mut channel = byte_stream(stream, end)
        .connect(&Options::default())
        .await?;
    for len in [1, 300_000] {
        call(&mut channel, len).await?;
    }
    let request = Request::post("/example.Echo/Fail").body(Full::<Bytes>::default())?;
    let failed = channel.call(request).await?;
    // The Go module sends a head before each status.
    let (head, body) = failed.into_parts();
    let trailers = body.collect().await?.trailers().cloned();
    let status = Status::from_header_map(&head.headers)
        .or_else(|| Status::from_header_map(trailers.as_ref()?))
        .ok_or("no status")?;
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    channel.close();
    let ended = channel.closed().await;
    assert!(ended.is_clean(), "{ended}");
    Ok(())
}

/// Handles the calls of the other end until that finishes.
async fn serves(stream: TcpStream, end: PipeEnd) -> Outcome {
    stream.set_nodelay(true)?;
    let handle = byte_stream(stream, end).serve(Echo, &Options::default())?;
    let ended = handle.closed().await;
    assert!(ended.is_clean(), "{ended}");
    Ok(())
}

/// Runs `check` with the flags of the Go program, for each choice of flow control.
async fn with_go(check: impl AsyncFn(&Peers, &[&str]) -> Outcome) -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for flags in [&[][..], &["-no-flow-control"][..]] {
        let checked = tokio::time::timeout(LIMIT, check(&peers, flags)).await;
        let checked = checked.unwrap_or_else(|_| Err(format!("not done within {LIMIT:?}").into()));
        checked.map_err(|error| format!("with {flags:?}: {error}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn go_opens_and_calls() -> Outcome {
    with_go(async |peers, flags| {
        let listener = TcpListener::bind(ANY).await?;
        let address = listener.local_addr()?.to_string();
        let arguments = [&["-role", "call", "-connect", &address], flags].concat();
        let client = peers.go("bare", &arguments)?;
        serves(listener.accept().await?.0, PipeEnd::Acceptor).await?;
        client.success(LIMIT).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn go_accepts_and_serves() -> Outcome {
    with_go(async |peers, flags| {
        let arguments = [&["-role", "serve", "-listen", ANY], flags].concat();
        let mut server = peers.go("bare", &arguments)?;
        let address = server.line("listening ", LIMIT).await?;
        calls(TcpStream::connect(&address).await?, PipeEnd::Opener).await?;
        server.success(LIMIT).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn go_opens_and_serves() -> Outcome {
    with_go(async |peers, flags| {
        let listener = TcpListener::bind(ANY).await?;
        let address = listener.local_addr()?.to_string();
        let arguments = [&["-role", "serve", "-connect", &address], flags].concat();
        let server = peers.go("bare", &arguments)?;
        calls(listener.accept().await?.0, PipeEnd::Acceptor).await?;
        server.success(LIMIT).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn go_accepts_and_calls() -> Outcome {
    with_go(async |peers, flags| {
        let arguments = [&["-role", "call", "-listen", ANY], flags].concat();
        let mut client = peers.go("bare", &arguments)?;
        let address = client.line("listening ", LIMIT).await?;
        serves(TcpStream::connect(&address).await?, PipeEnd::Opener).await?;
        client.success(LIMIT).await?;
        Ok(())
    })
    .await
}

/// Without any peer: the core's own end of the same protocol.
#[tokio::test]
async fn the_cores_example_is_called_and_calls() -> Outcome {
    let mut server = tcp_example(&["serve", "--listen", ANY]).await?;
    let address = server.line("listening ", LIMIT).await?;
    calls(TcpStream::connect(&address).await?, PipeEnd::Opener).await?;
    server.line("a tunnel finished", LIMIT).await?;

    let listener = TcpListener::bind(ANY).await?;
    let address = listener.local_addr()?.to_string();
    let client = tcp_example(&["call", "--connect", &address, "over a bare stream"]).await?;
    let served = serves(listener.accept().await?.0, PipeEnd::Acceptor);
    tokio::time::timeout(LIMIT, served).await??;
    client.success(LIMIT).await?;
    Ok(())
}
