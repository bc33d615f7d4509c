//! `grpchantesting.TestService` as the Go module's test programs serve it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::{self, StreamExt as _, try_unfold};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Code, Request, Response, Status, Streaming};

use super::outgoing::{Outgoing, WithOutgoing};
use crate::protos::grpchantesting::Message;
use crate::protos::grpchantesting::test_service_server::{TestService, TestServiceServer};

/// The service, ready to be added to a server.
#[must_use]
pub fn grpchan() -> WithOutgoing<TestServiceServer<Grpchan>> {
    WithOutgoing(TestServiceServer::new(Grpchan))
}

/// The handlers of `grpchantesting.TestService`: each request says how it is to be answered, the
/// last one of a stream for the whole call.
#[derive(Clone, Copy, Debug)]
pub struct Grpchan;

type Responses = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

#[tonic::async_trait]
impl TestService for Grpchan {
    type ServerStreamStream = Responses;
    type BidiStreamStream = Responses;

    async fn unary(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        let outgoing = Outgoing::of(&request);
        let seen = last_values(request.metadata());
        let request = request.into_inner();
        delay(&request).await;
        outgoing.add_headers(header_map(&request.headers)?);
        outgoing.add_trailers(header_map(&request.trailers)?);
        check_code(&request)?;
        Ok(Response::new(reply(&seen, request.payload, 0)))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<Message>>,
    ) -> Result<Response<Message>, Status> {
        let outgoing = Outgoing::of(&request);
        let seen = last_values(request.metadata());
        let mut requests = request.into_inner();
        let mut last = Message::default();
        let mut count = 0;
        while let Some(request) = requests.message().await? {
            count += 1;
            last = request;
            if last.code != 0 {
                break;
            }
        }
        delay(&last).await;
        outgoing.add_headers(header_map(&last.headers)?);
        outgoing.add_trailers(header_map(&last.trailers)?);
        check_code(&last)?;
        Ok(Response::new(reply(&seen, last.payload, count)))
    }

    async fn server_stream(
        &self,
        request: Request<Message>,
    ) -> Result<Response<Responses>, Status> {
        let outgoing = Outgoing::of(&request);
        let seen = last_values(request.metadata());
        let request = request.into_inner();
        delay(&request).await;
        outgoing.add_headers(header_map(&request.headers)?);
        let start = (request, seen, outgoing, 0);
        let responses = try_unfold(start, |(request, seen, outgoing, sent)| async move {
            if sent < request.count {
                let response = reply(&seen, request.payload.clone(), 0);
                return Ok(Some((response, (request, seen, outgoing, sent + 1))));
            }
            outgoing.add_trailers(header_map(&request.trailers)?);
            check_code(&request)?;
            Ok(None)
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn bidi_stream(
        &self,
        request: Request<Streaming<Message>>,
    ) -> Result<Response<Responses>, Status> {
        let outgoing = Outgoing::of(&request);
        let seen = last_values(request.metadata());
        let mut requests = request.into_inner();
        let Some(first) = requests.message().await? else {
            return Ok(Response::new(Box::pin(stream::empty())));
        };
        delay(&first).await;
        outgoing.add_headers(header_map(&first.headers)?);
        // A negative count asks for all the requests to be read before the first response.
        let half_duplex = first.count < 0;
        let answers = answer_each(first, requests, seen, outgoing);
        if !half_duplex {
            return Ok(Response::new(Box::pin(answers)));
        }
        let read: Vec<_> = answers.collect().await;
        Ok(Response::new(Box::pin(stream::iter(read))))
    }

    async fn use_external_message_twice(&self, _: Request<()>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }
}

/// One answer for each request, then the status and the trailers that the last one asks for.
fn answer_each(
    first: Message,
    requests: Streaming<Message>,
    seen: BTreeMap<String, Bytes>,
    outgoing: Outgoing,
) -> impl Stream<Item = Result<Message, Status>> + Send {
    let start = (Some(first), Message::default(), requests, 0);
    try_unfold(start, move |(next, last, mut requests, count)| {
        let (seen, outgoing) = (seen.clone(), outgoing.clone());
        async move {
            let next = match next {
                Some(first) => Some(first),
                None => requests.message().await?,
            };
            let Some(request) = next else {
                outgoing.add_trailers(header_map(&last.trailers)?);
                return Ok(None);
            };
            if count > 0 {
                delay(&request).await;
            }
            if request.code != 0 {
                outgoing.add_trailers(header_map(&request.trailers)?);
                check_code(&request)?;
            }
            let count = count + 1;
            let answer = reply(&seen, request.payload.clone(), count);
            Ok(Some((answer, (None, request, requests, count))))
        }
    })
}

fn reply(seen: &BTreeMap<String, Bytes>, payload: Bytes, count: i32) -> Message {
    Message {
        headers: seen.clone(),
        payload,
        count,
        ..Message::default()
    }
}

async fn delay(request: &Message) {
    if let Ok(millis @ 1..) = u64::try_from(request.delay_millis) {
        async_io::Timer::after(Duration::from_millis(millis)).await;
    }
}

/// Ends the call as the request asks.
fn check_code(request: &Message) -> Result<(), Status> {
    if request.code == 0 {
        return Ok(());
    }
    let code = Code::from_i32(request.code);
    if request.error_details.is_empty() {
        return Err(Status::new(code, "error"));
    }
    let details = grpctunnel_proto::google::rpc::Status {
        code: request.code,
        message: "error".to_owned(),
        details: request.error_details.clone(),
    };
    Err(Status::with_details(
        code,
        "error",
        details.encode_to_vec().into(),
    ))
}

/// Metadata as the messages hold it: of each key the last value, binary ones decoded.
fn last_values(metadata: &MetadataMap) -> BTreeMap<String, Bytes> {
    metadata
        .iter()
        .filter_map(|entry| match entry {
            KeyAndValueRef::Ascii(key, value) => Some((
                key.to_string(),
                Bytes::copy_from_slice(value.as_encoded_bytes()),
            )),
            KeyAndValueRef::Binary(key, value) => Some((key.to_string(), value.to_bytes().ok()?)),
        })
        .collect()
}

/// The reverse: what a message asks to be sent, as HTTP carries it.
fn header_map(metadata: &BTreeMap<String, Bytes>) -> Result<HeaderMap, Status> {
    let mut headers = HeaderMap::with_capacity(metadata.len());
    for (key, value) in metadata {
        let name = HeaderName::from_bytes(key.as_bytes())
            .map_err(|error| Status::internal(format!("metadata key {key:?}: {error}")))?;
        let value = if key.ends_with("-bin") {
            HeaderValue::try_from(STANDARD_NO_PAD.encode(value))
        } else {
            HeaderValue::from_maybe_shared(value.clone())
        };
        let value =
            value.map_err(|error| Status::internal(format!("value of {key:?}: {error}")))?;
        headers.append(name, value);
    }
    Ok(headers)
}
