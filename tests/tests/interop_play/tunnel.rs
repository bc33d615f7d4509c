//! A tunnel client played by hand against `interop-server`: the steps of a play, and a bystander on
//! the same tunnel that behaves.

use std::collections::HashMap;
use std::future::poll_fn;
use std::time::Duration;

use grpctunnel_proto::v1::ServerToClient;
use grpctunnel_proto::v1::server_to_client::Frame as Response;
use grpctunnel_tests::harness::frames::{Fields, Frame, half, new, on, strings, wu};
use grpctunnel_tests::interop::{FrameReader, FrameWriter, Outcome, connection};
use grpctunnel_tests::protos::grpc::testing::{
    Payload, ResponseParameters, SimpleRequest, SimpleResponse, StreamingOutputCallRequest,
    StreamingOutputCallResponse,
};
use grpctunnel_tests::services::ECHO_PAYLOAD;
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;
use tonic::Code;
use tonic::client::GrpcService as _;

const LIMIT: Duration = Duration::from_secs(10);
/// The window that both ends announce.
pub(crate) const WINDOW: usize = 65_536;
/// Messages of the bystander, each sent and sent back, and bytes of each.
const ROUNDS: usize = 10;
const ROUND: usize = 10_000;

/// One thing that the client does, or waits for.
pub(crate) enum Step {
    /// Sends these frames, without looking at what comes.
    Say(Vec<Frame>),
    /// The stream has ended, with one of these codes.
    Ends(i64, &'static [Code]),
    /// Each of the streams from the first id to the second has ended, with one of these codes.
    AllEnd(i64, i64, &'static [Code]),
    /// The stream has got its headers.
    Headers(i64),
    /// The stream has got so many bytes of responses.
    Gets(i64, usize),
    /// By the time that the bystander has got a further answer, the stream has got no more bytes
    /// than this, in no more frames than that.
    NoMoreThan(i64, usize, usize),
    /// Sends a message of so many bytes, as the window allows.
    Uploads(i64, usize),
    /// A unary call, which succeeds.
    Works(i64),
    /// Asks the process to shut down; from this id on calls are made until one is refused.
    Drains(i64),
    /// Ends the client's side, in order.
    Eof,
    /// Resets the carrier; whatever comes then is right.
    Cut,
    /// The tunnel has ended with this code.
    Over(Code),
}

/// When the bystander begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begins {
    /// Before the abuse, with id 1.
    Before,
    /// After it, with this id: the abuse is the first thing that the tunnel sees.
    After(i64),
    /// There is none: the abuse is the first thing, and the last one.
    Never,
}

/// One row, played against a server.
pub(crate) struct Play {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
    /// The values of the header that negotiates.
    pub(crate) negotiate: &'static [&'static str],
    pub(crate) begins: Begins,
    /// Against a server without flow control.
    pub(crate) is_old: bool,
    /// Against a process of its own, which ends with the play.
    pub(crate) is_last: bool,
}

impl Play {
    pub(crate) fn new(name: &'static str, steps: Vec<Step>) -> Self {
        Self {
            name,
            steps,
            negotiate: &["on"],
            begins: Begins::Before,
            is_old: false,
            is_last: false,
        }
    }

    pub(crate) fn negotiate(self, negotiate: &'static [&'static str]) -> Self {
        Self { negotiate, ..self }
    }

    /// Without negotiation.
    pub(crate) fn zero(self) -> Self {
        self.negotiate(&[])
    }

    pub(crate) fn begins(self, begins: Begins) -> Self {
        Self { begins, ..self }
    }

    pub(crate) fn old(self) -> Self {
        Self {
            is_old: true,
            ..self
        }
    }

    pub(crate) fn last(self) -> Self {
        Self {
            is_last: true,
            ..self
        }
    }

    /// Plays it against the server at this address, of this process.
    pub(crate) async fn run(self, address: &str, process: Option<u32>) -> Outcome {
        let mut tunnel = Tunnel::open(address, self.negotiate).await?;
        tunnel.process = process;
        if self.begins == Begins::Before {
            tunnel.begin(1).await?;
        }
        let ends_the_tunnel = self
            .steps
            .iter()
            .any(|step| matches!(step, Step::Over(_) | Step::Cut));
        for step in self.steps {
            tunnel.step(step).await?;
        }
        if let Begins::After(id) = self.begins {
            tunnel.begin(id).await?;
        }
        if self.begins != Begins::Never && !ends_the_tunnel {
            tunnel.finish().await?;
        }
        Ok(())
    }
}

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

