//! Frames that no client of ours sends, on a real HTTP/2 connection to our server.

#![cfg(feature = "net")]

use std::convert::Infallible;
use std::future::poll_fn;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use grpctunnel_proto::v1::{
    ClientToServer, MessageData, NewStream, ProtocolRevision, ServerToClient, client_to_server,
    server_to_client,
};
use grpctunnel_tests::interop::{InteropServer, Outcome, Running, connection, options};
use grpctunnel_tests::protos::grpc::testing::{Payload, SimpleRequest, SimpleResponse};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tonic::body::Body;
use tonic::client::GrpcService as _;

const LIMIT: Duration = Duration::from_secs(10);

/// A carrier whose frames are written and read by hand.
struct Carrier {
    requests: mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>,
    responses: Body,
    received: BytesMut,
}

impl Carrier {
    async fn open(server: &Running, negotiate: bool) -> Outcome<Self> {
        let (requests, receiver) = mpsc::unbounded_channel();
        let body = Body::new(StreamBody::new(UnboundedReceiverStream::new(receiver)));
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
        Ok(Self {
            requests,
            responses: response.into_body(),
            received: BytesMut::new(),
        })
    }

    fn write(&self, frame: &[u8]) -> Outcome {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(frame.len())?.to_be_bytes());
        bytes.extend(frame);
        Ok(self.requests.send(Ok(Frame::data(bytes.into())))?)
    }

    fn send(&self, stream_id: i64, frame: client_to_server::Frame) -> Outcome {
        let frame = ClientToServer {
            stream_id,
            frame: Some(frame),
        };
        self.write(&frame.encode_to_vec())
    }

    /// The next frame, and the id of its stream.
    async fn next(&mut self) -> Outcome<(i64, server_to_client::Frame)> {
        loop {
            if let Some(length) = self.received.get(1..5) {
                let length = usize::try_from(length.try_into().map(u32::from_be_bytes)?)?;
                if self.received.len() >= 5 + length {
                    let mut frame = self.received.split_to(5 + length);
                    frame.advance(5);
                    let frame = ServerToClient::decode(frame)?;
                    return Ok((frame.stream_id, frame.frame.ok_or("no member")?));
                }
            }
            let frame = timeout(LIMIT, self.responses.frame()).await?;
            let frame = frame.ok_or("the carrier has ended")??;
            let data = frame.into_data().map_err(|_| "the carrier has trailers")?;
            self.received.extend_from_slice(&data);
        }
    }

    /// A unary call on a stream, which must succeed.
    async fn call(&mut self, stream_id: i64, revision: ProtocolRevision) -> Outcome {
        let request = SimpleRequest {
            response_size: 314,
            payload: Some(Payload::default()),
            ..SimpleRequest::default()
        };
        let request = request.encode_to_vec();
        let new_stream = NewStream {
            method_name: "/grpc.testing.TestService/UnaryCall".to_owned(),
            initial_window_size: 65_536,
            protocol_revision: revision.into(),
            ..NewStream::default()
        };
        let message = MessageData {
            size: u32::try_from(request.len())?,
            data: request.into(),
            ..MessageData::default()
        };
        self.send(stream_id, client_to_server::Frame::NewStream(new_stream))?;
        self.send(stream_id, client_to_server::Frame::RequestMessage(message))?;
        self.send(stream_id, client_to_server::Frame::HalfClose(()))?;
        let mut payload = None;
        loop {
            match self.next().await? {
                (id, server_to_client::Frame::ResponseMessage(message)) if id == stream_id => {
                    payload = SimpleResponse::decode(message.data)?.payload;
                }
                (id, server_to_client::Frame::CloseStream(close)) if id == stream_id => {
                    assert_eq!(close.status.unwrap_or_default().code, 0);
                    assert_eq!(payload.map(|payload| payload.body.len()), Some(314));
                    return Ok(());
                }
                (id, server_to_client::Frame::ResponseHeaders(_)) if id == stream_id => {}
                other => return Err(format!("unexpected: {other:?}").into()),
            }
        }
    }

    async fn refused(&mut self, stream_id: i64, code: Code) -> Outcome {
        match self.next().await? {
            (id, server_to_client::Frame::CloseStream(close)) => {
                let status = close.status.unwrap_or_default();
                assert_eq!((id, Code::from_i32(status.code)), (stream_id, code));
                Ok(())
            }
            other => Err(format!("unexpected: {other:?}").into()),
        }
    }
}

#[tokio::test]
async fn an_empty_method_ends_its_stream_and_nothing_else() -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let mut carrier = Carrier::open(&server, true).await?;
    carrier.write(&[0x12, 0x00])?;
    let first = carrier.next().await?;
    assert!(
        matches!(first, (-1, server_to_client::Frame::Settings(_))),
        "{first:?}"
    );
    carrier.refused(0, Code::InvalidArgument).await?;
    carrier.call(1, ProtocolRevision::RevisionOne).await
}

#[tokio::test]
async fn an_empty_method_ends_its_stream_where_nothing_was_negotiated() -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let mut carrier = Carrier::open(&server, false).await?;
    carrier.write(&[0x12, 0x00])?;
    carrier.refused(0, Code::InvalidArgument).await?;
    carrier.call(1, ProtocolRevision::RevisionZero).await
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_its_stream_and_nothing_else() -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let mut carrier = Carrier::open(&server, false).await?;
    // new_stream of id 1 whose method is the bytes "a/", 0xff.
    carrier.write(&[0x08, 0x01, 0x12, 0x05, 0x0a, 0x03, b'a', b'/', 0xff])?;
    carrier.refused(1, Code::InvalidArgument).await?;
    carrier.call(2, ProtocolRevision::RevisionZero).await
}
