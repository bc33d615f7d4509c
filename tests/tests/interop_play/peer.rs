//! A tunnel server played by hand against `interop-probe`. It treats the bystander well, and the
//! other call as its case says.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use grpctunnel_proto::v1::client_to_server::Frame as Request;
use grpctunnel_proto::v1::{ClientToServer, NewStream};
use grpctunnel_tests::harness::frames::{Fields, close, on, wu};
use grpctunnel_tests::interop::{FrameReader, FrameWriter, Outcome};
use grpctunnel_tests::protos::grpc::testing::{
    StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use http::{HeaderValue, header};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::time::error::Elapsed;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::transport::Server;

use crate::case::{Act, At, Case, Opening, When};
use crate::messages::{data, filler, response, zeros};
use crate::tunnel::WINDOW;

/// The metadata that names the case.
const CASE: &str = "x-case";

/// Serves all cases, on a free port, in this process, until the test ends.
pub(crate) async fn serve(cases: Vec<Case>) -> Outcome<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let cases = cases.into_iter().chain([Case::honest()]);
    let cases = cases.map(|case| (case.name.to_owned(), Arc::new(case)));
    let peer = Peer(Arc::new(cases.collect()));
    let server = Server::builder().add_service(peer);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(address)
}

#[derive(Clone)]
struct Peer(Arc<HashMap<String, Arc<Case>>>);

impl NamedService for Peer {
    const NAME: &'static str = "grpctunnel.v1.TunnelService";
}

impl Service<http::Request<Body>> for Peer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let name = request.headers().get(CASE);
        let name = name.and_then(|name| name.to_str().ok());
        let case = self.0.get(name.unwrap_or_default()).cloned();
        Box::pin(async move {
            let Some(case) = case else {
                return Ok(Status::not_found("no such case").into_http());
            };
            match case.opening {
                Opening::NoAnswer => pending().await,
                Opening::Refused(code) => Ok(Status::new(code, "as asked").into_http()),
                _ => Ok(tunnel(case, request.into_body())),
            }
        })
    }
}

fn tunnel(case: Arc<Case>, body: Body) -> http::Response<Body> {
    let (writer, responses) = FrameWriter::new();
    let mut response = http::Response::new(responses);
    let headers = response.headers_mut();
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, grpc);
    if matches!(case.opening, Opening::Negotiated(_)) {
        headers.insert("grpctunnel-negotiate", HeaderValue::from_static("on"));
    }
    tokio::spawn(async move {
        let mut script = Script {
            case: case.clone(),
            writer,
            bystanders: BTreeSet::new(),
            gathering: HashMap::new(),
            call: None,
            window: 0,
            sending: Vec::new(),
        };
        if let Opening::Negotiated(acts) = &case.opening {
            script.play(0, acts);
        }
        let mut reader = FrameReader::new(body);
        loop {
            match reader.next().await {
                Ok(Some(frame)) => script.receive(frame),
                // It waits for as long as the client does.
                Err(error) if error.is::<Elapsed>() => {}
                // An end of any kind ends the script.
                Ok(None) | Err(_) => return,
            }
        }
    });
    response
}

struct Script {
    case: Arc<Case>,
    writer: FrameWriter,
    bystanders: BTreeSet<i64>,
    /// Requests of which chunks are still to come.
    gathering: HashMap<i64, (usize, Vec<u8>)>,
    call: Option<At>,
    /// What may be sent to the probe's call.
    window: usize,
    /// What is left to send to it.
    sending: Vec<u8>,
}

impl Script {
    fn receive(&mut self, frame: ClientToServer) {
        let id = frame.stream_id;
        let Some(frame) = frame.frame else { return };
        if let Request::NewStream(new) = &frame {
            self.begin(id, new);
        }
        if self.bystanders.contains(&id) {
            self.answer_bystander(id, frame);
        } else if self.call.as_ref().is_some_and(|call| call.id == id) {
            self.misbehave(id, &frame);
        }
    }

