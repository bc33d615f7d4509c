//! Reverse tunnels by key, with generated clients, over TCP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use grpctunnel_tokio::{
    Code, ConnectError, LeastLoaded, NeverProcessed, Options, Registry, Server, ServerHandle,
    TunnelServer, dial, runtime, serve_reverse,
};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

const LIMIT: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn registry() -> Registry<String> {
    Registry::new(runtime(), |peer| {
        let info = peer.connect_info();
        let address = info.and_then(|info| info.remote_addr);
        assert!(address.is_some_and(|address| address.ip().is_loopback()));
        let metadata = peer.metadata();
        match metadata.get("x-name").and_then(|name| name.to_str().ok()) {
            Some(name) => Ok(name.to_owned()),
            None => Err(Status::unauthenticated("x-name is missing")),
        }
    })
}

/// Serves until the test is over.
async fn server(tunnels: TunnelServer) -> Result<SocketAddr, std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let never = std::future::pending();
    tokio::spawn(Server::new(tunnels).serve(listener, never));
    Ok(address)
}

#[expect(
    clippy::expect_used,
    reason = "a helper of tests states what must hold"
)]
async fn agent(at: SocketAddr, name: Option<&'static str>) -> Result<ServerHandle, ConnectError> {
    let carrier = dial(&format!("http://{at}")).await;
    let carrier = carrier.expect("the server is there");
    let (_, health) = health_reporter();
    let mut metadata = MetadataMap::new();
    if let Some(name) = name.and_then(|name| name.parse().ok()) {
        metadata.insert("x-name", name);
    }
    serve_reverse(carrier, Routes::new(health), &Options::default(), metadata).await
}

#[tokio::test]
async fn generated_clients_call_agents_by_their_keys() {
    let test = async {
        let registry = registry().with_pick(LeastLoaded);
        let at = server(TunnelServer::new().register(&registry))
            .await
            .unwrap();
        let refused = agent(at, None).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(refused.status().message(), "x-name is missing");

        let group = registry.group("a".to_owned());
        let mut client = HealthClient::new(group.clone());
        let failed = client
            .check(HealthCheckRequest::default())
            .await
            .unwrap_err();
        assert_eq!(failed.code(), tonic::Code::Unavailable);
        assert!(NeverProcessed::find_in(&failed).is_some());

        let _agent = agent(at, Some("a")).await.unwrap();
        assert!(group.wait_for_ready(Instant::now() + LIMIT).await);
        let answer = client.check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(answer.into_inner().status, 1);
        let channel = group.channels().remove(0);
        let mut client = HealthClient::new(registry.tunnel(channel.id()).unwrap());
        client.check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(
            (registry.keys(), registry.all().len()),
            (vec!["a".to_owned()], 1)
        );
    };
    timeout(LIMIT, test)
        .await
        .expect("calls by key take too long");
}

#[tokio::test]
async fn the_task_of_a_tunnel_and_the_hooks_may_refuse_it() {
    let test = async {
        let (closed, mut ends) = tokio::sync::mpsc::unbounded_channel();
        let tunnels = TunnelServer::new()
            .reverse(|tunnel| async move {
                match tunnel.metadata.get("x-name") {
                    Some(name) if name == "good" => Ok(tunnel.channel.closed().await),
                    _ => Err(Status::permission_denied("not you")),
                }
            })
            .on_open(|peer| match peer.metadata().get("x-name") {
                Some(_) => Ok(()),
                None => Err(Status::unauthenticated("who are you?")),
            })
            .on_close(move |peer, end| {
                let _ = closed.send((peer.metadata().get("x-name").cloned(), end.is_clean()));
            });
        let at = server(tunnels).await.unwrap();
        let refused = agent(at, None).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        let refused = agent(at, Some("bad")).await.unwrap();
        let end = refused.closed().await;
        let status = end.peer_status().unwrap();
        assert_eq!(
            (status.code(), status.message()),
            (Code::PermissionDenied, "not you")
        );
        assert_eq!(ends.recv().await.unwrap().0.unwrap(), "bad");
        let good = agent(at, Some("good")).await.unwrap();
        drop(good);
        let (name, clean) = ends.recv().await.unwrap();
        assert!(name.unwrap() == "good" && clean);
    };
    timeout(LIMIT, test).await.expect("refusals take too long");
}

/// Two agents of one key are restarted in turn, twenty times, while fifty calls are in flight all
/// the time. No call fails.
#[tokio::test]
async fn a_rolling_restart_fails_no_call() {
    let test = async {
        let registry = registry();
        let at = server(TunnelServer::new().register(&registry))
            .await
            .unwrap();
        let mut agents = [
            agent(at, Some("a")).await.unwrap(),
            agent(at, Some("a")).await.unwrap(),
        ];
        let group = registry.group("a".to_owned());
        let (stop, stopped) = tokio::sync::watch::channel(false);
        // What each caller has made.
        let callers = (0..50).map(|_| {
            let (mut client, stopped) = (HealthClient::new(group.clone()), stopped.clone());
            let (made, progress) = tokio::sync::watch::channel(0_u32);
            let calls = tokio::spawn(async move {
                while !*stopped.borrow() {
                    client.check(HealthCheckRequest::default()).await?;
                    made.send_modify(|made| *made += 1);
                }
                Ok::<(), Status>(())
            });
            (calls, progress)
        });
        let mut callers: Vec<_> = callers.collect();
        for restart in 0..20 {
            let restarted = &mut agents[restart % 2];
            restarted.drain(HOUR);
            restarted.closed().await;
            let changed = group.changed();
            *restarted = agent(at, Some("a")).await.unwrap();
            changed.await;
            // The other one follows when every caller has made a call to the two.
            let before: Vec<_> = callers.iter().map(|(_, made)| *made.borrow()).collect();
            for ((_, progress), before) in callers.iter_mut().zip(before) {
                // A caller that is gone says why below.
                let _ = progress.wait_for(|made| *made >= before + 2).await;
            }
        }
        stop.send_replace(true);
        for (calls, _) in callers {
            calls.await.unwrap().unwrap();
        }
    };
    timeout(LIMIT, test)
        .await
        .expect("a rolling restart takes too long");
}
