//! Metrics are what was done.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use grpctunnel_cli::metrics::{Kind, METRICS};
use prost::Message;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tonic::{Code, transport::Channel};

use super::{Running, get};
use crate::support::{
    Tested, bare_caller, bounded, caller, depot,
    stubs::{
        Chunk, GreetReply, GreetRequest, Line, Receipt, WaitRequest, WorkRequest, WorkStep,
        depot_client::DepotClient,
    },
    to,
};

type Depot = DepotClient<Channel>;

/// What stands before each message.
const PREFIX: usize = 5;

/// Samples by their names and labels, as they are served.
type Samples = BTreeMap<String, f64>;

async fn scrape(admin: SocketAddr) -> Tested<(Samples, String)> {
    let text = get(admin, "/metrics").await?.body;
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (key, value) = line.rsplit_once(' ').ok_or("no value")?;
        Ok((key.to_owned(), value.parse()?))
    });
    Ok((samples.collect::<Tested<_>>()?, text))
}

/// Waits until these samples, and no others of their names, are served.
async fn wait_for(admin: SocketAddr, expected: &Samples) -> Tested {
    let names: BTreeSet<_> = expected
        .keys()
        .filter_map(|key| key.split('{').next())
        .collect();
    let mut last = Samples::new();
    let waiting = async {
        loop {
            last = scrape(admin).await?.0;
            last.retain(|key, value| {
                let is_of = key
                    .split('{')
                    .next()
                    .is_some_and(|name| names.contains(name));
                // Labels that nothing happened for may be there.
                is_of && (*value != 0.0 || expected.contains_key(key))
            });
            if last == *expected {
                return Tested::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(40), waiting).await;
    waited.unwrap_or_else(|_| Err(format!("served {last:#?}, expected {expected:#?}").into()))
}

/// What was done, as it has to be counted.
#[derive(Default)]
struct Done {
    calls: BTreeMap<(&'static str, &'static str), u32>,
    sent: BTreeMap<&'static str, usize>,
    received: BTreeMap<&'static str, usize>,
}

impl Done {
    fn call(
        &mut self,
        agent: &'static str,
        code: &'static str,
        sent: &[usize],
        received: &[usize],
    ) {
        *self.calls.entry((agent, code)).or_default() += 1;
        let bytes = |messages: &[usize]| messages.iter().map(|bytes| bytes + PREFIX).sum::<usize>();
        *self.sent.entry(agent).or_default() += bytes(sent);
        *self.received.entry(agent).or_default() += bytes(received);
    }

    fn samples(&self) -> Samples {
        let mut samples = Samples::new();
        let mut seconds = BTreeMap::<_, u32>::new();
        for ((agent, code), count) in &self.calls {
            let key =
                format!("grpctunnel_calls_finished_total{{agent=\"{agent}\",code=\"{code}\"}}");
            samples.insert(key, f64::from(*count));
            *seconds.entry(*agent).or_default() += count;
        }
        for (agent, count) in seconds {
            let key = format!("grpctunnel_call_seconds_count{{agent=\"{agent}\"}}");
            samples.insert(key, f64::from(count));
        }
        let mut bytes = |name: &str, bytes: &BTreeMap<&str, usize>| {
            for (agent, bytes) in bytes {
                let key = format!("grpctunnel_call_{name}_bytes_total{{agent=\"{agent}\"}}");
                samples.insert(key, f64::from(u32::try_from(*bytes).unwrap_or(u32::MAX)));
            }
        };
        bytes("request", &self.sent);
        bytes("response", &self.received);
        samples
    }
}

/// What was done of calls that reach the agent, and of all.
#[derive(Default)]
struct Load {
    passed: Done,
    all: Done,
}

impl Load {
    fn call(&mut self, code: &'static str, sent: &[usize], received: &[usize]) {
        self.passed.call("pi", code, sent, received);
        self.all.call("pi", code, sent, received);
    }

    /// Calls with one request each.
    async fn unary(&mut self, caller: &mut Depot) -> Tested {
        for size in 0..20 {
            let name = "x".repeat(size * 100);
            let request = GreetRequest { name };
            let sent = request.encoded_len();
            let reply: GreetReply = caller.greet(to("pi", request)).await?.into_inner();
            self.call("OK", &[sent], &[reply.encoded_len()]);
        }
        for _ in 0..5 {
            let name = "fail".to_owned();
            let request = GreetRequest { name };
            let sent = request.encoded_len();
            let status = caller.greet(to("pi", request)).await.err();
            assert_eq!(status.map(|status| status.code()), Some(Code::NotFound));
            self.call("NOT_FOUND", &[sent], &[]);
        }
        for _ in 0..3 {
            let name = "x".to_owned();
            let status = caller
                .greet(to("nobody", GreetRequest { name }))
                .await
                .err();
            assert_eq!(status.map(|status| status.code()), Some(Code::Unavailable));
            self.all.call("none", "UNAVAILABLE", &[], &[]);
        }
        Ok(())
    }

    /// Calls with streams.
    async fn streams(&mut self, caller: &mut Depot) -> Tested {
        let request = WorkRequest {
            steps: 300,
            step_millis: 0,
        };
        let sent = request.encoded_len();
        let steps = caller.work(to("pi", request)).await?.into_inner();
        let steps: Vec<WorkStep> = steps.collect::<Result<_, _>>().await?;
        self.call("OK", &[sent], &sizes(&steps));
        let chunk = |size: usize| Chunk {
            data: vec![7; size * 997].into(),
        };
        let chunks: Vec<_> = (0..50).map(chunk).collect();
        let sent = sizes(&chunks);
        let chunks = to("pi", tokio_stream::iter(chunks));
        let receipt: Receipt = caller.upload(chunks).await?.into_inner();
        self.call("OK", &sent, &[receipt.encoded_len()]);
        let line = |size: usize| Line {
            text: "l".repeat(size),
        };
        let lines: Vec<_> = (0..30).map(line).collect();
        let sent = sizes(&lines);
        let answers = caller.converse(to("pi", tokio_stream::iter(lines)));
        let answers = answers.await?.into_inner();
        assert_eq!(answers.collect::<Vec<_>>().await.len(), sent.len());
        self.call("OK", &sent, &sent);
        Ok(())
    }

    /// Calls whose callers go away.
    async fn cancelled(&mut self, caller: &Depot, begun: &watch::Sender<u32>) -> Tested {
        for count in 1..=2 {
            let mut caller = caller.clone();
            let waiting = tokio::spawn(async move { caller.wait(to("pi", WaitRequest {})).await });
            begun.subscribe().wait_for(|begun| *begun == count).await?;
            waiting.abort();
            self.call("CANCELLED", &[0], &[]);
        }
        Ok(())
    }
}

fn sizes<M: Message>(messages: &[M]) -> Vec<usize> {
    messages.iter().map(Message::encoded_len).collect()
}

fn key(name: &str, labels: &str) -> String {
    format!("grpctunnel_{name}{{{labels}}}")
}

#[tokio::test]
async fn metrics_are_equal_to_what_was_done() -> Tested {
    bounded(async {
        let depot = depot("depot").await?;
        let (_gateway, address, admin) = Running::gateway(&[]).await?;
        let (agent, agents_admin) = Running::agent(address, "pi", depot.address).await?;
        let mut load = Load::default();
        let mut caller = caller(address)?;
        load.unary(&mut caller).await?;
        load.streams(&mut caller).await?;
        load.cancelled(&caller, &depot.seen.begun).await?;
        let Load { passed, mut all } = load;
        let (mut at_gateway, mut at_agent) = (all.samples(), passed.samples());
        let calls: f64 = passed.calls.values().map(|count| f64::from(*count)).sum();
        at_gateway.extend([
            (key("calls_total", "side=\"client\""), calls),
            (key("calls_open", "side=\"client\""), 0.0),
            (key("tunnels_open", "side=\"client\""), 1.0),
            (key("agent_tunnels_open", "agent=\"pi\""), 1.0),
            (key("refused_total", "what=\"call\""), 3.0),
        ]);
        at_agent.extend([
            (key("calls_total", "side=\"server\""), calls),
            (key("calls_open", "side=\"server\""), 0.0),
            (key("tunnels_open", "side=\"server\""), 1.0),
            ("grpctunnel_connects_total".to_owned(), 1.0),
        ]);
        wait_for(admin, &at_gateway).await?;
        wait_for(agents_admin, &at_agent).await?;
        only_documented(admin).await?;
        only_documented(agents_admin).await?;

        // Whether its request was read before depends on the machine.
        let mut request = to("pi", WaitRequest {});
        request.set_timeout(Duration::from_millis(50));
        let status = bare_caller(address)?.wait(request).await.err();
        let code = status.map(|status| status.code());
        assert_eq!(code, Some(Code::DeadlineExceeded));
        all.call("pi", "DEADLINE_EXCEEDED", &[], &[]);
        let mut counted = all.samples();
        counted.retain(|key, _| key.starts_with("grpctunnel_calls_finished_total"));
        wait_for(admin, &counted).await?;

        agent.terminated().await?;
        let gone = [
            (key("agent_tunnels_open", "agent=\"pi\""), 0.0),
            (key("tunnels_open", "side=\"client\""), 0.0),
            (key("tunnels_total", "side=\"client\""), 1.0),
        ];
        wait_for(admin, &gone.into()).await?;
        // Who finishes first is a matter of time.
        let ended = scrape(admin).await?.0;
        let ended = ended
            .iter()
            .filter(|(key, _)| key.starts_with("grpctunnel_tunnels_ended_total{side=\"client\""));
        assert_eq!(ended.map(|(_, count)| count).sum::<f64>(), 1.0);
        Ok(())
    })
    .await
}

/// Every metric that is served has its name, kind and labels in the list.
async fn only_documented(admin: SocketAddr) -> Tested {
    let (samples, text) = scrape(admin).await?;
    let kinds: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    for (name, kind) in &kinds {
        let listed = METRICS.iter().find(|metric| metric.name == *name);
        let listed = listed.ok_or_else(|| format!("{name} is not in the list"))?;
        let expected = match listed.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            _ => "histogram",
        };
        assert_eq!(*kind, expected, "{name}");
        assert!(
            text.contains(&format!("# HELP {name} {}", listed.help)),
            "{name}"
        );
    }
    for key in samples.keys() {
        let (name, labels) = key.split_once('{').unwrap_or((key, ""));
        let of = |suffix| {
            name.strip_suffix(suffix)
                .filter(|name| kinds.contains_key(name))
        };
        let name = of("_bucket")
            .or(of("_sum"))
            .or(of("_count"))
            .unwrap_or(name);
        let listed = METRICS.iter().find(|metric| metric.name == name);
        let listed = listed.ok_or_else(|| format!("{key} is not in the list"))?;
        let labels = labels
            .trim_end_matches('}')
            .split(',')
            .filter(|label| !label.is_empty());
        let labels: BTreeSet<_> = labels
            .filter_map(|label| Some(label.split_once('=')?.0))
            .collect();
        let labels: BTreeSet<_> = labels.into_iter().filter(|label| *label != "le").collect();
        assert_eq!(labels, listed.labels.iter().copied().collect(), "{key}");
    }
    // Whatever can be there from the beginning is.
    for metric in METRICS {
        let is_known = matches!(metric.labels, [] | ["side"] | ["what"]);
        if is_known && metric.kind != Kind::Histogram {
            assert!(
                kinds.contains_key(metric.name),
                "{} is not served",
                metric.name
            );
        }
    }
    Ok(())
}

/// The documentation lists what the program lists.
#[test]
fn the_table_of_metrics_is_the_programs() {
    let text = include_str!("../../../docs/metrics.md");
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| `grpctunnel_"));
    let expected = METRICS.iter().map(|metric| {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        format!(
            "| `{}` | {kind} | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.help
        )
    });
    assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}
