//! The probe's own call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use grpctunnel_tokio::MethodKind;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::CASE;
use super::args::{Args, CallKind};
use crate::protos::grpc::testing::{
    Empty, Payload, ResponseParameters, SimpleRequest, SimpleResponse, StreamingInputCallRequest,
    StreamingInputCallResponse, StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use crate::services::Caller;

/// What the call has received so far; a second look at it is possible when it never ends.
#[derive(Debug, Default)]
pub(super) struct Received {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Received {
    fn add(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Messages, and bytes of payload in them.
    pub(super) fn totals(&self) -> (u64, u64) {
        (
            self.messages.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

/// Makes the call that `args` ask for, to its end.
pub(super) async fn make(
    channel: impl Caller,
    args: &Args,
    received: &Received,
) -> Result<(), Status> {
    let payload = Some(Payload {
        body: Bytes::from(vec![0; args.payload]),
        ..Payload::default()
    });
    let requests = (0..args.count).map({
        let payload = payload.clone();
        move |_| payload.clone()
    });
    let call = Call {
        channel,
        args,
        received,
    };
    match args.call {
        CallKind::Empty => call.single::<_, Empty>("EmptyCall", Empty {}, |_| 0).await,
        CallKind::Unary => {
            let request = SimpleRequest {
                response_size: args.resp,
                payload,
                ..SimpleRequest::default()
            };
            let measure = |response: SimpleResponse| length(response.payload);
            call.single("UnaryCall", request, measure).await
        }
        CallKind::Upload => {
            let requests = requests.map(|payload| StreamingInputCallRequest {
                payload,
                ..StreamingInputCallRequest::default()
            });
            let requests = stream::iter(requests);
            let kind = MethodKind::ClientStreaming;
            let measure = |_: StreamingInputCallResponse| 0;
            call.one_response("StreamingInputCall", kind, requests, measure)
                .await
        }
        CallKind::Duplex => {
            let size = args.resp;
            let requests = requests.map(move |payload| StreamingOutputCallRequest {
                response_parameters: vec![ResponseParameters {
                    size,
                    ..ResponseParameters::default()
                }],
                payload,
                ..StreamingOutputCallRequest::default()
            });
            call.duplex(stream::iter(requests)).await
        }
    }
}

fn length(payload: Option<Payload>) -> usize {
    payload.map_or(0, |payload| payload.body.len())
}

struct Call<'a, T> {
    channel: T,
    args: &'a Args,
    received: &'a Received,
}

impl<T: Caller> Call<'_, T> {
    async fn single<Req, Resp>(
        self,
        method: &'static str,
        request: Req,
        measure: impl Fn(Resp) -> usize,
    ) -> Result<(), Status>
    where
        Req: Message + 'static,
        Resp: Message + Default + 'static,
    {
        let requests = stream::iter([request]);
        self.one_response(method, MethodKind::Unary, requests, measure)
            .await
    }

    /// A call with exactly one response, which counts only when the status is OK.
    async fn one_response<Req, Resp>(
        self,
        method: &'static str,
        kind: MethodKind,
        requests: impl Stream<Item = Req> + Send + 'static,
        measure: impl Fn(Resp) -> usize,
    ) -> Result<(), Status>
    where
        Req: Message + 'static,
        Resp: Message + Default + 'static,
    {
        let request = self.request(kind, requests);
        let received = self.received;
        let delay = self.args.read_delay_ms;
        let codec = ProstCodec::<Req, Resp>::default();
        let mut grpc = self.grpc().await?;
        let mut responses = grpc
            .streaming(request, path(method), codec)
            .await?
            .into_inner();
        wait(delay).await;
        let response = responses.message().await?;
        responses.trailers().await?;
        let response = response.ok_or_else(|| Status::internal("Missing response message."))?;
        received.add(measure(response));
        Ok(())
    }

    async fn duplex(
        self,
        requests: impl Stream<Item = StreamingOutputCallRequest> + Send + 'static,
    ) -> Result<(), Status> {
        let request = self.request(MethodKind::Bidi, requests);
        let received = self.received;
        let delay = self.args.read_delay_ms;
        let codec =
            ProstCodec::<StreamingOutputCallRequest, StreamingOutputCallResponse>::default();
        let mut grpc = self.grpc().await?;
        let path = path("FullDuplexCall");
        let mut responses = grpc.streaming(request, path, codec).await?.into_inner();
        wait(delay).await;
        while let Some(response) = responses.message().await? {
            received.add(length(response.payload));
        }
        Ok(())
    }

    fn request<S>(&self, kind: MethodKind, requests: S) -> Request<S> {
        let mut request = Request::new(requests);
        request.metadata_mut().insert(CASE, self.args.case.clone());
        if let Some(deadline) = self.args.deadline_ms {
            request.set_timeout(deadline);
        }
        request.extensions_mut().insert(kind);
        request
    }

    async fn grpc(self) -> Result<Grpc<T>, Status> {
        // The tunnel bounds messages; what it lets through is not judged twice.
        let mut grpc = Grpc::new(self.channel).max_decoding_message_size(usize::MAX);
        grpc.ready()
            .await
            .map_err(|error| Status::from_error(error.into()))?;
        Ok(grpc)
    }
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/grpc.testing.TestService/{method}"))
        .unwrap_or(PathAndQuery::from_static("/"))
}

async fn wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}
