//! A carrier that notes the frames of both directions.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Buf;
use grpctunnel_driver::{BoxError, TransmitBody};
use grpctunnel_proto::v1::{ClientToServer, ServerToClient};
use http::{Request, Response};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use prost::Message;
use tower_service::Service;

use super::{AnyBody, whole_messages};

/// What was sent in one direction.
#[derive(Clone, Default)]
pub struct Wire(Arc<Mutex<Vec<u8>>>);

impl Wire {
    fn frames<M: Message + Default>(&self) -> Vec<M> {
        let bytes = self.0.lock().unwrap();
        let (frames, _) = whole_messages(&bytes);
        frames
            .iter()
            .map(|frame| M::decode(frame.as_slice()).unwrap())
            .collect()
    }

    /// The frames of a tunnel client.
    pub fn of_client(&self) -> Vec<ClientToServer> {
        self.frames()
    }

    /// The frames of a tunnel server.
    pub fn of_server(&self) -> Vec<ServerToClient> {
        self.frames()
    }
}

/// A carrier that notes what it carries.
#[derive(Clone)]
pub struct Recorded<S> {
    service: S,
    /// What the network client sends.
    pub requests: Wire,
    /// What the network server sends.
    pub responses: Wire,
}

impl<S> Recorded<S> {
    pub fn new(service: S) -> Self {
        Self {
            service,
            requests: Wire::default(),
            responses: Wire::default(),
        }
    }
}

impl<S> Service<Request<TransmitBody>> for Recorded<S>
where
    S: Service<
            Request<AnyBody>,
            Response = Response<TransmitBody>,
            Error = Infallible,
            Future = Ready<Result<Response<TransmitBody>, Infallible>>,
        >,
{
    type Response = Response<AnyBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<AnyBody>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<TransmitBody>) -> Self::Future {
        let request = request.map(|body| recorded(body, self.requests.clone()));
        let response = self.service.call(request).into_inner();
        let wire = self.responses.clone();
        ready(response.map(|response| response.map(|body| recorded(body, wire))))
    }
}

fn recorded(body: TransmitBody, wire: Wire) -> AnyBody {
    use futures_util::StreamExt as _;
    let frames = BodyStream::new(body).map(move |frame| {
        let frame = frame.map_err(|error| Box::new(error) as BoxError)?;
        Ok(frame.map_data(|mut data| {
            let len = data.remaining();
            let bytes = data.copy_to_bytes(len);
            wire.0.lock().unwrap().extend_from_slice(&bytes);
            bytes
        }))
    });
    StreamBody::new(frames).boxed_unsync()
}
