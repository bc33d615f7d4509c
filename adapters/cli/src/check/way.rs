//! The way to a gateway below TLS: its name, TCP, and a proxy.

use std::{
    future::{Ready, ready},
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::{legacy::connect::proxy::Tunnel, proxy::matcher::Intercept},
    rt::TokioIo,
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tower_service::Service;

use super::{
    Check,
    report::{Fault, Found, Log, Step, Stopped},
};
use crate::{connect::proxy_failed, listener::Stream, words};

/// Takes the steps to a connection with the gateway.
pub(super) async fn open(check: &Check, log: &mut Log<'_>) -> Result<Stream, Stopped> {
    #[cfg(unix)]
    if let Some(path) = check.gateway.unix() {
        let connecting = async {
            let connected = timeout(check.limit, tokio::net::UnixStream::connect(path)).await;
            let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let stream = stream.map_err(|error| {
                let why = format!("{}: {}", path.display(), words::io(&error));
                Fault::new(
                    why,
                    "is the gateway running, and does it listen on this path?",
                )
            })?;
            Ok((Stream::Right(stream), Found::good("connected")))
        };
        log.note(
            Step::Name,
            Found::nothing("a Unix socket has none"),
            Duration::ZERO,
        );
        return log.step(Step::Tcp, connecting).await;
    }
    let gateway = check.gateway.uri_with_port();
    let proxy = check.proxy.of(&gateway);
    let next = proxy.as_ref().map_or(&gateway, Intercept::uri);
    let what = if proxy.is_some() {
        "the proxy"
    } else {
        "the gateway"
    };
    let addresses = log
        .step(Step::Name, resolve(next, what, check.limit))
        .await?;
    let connecting = connect(&addresses, what, check.limit);
    let stream = log.step(Step::Tcp, connecting).await?;
    let Some(proxy) = proxy else {
        let found = Found::nothing("none, by --proxy and by the environment");
        log.note(Step::Proxy, found, Duration::ZERO);
        return Ok(plain(stream));
    };
    let passed = pass(stream, &proxy, gateway.clone(), check.limit);
    log.step(Step::Proxy, passed).await.map(plain)
}

fn plain(stream: TcpStream) -> Stream {
    #[cfg(unix)]
    let stream = Stream::Left(stream);
    stream
}

async fn resolve(
    server: &Uri,
    what: &str,
    limit: Duration,
) -> Result<(Vec<SocketAddr>, Found), Fault> {
    let host = server.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = server.port_u16().unwrap_or(80);
    if let Ok(address) = host.parse::<IpAddr>() {
        let found = Found::nothing(format!("{what} is given by its address"));
        return Ok((vec![SocketAddr::new(address, port)], found));
    }
    let looked = timeout(limit, lookup_host((host, port))).await;
    let looked = looked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let why = match looked {
        Ok(addresses) => {
            let addresses: Vec<_> = addresses.collect();
            let texts: Vec<_> = addresses.iter().map(|one| one.ip().to_string()).collect();
            let found = Found::good(format!("{host} is {}", texts.join(", ")));
            if !addresses.is_empty() {
                return Ok((addresses, found));
            }
            "it has no address".to_owned()
        }
        Err(error) => words::io(&error),
    };
    Err(Fault::new(
        format!("{what} {host} was not found: {why}"),
        "is the host spelled right? If so, ask whoever keeps its DNS, or this machine's (resolv.conf)",
    ))
}

async fn connect(
    addresses: &[SocketAddr],
    what: &str,
    limit: Duration,
) -> Result<(TcpStream, Found), Fault> {
    let each = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut failed = Vec::new();
    let mut last = io::ErrorKind::NotFound;
    for address in addresses {
        let connected = timeout(each, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                // A socket that refuses this still works, only slower.
                let _ = stream.set_nodelay(true);
                let from = stream.local_addr().map(|local| format!(" from {local}"));
                let text = format!("connected to {address}{}", from.unwrap_or_default());
                let found = match failed.is_empty() {
                    true => Found::good(text),
                    false => Found::warning(
                        format!("{text}, but not to {}", failed.join("; ")),
                        "other programs may try the addresses in another order",
                    ),
                };
                return Ok((stream, found));
            }
            Err(error) => {
                last = error.kind();
                failed.push(format!("{address}: {}", words::io(&error)));
            }
        }
    }
    let advice = match last {
        io::ErrorKind::ConnectionRefused => format!(
            "nobody listens there: is {what} running, or is it shutting down? Is the port right?"
        ),
        io::ErrorKind::TimedOut => {
            "something drops packets on the way: a firewall, here or there; \
             or the machine is down. Where only a proxy leads out, name it by --proxy"
                .to_owned()
        }
        _ => format!("this machine has no way to {what}: is its network up?"),
    };
    Err(Fault::new(failed.join("; "), advice))
}

/// Has the proxy connect to the gateway.
async fn pass(
    stream: TcpStream,
    proxy: &Intercept,
    gateway: Uri,
    limit: Duration,
) -> Result<(TcpStream, Found), Fault> {
    let to = gateway
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut tunnel = Tunnel::new(proxy.uri().clone(), Connected(Some(stream)));
    if let Some(auth) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(auth.clone());
    }
    let why = match timeout(limit, tunnel.call(gateway)).await {
        Ok(Ok(stream)) => {
            let found = Found::good(format!("{} connected to {to}", proxy.uri()));
            return Ok((stream.into_inner(), found));
        }
        Ok(Err(error)) => proxy_failed(proxy.uri(), &error).to_string(),
        Err(_) => format!("the proxy {}: no answer in time", proxy.uri()),
    };
    let advice = if why.contains("authorization") {
        "give its user and password: --proxy http://USER:PASSWORD@HOST:PORT".to_owned()
    } else {
        format!(
            "have it allow CONNECT to {to}, or leave it out: NO_PROXY has hosts that are reached \
             without it"
        )
    };
    Err(Fault::new(why, advice))
}

/// A connection that was made, as what connects.
struct Connected(Option<TcpStream>);

impl Service<Uri> for Connected {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.take().map(TokioIo::new);
        ready(stream.ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}
