//! Reverse tunnels by key, the hooks of tunnels that are opened, and calls that are passed on.

#[cfg(test)]
mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::frames::{server, settings};
use common::play::metadata;
use common::service::{self, Seen, put, status_only};
use common::steps::Steps;
use common::{
    AnyBody, AnyFuture, Cuttable, Done, Function, InMemory, body_of, call_of, channel_body, finish,
    next_data, on_both, until,
};
use futures_util::future::join_all;
use futures_util::{FutureExt, poll};
use grpctunnel_driver::{
    Channel, Code, ConnectError, Direction, Forwarder, Options, Registry, RequestBody, Runtime,
    ServerHandle, Status, TransmitBody, TunnelGroup, TunnelKey, TunnelPeer, TunnelService, connect,
    serve_reverse,
};
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use tower_service::Service;

const HOUR: Duration = Duration::from_secs(3_600);

/// The key: the metadata x-name, which must be there.
fn name_of(peer: &TunnelPeer) -> Result<String, Status> {
    let name = peer.metadata().get("x-name");
    let name = name.and_then(|name| name.to_str().ok());
    let missing = || Status::new(Code::InvalidArgument, "x-name is missing");
    Ok(name.ok_or_else(missing)?.to_owned())
}

fn registry(runtime: &Runtime) -> Registry<String> {
    Registry::new(runtime.clone(), name_of)
}

/// A handler that says who it is.
fn named(
    name: &'static str,
) -> Function<impl Fn(Request<RequestBody>) -> AnyFuture<Response<AnyBody>> + Clone + Sync> {
    Function(move |request: Request<RequestBody>| {
        let future = async move {
            if request.uri().path() == "/t.S/Hang" {
                return std::future::pending().await;
            }
            let mut response = status_only(&Status::new(Code::Ok, ""));
            let headers = response.headers_mut();
            headers.insert("x-name", HeaderValue::from_static(name));
            if let Some(agent) = request.headers().get("x-agent") {
                headers.insert("x-agent", agent.clone());
            }
            response
        };
        Box::pin(future) as AnyFuture<_>
    })
}

async fn agent<S>(
    runtime: &Runtime,
    service: &S,
    name: &'static str,
) -> Result<ServerHandle, ConnectError>
where
    S: Service<
            Request<TransmitBody>,
            Response = Response<TransmitBody>,
            Error: Into<grpctunnel_driver::BoxError>,
        >,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let carrier = InMemory(service.clone());
    let options = Options::default();
    let metadata = metadata("x-name", name);
    serve_reverse(carrier, named(name), runtime, &options, metadata).await
}

