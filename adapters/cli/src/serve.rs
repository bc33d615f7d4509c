//! Serves HTTP/2 on a listener until told to stop, and answers those who speak HTTP/1.

use std::{
    convert::Infallible,
    error::Error,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use grpctunnel_http2::{
    Connections, Detected, IncomingBody, Settings, WindowBudget, accept_pause, detect,
};
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::{
    IDLE_LIMIT, MEMORY,
    admission::{Admission, Admitted, Capacity, Purpose, Silent, TUNNEL_LIMIT},
    answer::Page,
    audit::{Audit, Refused, RefusedKind},
    auth::{Authenticated, Identity, Trusted},
    files,
    listener::{Endpoint, Listener, Stream, Wire},
    metrics,
    pace::Pace,
    stop::Stop,
    tls::{PeerCertificate, ServerTls, accept},
    words,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// The head of a request of HTTP/1 must have come in this time.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// A TLS handshake may take this long.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// The most TLS handshakes at once; the one that has taken the longest makes room for another.
const MAX_HANDSHAKES: usize = 256;
/// The largest frame with which a list of headers may still have the size that is tolerated:
/// clients split lists in frames of 16 KiB.
const MAX_FRAME: u32 = 48 << 10;
/// Longer than calls are waited for: they are counted elsewhere.
const UNTIL_CUT: Duration = Duration::MAX;

/// What the windows of a connection hold that found no room in the budget.
const SMALL_WINDOW: u32 = 64 << 10;
/// File descriptors that are not for connections: the listener, the runtime's, standard streams.
const OTHER_FILES: usize = 24;
/// The most connections, whatever the process may have.
const MAX_CONNECTIONS: usize = 65_536;
/// How often it is told that connections are turned away.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How a listener speaks TLS, and where it notes failed handshakes.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    pub(crate) trusted: Trusted,
    pub(crate) audit: Audit,
}

/// A connection that was accepted, as what serves it sees it.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) peer: Endpoint,
    pub(crate) purpose: Purpose,
    /// Who it belongs to by its client certificate.
    pub(crate) certified: Option<Authenticated>,
}

/// What a listener is given.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Bytes that the connections of callers may hold of what nobody has read.
    pub(crate) memory: usize,
    /// Whether tunnels are opened here, for which a quarter of the connections is kept.
    pub(crate) tunnels: bool,
    /// Without it, plaintext is spoken.
    pub(crate) security: Option<Security>,
    /// How long a connection may have neither a call nor a tunnel.
    pub(crate) idle: Duration,
    /// How many handshakes may begin in a second. Without it, any number.
    pub(crate) pace: Option<Pace>,
}

impl Limits {
    /// For a listener that takes no tunnels.
    pub(crate) const fn without_tunnels() -> Self {
        Self {
            memory: MEMORY,
            tunnels: false,
            security: None,
            idle: IDLE_LIMIT,
            pace: None,
        }
    }

    /// As many connections as there are file descriptors for, and memory for small windows of
    /// each in one half.
    fn capacity(&self) -> Capacity {
        let by_files = files::limit().saturating_sub(OTHER_FILES);
        let by_memory = self.memory / 2 / SMALL_WINDOW as usize;
        let all = by_files.min(by_memory).clamp(4, MAX_CONNECTIONS);
        let reserve = if self.tunnels { all / 4 } else { 0 };
        Capacity {
            open: all - reserve,
            reserve,
        }
    }

    /// What larger windows may take: the other half.
    fn budget(&self) -> WindowBudget {
        WindowBudget::new(self.memory / 2)
    }
}

/// Connections were turned away.
#[derive(Clone, Debug)]
pub(crate) struct TurnedAway {
    /// How many since it was last told.
    pub(crate) count: u64,
    pub(crate) why: String,
}

/// Admits connections, and tells now and then about those that it turns away.
struct Door<F> {
    admission: Admission,
    tell: F,
    count: u64,
    told: Option<Instant>,
}

