//! Cases about compression. The calls are made without a library for gRPC, so that the flag of each
//! message is seen.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tonic::body::Body;
use tonic::{Code, Status};

use super::messages::{LARGE, REQUESTS, RESPONSES, check, field, parameters};
use super::{Failure, expect, show, zeros};
use crate::protos::grpc::testing::{
    BoolValue, SimpleRequest, SimpleResponse, StreamingInputCallRequest,
    StreamingInputCallResponse, StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use crate::services::{Caller, Message, Messages};

const ENCODING: &str = "grpc-encoding";

#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
const fn flag(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

/// A request, compressed or not.
fn message(message: &impl prost::Message, compressed: bool) -> Result<Message, Failure> {
    let plain = message.encode_to_vec();
    match compressed {
        true => Message::gzip(&plain).map_err(|error| error.to_string()),
        false => Ok(Message::plain(plain.into())),
    }
}

/// What came back.
struct Seen {
    status: Status,
    responses: Vec<Message>,
}

impl Seen {
    /// The responses, if the call succeeded, and whether each was compressed.
    fn decoded<M: prost::Message + Default>(self) -> Result<Vec<(bool, M)>, Failure> {
        if self.status.code() != Code::Ok {
            return Err(show(self.status));
        }
        let decode = |message: Message| {
            let plain = message.decompressed().map_err(|error| error.to_string())?;
            let decoded = M::decode(plain).map_err(|error| error.to_string())?;
            Ok((message.compressed, decoded))
        };
        self.responses.into_iter().map(decode).collect()
    }

    fn one<M: prost::Message + Default>(self) -> Result<(bool, M), Failure> {
        let mut decoded = self.decoded()?;
        match (decoded.pop(), decoded.len()) {
            (Some(only), 0) => Ok(only),
            (_, more) => Err(format!("{} responses, not 1", more + 1)),
        }
    }
}

/// Makes a call with these requests; `grpc-encoding` is gzip.
async fn call<T: Caller>(
    mut channel: T,
    method: &str,
    requests: Vec<Message>,
) -> Result<Seen, Failure> {
    let broken = |error: T::Error| show(Status::from_error(error.into()));
    let frames = requests.into_iter().map(|message| message.encode());
    let frames = frames.map(|bytes| Ok::<_, Status>(Frame::data(bytes)));
    let request = Request::post(format!("/grpc.testing.TestService/{method}"))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(ENCODING, "gzip")
        .header("grpc-accept-encoding", "gzip")
        .body(Body::new(StreamBody::new(tokio_stream::iter(
            frames.collect::<Vec<_>>(),
        ))))
        .map_err(|error| error.to_string())?;
    std::future::poll_fn(|cx| channel.poll_ready(cx))
        .await
        .map_err(broken)?;
    let (head, body) = channel.call(request).await.map_err(broken)?.into_parts();
    let collected = read(body).await?;
    let status = |headers: &HeaderMap| Status::from_header_map(headers);
    let status = status(&head.headers).or_else(|| status(&collected.1));
    let seen = Seen {
        status: status.ok_or("the call ended without a status")?,
        responses: collected.0,
    };
    if seen.responses.iter().any(|message| message.compressed) {
        let encoding = head.headers.get(ENCODING).map(|value| value.as_bytes());
        expect(ENCODING, &encoding, &Some(&b"gzip"[..]))?;
    }
    Ok(seen)
}

/// The messages and the trailers of a body.
async fn read<B>(body: B) -> Result<(Vec<Message>, HeaderMap), Failure>
where
    B: http_body::Body<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
{
    let mut body = Body::new(body);
    let (mut found, mut trailers) = (Messages::default(), HeaderMap::new());
    let mut responses = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(show)?.into_data() {
            Ok(data) => {
                found.add(&data);
                responses.extend(found.by_ref());
            }
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    match found.is_empty() {
        true => Ok((responses, trailers)),
        false => Err("the last message is cut off".to_owned()),
    }
}

/// The server is asked, first, for what it must refuse: so it is known to look at all.
async fn refuses<T: Caller>(
    channel: T,
    method: &str,
    request: &impl prost::Message,
) -> Result<(), Failure> {
    let seen = call(channel, method, vec![message(request, false)?]).await?;
    expect("the probe", &seen.status.code(), &Code::InvalidArgument)
}

pub(super) async fn client_unary<T: Caller>(channel: T) -> Result<(), Failure> {
    let (sent, due) = LARGE;
    let request = |compressed| SimpleRequest {
        payload: zeros(sent),
        response_size: field(due),
        expect_compressed: flag(compressed),
        ..SimpleRequest::default()
    };
    refuses(channel.clone(), "UnaryCall", &request(true)).await?;
    for compressed in [true, false] {
        let requests = vec![message(&request(compressed), compressed)?];
        let seen = call(channel.clone(), "UnaryCall", requests).await?;
        let (_, response) = seen.one::<SimpleResponse>()?;
        check(response.payload, due)?;
    }
    Ok(())
}

pub(super) async fn server_unary<T: Caller>(channel: T) -> Result<(), Failure> {
    let (sent, due) = LARGE;
    for compressed in [true, false] {
        let request = SimpleRequest {
            payload: zeros(sent),
            response_size: field(due),
            response_compressed: flag(compressed),
            ..SimpleRequest::default()
        };
        let requests = vec![message(&request, false)?];
        let seen = call(channel.clone(), "UnaryCall", requests).await?;
        let (flag, response) = seen.one::<SimpleResponse>()?;
        expect("the flag of the response", &flag, &compressed)?;
        check(response.payload, due)?;
    }
    Ok(())
}

pub(super) async fn client_streaming<T: Caller>(channel: T) -> Result<(), Failure> {
    let [first, _, _, last] = REQUESTS;
    let request = |size, compressed| StreamingInputCallRequest {
        payload: zeros(size),
        expect_compressed: flag(compressed),
    };
    refuses(channel.clone(), "StreamingInputCall", &request(first, true)).await?;
    let requests = vec![
        message(&request(first, true), true)?,
        message(&request(last, false), false)?,
    ];
    let seen = call(channel, "StreamingInputCall", requests).await?;
    let (_, response) = seen.one::<StreamingInputCallResponse>()?;
    let sum = response.aggregated_payload_size;
    expect("the sum", &sum, &field(first + last))
}

pub(super) async fn server_streaming<T: Caller>(channel: T) -> Result<(), Failure> {
    let [first, .., last] = RESPONSES;
    let due = [(first, true), (last, false)];
    let asked = due.map(|(size, compressed)| {
        let mut asked = parameters(size);
        asked.compressed = flag(compressed);
        asked
    });
    let request = StreamingOutputCallRequest {
        response_parameters: asked.into(),
        ..StreamingOutputCallRequest::default()
    };
    let requests = vec![message(&request, false)?];
    let seen = call(channel, "StreamingOutputCall", requests).await?;
    let responses = seen.decoded::<StreamingOutputCallResponse>()?;
    expect("responses", &responses.len(), &due.len())?;
    for ((flag, response), (size, compressed)) in responses.into_iter().zip(due) {
        expect("the flag of a response", &flag, &compressed)?;
        check(response.payload, size)?;
    }
    Ok(())
}