fn unary() -> Request<AnyBody> {
    call_of("t.S/M", body_of(&[b"m"]))
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
async fn make(group: &TunnelGroup, request: Request<AnyBody>) -> Done {
    finish(group.clone().call(request).await.unwrap()).await
}

/// Who answers.
#[expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
async fn answering(group: &TunnelGroup) -> String {
    let done = make(group, unary()).await;
    assert_eq!(done.status.code(), Code::Ok, "{}", done.status);
    done.headers["x-name"].to_str().unwrap().to_owned()
}

#[test]
fn tunnels_are_found_by_key_by_id_and_all_together() {
    on_both(|runtime| async move {
        let registry = registry(&runtime);
        let service = TunnelService::new(runtime.clone()).register(&registry);
        let mut agents = Vec::new();
        for name in ["a", "b", "b"] {
            agents.push(agent(&runtime, &service, name).await.unwrap());
            until(|| registry.all().len() == agents.len()).await;
        }
        assert_eq!(answering(&registry.get("a").unwrap()).await, "a");
        let both = registry.get("b").unwrap();
        assert_eq!((both.len(), answering(&both).await.as_str()), (2, "b"));
        for name in ["a", "b", "b"] {
            assert_eq!(answering(&registry.all()).await, name);
        }
        let mut keys = registry.keys();
        keys.sort();
        assert_eq!(keys, ["a", "b"]);
        let channel: Channel = both.channels().remove(0);
        let peer = channel.peer().unwrap();
        assert_eq!(
            (peer.id(), peer.direction()),
            (channel.id(), Direction::Reverse)
        );
        let key = peer.extensions().get::<TunnelKey<String>>();
        assert_eq!(key, Some(&TunnelKey("b".to_owned())));
        let found = registry.tunnel(channel.id()).unwrap();
        assert_eq!(found.id(), channel.id());
        // A tunnel's id is that of its own end only.
        assert!(
            agents
                .iter()
                .all(|agent| registry.tunnel(agent.id()).is_none())
        );

        // A key goes with its last tunnel.
        drop((channel, both, found));
        drop(agents.pop());
        until(|| registry.all().len() == 2).await;
        assert!(registry.get("b").is_some());
        drop(agents.pop());
        until(|| registry.get("b").is_none()).await;
        assert_eq!(registry.keys(), ["a"]);
        drop(agents);
        service.drained().await;
        assert!(registry.keys().is_empty() && registry.all().is_empty());
    });
}

#[test]
fn a_group_outlives_the_tunnels_of_its_key() {
    on_both(|runtime| async move {
        let registry = registry(&runtime);
        let service = TunnelService::new(runtime.clone()).register(&registry);
        let group = registry.group("a".to_owned());
        for _ in 0..2 {
            assert!(registry.get("a").is_none() && registry.keys().is_empty());
            let done = make(&group, unary()).await;
            assert_eq!(done.status.code(), Code::Unavailable);
            assert!(done.never_processed);
            let changed = group.changed();
            let agent = agent(&runtime, &service, "a").await.unwrap();
            changed.await;
            assert_eq!(answering(&group).await, "a");
            assert!(registry.get("a").is_some());
            drop(agent);
            until(|| group.is_empty()).await;
        }
    });
}

#[test]
fn names_that_nobody_has_take_no_memory() {
    let steps = Steps::default();
    let registry = registry(&steps.runtime());
    let look_up = |from: usize| {
        let measured = allocation_counter::measure(|| {
            for number in from..from + 1_000 {
                let group = registry.group(number.to_string());
                assert!(registry.get(&number.to_string()).is_none() && group.is_empty());
            }
        });
        measured.bytes_current
    };
    // The map may grow once, by a few entries.
    let first = look_up(0);
    assert!(first <= 4_096, "{first}");
    assert_eq!(look_up(1_000), 0);
}

/// An agent, by hand: it has not settled before it sends its settings.
#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests states what must hold"
)]
fn arriving(service: &mut TunnelService) -> (common::Frames, Response<TransmitBody>) {
    let (frames, body) = channel_body();
    let request = Request::post(TunnelService::OPEN_REVERSE_TUNNEL)
        .header("grpctunnel-negotiate", "on")
        .header("x-name", "a")
        .body(body);
    let response = service.call(request.unwrap()).into_inner();
    (frames, response.unwrap())
}

#[test]
fn a_call_waits_for_a_tunnel_of_its_key_that_is_being_opened() {
    on_both(|runtime| async move {
        let registry = registry(&runtime);
        let mut service = TunnelService::new(runtime.clone()).register(&registry);
        let (frames, response) = arriving(&mut service);
        let group = registry.get("a").unwrap();
        assert!(group.is_empty());
        assert_eq!(registry.keys(), ["a"]);
        let mut call = Box::pin(make(&group, unary()));
        assert!(poll!(&mut call).is_pending());
        frames.try_send(server(-1, settings(&[0, 1]))).unwrap();
        until(|| group.len() == 1).await;
        assert!(poll!(&mut call).is_pending());
        // It goes out on the tunnel.
        next_data(&mut response.into_body()).await.unwrap();
        drop((call, frames));
        until(|| group.is_empty()).await;

        // The opening fails.
        let (frames, _response) = arriving(&mut service);
        let mut call = Box::pin(make(&group, unary()));
        assert!(poll!(&mut call).is_pending());
        drop(frames);
        assert!(call.await.never_processed);
    });
}