impl<F: Fn(TurnedAway)> Door<F> {
    fn new(admission: Admission, tell: F) -> Self {
        Self {
            admission,
            tell,
            count: 0,
            told: None,
        }
    }

    /// Takes a connection that was accepted, where there is room.
    fn admit(&mut self) -> Option<(Admitted, Silent)> {
        let admitted = self.admission.admit();
        let has_room = |(admitted, _): &(Admitted, Silent)| !admitted.made_room();
        if !admitted.as_ref().is_some_and(has_room) {
            let Capacity { open, reserve } = self.admission.capacity();
            let all = open + reserve;
            self.turned_away(|| format!("there may be {all} connections at once"));
        }
        admitted
    }

    fn turned_away(&mut self, why: impl FnOnce() -> String) {
        self.count += 1;
        metrics::turned_away();
        if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let count = std::mem::take(&mut self.count);
        (self.tell)(TurnedAway { count, why: why() });
    }
}

/// The settings of the connections that callers and tunnels come on: small windows, which become
/// those of calls where the budget allows it, and those of tunnels with the first one.
fn settings(budget: WindowBudget, idle: Duration) -> Settings {
    let mut settings = Settings::calls();
    settings.stream_window = SMALL_WINDOW / 2;
    settings.connection_window = SMALL_WINDOW;
    settings.max_frame_size = MAX_FRAME;
    settings.idle_timeout = Some(idle);
    settings.window_budget = Some(budget);
    settings
}

/// Serves HTTP on `listener`, each connection by the service that `make` makes for it. HTTP/1 gets
/// pages, which say whether calls are taken: until `closing` leaves. `tell` hears of
/// connections that are turned away.
///
/// When `stop` drains, no more connections and streams are taken; returns when the last
/// stream has ended, or when `stop` ends.
pub(crate) async fn serve<S, B>(
    listener: Listener,
    limits: Limits,
    make: impl Fn(Arrived) -> S + Clone + Send + Sync + 'static,
    tell: impl Fn(TurnedAway),
    closing: Stop,
    stop: Stop,
) where
    S: Service<Request<IncomingBody>, Response = Response<B>, Error: Into<BoxError>>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let budget = limits.budget();
    let settings = settings(budget.clone(), limits.idle);
    let common = Common {
        connections: Connections::new(settings.clone(), grpctunnel_tokio::runtime()),
        settings,
        budget,
        security: limits.security.clone(),
        pace: limits.pace.clone(),
        handshakes: Admission::new(Capacity {
            open: MAX_HANDSHAKES,
            reserve: 0,
        }),
        closing,
        stop: stop.clone(),
    };
    let mut door = Door::new(Admission::new(limits.capacity()), tell);
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.draining() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some((admitted, silent)) = door.admit() else {
                    continue;
                };
                let accepted = Accepted {
                    make: make.clone(),
                    peer,
                    admitted,
                    common: common.clone(),
                };
                tasks.spawn(accepted.serve(stream, silent));
            }
            Err(error) => {
                if let Some(pause) = accept_pause(&error) {
                    door.turned_away(|| words::io(&error));
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.draining() => break,
                    }
                }
            }
        }
    }
    drop(listener);
    tasks.close();
    common.connections.shutdown(UNTIL_CUT);
    tokio::select! {
        biased;
        () = tasks.wait() => {}
        () = stop.ending() => common.connections.shutdown(Duration::ZERO),
    }
}

/// A connection that was accepted.
struct Accepted<M> {
    make: M,
    peer: Endpoint,
    admitted: Admitted,
    common: Common,
}

/// What the connections of a listener have in common.
#[derive(Clone)]
struct Common {
    settings: Settings,
    budget: WindowBudget,
    security: Option<Security>,
    pace: Option<Pace>,
    /// The handshakes that are under way.
    handshakes: Admission,
    connections: Connections,
    closing: Stop,
    stop: Stop,
}

