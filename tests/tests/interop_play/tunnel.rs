//! A tunnel client played by hand against `interop-server`: the steps of a play, and a bystander on
//! the same tunnel that behaves.

use std::collections::HashMap;
use std::future::poll_fn;
use std::time::Duration;

use grpctunnel_proto::v1::ServerToClient;
use grpctunnel_proto::v1::server_to_client::Frame as Response;
use grpctunnel_tests::harness::frames::{Fields, Frame, half, new, on, strings, wu};
use grpctunnel_tests::interop::{FrameReader, FrameWriter, Outcome, connection};
use grpctunnel_tests::protos::grpc::testing::{SimpleResponse, StreamingOutputCallResponse};
use grpctunnel_tests::services::ECHO_PAYLOAD;
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;
use tonic::Code;
use tonic::client::GrpcService as _;

use crate::messages::{DUPLEX, UNARY, ask, data, envelope, filler, payload, question};
use crate::play::Step;

const LIMIT: Duration = Duration::from_secs(10);
/// The window that both ends announce.
pub(crate) const WINDOW: usize = 65_536;
/// Messages of the bystander, each sent and sent back.
const ROUNDS: usize = 10;

/// What came on a stream.
#[derive(Default)]
struct Stream {
    headers: bool,
    bytes: usize,
    frames: usize,
    /// Credit beyond the first window, less what was sent.
    credit: usize,
    messages: Vec<Vec<u8>>,
    rest: usize,
    closed: Option<Code>,
}

pub(crate) struct Tunnel {
    writer: Option<FrameWriter>,
    reader: FrameReader,
    negotiated: bool,
    streams: HashMap<i64, Stream>,
    bystander: i64,
    rounds: usize,
    process: Option<u32>,
}

impl Tunnel {
    /// Opens a tunnel to the server of this process; on a negotiated one the first frame was settings.
    pub(crate) async fn open(
        address: &str,
        negotiate: &[&str],
        process: Option<u32>,
    ) -> Outcome<Self> {
        let (writer, body) = FrameWriter::new();
        let mut request = http::Request::post("/grpctunnel.v1.TunnelService/OpenTunnel")
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        for value in negotiate {
            request = request.header("grpctunnel-negotiate", *value);
        }
        let mut channel = connection(address).await?;
        poll_fn(|context| channel.poll_ready(context)).await?;
        let response = timeout(LIMIT, channel.call(request.body(body)?)).await??;
        assert_eq!(response.headers()["grpctunnel-negotiate"], "on");
        let mut tunnel = Self {
            writer: Some(writer),
            reader: FrameReader::new(response.into_body()),
            negotiated: negotiate.first() == Some(&"on"),
            streams: HashMap::new(),
            bystander: i64::MIN,
            rounds: 0,
            process,
        };
        if tunnel.negotiated {
            let first: ServerToClient = tunnel.reader.next().await?.ok_or("no first frame")?;
            let is_settings = matches!(first.frame, Some(Response::Settings(_)));
            assert!(first.stream_id == -1 && is_settings, "{first:?}");
        }
        Ok(tunnel)
    }

    fn say(&self, frame: &[u8]) {
        if let Some(writer) = &self.writer {
            writer.write(frame);
        }
    }

    fn stream(&mut self, id: i64) -> &mut Stream {
        self.streams.entry(id).or_default()
    }

    /// Takes in one frame; there must be one.
    async fn read(&mut self) -> Outcome {
        match self.reader.next().await? {
            Some(frame) => self.take_in(frame),
            None => Err(format!("the tunnel has ended: {:?}", self.reader.status()).into()),
        }
    }