#[test]
fn the_hook_that_gives_the_key_sees_the_opening_and_may_refuse() {
    #[derive(Clone)]
    struct Checked(&'static str);
    on_both(|runtime| async move {
        let registry = Registry::new(runtime.clone(), |peer| {
            assert_eq!(peer.direction(), Direction::Reverse);
            let Some(Checked(by)) = peer.extensions().get() else {
                return Err(Status::new(Code::Unauthenticated, "nobody knows you"));
            };
            Ok((*by, name_of(peer)?))
        });
        let service = TunnelService::new(runtime.clone()).register(&registry);
        let refused = agent(&runtime, &service, "a").await.unwrap_err();
        assert_eq!(
            *refused.status(),
            Status::new(Code::Unauthenticated, "nobody knows you")
        );
        assert!(registry.keys().is_empty());
        service.drained().await;

        // As an interceptor does.
        let checked = Function(move |mut request: Request<TransmitBody>| {
            use http_body_util::BodyExt as _;
            request.extensions_mut().insert(Checked("interceptor"));
            let response = service.clone().call(request).into_inner();
            let response = response.unwrap_or_else(|never| match never {});
            let body = |body: TransmitBody| body.map_err(Into::into).boxed_unsync();
            std::future::ready(response.map(body))
        });
        let options = Options::default();
        let opening = serve_reverse(
            checked,
            named("a"),
            &runtime,
            &options,
            metadata("x-name", "a"),
        );
        let _agent = opening.await.unwrap();
        let key = ("interceptor", "a".to_owned());
        until(|| registry.get(&key).is_some_and(|group| group.is_ready())).await;
    });
}

#[test]
fn an_agent_tells_refused_replaced_and_drained_apart() {
    on_both(|runtime| async move {
        // Refused as it opens, or later.
        let refusing = TunnelService::new(runtime.clone()).reverse(|tunnel| async move {
            match tunnel.metadata["x-name"].as_bytes() {
                b"good" => Ok(tunnel.channel.closed().await),
                _ => Err(Status::new(Code::PermissionDenied, "not you")),
            }
        });
        let refused = agent(&runtime, &refusing, "bad").await.unwrap();
        let end = refused.closed().await;
        assert!(!end.is_clean());
        assert_eq!(
            end.peer_status(),
            Some(&Status::new(Code::PermissionDenied, "not you"))
        );
        let good = agent(&runtime, &refusing, "good").await.unwrap();

        // Replaced, by a newer tunnel of its key and no other.
        let registry = registry(&runtime).with_replacement(HOUR);
        let service = TunnelService::new(runtime.clone()).register(&registry);
        let other = agent(&runtime, &service, "b").await.unwrap();
        let older = agent(&runtime, &service, "a").await.unwrap();
        until(|| registry.all().len() == 2).await;
        let group = registry.get("a").unwrap();
        let mut hanging = group.clone().call(call_of("t.S/Hang", body_of(&[])));
        assert!(poll!(&mut hanging).is_pending());
        until(|| older.active_calls() == 1).await;
        let newer = agent(&runtime, &service, "a").await.unwrap();
        until(|| group.len() == 2).await;
        // What is open goes on.
        let mut closed = Box::pin(older.closed());
        assert_eq!(answering(&group).await, "a");
        until(|| newer.counters().opened == 1).await;
        assert!(poll!(&mut closed).is_pending());
        drop(hanging);
        let end = closed.await;
        assert!(!end.is_clean());
        assert_eq!(end.peer_status().map(Status::code), Some(Code::Aborted));
        until(|| group.len() == 1).await;

        // Drained.
        service.drain(HOUR);
        for agent in [newer, other] {
            let end = agent.closed().await;
            assert!(end.is_clean(), "{end}");
            assert_eq!(end.peer_status(), None);
        }
        refusing.drain(HOUR);
        assert!(good.closed().await.is_clean());
        // No more are taken.
        let refused = agent(&runtime, &service, "a").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
    });
}

#[test]
fn the_task_of_a_tunnel_starts_when_the_registry_knows_it() {
    on_both(|runtime| async move {
        let registry = registry(&runtime);
        let known = registry.clone();
        let (sender, answers) = smol::channel::unbounded();
        let service = TunnelService::new(runtime.clone())
            .register(&registry)
            .reverse(move |tunnel| {
                let group = known.get("a");
                let sender = sender.clone();
                async move {
                    let found = group.is_some_and(|group| group.is_ready());
                    let _ = sender.send((found, tunnel.channel.id())).await;
                    drop(tunnel);
                }
            });
        let agent = agent(&runtime, &service, "a").await.unwrap();
        let (found, id) = answers.recv().await.unwrap();
        // The registry keeps it, whatever becomes of the task.
        assert!(found && registry.tunnel(id).is_some_and(|channel| channel.is_open()));
        assert_eq!(answering(&registry.get("a").unwrap()).await, "a");
        drop(agent);
        until(|| registry.get("a").is_none()).await;
    });
}

type Told = Arc<Mutex<Vec<String>>>;

/// A service of both directions whose hooks note what they are told.
fn noting(
    runtime: &Runtime,
    registry: &Registry<String>,
    told: &Told,
) -> TunnelService<impl grpctunnel_driver::Handler + Sync> {
    let (on_open, on_close) = (told.clone(), told.clone());
    let known = registry.clone();
    let note = |told: &Told, text: String| {
        let told = told.lock();
        told.unwrap_or_else(PoisonError::into_inner).push(text);
    };
    TunnelService::new(runtime.clone())
        .forward(named("gateway"))
        .register(registry)
        .on_open(move |peer| {
            let name = name_of(peer)?;
            assert_ne!(name, "panic");
            note(&on_open, format!("{name} opens {:?}", peer.direction()));
            match name.as_str() {
                "refused" => Err(Status::new(Code::PermissionDenied, "not you")),
                _ => Ok(()),
            }
        })
        .on_close(move |peer, end| {
            let name = name_of(peer).unwrap_or_default();
            assert!(known.get(&name).is_none() && known.tunnel(peer.id()).is_none());
            let clean = if end.is_clean() { "well" } else { "badly" };
            note(&on_close, format!("{name} ends {clean}"));
        })
}

#[test]
fn hooks_are_told_of_tunnels_that_open_and_close_in_both_directions() {
    on_both(|runtime| async move {
        let told = Told::default();
        let registry = registry(&runtime);
        let service = noting(&runtime, &registry, &told);
        let options = Options::default();
        let told = |expected: &[&str]| {
            let told = std::mem::take(&mut *told.lock().unwrap());
            assert_eq!(told, expected);
        };
        for (name, code) in [
            ("refused", Code::PermissionDenied),
            ("panic", Code::Internal),
        ] {
            let refused = agent(&runtime, &service, name).await.unwrap_err();
            assert_eq!(refused.code(), code);
            let carrier = InMemory(service.clone());
            let refused = connect(carrier, &runtime, &options, metadata("x-name", name)).await;
            assert_eq!(refused.unwrap_err().code(), code);
        }
        told(&["refused opens Reverse", "refused opens Forward"]);
        // Nothing is left of them.
        service.drained().await;
        assert!(registry.keys().is_empty());

        let reverse = agent(&runtime, &service, "a").await.unwrap();
        let carrier = InMemory(service.clone());
        let forward = connect(carrier, &runtime, &options, metadata("x-name", "b"));
        let forward = forward.await.unwrap();
        told(&["a opens Reverse", "b opens Forward"]);
        forward.close();
        until(|| service.tunnels() == 1).await;
        told(&["b ends well"]);
        drop(reverse);
        service.drained().await;
        told(&["a ends well"]);

        // One that is lost.
        let (scissors, carrier) = Cuttable::new(service.clone());
        let lost = serve_reverse(
            carrier,
            named("c"),
            &runtime,
            &options,
            metadata("x-name", "c"),
        );
        let lost = lost.await.unwrap();
        drop(scissors);
        lost.closed().await;
        service.drained().await;
        told(&["c opens Reverse", "c ends badly"]);
    });
}

#[test]
fn tunnels_are_bounded_in_number_and_the_limit_is_named() {
    on_both(|runtime| async move {
        let registry = registry(&runtime);
        let mut options = Options::default();
        options.max_tunnels = 3;
        options.max_unsettled = 1;
        let mut service = TunnelService::new(runtime.clone())
            .with_options(options)
            .forward(named("gateway"));
        let refused = async |service: &TunnelService<_>, limit: &str| {
            let carrier = InMemory(service.clone());
            let options = Options::default();
            let refused = connect(carrier, &runtime, &options, metadata("x-name", "b")).await;
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::ResourceExhausted);
            let text = refused.status().message();
            assert!(text.ends_with(&format!("options.{limit}")), "{text}");
        };
        service = service.register(&registry);
        let (frames, body) = channel_body();
        let request = Request::post(TunnelService::OPEN_REVERSE_TUNNEL)
            .header("grpctunnel-negotiate", "on")
            .header("x-name", "a")
            .body(body)
            .unwrap();
        let _response = service.call(request).into_inner().unwrap();
        refused(&service, "max_unsettled").await;
        frames.try_send(server(-1, settings(&[0, 1]))).unwrap();
        until(|| registry.all().len() == 1).await;
        let _two = agent(&runtime, &service, "b").await.unwrap();
        until(|| registry.all().len() == 2).await;
        let three = agent(&runtime, &service, "b").await.unwrap();
        until(|| registry.all().len() == 3).await;
        refused(&service, "max_tunnels").await;
        assert_eq!(service.tunnels(), 3);
        drop(three);
        until(|| service.tunnels() == 2).await;
        agent(&runtime, &service, "b").await.unwrap();
    });
}

