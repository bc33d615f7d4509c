//! Compression by gzip, message by message, as the official service is asked for it: a handler
//! sees which requests came compressed, and says which of its responses leave so.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::server::NamedService;

use super::messages::{Message, Messages};

const ENCODING: &str = "grpc-encoding";
const ACCEPTED: &str = "grpc-accept-encoding";
const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// What a handler and [`WithCompression`] tell each other about one call.
#[derive(Clone, Debug, Default)]
pub struct CallCompression(Option<Arc<Mutex<Flags>>>);

#[derive(Debug, Default)]
struct Flags {
    /// Of requests that were read and not asked about, in order.
    requests: VecDeque<bool>,
    /// Of responses that were made and not sent, in order; what is missing is not compressed.
    responses: VecDeque<bool>,
    /// Whether any response is to be compressed.
    compresses: bool,
}

impl CallCompression {
    /// That of this request; one that leads nowhere when there is no [`WithCompression`] around the
    /// service.
    #[must_use]
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        let found = request.extensions().get::<Self>();
        found.cloned().unwrap_or_default()
    }

    /// Whether the next request in order came compressed.
    #[must_use]
    pub fn request_was_compressed(&self) -> bool {
        self.with(|flags| flags.requests.pop_front().unwrap_or_default())
    }

    /// Says, before the response begins, that some of its messages may be compressed.
    pub fn allow(&self) {
        self.with(|flags| flags.compresses = true);
    }

    /// Says whether the next response in order is compressed. Without [`allow`](Self::allow) none
    /// is.
    pub fn respond(&self, compressed: bool) {
        self.with(|flags| {
            if flags.compresses {
                flags.responses.push_back(compressed);
            }
        });
    }

    fn with<T: Default>(&self, act: impl FnOnce(&mut Flags) -> T) -> T {
        let flags = self.0.as_ref();
        flags.map_or_else(T::default, |flags| {
            act(&mut flags.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}

/// A service whose handlers can use [`CallCompression`].
#[derive(Clone, Debug)]
pub struct WithCompression<S>(pub S);

impl<S: NamedService> NamedService for WithCompression<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<http::Request<B>> for WithCompression<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<StdError>> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let compression = CallCompression(Some(Arc::default()));
        let accepted = accepts_gzip(request.headers());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(compression.clone());
        if request.headers().get(ENCODING) == Some(&GZIP) {
            request.headers_mut().remove(ENCODING);
            let compression = compression.clone();
            request = request.map(|body| Body::new(Translated::new(body, Decompress(compression))));
        }
        let response = self.0.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            if accepted && compression.with(|flags| flags.compresses) {
                response.headers_mut().insert(ENCODING, GZIP);
                response =
                    response.map(|body| Body::new(Translated::new(body, Compress(compression))));
            }
            Ok(response)
        })
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPTED).iter();
    let mut accepted = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    accepted.any(|encoding| encoding.trim() == "gzip")
}

/// What is made of each message of a body.
trait Translate {
    fn translate(&self, message: &Message) -> std::io::Result<Message>;
}

struct Decompress(CallCompression);

impl Translate for Decompress {
    fn translate(&self, message: &Message) -> std::io::Result<Message> {
        self.0
            .with(|flags| flags.requests.push_back(message.compressed));
        message.decompressed().map(Message::plain)
    }
}

struct Compress(CallCompression);

impl Translate for Compress {
    fn translate(&self, message: &Message) -> std::io::Result<Message> {
        let compressed = self.0.with(|flags| flags.responses.pop_front());
        match compressed {
            Some(true) => Message::gzip(&message.bytes),
            _ => Ok(message.clone()),
        }
    }
}

/// A body of which each message is translated.
struct Translated<T> {
    body: Body,
    messages: Messages,
    translate: T,
}

impl<T> Translated<T> {
    fn new(body: Body, translate: T) -> Self {
        Self {
            body,
            messages: Messages::default(),
            translate,
        }
    }
}

impl<T: Translate + Unpin> HttpBody for Translated<T> {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        loop {
            if let Some(message) = self.messages.next() {
                let translated = self.translate.translate(&message);
                let translated = translated.map(|message| Frame::data(message.encode()));
                let failed = |error| tonic::Status::internal(format!("gzip: {error}"));
                return Poll::Ready(Some(translated.map_err(failed)));
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => self.messages.add(&data),
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
    }
}
