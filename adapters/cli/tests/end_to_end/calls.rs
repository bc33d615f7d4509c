//! Calls of every kind reach an agent's local server through the gateway, and come back whole.

use std::time::{Duration, Instant};

use crate::support::{
    RunningAgent, RunningDepot, RunningGateway, Tested, agent, bare_caller, bounded, caller, depot,
    depot::{BINARY, DETAILS, TEXT},
    gateway,
    stubs::{Chunk, GreetRequest, Line, WaitRequest, WorkRequest},
    to,
};
use bytes::Bytes;
use grpctunnel_cli::TARGET;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, metadata::MetadataValue};

struct Scene {
    gateway: RunningGateway,
    depot: RunningDepot,
    _agent: RunningAgent,
}

async fn scene() -> Tested<Scene> {
    let gateway = gateway().await?;
    let depot = depot("depot").await?;
    let agent = agent(gateway.address, "a", depot.address).await?;
    Ok(Scene {
        gateway,
        depot,
        _agent: agent,
    })
}

fn greeting(name: &str) -> GreetRequest {
    GreetRequest {
        name: name.to_owned(),
    }
}

#[tokio::test]
async fn unary_with_and_without_a_target() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let mut caller = caller(scene.gateway.address)?;
        let named = caller.greet(to("a", greeting("x"))).await?;
        assert_eq!(named.get_ref().text, "depot greets x");
        let unnamed = caller.greet(greeting("y")).await?;
        assert_eq!(unnamed.get_ref().text, "depot greets y");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_message_larger_than_every_window_crosses_both_ways() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let mut caller = caller(scene.gateway.address)?;
        let name = "n".repeat(3 << 20);
        let reply = caller.greet(greeting(&name)).await?.into_inner();
        assert_eq!(reply.text, format!("depot greets {name}"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn server_streaming() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let order = WorkRequest {
            steps: 5_000,
            step_millis: 0,
        };
        let mut steps = caller(scene.gateway.address)?
            .work(order)
            .await?
            .into_inner();
        for expected in 1..=5_000 {
            let step = steps.message().await?.ok_or("too few steps")?;
            assert_eq!(step.done, expected);
        }
        assert!(steps.message().await?.is_none());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn client_streaming() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let sizes = [0, 1, 16_384, 65_537, 1 << 20, 0, 300_000];
        let chunk = |size| Chunk {
            data: Bytes::from(vec![7; size]),
        };
        let mut crc = crc32fast::Hasher::new();
        for size in sizes {
            crc.update(&chunk(size).data);
        }
        let chunks = tokio_stream::iter(sizes).map(chunk);
        let receipt = caller(scene.gateway.address)?
            .upload(chunks)
            .await?
            .into_inner();
        assert_eq!(receipt.chunks, sizes.len() as u64);
        assert_eq!(receipt.bytes, sizes.iter().sum::<usize>() as u64);
        assert_eq!(receipt.crc32, crc.finalize());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn bidi_streaming_answers_before_the_next_question() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let (say, said) = tokio::sync::mpsc::channel(1);
        let lines = ReceiverStream::new(said);
        let mut answers = caller(scene.gateway.address)?
            .converse(lines)
            .await?
            .into_inner();
        for number in 0..50 {
            let text = format!("line {number}");
            say.send(Line { text: text.clone() }).await?;
            assert_eq!(answers.message().await?.ok_or("no answer")?.text, text);
        }
        drop(say);
        assert!(answers.message().await?.is_none());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn many_calls_at_once_stay_apart() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let caller = caller(scene.gateway.address)?;
        let calls = (0..100).map(|number| {
            let mut caller = caller.clone();
            tokio::spawn(async move {
                let name = format!("{number} {}", "x".repeat(number * 700));
                let reply = caller.greet(greeting(&name)).await?;
                Ok::<_, tonic::Status>(reply.into_inner().text == format!("depot greets {name}"))
            })
        });
        for call in calls.collect::<Vec<_>>() {
            assert!(call.await??);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn metadata_goes_both_ways_and_the_target_stays_at_the_gateway() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let mut request = to("a", greeting("x"));
        let metadata = request.metadata_mut();
        metadata.append("x-echo", MetadataValue::from_static("one"));
        metadata.append("x-echo", MetadataValue::from_static("two, three"));
        metadata.append_bin("x-echo-bin", MetadataValue::from_bytes(BINARY));
        metadata.append("authorization", MetadataValue::from_static("Bearer t"));
        let response = caller(scene.gateway.address)?.greet(request).await?;
        let back = response.metadata();
        let echoed: Vec<_> = back.get_all("x-echo").iter().collect();
        assert_eq!(echoed, ["one", "two, three"]);
        let binary = back.get_bin("x-echo-bin").ok_or("no binary metadata")?;
        assert_eq!(binary.to_bytes()?, BINARY);
        let saw: Vec<_> = back.get_all("x-saw").iter().collect();
        assert!(saw.iter().any(|name| *name == "authorization"), "{saw:?}");
        assert!(saw.iter().all(|name| *name != TARGET), "{saw:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_failure_arrives_with_text_details_and_trailers_unchanged() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let mut caller = caller(scene.gateway.address)?;
        let status = caller
            .greet(greeting("fail"))
            .await
            .err()
            .ok_or("did not fail")?;
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), TEXT);
        assert_eq!(status.details(), DETAILS);
        let trailer = status.metadata().get("x-trailer").ok_or("no trailer")?;
        assert_eq!(trailer, "told");
        let binary = status
            .metadata()
            .get_bin("x-trailer-bin")
            .ok_or("no binary trailer")?;
        assert_eq!(binary.to_bytes()?, BINARY);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_unknown_method_is_the_local_servers_to_refuse() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let channel =
            tonic::transport::Endpoint::from_shared(format!("http://{}", scene.gateway.address))?
                .connect()
                .await?;
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await?;
        let codec = tonic_prost::ProstCodec::<WaitRequest, WaitRequest>::default();
        let path = http::uri::PathAndQuery::from_static("/no.such.Service/Method");
        let call = client.unary(Request::new(WaitRequest {}), path, codec);
        let status = call.await.err().ok_or("did not fail")?;
        assert_eq!(status.code(), Code::Unimplemented);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_deadline_ends_the_call_at_both_ends() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let mut request = to("a", WaitRequest {});
        request.set_timeout(Duration::from_millis(300));
        let begun = Instant::now();
        let mut caller = bare_caller(scene.gateway.address)?;
        let status = caller.wait(request).await.err().ok_or("was answered")?;
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        scene
            .depot
            .seen
            .ended
            .subscribe()
            .wait_for(|ended| *ended == 1)
            .await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_call_that_is_given_up_is_cancelled_at_the_local_server() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let mut caller = caller(scene.gateway.address)?;
        let call = tokio::spawn(async move { caller.wait(WaitRequest {}).await.map(drop) });
        let seen = &scene.depot.seen;
        seen.begun.subscribe().wait_for(|begun| *begun == 1).await?;
        assert_eq!(*seen.ended.borrow(), 0);
        call.abort();
        seen.ended.subscribe().wait_for(|ended| *ended == 1).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_caller_that_vanishes_cancels_its_calls() -> Tested {
    bounded(async {
        let scene = scene().await?;
        let runtime = tokio::runtime::Runtime::new()?;
        let gateway = scene.gateway.address;
        runtime.spawn(async move {
            caller(gateway)?
                .wait(WaitRequest {})
                .await
                .map_err(Into::into)
                .map(drop) as Tested
        });
        let seen = &scene.depot.seen;
        seen.begun.subscribe().wait_for(|begun| *begun == 1).await?;
        runtime.shutdown_background();
        seen.ended.subscribe().wait_for(|ended| *ended == 1).await?;
        Ok(())
    })
    .await
}
