//! Peers that attack what is behind the program: the local server, the callers, and HTTP/2.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Mutex};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use grpctunnel_cli::{NAME, gateway::GatewayEvent};
use grpctunnel_proto::v1::{
    ClientToServer, CloseStream, MessageData, Metadata, NewStream, ServerToClient,
    client_to_server::Frame as FromClient, metadata::Values, server_to_client::Frame as FromServer,
};
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::raw::{Caller, caller, grpc_status, request, server};
use crate::support::{Tested, agent, bounded, gateway};

/// What a client of HTTP/2 begins with: the preface, and settings that say nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The frame type, and one of the settings, by their numbers in RFC 9113.
const SETTINGS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;

#[tokio::test]
async fn attack_a31_a_gateway_bounds_the_streams_of_a_connection() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let mut client = TcpStream::connect(gateway.address).await?;
        client.write_all(PREFACE).await?;
        let mut head = [0; 9];
        client.read_exact(&mut head).await?;
        let [a, b, c, kind, ..] = head;
        assert_eq!(kind, SETTINGS);
        let len = u32::from_be_bytes([0, a, b, c]);
        let mut settings = BTreeMap::new();
        for _ in 0..len / 6 {
            settings.insert(client.read_u16().await?, client.read_u32().await?);
        }
        assert_eq!(settings.get(&MAX_CONCURRENT_STREAMS), Some(&1_024));
        Ok(())
    })
    .await
}

/// Headers that would mean something to the HTTP stack that they come out of, or to gRPC.
const RESERVED: [&str; 23] = [
    ":authority",
    ":method",
    ":path",
    ":scheme",
    ":status",
    "Connection",
    "Grpc-Encoding",
    "Host",
    "connection",
    "content-encoding",
    "content-length",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-message-type",
    "grpc-status",
    "grpc-status-details-bin",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];
/// What no header can be.
const IMPOSSIBLE: [(&str, &str); 6] = [
    ("", "1"),
    ("x y", "1"),
    ("x-mine: 1\r\nx-other", "1"),
    ("x-mine", "1\r\nx-other: 2"),
    ("x-mine", "1\nx-other: 2"),
    ("x-mine", "1\0"),
];

/// The headers that mean something, and one that does not.
fn forged() -> Metadata {
    let keys = RESERVED.into_iter().chain(["content-type", "trailer"]);
    let forged: Vec<_> = keys
        .map(|key| (key, "1"))
        .chain([("x-mine", "me")])
        .collect();
    metadata(&forged)
}

fn metadata(headers: &[(&str, &str)]) -> Metadata {
    let values = |value: &str| Values {
        val: vec![value.to_owned()],
        raw: vec![],
    };
    let md = headers.iter();
    let md = md.map(|(key, value)| ((*key).to_owned(), values(value)));
    Metadata { md: md.collect() }
}

type Frames = UnboundedSender<Result<Frame<Bytes>, Infallible>>;
type Saying = StreamBody<UnboundedReceiverStream<Result<Frame<Bytes>, Infallible>>>;

/// A body that says what it is told to.
fn saying() -> (Frames, Saying) {
    let (frames, body) = unbounded_channel();
    (frames, StreamBody::new(UnboundedReceiverStream::new(body)))
}

fn say(frames: &Frames, frame: &impl Message) -> Tested {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(frame.encoded_len().try_into()?);
    frame.encode(&mut bytes)?;
    frames.send(Ok(Frame::data(bytes.freeze())))?;
    Ok(())
}

/// Reads the frames of the other end.
struct Heard {
    body: Incoming,
    came: BytesMut,
}

impl Heard {
    fn new(body: Incoming) -> Self {
        Self {
            body,
            came: BytesMut::new(),
        }
    }

