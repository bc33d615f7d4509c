//! `grpc.testing.TestService` as grpc-go's `interop.NewTestServer()` serves it.

use std::pin::Pin;
use std::time::Duration;
use std::vec;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use http::HeaderMap;
use tonic::{Code, Request, Response, Status, Streaming};

use super::compression::CallCompression;
use super::extras::Extras;
use super::outgoing::{Outgoing, WithOutgoing};
use crate::protos::grpc::testing::test_service_server::{TestService, TestServiceServer};
use crate::protos::grpc::testing::{
    BoolValue, EchoStatus, Empty, Payload, PayloadType, ResponseParameters, SimpleRequest,
    SimpleResponse, StreamingInputCallRequest, StreamingInputCallResponse,
    StreamingOutputCallRequest, StreamingOutputCallResponse,
};

/// Request metadata that comes back in the response headers.
const ECHO_INITIAL: &str = "x-grpc-test-echo-initial";
/// Request metadata that comes back in the trailers.
const ECHO_TRAILING: &str = "x-grpc-test-echo-trailing-bin";

/// Payloads up to this length are slices of one constant.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// The service, ready to be added to a server.
#[must_use]
pub fn official() -> WithOutgoing<TestServiceServer<Official>> {
    WithOutgoing(TestServiceServer::new(Official))
}

/// The handlers of `grpc.testing.TestService`.
///
/// `UnaryCall` and `FullDuplexCall` echo the metadata that the interoperability tests name (the
/// first value of each); the others do not. `CacheableUnaryCall` and `UnimplementedCall` are
/// UNIMPLEMENTED. On request ([`ECHO_PAYLOAD`](super::ECHO_PAYLOAD),
/// [`STATUS_DETAILS`](super::STATUS_DETAILS)) they show more than zeros and a message. Inside of
/// [`WithCompression`](super::WithCompression) they compress what is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Official;

type Responses = Pin<Box<dyn Stream<Item = Result<StreamingOutputCallResponse, Status>> + Send>>;

#[tonic::async_trait]
impl TestService for Official {
    type StreamingOutputCallStream = Responses;
    type FullDuplexCallStream = Responses;
    type HalfDuplexCallStream = Responses;

    async fn empty_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn unary_call(
        &self,
        request: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        echo_metadata(&request);
        let extras = Extras::asked_by(&request);
        let compression = CallCompression::of(&request);
        let request = request.into_inner();
        check_compressed(request.expect_compressed.as_ref(), &compression)?;
        check_status(request.response_status.as_ref(), &extras)?;
        if request.response_compressed.is_some_and(|asked| asked.value) {
            compression.allow();
            compression.respond(true);
        }
        let zeros = payload(request.response_type, request.response_size)?;
        Ok(Response::new(SimpleResponse {
            payload: if extras.echo {
                request.payload
            } else {
                Some(zeros)
            },
            ..SimpleResponse::default()
        }))
    }

    async fn cacheable_unary_call(
        &self,
        _: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        Err(Status::unimplemented(
            "method CacheableUnaryCall not implemented",
        ))
    }