struct Tunnel {
    writer: Option<FrameWriter>,
    reader: FrameReader,
    negotiated: bool,
    streams: HashMap<i64, Stream>,
    bystander: i64,
    rounds: usize,
    process: Option<u32>,
}

impl Tunnel {
    /// Opens a tunnel; on a negotiated one the first frame was settings.
    async fn open(address: &str, negotiate: &[&str]) -> Outcome<Self> {
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
            process: None,
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

    /// Takes in one frame.
    async fn read(&mut self) -> Outcome {
        let frame: ServerToClient = match self.reader.next().await? {
            Some(frame) => frame,
            None => return Err(format!("the tunnel has ended: {:?}", self.reader.status()).into()),
        };
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

    async fn step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Say(frames) => frames.iter().for_each(|frame| self.say(frame)),
            Step::Ends(id, codes) => self.ends(id, codes).await?,
            Step::AllEnd(from, to, codes) => {
                for id in from..=to {
                    self.ends(id, codes).await?;
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
            Step::Over(code) => {
                while self.reader.next::<ServerToClient>().await?.is_some() {}
                let status = self.reader.status().ok_or("no status")?;
                assert_eq!(status.code(), code, "{status}");
            }
        }
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
    async fn begin(&mut self, id: i64) -> Outcome {
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
    async fn finish(&mut self) -> Outcome {
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
    Tunnel::open(address, &["on"]).await?.works(1).await
}

pub(crate) const UNARY: &str = "/grpc.testing.TestService/UnaryCall";
pub(crate) const DUPLEX: &str = "/grpc.testing.TestService/FullDuplexCall";

/// The first frame of a message of `size` bytes.
pub(crate) fn envelope(id: i64, size: usize, data: &[u8]) -> Frame {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let message = Fields::new().number(1, size).bytes(2, data);
    on(id, &Fields::new().message(3, &message))
}

/// A whole message in one frame.
pub(crate) fn data(id: i64, message: &[u8]) -> Frame {
    envelope(id, message.len(), message)
}

/// A message of exactly so many bytes, not one, that any service understands: one field that none
/// knows.
pub(crate) fn filler(bytes: usize) -> Vec<u8> {
    let overhead = match bytes {
        0 => return Vec::new(),
        1..130 => 2,
        130..16_387 => 3,
        16_387..2_097_156 => 4,
        _ => 5,
    };
    let content = vec![7; bytes.saturating_sub(overhead)];
    Fields::new().bytes(15, &content).done()
}

/// A unary request for an answer with so many bytes of payload.
pub(crate) fn ask(size: i32) -> Vec<u8> {
    let request = SimpleRequest {
        response_size: size,
        ..SimpleRequest::default()
    };
    request.encode_to_vec()
}

/// A request for a stream of answers of these sizes.
pub(crate) fn ask_stream(sizes: &[i32]) -> Vec<u8> {
    ask_slowly(sizes.iter().map(|size| (*size, 0)))
}

/// A request for one answer at once, and one that does not come while a test lasts.
pub(crate) fn ask_and_wait() -> Vec<u8> {
    ask_slowly([(1, 0), (1, 2_000_000_000)])
}

/// A request for a stream of answers of these sizes, each behind so many microseconds.
fn ask_slowly(answers: impl IntoIterator<Item = (i32, i32)>) -> Vec<u8> {
    let parameters = answers
        .into_iter()
        .map(|(size, interval_us)| ResponseParameters {
            size,
            interval_us,
            ..ResponseParameters::default()
        });
    let request = StreamingOutputCallRequest {
        response_parameters: parameters.collect(),
        ..StreamingOutputCallRequest::default()
    };
    request.encode_to_vec()
}

fn payload(round: usize) -> Vec<u8> {
    (0..251_u8).cycle().skip(round).take(ROUND).collect()
}

fn question(round: usize) -> Vec<u8> {
    let request = StreamingOutputCallRequest {
        response_parameters: vec![ResponseParameters::default()],
        payload: Some(Payload {
            body: payload(round).into(),
            ..Payload::default()
        }),
        ..StreamingOutputCallRequest::default()
    };
    request.encode_to_vec()
}
