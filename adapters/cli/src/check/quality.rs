//! How good a tunnel is: how fast, how much, and whether it lives without traffic.

use std::time::{Duration, Instant};

use grpctunnel_driver::{Code, ServerHandle, Status};
use grpctunnel_http2::Connection;
use http::{HeaderMap, HeaderValue};
use tokio::time::{sleep, timeout};

use super::{
    Check,
    report::{Fault, Found, Log, Step, Stopped},
};
use crate::{TARGET, carrier::Authorized, echo, words};

/// How often there and back is measured.
const PINGS: u32 = 5;
/// How long throughput is measured.
const SECOND: Duration = Duration::from_secs(1);

/// Takes the steps behind the tunnel's opening.
pub(super) async fn measure(
    check: &Check,
    tunnel: &ServerHandle,
    connection: &Connection,
    carrier: Authorized,
    log: &mut Log<'_>,
) -> Result<(), Stopped> {
    log.step(Step::RoundTrip, round_trip(connection, check.limit))
        .await?;
    log.step(Step::Throughput, throughput(carrier, check.limit))
        .await?;
    if check.idle.is_zero() {
        let found = Found::nothing("not asked for (--idle 0)");
        log.note(Step::Idle, found, Duration::ZERO);
        return Ok(());
    }
    log.step(Step::Idle, idle(check, tunnel, connection)).await
}

async fn round_trip(connection: &Connection, limit: Duration) -> Result<((), Found), Fault> {
    let mut all = Vec::new();
    for _ in 0..PINGS {
        all.push(ping(connection, limit).await?);
    }
    let least = all.iter().min().copied().unwrap_or_default();
    let most = all.iter().max().copied().unwrap_or_default();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let text = format!(
        "{:.2} ms, the least of {PINGS} HTTP/2 pings; the most {:.2} ms",
        millis(least),
        millis(most)
    );
    Ok(((), Found::good(text)))
}

async fn ping(connection: &Connection, limit: Duration) -> Result<Duration, Fault> {
    let advice =
        "the connection is up, and nothing comes back: see the gateway's log, and its load";
    match timeout(limit, connection.ping()).await {
        Ok(Ok(took)) => Ok(took),
        Ok(Err(error)) => Err(Fault::new(words::reason(&error), advice)),
        Err(_) => Err(Fault::new("no answer to a ping in time", advice)),
    }
}

async fn throughput(mut carrier: Authorized, limit: Duration) -> Result<((), Found), Fault> {
    let mut headers = HeaderMap::new();
    // It goes no further than the gateway.
    headers.insert(TARGET, HeaderValue::from_static("."));
    let exchanging = echo::exchange(&mut carrier, &headers, SECOND);
    let exchanged = timeout(limit.saturating_add(SECOND), exchanging).await;
    let late = || {
        Status::new(
            Code::DeadlineExceeded,
            "what was sent did not come back in time",
        )
    };
    match exchanged.unwrap_or_else(|_| Err(late())) {
        Ok(exchanged) => {
            let seconds = exchanged.took.as_secs_f64();
            let mib = f64::from(u32::try_from(exchanged.bytes >> 10).unwrap_or(u32::MAX)) / 1024.0;
            let text = format!("{:.1} MiB/s, there and back at once", mib / seconds);
            Ok(((), Found::good(text)))
        }
        Err(status) if status.code() == Code::Unimplemented => {
            let text = "the gateway has nothing that sends back what it gets: it is an older one, or \
                        another implementation";
            Ok(((), Found::nothing(text)))
        }
        Err(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => {
            Err(Fault::new(
                status.message().to_owned(),
                "small messages pass and large ones do not: look at the MTU on the way (ping -M do \
                 -s 1400), and at what inspects or limits traffic",
            ))
        }
        Err(status) => {
            let text = format!("these credentials may not find out: {}", status.message());
            Ok(((), Found::nothing(text)))
        }
    }
}

async fn idle(
    check: &Check,
    tunnel: &ServerHandle,
    connection: &Connection,
) -> Result<((), Found), Fault> {
    let begun = Instant::now();
    let seconds = check.idle.as_secs();
    let advice = format!(
        "something on the way ends connections without traffic (a load balancer, a NAT, a proxy): \
         have it wait for longer than {seconds} s"
    );
    tokio::select! {
        end = tunnel.closed() => {
            let after = begun.elapsed().as_secs();
            let why = format!("the tunnel was lost after {after} s: {}", words::end(&end));
            return Err(Fault::new(why, advice));
        }
        () = sleep(check.idle) => {}
    }
    if let Err(fault) = ping(connection, check.limit).await {
        let why = format!(
            "nothing came back after {seconds} s without traffic: {}",
            fault.why
        );
        return Err(Fault::new(why, advice));
    }
    Ok((
        (),
        Found::good(format!(
            "the tunnel lives after {seconds} s without traffic"
        )),
    ))
}