    fn begin(&mut self, id: i64, new: &NewStream) {
        let metadata = new.request_headers.as_ref().map(|metadata| &metadata.md);
        let value = |key: &str| metadata.and_then(|metadata| metadata.get(key));
        if value(CASE).is_some_and(|case| case.val == ["bystander"]) {
            self.bystanders.insert(id);
            if self.case.window < 65_536 {
                self.writer.write(&wu(id, 65_536));
            }
        } else {
            self.window = usize::try_from(new.initial_window_size).unwrap_or(WINDOW);
            self.call = Some(At {
                id,
                has_timeout: value("grpc-timeout").is_some(),
            });
        }
    }

    fn credit(&self, id: i64, bytes: usize) {
        let room = self.case.window <= 65_536;
        if let (true, Ok(bytes @ 1..)) = (room, u32::try_from(bytes)) {
            self.writer.write(&wu(id, bytes));
        }
    }

    /// `FullDuplexCall`, as it should be; payloads come back.
    fn answer_bystander(&mut self, id: i64, frame: Request) {
        match frame {
            Request::RequestMessage(message) => {
                self.credit(id, message.data.len());
                let size = usize::try_from(message.size).unwrap_or(usize::MAX);
                self.gathering.insert(id, (size, message.data.to_vec()));
            }
            Request::MoreRequestData(data) => {
                self.credit(id, data.len());
                if let Some((_, gathered)) = self.gathering.get_mut(&id) {
                    gathered.extend(data);
                }
            }
            Request::HalfClose(()) => self.writer.write(&close(id, 0)),
            _ => {}
        }
        let whole = self.gathering.get(&id);
        if whole.is_none_or(|(size, data)| data.len() != *size) {
            return;
        }
        let (_, bytes) = self.gathering.remove(&id).unwrap_or_default();
        let request = StreamingOutputCallRequest::decode(bytes.as_slice()).unwrap_or_default();
        for parameters in request.response_parameters {
            let payload = request.payload.clone().or_else(|| zeros(parameters.size));
            let response = StreamingOutputCallResponse {
                payload,
                ..StreamingOutputCallResponse::default()
            };
            self.writer.write(&data(id, &response.encode_to_vec()));
        }
    }

    fn misbehave(&mut self, id: i64, frame: &Request) {
        let when = match frame {
            Request::NewStream(_) => When::New,
            Request::HalfClose(()) => When::HalfClose,
            Request::Cancel(()) => When::Cancel,
            Request::RequestMessage(message) if self.case.credits => {
                return self.credit(id, message.data.len());
            }
            Request::MoreRequestData(data) if self.case.credits => {
                return self.credit(id, data.len());
            }
            Request::WindowUpdate(bytes) => {
                self.window += usize::try_from(*bytes).unwrap_or_default();
                return self.send_on(id);
            }
            _ => return,
        };
        if when == self.case.when
            && let Some(at) = &self.call
        {
            let acts = (self.case.acts)(at);
            self.play(id, &acts);
        }
    }

    fn play(&mut self, id: i64, acts: &[Act]) {
        for act in acts {
            match act {
                Act::Send(frame) => self.writer.write(frame),
                Act::Many(frames) => frames.iter().for_each(|frame| self.writer.write(frame)),
                Act::Respond => self.writer.write(&response(id)),
                Act::Answer => {
                    self.writer.write(&response(id));
                    self.writer.write(&close(id, 0));
                }
                Act::Download(bytes) => {
                    self.sending = filler(*bytes);
                    let size = i64::try_from(*bytes).unwrap_or_default();
                    let envelope = Fields::new().number(1, size);
                    let frame = on(id, &Fields::new().message(3, &envelope));
                    self.writer.write(&frame);
                    self.send_on(id);
                }
                Act::Finish(status) => self.writer.finish(status),
                Act::Reset => self.writer.reset(),
            }
        }
    }

    /// Sends what the window allows.
    fn send_on(&mut self, id: i64) {
        while self.window > 0 && !self.sending.is_empty() {
            let len = self.sending.len().min(self.window).min(16_384);
            let chunk: Vec<u8> = self.sending.drain(..len).collect();
            self.window -= len;
            let frame = on(id, &Fields::new().bytes(4, &chunk));
            self.writer.write(&frame);
            if self.sending.is_empty() {
                self.writer.write(&close(id, 0));
            }
        }
    }
}
