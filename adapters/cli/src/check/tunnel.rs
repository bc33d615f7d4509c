//! The opening of a tunnel, as an agent does it.

use std::{
    convert::Infallible,
    error::Error,
    future::{Ready, ready},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use grpctunnel_driver::{
    Code, ConnectError, Extension, ExtensionSet, NeverProcessed, Options, RequestBody,
    ResponseBody, ServerHandle, Status, serve_reverse,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use super::{
    Check,
    report::{Fault, Found, Log, Step, Stopped},
};
use crate::{NAME, answer::refuse, carrier::Authorized, words};

/// The header by which an end says that it negotiates.
const NEGOTIATE: &str = "grpctunnel-negotiate";
/// How often it looks whether the gateway has named its extensions.
const LOOK: Duration = Duration::from_millis(5);
/// How long the gateway may take to name them, which it does at once if at all.
const NAMING: Duration = Duration::from_secs(2);

/// Takes the steps from HTTP/2 to a tunnel.
pub(super) async fn open(
    check: &Check,
    carrier: Authorized,
    log: &mut Log<'_>,
) -> Result<ServerHandle, Stopped> {
    let head = Arc::new(OnceLock::new());
    let observed = Observed {
        carrier,
        head: Arc::clone(&head),
    };
    let mut metadata = HeaderMap::new();
    if let Some(name) = &check.name
        && let Ok(name) = HeaderValue::try_from(name.as_str())
    {
        metadata.insert(NAME, name);
    }
    let options = Options::default();
    let runtime = grpctunnel_tokio::runtime();
    let begun = Instant::now();
    let opening = serve_reverse(observed, Refuses, &runtime, &options, metadata);
    let opened = timeout(check.limit, opening).await;
    let took = begun.elapsed();
    let tunnel = match opened {
        Ok(Ok(tunnel)) => {
            log.note(Step::Credentials, accepted(check), took);
            let found = Found::good(match &check.name {
                Some(name) => format!("opened for the agent {name}"),
                None => "opened; the gateway gave it a name".to_owned(),
            });
            log.note(Step::Tunnel, found, took);
            tunnel
        }
        Ok(Err(error)) => {
            let fault = refused(check, &error, head.get());
            if fault.step.is_none() {
                let found = Found::nothing(format!("{}; no answer to them", check.presented));
                log.note(Step::Credentials, found, Duration::ZERO);
            }
            return log.take(Step::Tunnel, Err(fault), took);
        }
        Err(_) => return log.take(Step::Tunnel, Err(unanswered()), took),
    };
    let negotiates = head.get().is_some_and(|head| head.negotiates);
    log.note(Step::Revision, revision(negotiates), Duration::ZERO);
    let begun = Instant::now();
    let found = extensions(named(&tunnel, check.limit.min(NAMING)).await);
    log.note(Step::Extensions, found, begun.elapsed());
    Ok(tunnel)
}

fn accepted(check: &Check) -> Found {
    let presented = &check.presented;
    match presented.is_nothing() {
        true => Found::good("none were presented, and none asked for"),
        false => Found::good(format!("accepted: {presented}")),
    }
}

/// Which step an opening failed at.
fn refused(check: &Check, error: &ConnectError, head: Option<&Head>) -> Fault {
    let status = error.end().peer_status();
    let text = status.map(|status| {
        format!(
            "the gateway said {}: {}",
            words::code_name(tonic::Code::from(status.code().as_i32())),
            one_line(status.message())
        )
    });
    let presented = &check.presented;
    let why = text.unwrap_or_else(|| words::end(error.end()));
    if let Some(head) = head.filter(|head| head.status != StatusCode::OK) {
        return not_grpc(head);
    }
    match (error.code(), status) {
        (Code::Unauthenticated, Some(_)) => Fault::of(
            Step::Credentials,
            format!("refused: {presented}; {why}"),
            "present what the gateway knows: a token of its --tokens-file by --token-file, or a \
             certificate by --cert and --key",
        ),
        (Code::PermissionDenied, Some(_)) => Fault::of(
            Step::Credentials,
            format!("accepted, but not for this: {presented}; {why}"),
            "have a rule added at the gateway, --allow \"IDENTITY serve NAME\", or use a name that \
             is allowed",
        ),
        (Code::Unimplemented | Code::Unknown, Some(_)) => Fault::new(
            format!("this is a server of gRPC, and no gateway: {why}"),
            "is this the gateway's port, and not that of another server?",
        ),
        (Code::Unavailable, Some(_)) => Fault::new(
            why,
            "the gateway is shutting down, or what stands in front of it finds none that runs",
        ),
        (Code::ResourceExhausted, Some(_)) => Fault::new(
            why,
            "the gateway has no room: for this identity (--limit, tunnels=), or at all (--memory, \
             and its limit of open files)",
        ),
        (Code::InvalidArgument, Some(_)) => Fault::new(why, "give another --name"),
        (Code::DeadlineExceeded, None) => unanswered(),
        _ => Fault::new(
            why,
            "see the gateway's log, and that of what stands in front of it",
        ),
    }
}

fn unanswered() -> Fault {
    Fault::new(
        "the gateway did not answer the opening of the tunnel in time",
        "does something in front of it wait for the whole request? It has to pass streams \
         unbuffered (nginx: grpc_pass, and grpc_buffer_size has no part in it)",
    )
}

fn not_grpc(head: &Head) -> Fault {
    let server = head.server.as_ref();
    let by = server.map(|server| format!(" by {}", one_line(server)));
    Fault::new(
        format!(
            "the answer was HTTP {}{}",
            head.status,
            by.unwrap_or_default()
        ),
        "what answered is no gateway: a web server, or a proxy in front of the gateway that does not \
         reach it. It has to pass /grpctunnel.v1.TunnelService/ to the gateway as gRPC",
    )
}

/// What a peer wrote, in one line.
fn one_line(text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(plain).collect()
}

fn revision(negotiates: bool) -> Found {
    match negotiates {
        true => {
            Found::good("negotiated: 1, with flow control, unless the gateway has it switched off")
        }
        false => Found::warning(
            "0, without flow control: the gateway does not negotiate",
            "one slow reader can stop all calls of the tunnel; use a gateway that speaks revision 1",
        ),
    }
}

/// The extensions in effect, once the gateway has named its own.
async fn named(tunnel: &ServerHandle, limit: Duration) -> ExtensionSet {
    let naming = async {
        while tunnel.extensions().is_empty() && tunnel.state().open {
            sleep(LOOK).await;
        }
    };
    // Other implementations name none.
    let _ = timeout(limit, naming).await;
    tunnel.extensions()
}

fn extensions(set: ExtensionSet) -> Found {
    let all = [
        (Extension::RawMetadata, "RAW_METADATA"),
        (Extension::Transparent, "TRANSPARENT"),
        (Extension::Drain, "DRAIN"),
        (Extension::Ping, "PING"),
        (Extension::Unprocessed, "UNPROCESSED"),
    ];
    let names = |within: bool| {
        let all = all.iter();
        let some = all.filter(move |(extension, _)| set.contains(*extension) == within);
        some.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    };
    if set.is_empty() {
        return Found::good(
            "none: the gateway is another implementation. Compressed messages, content-subtypes and \
             authorities do not pass, nor -bin metadata that is no UTF-8",
        );
    }
    match names(false).as_str() {
        "" => Found::good(names(true)),
        missing => Found::good(format!("{}; not {missing}", names(true))),
    }
}

/// What a gateway answered the opening with.
#[derive(Debug)]
struct Head {
    status: StatusCode,
    negotiates: bool,
    server: Option<String>,
}

/// A carrier that notes the head of the answer.
struct Observed {
    carrier: Authorized,
    head: Arc<OnceLock<Head>>,
}

type Answer<S, B> = Result<<S as Service<Request<B>>>::Response, <S as Service<Request<B>>>::Error>;

impl<B> Service<Request<B>> for Observed
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = <Authorized as Service<Request<B>>>::Response;
    type Error = <Authorized as Service<Request<B>>>::Error;
    type Future = Pin<Box<dyn Future<Output = Answer<Authorized, B>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<B>>::poll_ready(&mut self.carrier, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.carrier.call(request);
        let head = Arc::clone(&self.head);
        Box::pin(async move {
            let answer = answer.await?;
            let headers = answer.headers();
            let server = headers.get(header::SERVER).map(HeaderValue::as_bytes);
            // There is one answer.
            let _ = head.set(Head {
                status: answer.status(),
                negotiates: headers.get(NEGOTIATE).is_some_and(|value| value == "on"),
                server: server.map(|server| String::from_utf8_lossy(server).into_owned()),
            });
            Ok(answer)
        })
    }
}

/// Takes no calls: other agents of the name get them.
#[derive(Clone, Copy, Debug)]
struct Refuses;

impl Service<Request<RequestBody>> for Refuses {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<ResponseBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<RequestBody>) -> Self::Future {
        let text = "the only agent of this name is `grpctunnel check`, which takes no calls";
        let mut response = refuse(&Status::new(Code::Unavailable, text));
        response.extensions_mut().insert(NeverProcessed::new());
        ready(Ok(response))
    }
}
