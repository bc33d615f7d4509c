//! A forward tunnel of which the client's end is played by hand.

use std::future::poll_fn;
use std::time::Duration;

use grpctunnel_proto::v1::client_to_server::Frame as Request;
use grpctunnel_proto::v1::server_to_client::Frame as Response;
use grpctunnel_proto::v1::{
    ClientToServer, MessageData, NewStream, ProtocolRevision, ServerToClient,
};
use grpctunnel_tests::interop::{FrameReader, FrameWriter, Outcome, Running, connection};
use grpctunnel_tests::protos::grpc::testing::{Payload, SimpleRequest, SimpleResponse};
use prost::Message as _;
use tokio::time::timeout;
use tonic::Code;
use tonic::client::GrpcService as _;

const LIMIT: Duration = Duration::from_secs(10);
pub(crate) const WINDOW: u32 = 65_536;

pub(crate) struct Tunnel {
    pub(crate) writer: FrameWriter,
    pub(crate) reader: FrameReader,
    revision: ProtocolRevision,
}

impl Tunnel {
    /// Opens a tunnel; a negotiated one has had its settings.
    pub(crate) async fn open(server: &Running, negotiate: bool) -> Outcome<Self> {
        let (writer, body) = FrameWriter::new();
        let mut request = http::Request::post("/grpctunnel.v1.TunnelService/OpenTunnel")
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        if negotiate {
            request = request.header("grpctunnel-negotiate", "on");
        }
        let mut channel = connection(server.address()).await?;
        poll_fn(|context| channel.poll_ready(context)).await?;
        let response = timeout(LIMIT, channel.call(request.body(body)?)).await??;
        assert_eq!(response.headers()["grpctunnel-negotiate"], "on");
        let mut tunnel = Self {
            writer,
            reader: FrameReader::new(response.into_body()),
            revision: if negotiate {
                ProtocolRevision::RevisionOne
            } else {
                ProtocolRevision::RevisionZero
            },
        };
        if negotiate {
            let first = tunnel.next().await?;
            assert!(matches!(first, (-1, Response::Settings(_))), "{first:?}");
        }
        Ok(tunnel)
    }

    pub(crate) fn send(&self, stream_id: i64, frame: Request) {
        let frame = Some(frame);
        self.writer.send(&ClientToServer { stream_id, frame });
    }

    /// Begins a call of the official test service.
    pub(crate) fn begin(&self, stream_id: i64, method: &str) {
        self.send(stream_id, Request::NewStream(self.new_stream(method)));
    }

    pub(crate) fn new_stream(&self, method: &str) -> NewStream {
        NewStream {
            method_name: format!("/grpc.testing.TestService/{method}"),
            initial_window_size: WINDOW,
            protocol_revision: self.revision.into(),
            ..NewStream::default()
        }
    }

    /// The next frame, and the id of its stream.
    pub(crate) async fn next(&mut self) -> Outcome<(i64, Response)> {
        let frame: ServerToClient = self.reader.next().await?.ok_or("the tunnel has ended")?;
        Ok((frame.stream_id, frame.frame.ok_or("no member")?))
    }

    /// Reads up to the end of a stream and returns its code. Other streams must not end.
    pub(crate) async fn closed(&mut self, stream_id: i64) -> Outcome<Code> {
        loop {
            match self.next().await? {
                (id, Response::CloseStream(close)) if id == stream_id => {
                    return Ok(Code::from_i32(close.status.unwrap_or_default().code));
                }
                (_, Response::CloseStream(_)) => return Err("another stream has ended".into()),
                _ => {}
            }
        }
    }

    /// A unary call, which must succeed.
    pub(crate) async fn call(&mut self, stream_id: i64) -> Outcome {
        let request = SimpleRequest {
            response_size: 314,
            payload: Some(Payload::default()),
            ..SimpleRequest::default()
        };
        self.begin(stream_id, "UnaryCall");
        self.send(stream_id, whole(request.encode_to_vec()));
        self.send(stream_id, Request::HalfClose(()));
        let mut payload = None;
        loop {
            match self.next().await? {
                (id, Response::ResponseMessage(message)) if id == stream_id => {
                    payload = SimpleResponse::decode(message.data)?.payload;
                }
                (id, Response::CloseStream(close)) if id == stream_id => {
                    assert_eq!(close.status.unwrap_or_default().code, 0);
                    assert_eq!(payload.map(|payload| payload.body.len()), Some(314));
                    return Ok(());
                }
                (id, Response::ResponseHeaders(_)) if id == stream_id => {}
                other => return Err(format!("unexpected: {other:?}").into()),
            }
        }
    }

    /// Ends the client's side of the carrier, in order.
    pub(crate) fn half_closed(self) -> Self {
        // Nobody reads what another writer takes.
        let (writer, _) = FrameWriter::new();
        Self { writer, ..self }
    }

    /// Reads to the end of the tunnel; returns the code that it ended with.
    pub(crate) async fn over(mut self) -> Outcome<Code> {
        while self.reader.next::<ServerToClient>().await?.is_some() {}
        let status = self.reader.status().ok_or("no status")?;
        Ok(status.code())
    }
}

/// A message in one frame.
pub(crate) fn whole(data: Vec<u8>) -> Request {
    envelope(u32::try_from(data.len()).unwrap_or(u32::MAX), data)
}

/// The first frame of a message of `size` bytes.
pub(crate) fn envelope(size: u32, data: Vec<u8>) -> Request {
    Request::RequestMessage(MessageData {
        size,
        data: data.into(),
        ..MessageData::default()
    })
}

/// A further frame of a message.
pub(crate) fn more(data: Vec<u8>) -> Request {
    Request::MoreRequestData(data.into())
}
