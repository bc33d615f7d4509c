//! A tunnel's carrier whose frames are written and read by hand, to say what no end of ours says.

use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::body::Body;

use super::Outcome;
use crate::services::{self, Messages};

/// How long a frame may take to come.
const LIMIT: Duration = Duration::from_secs(10);

/// Writes frames. The carrier ends, in order, when it and its clones are dropped.
#[derive(Clone, Debug)]
pub struct FrameWriter(mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>);

impl FrameWriter {
    /// A writer, and the HTTP body that it fills.
    #[must_use]
    pub fn new() -> (Self, Body) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let body = StreamBody::new(UnboundedReceiverStream::new(receiver));
        (Self(sender), Body::new(body))
    }

    /// Writes these bytes as one frame. Nothing happens when nobody reads any more.
    pub fn write(&self, frame: &[u8]) {
        let message = services::Message::plain(Bytes::copy_from_slice(frame));
        let _ = self.0.send(Ok(Frame::data(message.encode())));
    }

    /// Writes one frame.
    pub fn send(&self, frame: &impl Message) {
        self.write(&frame.encode_to_vec());
    }

    /// Ends the carrier with a status, in trailers, as a server does.
    pub fn finish(&self, status: &Status) {
        let mut trailers = http::HeaderMap::new();
        if status.add_header(&mut trailers).is_ok() {
            let _ = self.0.send(Ok(Frame::trailers(trailers)));
        }
    }

    /// Ends the carrier with a reset.
    pub fn reset(&self) {
        let _ = self.0.send(Err(Status::internal("reset")));
    }
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader {
    body: Body,
    received: Messages,
    status: Option<Status>,
}

impl FrameReader {
    /// Reads the frames of this body.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
    {
        Self {
            body: Body::new(body),
            received: Messages::default(),
            status: None,
        }
    }

    /// The status that the carrier has ended with, once its end was read.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// The next frame; `None` at the end of the carrier.
    ///
    /// # Errors
    ///
    /// When none came in time, when it cannot be decoded, and when the carrier was reset.
    pub async fn next<M: Message + Default>(&mut self) -> Outcome<Option<M>> {
        loop {
            if let Some(frame) = self.received.next() {
                return Ok(Some(M::decode(frame.bytes)?));
            }
            let Some(frame) = timeout(LIMIT, self.body.frame()).await? else {
                return Ok(None);
            };
            match frame?.into_data() {
                Ok(data) => self.received.add(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.status = Status::from_header_map(&trailers);
                }
            }
        }
    }
}
