//! Frames that no client of ours sends, on a real HTTP/2 connection to our server.

#![cfg(feature = "net")]

use std::future::poll_fn;
use std::time::Duration;

use grpctunnel_proto::v1::{
    ClientToServer, MessageData, NewStream, ProtocolRevision, ServerToClient, client_to_server,
    server_to_client,
};
use grpctunnel_tests::interop::{
    FrameReader, FrameWriter, InteropServer, Outcome, Running, connection, options,
};
use grpctunnel_tests::protos::grpc::testing::{Payload, SimpleRequest, SimpleResponse};
use prost::Message as _;
use tokio::time::timeout;
use tonic::Code;
use tonic::client::GrpcService as _;

const LIMIT: Duration = Duration::from_secs(10);

/// A forward tunnel of which this end is played by hand.
struct Tunnel {
    writer: FrameWriter,
    reader: FrameReader,
}

impl Tunnel {
    async fn open(server: &Running, negotiate: bool) -> Outcome<Self> {
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
        let reader = FrameReader::new(response.into_body());
        Ok(Self { writer, reader })
    }

    fn send(&self, stream_id: i64, frame: client_to_server::Frame) {
        let frame = Some(frame);
        self.writer.send(&ClientToServer { stream_id, frame });
    }

    /// The next frame, and the id of its stream.
    async fn next(&mut self) -> Outcome<(i64, server_to_client::Frame)> {
        let frame: ServerToClient = self.reader.next().await?.ok_or("the tunnel has ended")?;
        Ok((frame.stream_id, frame.frame.ok_or("no member")?))
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
        self.send(stream_id, client_to_server::Frame::NewStream(new_stream));
        self.send(stream_id, client_to_server::Frame::RequestMessage(message));
        self.send(stream_id, client_to_server::Frame::HalfClose(()));
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
    let mut tunnel = Tunnel::open(&server, true).await?;
    tunnel.writer.write(&[0x12, 0x00]);
    let first = tunnel.next().await?;
    assert!(
        matches!(first, (-1, server_to_client::Frame::Settings(_))),
        "{first:?}"
    );
    tunnel.refused(0, Code::InvalidArgument).await?;
    tunnel.call(1, ProtocolRevision::RevisionOne).await
}

#[tokio::test]
async fn an_empty_method_ends_its_stream_where_nothing_was_negotiated() -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let mut tunnel = Tunnel::open(&server, false).await?;
    tunnel.writer.write(&[0x12, 0x00]);
    tunnel.refused(0, Code::InvalidArgument).await?;
    tunnel.call(1, ProtocolRevision::RevisionZero).await
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_its_stream_and_nothing_else() -> Outcome {
    let server = InteropServer::new(options(true)).start().await?;
    let mut tunnel = Tunnel::open(&server, false).await?;
    // new_stream of id 1 whose method is the bytes "a/", 0xff.
    tunnel
        .writer
        .write(&[0x08, 0x01, 0x12, 0x05, 0x0a, 0x03, b'a', b'/', 0xff]);
    tunnel.refused(1, Code::InvalidArgument).await?;
    tunnel.call(2, ProtocolRevision::RevisionZero).await
}
