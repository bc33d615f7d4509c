//! The attacks on what is below a tunnel and behind it: HTTP/2, and tonic's services.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use grpctunnel_proto::v1::{
    ClientToServer, MessageData, Metadata, NewStream, ServerToClient, client_to_server, metadata,
    server_to_client,
};
use grpctunnel_tokio::tonic_transport::{incoming, server};
use grpctunnel_tokio::{Server, TunnelServer};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::server::health_reporter;
use tower_service::Service;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const LIMIT: Duration = Duration::from_secs(20);

/// What a client of HTTP/2 begins with: the preface, and settings that say nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The frame type, and the settings, by their numbers in RFC 9113.
const SETTINGS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;

/// The settings that an HTTP/2 server begins with.
async fn settings_of(stream: &mut TcpStream) -> Outcome<BTreeMap<u16, u32>> {
    stream.write_all(PREFACE).await?;
    let [a, b, c, kind, ..] = {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        head
    };
    assert_eq!(kind, SETTINGS);
    let len = u32::from_be_bytes([0, a, b, c]);
    let mut settings = BTreeMap::new();
    for _ in 0..len / 6 {
        settings.insert(stream.read_u16().await?, stream.read_u32().await?);
    }
    Ok(settings)
}

#[tokio::test]
async fn attack_a31_a_running_server_bounds_the_streams_of_a_connection() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        for of_tonic in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let mut client = TcpStream::connect(listener.local_addr()?).await?;
            let tunnels = TunnelServer::new();
            if of_tonic {
                let server = server().add_service(tunnels);
                tokio::spawn(server.serve_with_incoming(incoming(listener)));
            } else {
                tokio::spawn(Server::new(tunnels).serve(listener, std::future::pending()));
            }
            let settings = settings_of(&mut client).await?;
            assert_eq!(settings.get(&MAX_CONCURRENT_STREAMS), Some(&1_024));
            // The window of a tunnel, and room for a batch of its frames.
            assert_eq!(settings.get(&INITIAL_WINDOW_SIZE), Some(&(16 << 20)));
            assert_eq!(settings.get(&MAX_FRAME_SIZE), Some(&(256 << 10)));
        }
        Ok(())
    })
    .await?
}

/// A tunnel client by hand.
struct ByHand {
    frames: mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>,
    answers: tonic::body::Body,
    /// What came and was not looked at.
    came: BytesMut,
}

impl ByHand {
    async fn open<S>(mut tunnels: S) -> Outcome<Self>
    where
        S: Service<
                http::Request<
                    StreamBody<UnboundedReceiverStream<Result<Frame<Bytes>, Infallible>>>,
                >,
                Response = http::Response<tonic::body::Body>,
                Error = Infallible,
            >,
    {
        let (frames, body) = mpsc::unbounded_channel();
        let body = StreamBody::new(UnboundedReceiverStream::new(body));
        let request = http::Request::post("/grpctunnel.v1.TunnelService/OpenTunnel");
        let response = tunnels.call(request.body(body)?).await?;
        Ok(Self {
            frames,
            answers: response.into_body(),
            came: BytesMut::new(),
        })
    }

    fn send(&self, stream_id: i64, frame: client_to_server::Frame) -> Outcome {
        let frame = ClientToServer {
            stream_id,
            frame: Some(frame),
        };
        let frame = frame.encode_to_vec();
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(frame.len().try_into()?);
        bytes.put_slice(&frame);
        self.frames.send(Ok(Frame::data(bytes.freeze())))?;
        Ok(())
    }