    fn take_in(&mut self, frame: ServerToClient) -> Outcome {
        let id = frame.stream_id;
        if id == -1 && !matches!(frame.frame, Some(Response::Settings(_))) {
            // What concerns the tunnel is not looked at, whether known or not.
            return Ok(());
        }
        let frame = frame.frame.ok_or("a frame of no known kind")?;
        let credits = id == self.bystander && self.negotiated;
        let stream = self.stream(id);
        if let Some(code) = stream.closed {
            return Err(format!("behind the end of {id} with {code:?}: {frame:?}").into());
        }
        let received = match frame {
            Response::Settings(_) => return Err("settings that are not the first frame".into()),
            Response::ResponseHeaders(_) if stream.headers => return Err("headers twice".into()),
            Response::ResponseHeaders(_) => {
                stream.headers = true;
                0
            }
            Response::ResponseMessage(message) => {
                stream.rest = usize::try_from(message.size)?;
                stream.messages.push(Vec::new());
                stream.take(&message.data)?
            }
            Response::MoreResponseData(data) => stream.take(&data)?,
            Response::WindowUpdate(bytes) => {
                stream.credit += usize::try_from(bytes)?;
                0
            }
            Response::CloseStream(close) => {
                let code = close.status.unwrap_or_default().code;
                stream.closed = Some(Code::from_i32(code));
                0
            }
            other => return Err(format!("unexpected: {other:?}").into()),
        };
        if credits && received > 0 {
            self.say(&wu(id, u32::try_from(received)?));
        }
        Ok(())
    }

    async fn closed(&mut self, id: i64) -> Outcome<Code> {
        loop {
            if let Some(code) = self.stream(id).closed {
                return Ok(code);
            }
            self.read()
                .await
                .map_err(|error| format!("while stream {id} is open: {error}"))?;
        }
    }

    async fn ends(&mut self, id: i64, codes: &[Code]) -> Outcome {
        let code = self.closed(id).await?;
        if codes.contains(&code) {
            return Ok(());
        }
        Err(format!("stream {id} ended with {code:?}, not with {codes:?}").into())
    }