    async fn next<F: Message + Default>(&mut self) -> Tested<F> {
        loop {
            if let [0, a, b, c, d, rest @ ..] = &*self.came {
                let len = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d]))?;
                if let Some(frame) = rest.get(..len) {
                    let frame = F::decode(frame)?;
                    self.came.advance(5 + len);
                    return Ok(frame);
                }
            }
            let frame = self.body.frame().await.ok_or("the tunnel has ended")??;
            let data = frame.into_data().map_err(|_| "the tunnel has ended")?;
            self.came.extend(data);
        }
    }
}

/// A gateway by hand that accepts one tunnel: where it is, what it says, and what it hears.
async fn hostile_gateway() -> Tested<(SocketAddr, Frames, UnboundedReceiver<Heard>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (frames, body) = saying();
    let (sender, heard) = unbounded_channel();
    let body = Mutex::new(Some(body));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let service = service_fn(move |request: Request<Incoming>| {
            let _ = sender.send(Heard::new(request.into_body()));
            let body = body.lock().ok().and_then(|mut body| body.take());
            let response = Response::builder().header("content-type", "application/grpc");
            std::future::ready(response.body(body.unwrap_or_else(|| saying().1)))
        });
        let builder = http2::Builder::new(TokioExecutor::new());
        let serving = builder.serve_connection(TokioIo::new(stream), service);
        serving.await.map_err(std::io::Error::other)
    });
    Ok((address, frames, heard))
}

/// A call with these headers, of one message, from the gateway. The message is said to be
/// compressed.
fn call(frames: &Frames, stream_id: i64, method: &str, headers: Metadata) -> Tested {
    let new = NewStream {
        method_name: method.to_owned(),
        request_headers: Some(headers),
        ..NewStream::default()
    };
    let message = MessageData {
        size: 2,
        data: Bytes::from_static(b"hi"),
        compressed: true,
    };
    for frame in [
        FromClient::NewStream(new),
        FromClient::RequestMessage(message),
        FromClient::HalfClose(()),
    ] {
        let frame = Some(frame);
        say(frames, &ClientToServer { stream_id, frame })?;
    }
    Ok(())
}

#[tokio::test]
async fn attack_a27_a_local_server_sees_no_header_of_the_gateways_that_means_something_to_http()
-> Tested {
    bounded(async {
        let (gateway, frames, mut heard) = hostile_gateway().await?;
        let (local, mut arrivals) = server().await?;
        let _agent = agent(gateway, "a", local).await?;
        let mut heard = heard.recv().await.ok_or("no tunnel")?;

        call(&frames, 1, "a.B/C", forged())?;
        let (head, body) = arrivals.recv().await.ok_or("nothing arrived")?;
        assert_eq!(head.method, Method::POST);
        assert_eq!(head.uri.to_string(), format!("http://{local}/a.B/C"));
        assert_eq!(
            pairs(&head.headers),
            [
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("x-mine", "me"),
            ]
        );
        assert_eq!(body?, "\0\0\0\0\x02hi");

        let mut refused = Vec::new();
        for (key, value) in IMPOSSIBLE {
            refused.push(("a.B/C", metadata(&[(key, value)]), 3));
        }
        for method in ["a.B/C\r\nx-other: 2", "a.B/C?x", "a.B/C#x", "a B/C"] {
            refused.push((method, Metadata::default(), 12));
        }
        for (id, (method, headers, code)) in (2..).zip(refused) {
            call(&frames, id, method, headers.clone())?;
            let status = loop {
                let frame: ServerToClient = heard.next().await?;
                if let (true, Some(FromServer::CloseStream(close))) =
                    (frame.stream_id == id, frame.frame)
                {
                    break close.status.unwrap_or_default();
                }
            };
            assert_eq!(status.code, code, "{method:?} {headers:?}");
        }
        assert!(arrivals.try_recv().is_err());
        Ok(())
    })
    .await
}