#[test]
fn a_look_up_among_many_keys_allocates_what_one_among_few_does() {
    let steps = Steps::default();
    let runtime = steps.runtime();
    let measure = |count: usize| {
        let registry = Registry::new(runtime.clone(), name_of);
        let service = TunnelService::new(runtime.clone()).register(&registry);
        let _groups: Vec<_> = (0..count)
            .map(|number| {
                let group = registry.group(number.to_string());
                let expected = group.expect();
                (group, expected)
            })
            .collect();
        let _agent = steps
            .drive(&mut Box::pin(agent(&runtime, &service, "a")))
            .unwrap()
            .unwrap();
        steps.run();
        assert_eq!(registry.keys().len(), count + 1);
        let id = registry.all().channels()[0].id();
        allocation_counter::measure(|| {
            assert!(registry.tunnel(id).is_some() && registry.get("b").is_none());
            let mut group = registry.get("a").unwrap();
            let call = group.call(call_of("t.S/M", body_of(&[])));
            assert!(Box::pin(call).as_mut().now_or_never().is_none());
            steps.run();
        })
    };
    measure(10);
    let (few, many) = (measure(10), measure(100_000));
    assert_eq!(few.count_total, many.count_total);
    assert_eq!(few.bytes_total, many.bytes_total);
}