    pub(crate) async fn step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Say(frames) => frames.iter().for_each(|frame| self.say(frame)),
            Step::Ends(id, codes) => self.ends(id, codes).await?,
            Step::AllEnd(from, to, codes) => {
                for id in from..=to {
                    self.ends(id, codes).await?;
                }
            }
            Step::Flood(first, frames, codes) => {
                // Fewer than a server is to keep refusals for.
                const AT_ONCE: usize = 500;
                for first in (first..first + 10_000).step_by(AT_ONCE) {
                    let ids = (first..).take(AT_ONCE);
                    let frames = ids.clone().flat_map(frames);
                    frames.for_each(|frame| self.say(&frame));
                    for id in ids {
                        self.ends(id, codes).await?;
                    }
                }
            }
            Step::Headers(id) => {
                while !self.stream(id).headers {
                    self.read().await?;
                }
            }
            Step::Gets(id, bytes) => {
                while self.stream(id).bytes < bytes {
                    self.read().await?;
                }
            }
            Step::NoMoreThan(id, bytes, frames) => {
                self.exchange().await?;
                let stream = self.stream(id);
                assert!(stream.bytes <= bytes, "{} bytes", stream.bytes);
                assert!(stream.frames <= frames, "{} frames", stream.frames);
            }
            Step::Uploads(id, bytes) => self.upload(id, &filler(bytes)).await?,
            Step::Works(id) => self.works(id).await?,
            Step::Drains(id) => self.drain(id).await?,
            Step::Eof => self.writer = None,
            Step::Cut => {
                if let Some(writer) = self.writer.take() {
                    writer.reset();
                }
                while self.read().await.is_ok() {}
            }
            Step::Over(code) => self.over(code).await?,
        }
        Ok(())
    }

    /// Reads to the end of the tunnel, which is the end of the bystander too.
    async fn over(&mut self, code: Code) -> Outcome {
        while let Some(frame) = self.reader.next().await? {
            self.take_in(frame)?;
        }
        let status = self.reader.status().ok_or("no status")?;
        assert_eq!(status.code(), code, "{status}");
        let bystander = self.stream(self.bystander).closed;
        assert_ne!(bystander, Some(Code::Ok), "the bystander");
        Ok(())
    }

    /// Sends one message, in chunks, within the window.
    async fn upload(&mut self, id: i64, message: &[u8]) -> Outcome {
        let initial = if self.negotiated { WINDOW } else { usize::MAX };
        let mut sent = 0;
        while sent < message.len() {
            let window = initial.saturating_add(self.stream(id).credit);
            let window = window.saturating_sub(sent);
            if window == 0 {
                self.read().await?;
                continue;
            }
            let end = message.len().min(sent + window.min(16_384));
            let chunk = message.get(sent..end).unwrap_or_default();
            let frame = if sent == 0 {
                envelope(id, message.len(), chunk)
            } else {
                on(id, &Fields::new().bytes(4, chunk))
            };
            self.say(&frame);
            sent = end;
        }
        Ok(())
    }

    /// A unary call whose answer has 314 bytes of payload.
    async fn works(&mut self, id: i64) -> Outcome {
        let mut call = new(id, UNARY);
        if !self.negotiated {
            call = call.revision(0);
        }
        self.say(&Frame::from(call));
        self.say(&data(id, &ask(314)));
        self.say(&half(id));
        self.ends(id, &[Code::Ok]).await?;
        let message = self.stream(id).messages.pop().ok_or("no response")?;
        let payload = SimpleResponse::decode(message.as_slice())?.payload;
        assert_eq!(payload.map(|payload| payload.body.len()), Some(314));
        Ok(())
    }

    async fn drain(&mut self, first: i64) -> Outcome {
        let process = self
            .process
            .and_then(|id| Pid::from_raw(id.try_into().ok()?));
        kill_process(process.ok_or("no process")?, Signal::USR1)?;
        for id in first.. {
            self.say(&Frame::from(new(id, DUPLEX)));
            self.say(&half(id));
            match self.closed(id).await? {
                Code::Ok => {}
                Code::Unavailable => break,
                other => return Err(format!("a call at a drain: {other:?}").into()),
            }
        }
        Ok(())
    }

    /// Begins the bystander, which gets half of its answers.
    pub(crate) async fn begin(&mut self, id: i64) -> Outcome {
        self.bystander = id;
        let mut call = new(id, DUPLEX).headers(strings(&[(ECHO_PAYLOAD, "1")]));
        if !self.negotiated {
            call = call.revision(0);
        }
        self.say(&Frame::from(call));
        for _ in 0..ROUNDS / 2 {
            self.exchange().await?;
        }
        // What follows finds it in the middle of a message.
        let message = question(self.rounds);
        let (first, _) = message.split_at(message.len() / 2);
        self.say(&envelope(id, message.len(), first));
        Ok(())
    }

    /// Sends a message of the bystander, or the rest of one, and checks its answer.
    async fn exchange(&mut self) -> Outcome {
        let (id, round) = (self.bystander, self.rounds);
        self.rounds += 1;
        let message = question(round);
        if round == ROUNDS / 2 {
            let (_, rest) = message.split_at(message.len() / 2);
            self.say(&on(id, &Fields::new().bytes(4, rest)));
        } else {
            self.say(&envelope(id, message.len(), &message));
        }
        loop {
            let stream = self.stream(id);
            if stream.messages.len() == round + 1 && stream.rest == 0 {
                break;
            }
            if let Some(code) = stream.closed {
                return Err(format!("the bystander ended with {code:?}").into());
            }
            self.read()
                .await
                .map_err(|error| format!("bystander: {error}"))?;
        }
        let answer = self.stream(id).messages.last().cloned();
        let answer = StreamingOutputCallResponse::decode(answer.unwrap_or_default().as_slice())?;
        let body = answer.payload.unwrap_or_default().body;
        assert!(body == payload(round), "an answer of the bystander");
        Ok(())
    }

    /// The rest of the bystander.
    pub(crate) async fn finish(&mut self) -> Outcome {
        while self.rounds < ROUNDS {
            self.exchange().await?;
        }
        self.say(&half(self.bystander));
        self.ends(self.bystander, &[Code::Ok]).await
    }
}

impl Stream {
    fn take(&mut self, data: &[u8]) -> Outcome<usize> {
        let message = self.messages.last_mut().ok_or("data of no message")?;
        message.extend_from_slice(data);
        let rest = self.rest.checked_sub(data.len());
        self.rest = rest.ok_or("more data than was said")?;
        self.bytes += data.len();
        self.frames += 1;
        Ok(data.len())
    }
}

/// A new tunnel on which a call works.
pub(crate) async fn serves_on(address: &str) -> Outcome {
    Tunnel::open(address, &["on"], None).await?.works(1).await
}