    async fn unimplemented_call(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented(
            "method UnimplementedCall not implemented",
        ))
    }

    async fn streaming_output_call(
        &self,
        request: Request<StreamingOutputCallRequest>,
    ) -> Result<Response<Responses>, Status> {
        let extras = Extras::asked_by(&request);
        let compression = CallCompression::of(&request);
        let mut wanted = Wanted::by(request.into_inner(), &extras);
        if wanted.parameters.as_slice().iter().any(is_compressed) {
            compression.allow();
        }
        wanted.compression = compression;
        let responses = try_unfold(wanted, |mut wanted| async move {
            Ok(wanted.next().await?.map(|response| (response, wanted)))
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn streaming_input_call(
        &self,
        request: Request<Streaming<StreamingInputCallRequest>>,
    ) -> Result<Response<StreamingInputCallResponse>, Status> {
        let compression = CallCompression::of(&request);
        let mut requests = request.into_inner();
        let mut sum = 0_usize;
        while let Some(request) = requests.message().await? {
            check_compressed(request.expect_compressed.as_ref(), &compression)?;
            sum += request.payload.map_or(0, |payload| payload.body.len());
        }
        Ok(Response::new(StreamingInputCallResponse {
            aggregated_payload_size: i32::try_from(sum).unwrap_or(i32::MAX),
        }))
    }

    async fn full_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Responses>, Status> {
        echo_metadata(&request);
        let extras = Extras::asked_by(&request);
        let start = (request.into_inner(), Wanted::default(), extras);
        let responses = try_unfold(start, |(mut requests, mut wanted, extras)| async move {
            loop {
                if let Some(response) = wanted.next().await? {
                    return Ok(Some((response, (requests, wanted, extras))));
                }
                let Some(request) = requests.message().await? else {
                    return Ok(None);
                };
                check_status(request.response_status.as_ref(), &extras)?;
                wanted = Wanted::by(request, &extras);
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn half_duplex_call(
        &self,
        request: Request<Streaming<StreamingOutputCallRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let mut requests = request.into_inner();
        let mut read = Vec::new();
        while let Some(request) = requests.message().await? {
            read.push(Wanted::by(request, &Extras::default()));
        }
        let start = (read.into_iter(), Wanted::default());
        let responses = try_unfold(start, |(mut read, mut wanted)| async move {
            loop {
                if let Some(response) = wanted.next().await? {
                    return Ok(Some((response, (read, wanted))));
                }
                let Some(next) = read.next() else {
                    return Ok(None);
                };
                wanted = next;
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// The responses that one request asks for and that have not been given yet.
#[derive(Debug, Default)]
struct Wanted {
    response_type: i32,
    parameters: vec::IntoIter<ResponseParameters>,
    echo: Option<Payload>,
    compression: CallCompression,
}

impl Wanted {
    fn by(request: StreamingOutputCallRequest, extras: &Extras) -> Self {
        Self {
            echo: request.payload.filter(|_| extras.echo),
            response_type: request.response_type,
            parameters: request.response_parameters.into_iter(),
            compression: CallCompression::default(),
        }
    }

    async fn next(&mut self) -> Result<Option<StreamingOutputCallResponse>, Status> {
        let Some(parameters) = self.parameters.next() else {
            return Ok(None);
        };
        if let Ok(interval @ 1..) = u64::try_from(parameters.interval_us) {
            async_io::Timer::after(Duration::from_micros(interval)).await;
        }
        let zeros = payload(self.response_type, parameters.size)?;
        self.compression.respond(is_compressed(&parameters));
        Ok(Some(StreamingOutputCallResponse {
            payload: Some(self.echo.clone().unwrap_or(zeros)),
            ..StreamingOutputCallResponse::default()
        }))
    }
}

fn payload(payload_type: i32, size: i32) -> Result<Payload, Status> {
    let Ok(size) = usize::try_from(size) else {
        return Err(Status::unknown(format!(
            "requested a response with invalid length {size}"
        )));
    };
    if payload_type != i32::from(PayloadType::Compressable) {
        return Err(Status::unknown(format!(
            "unsupported payload type: {payload_type}"
        )));
    }
    let body = ZEROS
        .get(..size)
        .map_or_else(|| Bytes::from(vec![0; size]), Bytes::from_static);
    Ok(Payload {
        r#type: payload_type,
        body,
    })
}

fn is_compressed(parameters: &ResponseParameters) -> bool {
    parameters.compressed.is_some_and(|asked| asked.value)
}

/// Ends the call when a request did not travel as it says.
fn check_compressed(
    expected: Option<&BoolValue>,
    compression: &CallCompression,
) -> Result<(), Status> {
    let compressed = compression.request_was_compressed();
    match expected {
        Some(expected) if expected.value && !compressed => Err(Status::invalid_argument(
            "the request is not compressed, which it says it is",
        )),
        _ => Ok(()),
    }
}

/// Ends the call as the request asks.
fn check_status(status: Option<&EchoStatus>, extras: &Extras) -> Result<(), Status> {
    match status {
        Some(status) if status.code != 0 => {
            let status = Status::new(Code::from_i32(status.code), status.message.clone());
            Err(extras.detailed(status))
        }
        _ => Ok(()),
    }
}

fn echo_metadata<T>(request: &Request<T>) {
    let received = request.metadata().as_ref();
    let outgoing = Outgoing::of(request);
    if let Some(value) = received.get(ECHO_INITIAL) {
        outgoing.add_headers(HeaderMap::from_iter([(
            http::HeaderName::from_static(ECHO_INITIAL),
            value.clone(),
        )]));
    }
    if let Some(value) = received.get(ECHO_TRAILING) {
        outgoing.add_trailers(HeaderMap::from_iter([(
            http::HeaderName::from_static(ECHO_TRAILING),
            value.clone(),
        )]));
    }
}