#[test]
fn a_forwarder_passes_calls_to_the_tunnel_that_is_looked_up() {
    on_both(|runtime| async move {
        let registry = registry(&runtime);
        let service = TunnelService::new(runtime.clone()).register(&registry);
        let _agents = [
            agent(&runtime, &service, "a").await.unwrap(),
            agent(&runtime, &service, "b").await.unwrap(),
        ];
        until(|| registry.all().len() == 2).await;
        let mut forwarder = Forwarder::new(move |head: &mut Parts| {
            let name = head.headers.remove("x-agent");
            let name = name.as_ref().and_then(|name| name.to_str().ok());
            let name = name.unwrap_or_default();
            registry.get(name).ok_or_else(|| {
                Status::new(
                    Code::Unavailable,
                    format!("agent {name:?} is not connected"),
                )
            })
        });
        let mut pass = async |name: &'static str, content_type: &'static str, body| {
            let mut request = call_of("t.S/M", body);
            let headers = request.headers_mut();
            headers.insert("x-agent", HeaderValue::from_static(name));
            headers.insert("content-type", HeaderValue::from_static(content_type));
            forwarder.call(request).await.unwrap()
        };
        for name in ["a", "b"] {
            let response = pass(name, "application/grpc", body_of(&[b"m"])).await;
            assert_eq!(response.headers()["x-name"], name);
            assert!(!response.headers().contains_key("x-agent"));
            assert_eq!(finish(response).await.status.code(), Code::Ok);
        }
        let done = finish(pass("c", "application/grpc", body_of(&[])).await).await;
        let expected = Status::new(Code::Unavailable, "agent \"c\" is not connected");
        assert_eq!(done.status, expected);
        let response = pass("a", "application/json", body_of(&[])).await;
        assert_eq!(response.status(), 415);
        let (frames, body) = channel_body();
        put(&frames, Err("broken".into()));
        let done = finish(pass("a", "application/grpc", body).await).await;
        assert_eq!(done.status.code(), Code::Cancelled);
    });
}