/// Headers by their names.
fn pairs(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let pairs = headers.iter();
    let mut pairs: Vec<_> = pairs
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("not ASCII")))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// An agent by hand: what it says, and what it hears.
async fn hostile_agent(gateway: SocketAddr) -> Tested<(Frames, Heard)> {
    let (frames, body) = saying();
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let path = "/grpctunnel.v1.TunnelService/OpenReverseTunnel";
    let request = Request::post(format!("http://{gateway}{path}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header(NAME, "a")
        .body(body)?;
    let response = client.request(request).await?;
    Ok((frames, Heard::new(response.into_body())))
}

/// A call that the agent answers with these headers, a message, and this end.
async fn answered(
    caller: &Caller,
    gateway: SocketAddr,
    (frames, heard): &mut (Frames, Heard),
    headers: Metadata,
    close: CloseStream,
) -> Tested<(HeaderMap, Bytes, HeaderMap)> {
    let call = caller.request(request(gateway, "/a.B/C", b"\0\0\0\0\0")?);
    let answer = async {
        let stream_id = loop {
            let frame: ClientToServer = heard.next().await?;
            if let Some(FromClient::NewStream(_)) = frame.frame {
                break frame.stream_id;
            }
        };
        let message = MessageData {
            size: 2,
            data: Bytes::from_static(b"hi"),
            compressed: true,
        };
        for frame in [
            FromServer::ResponseHeaders(headers),
            FromServer::ResponseMessage(message),
            FromServer::CloseStream(close),
        ] {
            let frame = Some(frame);
            say(frames, &ServerToClient { stream_id, frame })?;
        }
        Tested::Ok(())
    };
    let (response, answered) = tokio::join!(call, answer);
    answered?;
    let (head, body) = response?.into_parts();
    assert_eq!(head.status, 200);
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok((head.headers, body.to_bytes(), trailers))
}

fn close(code: i32, trailers: Metadata) -> CloseStream {
    let mut close = CloseStream {
        response_trailers: Some(trailers),
        ..CloseStream::default()
    };
    let status = close.status.get_or_insert_default();
    status.code = code;
    status.message = "so\r\nx-other: 2".to_owned();
    close
}

#[tokio::test]
async fn attack_a27_a_caller_sees_no_header_of_the_agents_that_means_something_to_http() -> Tested {
    bounded(async {
        let mut gateway = gateway().await?;
        let mut agent = hostile_agent(gateway.address).await?;
        let joined = gateway.events.recv().await.ok_or("the gateway is gone")?;
        assert!(matches!(joined, GatewayEvent::Joined { .. }), "{joined:?}");
        let caller = caller();
        let at = gateway.address;

        let end = close(7, forged());
        let (headers, body, trailers) = answered(&caller, at, &mut agent, forged(), end).await?;
        assert_eq!(
            pairs(&headers),
            [("content-type", "application/grpc"), ("x-mine", "me")]
        );
        assert_eq!(body, "\0\0\0\0\x02hi");
        assert_eq!(
            pairs(&trailers),
            [
                ("grpc-message", "so%0D%0Ax-other: 2"),
                ("grpc-status", "7"),
                ("x-mine", "me")
            ]
        );

        for bad in IMPOSSIBLE {
            let bad = metadata(&[bad]);
            let none = Metadata::default();
            let end = close(0, none.clone());
            let (headers, _, trailers) =
                answered(&caller, at, &mut agent, bad.clone(), end).await?;
            let status = grpc_status(&headers).or_else(|| grpc_status(&trailers));
            assert_eq!(status, Some("13"), "{bad:?}");
            for (code, told) in [(0, "13"), (7, "7")] {
                let end = close(code, bad.clone());
                let (_, _, trailers) = answered(&caller, at, &mut agent, none.clone(), end).await?;
                assert_eq!(grpc_status(&trailers), Some(told), "{bad:?}");
                assert!(!trailers.contains_key("x-mine") && !trailers.contains_key("x-other"));
            }
        }
        Ok(())
    })
    .await
}
