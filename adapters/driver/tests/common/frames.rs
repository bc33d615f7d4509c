//! Frames of the other end, made by prost.

use bytes::Bytes;
use grpctunnel_driver::BoxError;
use grpctunnel_proto::v1::{
    ClientToServer, CloseStream, MessageData, Metadata, NewStream, ServerToClient, Settings,
    client_to_server, metadata, server_to_client,
};
use http_body::{Body, Frame};
use prost::Message;

use super::framed;

pub use client_to_server::Frame as FromClient;
pub use server_to_client::Frame as FromServer;

/// What a carrier's body yields.
pub type Sent = Result<Frame<Bytes>, BoxError>;

/// A frame of a tunnel client.
pub fn client(stream_id: i64, frame: FromClient) -> Sent {
    let frame = ClientToServer {
        stream_id,
        frame: Some(frame),
    };
    Ok(Frame::data(framed(&frame.encode_to_vec())))
}

/// A frame of a tunnel server.
pub fn server(stream_id: i64, frame: FromServer) -> Sent {
    let frame = ServerToClient {
        stream_id,
        frame: Some(frame),
    };
    Ok(Frame::data(framed(&frame.encode_to_vec())))
}

pub fn new_stream(method: &str, headers: &[(&str, &str)]) -> FromClient {
    let md = headers
        .iter()
        .map(|(key, value)| {
            let val = vec![(*value).to_owned()];
            let values = metadata::Values { val, raw: vec![] };
            ((*key).to_owned(), values)
        })
        .collect();
    FromClient::NewStream(NewStream {
        method_name: method.to_owned(),
        request_headers: Some(Metadata { md }),
        initial_window_size: 65_536,
        protocol_revision: 1,
    })
}

/// The beginning of a message of `size` bytes.
pub fn message(size: u32, data: &'static [u8]) -> MessageData {
    MessageData {
        size,
        data: Bytes::from_static(data),
        compressed: false,
    }
}

pub fn settings(revisions: &[i32]) -> FromServer {
    FromServer::Settings(Settings {
        supported_protocol_revisions: revisions.to_vec(),
        initial_window_size: 65_536,
        extensions: vec![],
    })
}

/// `close_stream` with OK.
pub fn close_ok() -> FromServer {
    FromServer::CloseStream(CloseStream::default())
}

/// Reads frames of a tunnel server until one is like this.
pub async fn until_frame<B>(body: &mut B, is_it: impl Fn(&ServerToClient) -> bool)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let mut bytes = Vec::new();
    loop {
        let frame = super::next_data(body).await.expect("the carrier has ended");
        bytes.extend_from_slice(&frame);
        for frame in super::messages(&bytes) {
            if is_it(&ServerToClient::decode(frame.as_slice()).unwrap()) {
                return;
            }
        }
    }
}