/// Two agents of one key are restarted in turn, twenty times, while fifty calls are in flight all
/// the time. No call fails.
#[test]
fn a_rolling_restart_fails_no_call() {
    on_both(|runtime| async move {
        let registry = registry(&runtime);
        let service = TunnelService::new(runtime.clone()).register(&registry);
        let seen = Arc::new(Seen::default());
        let start = async || {
            let (carrier, options) = (InMemory(service.clone()), Options::default());
            let handler = service::sample(seen.clone());
            let metadata = metadata("x-name", "a");
            serve_reverse(carrier, handler, &runtime, &options, metadata)
                .await
                .unwrap()
        };
        let mut agents = [start().await, start().await];
        until(|| registry.all().len() == 2).await;
        let stop = AtomicBool::new(false);
        let group = registry.group("a".to_owned());
        let made: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
        let calls = join_all(made.iter().enumerate().map(async |(number, made)| {
            let message = vec![7; number * 10];
            while !stop.load(Ordering::Relaxed) {
                let done = make(&group, call_of("t.S/Unary", body_of(&[&message]))).await;
                assert_eq!(done.status.code(), Code::Ok, "{}", done.status);
                assert_eq!(done.messages, [&message[..]]);
                made.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let restarts = async {
            for restart in 0..20 {
                let agent = &mut agents[restart % 2];
                agent.drain(HOUR);
                let end = agent.closed().await;
                assert!(end.peer_status().is_none(), "{end}");
                *agent = start().await;
                until(|| registry.all().len() == 2).await;
                // The other one follows when every caller has made a call to the two.
                let before: Vec<_> = made
                    .iter()
                    .map(|made| made.load(Ordering::Relaxed))
                    .collect();
                let all_made = || {
                    let mut pairs = made.iter().zip(&before);
                    pairs.all(|(made, before)| made.load(Ordering::Relaxed) >= before + 2)
                };
                until(all_made).await;
            }
            stop.store(true, Ordering::Relaxed);
        };
        futures_util::join!(calls, restarts);
        let made: usize = made.into_iter().map(AtomicUsize::into_inner).sum();
        // Each call was handled once.
        assert_eq!(seen.started(), made);
    });
}