    /// A call of a health service that nobody has, with these headers, and the code of its status.
    async fn check(
        &mut self,
        id: i64,
        headers: &[(&str, &str)],
        compressed: bool,
    ) -> Outcome<Code> {
        let values = |value: &str| metadata::Values {
            val: vec![value.to_owned()],
            raw: vec![],
        };
        let headers = headers.iter();
        let md = headers.map(|(key, value)| ((*key).to_owned(), values(value)));
        let call = NewStream {
            method_name: "grpc.health.v1.Health/Check".to_owned(),
            request_headers: Some(Metadata { md: md.collect() }),
            ..NewStream::default()
        };
        self.send(id, client_to_server::Frame::NewStream(call))?;
        let request = HealthCheckRequest {
            service: "nobody".to_owned(),
        };
        let data = request.encode_to_vec();
        let message = MessageData {
            size: data.len().try_into()?,
            data: data.into(),
            compressed,
        };
        self.send(id, client_to_server::Frame::RequestMessage(message))?;
        self.send(id, client_to_server::Frame::HalfClose(()))?;
        loop {
            let frame = self.next().await?;
            if let (true, Some(server_to_client::Frame::CloseStream(close))) =
                (frame.stream_id == id, frame.frame)
            {
                return Ok(close.status.unwrap_or_default().code.into());
            }
        }
    }

    async fn next(&mut self) -> Outcome<ServerToClient> {
        loop {
            if let [0, a, b, c, d, rest @ ..] = &*self.came {
                let len = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d]))?;
                if let Some(frame) = rest.get(..len) {
                    let frame = ServerToClient::decode(frame)?;
                    let _ = self.came.split_to(5 + len);
                    return Ok(frame);
                }
            }
            let frame = self.answers.frame().await.ok_or("the tunnel has ended")??;
            self.came
                .extend(frame.into_data().map_err(|_| "the tunnel has ended")?);
        }
    }
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
    "TE",
    "connection",
    "content-encoding",
    "content-length",
    "grpc-accept-encoding",
    "grpc-message",
    "grpc-message-type",
    "grpc-status",
    "grpc-status-details-bin",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[tokio::test]
async fn attack_a27_a_tonic_service_sees_no_header_that_means_something_to_http() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let (sender, mut seen) = mpsc::unbounded_channel();
        let (_, health) = health_reporter();
        let health = InterceptedService::new(health, move |request: tonic::Request<()>| {
            let _ = sender.send(request.metadata().clone());
            Ok(request)
        });
        let mut client = ByHand::open(TunnelServer::new().forward(health)).await?;

        // Whatever the metadata says, a message is what it is: not compressed.
        let gzip = ("grpc-encoding", "gzip");
        let mut headers = vec![gzip, ("content-type", "text/html"), ("x-mine", "1")];
        headers.extend(RESERVED.map(|key| (key, "gzip")));
        for (id, compressed) in [(1, false), (2, true)] {
            assert_eq!(
                client.check(id, &headers, compressed).await?,
                Code::NotFound
            );
            let metadata = seen.recv().await.ok_or("the service was not called")?;
            let mut metadata = metadata.into_headers();
            assert_eq!(metadata.remove("x-mine").ok_or("x-mine is lost")?, "1");
            // tonic leaves the rest of what it knows of out of the metadata, or not: nothing of it
            // is the caller's.
            assert!(
                metadata.values().all(|value| value != "gzip"),
                "{metadata:?}"
            );
            assert!(
                metadata.values().all(|value| value != "text/html"),
                "{metadata:?}"
            );
            let known = ["te", "content-type"];
            assert!(
                metadata.keys().all(|key| known.contains(&key.as_str())),
                "{metadata:?}"
            );
        }

        // What no header can be does not get there in any form.
        for (id, bad) in (3..).zip([
            ("", "1"),
            ("x y", "1"),
            ("x-mine\r\n", "1"),
            ("x-mine: 1\r\nx-other", "1"),
            ("x-mine", "1\r\nx-other: 2"),
            ("x-mine", "1\nx-other: 2"),
            ("x-mine", "1\0"),
        ]) {
            let code = client.check(id, &[bad], false).await?;
            assert_eq!(code, Code::InvalidArgument, "{bad:?}");
        }
        assert!(seen.try_recv().is_err());
        Ok(())
    })
    .await?
}
