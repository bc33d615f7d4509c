//! What the tests of extensions do with tunnels.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use grpctunnel_driver::{
    Channel, Code, Extension, ExtensionSet, Handler, Options, RequestBody, Runtime, Status,
    TunnelService,
};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::Frame;

use super::recorded::{Recorded, Wire};
use super::{
    AnyBody, AnyFuture, FakeClock, Function, channel_body, connect_with, data, read, service,
    trailers, with_clock, without,
};

/// The base64 of bytes that no string holds.
pub const ANY_BYTES: &str = "/wD+gA";

/// The options of a client and of a server, and whether the extension is then in effect.
pub fn offers(extension: Extension) -> [(Options, Options, bool); 4] {
    let with = Options::default;
    let less = || without(ExtensionSet::EMPTY.with(extension));
    [
        (with(), with(), true),
        (with(), less(), false),
        (less(), with(), false),
        (less(), less(), false),
    ]
}

pub fn header(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_str(value).unwrap());
    headers
}

/// A tunnel to a handler that answers with these headers, a message and these trailers, or with
/// both as headers alone if there is no message.
pub async fn answering(
    runtime: &Runtime,
    (client, server): (&Options, &Options),
    headers: HeaderMap,
    message: Option<&'static [u8]>,
    last: HeaderMap,
) -> Channel {
    let handler = Function(move |_: Request<RequestBody>| {
        let (mut headers, last) = (headers.clone(), last.clone());
        async move {
            let (frames, body) = channel_body();
            match message {
                Some(message) => {
                    service::put(&frames, Ok(Frame::data(Bytes::from_static(message))));
                    service::put(&frames, Ok(Frame::trailers(last)));
                }
                None => headers.extend(last),
            }
            let mut response = Response::new(body);
            *response.headers_mut() = headers;
            response
        }
    });
    let service = TunnelService::new(runtime.clone())
        .with_options(server.clone())
        .forward(handler);
    connect_with(runtime, service, client).await
}

pub fn ends(status: &Status, more: &HeaderMap) -> HeaderMap {
    let mut trailers = more.clone();
    status.write_headers(&mut trailers);
    trailers
}

/// A request as a gateway gets it from a client that compresses.
pub fn transparent_request(body: AnyBody) -> Request<AnyBody> {
    Request::post("http://api.example.com:81/t.S/M")
        .header("content-type", "application/grpc+json")
        .header("grpc-encoding", "gzip")
        .header("grpc-accept-encoding", "gzip,identity")
        .body(body)
        .unwrap()
}

/// What a handler saw of a request: its head and its bytes.
pub type Asked = Arc<Mutex<Vec<(Uri, HeaderMap, Vec<u8>)>>>;

/// A handler that answers as one that compresses, where it may.
pub fn compressing(
    asked: Asked,
) -> Function<impl Fn(Request<RequestBody>) -> AnyFuture<Response<AnyBody>> + Clone + Sync> {
    Function(move |request: Request<RequestBody>| {
        let asked = asked.clone();
        let future = async move {
            let (parts, body) = request.into_parts();
            let Ok((bytes, _)) = read(body).await else {
                return service::status_only(&Status::new(Code::Aborted, ""));
            };
            let accepts = parts.headers.contains_key("grpc-accept-encoding");
            asked
                .lock()
                .unwrap()
                .push((parts.uri, parts.headers, bytes));
            let (frames, body) = channel_body();
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            let subtype = HeaderValue::from_static("application/grpc+json");
            headers.insert("content-type", subtype);
            if accepts {
                headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
                let message = Bytes::from_static(b"\x01\0\0\0\x01z");
                service::put(&frames, Ok(Frame::data(message)));
            }
            service::put(&frames, data(b"plain"));
            service::put(&frames, trailers(&Status::new(Code::Ok, "")));
            response
        };
        Box::pin(future) as AnyFuture<_>
    })
}

/// The messages of a body, compressed or not, as they were framed.
pub fn bytes_of(messages: &[&[u8]]) -> AnyBody {
    let (frames, body) = channel_body();
    for message in messages {
        service::put(&frames, Ok(Frame::data(Bytes::copy_from_slice(message))));
    }
    body
}

/// A tunnel whose frames are noted, with both ends on a clock.
pub async fn noted(
    runtime: &Runtime,
    clock: &FakeClock,
    (client, server): (&Options, &Options),
    handler: impl Handler + Sync,
) -> (Channel, Wire, Wire) {
    let runtime = with_clock(runtime, clock);
    let service = TunnelService::new(runtime.clone())
        .with_options(server.clone())
        .forward(handler);
    let carrier = Recorded::new(service);
    let (requests, responses) = (carrier.requests.clone(), carrier.responses.clone());
    let channel = grpctunnel_driver::connect(carrier, &runtime, client, HeaderMap::new());
    (channel.await.unwrap(), requests, responses)
}