impl<M, S, B> Accepted<M>
where
    M: Fn(Arrived) -> S,
    S: Service<Request<IncomingBody>, Response = Response<B>, Error: Into<BoxError>>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Serves it to its end.
    async fn serve(self, stream: Stream, silent: Silent) {
        let opening = async {
            if let Some(pace) = &self.common.pace {
                pace.turn(&self.peer).await;
            }
            let (wire, certified) = self.secure(stream).await?;
            let runtime = grpctunnel_tokio::runtime();
            let detected = detect(TokioIo::new(wire), &self.common.settings, &runtime).await;
            Some((detected.ok()?, certified))
        };
        let opened = tokio::select! {
            biased;
            () = self.common.stop.draining() => return,
            opened = opening => opened,
            () = silent.evicted() => return,
        };
        let Some((detected, certified)) = opened else {
            return;
        };
        self.admitted.spoke();
        match detected {
            Detected::Http2(io) => {
                let purpose = self.admitted.purpose();
                let service = (self.make)(Arrived {
                    peer: self.peer,
                    purpose: purpose.clone(),
                    certified,
                });
                let connection = self.common.connections.serve(io, service);
                let calls = Settings::calls();
                let more = calls.connection_window.saturating_sub(SMALL_WINDOW);
                if let Some(reserved) = self.common.budget.reserve(more as usize) {
                    connection.raise_windows(&calls);
                    purpose.hold(reserved);
                }
                if purpose.owes_tunnel() {
                    tokio::select! {
                        _ = connection.closed() => {}
                        () = tokio::time::sleep(TUNNEL_LIMIT) => {}
                    }
                    if purpose.owes_tunnel() {
                        connection.shutdown(Duration::ZERO);
                    }
                }
                // How it ends is seen by its calls and tunnels.
                let _ = connection.closed().await;
                purpose.release();
            }
            Detected::NotHttp2(io) => pages(io, self.common.closing, self.common.stop).await,
        }
    }

    /// The TLS handshake, where TLS is spoken, and who the client is by its certificate.
    async fn secure(&self, stream: Stream) -> Option<(Wire, Option<Authenticated>)> {
        let security = self.common.security.as_ref();
        let Some((security, trust)) = security.map(|security| (security, security.trusted.now()))
        else {
            return Some((Wire::Left(stream), None));
        };
        let Some(tls) = trust.tls() else {
            return Some((Wire::Left(stream), None));
        };
        match self.handshake(tls, stream).await {
            Ok((wire, certificate)) => {
                let identity = certificate.map(Arc::new).and_then(Identity::of_certificate);
                let peer = || self.peer.clone();
                let certified = identity.map(|identity| Authenticated::new(identity, peer()));
                Some((wire, certified))
            }
            Err(why) => {
                security.audit.refused(Refused {
                    kind: RefusedKind::Connection,
                    peer: self.peer.clone(),
                    identity: None,
                    what: "connection".to_owned(),
                    why,
                });
                None
            }
        }
    }

    async fn handshake(
        &self,
        tls: &ServerTls,
        stream: Stream,
    ) -> Result<(Wire, Option<PeerCertificate>), String> {
        let Some((_counted, slow)) = self.common.handshakes.admit() else {
            return Err("too many TLS handshakes at once".to_owned());
        };
        let done = tokio::select! {
            done = tokio::time::timeout(HANDSHAKE_LIMIT, accept(tls, stream)) => done,
            () = slow.evicted() => {
                return Err("its TLS handshake was slow, and made room for others".to_owned());
            }
        };
        done.unwrap_or_else(|_| Err("its TLS handshake took too long".to_owned()))
            .map(|(stream, certificate)| (Wire::Right(Box::new(stream)), certificate))
    }
}

/// Answers HTTP/1.
async fn pages<T>(io: T, closing: Stop, stop: Stop)
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let page = Page::for_http1(&request, !closing.is_leaving());
        let response = page.head().map(|()| Full::<Bytes>::from(page.text));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT);
    let mut serving = pin!(http.serve_connection(io, answer));
    tokio::select! {
        biased;
        _ = serving.as_mut() => return,
        () = stop.draining() => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        biased;
        _ = serving.as_mut() => {}
        () = stop.ending() => {}
    }
}
