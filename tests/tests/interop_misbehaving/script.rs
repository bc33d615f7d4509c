//! A tunnel server played by hand. It treats the bystander well, and the other call as its case
//! says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use grpctunnel_proto::google::rpc;
use grpctunnel_proto::v1::client_to_server::Frame as Request;
use grpctunnel_proto::v1::server_to_client::Frame as Response;
use grpctunnel_proto::v1::{
    ClientToServer, CloseStream, MessageData, Metadata, ServerToClient, Settings,
};
use grpctunnel_tests::interop::{FrameReader, FrameWriter, Outcome};
use grpctunnel_tests::protos::grpc::testing::{
    Payload, SimpleResponse, StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use http::{HeaderValue, header};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::{Code, Status};

const WINDOW: u32 = 65_536;

/// Serves on a free port, in this process, until the test ends.
pub(crate) async fn serve() -> Outcome<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let server = Server::builder().add_service(Scripted);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(address)
}

#[derive(Clone)]
struct Scripted;

impl NamedService for Scripted {
    const NAME: &'static str = "grpctunnel.v1.TunnelService";
}

impl Service<http::Request<Body>> for Scripted {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let case = request
            .headers()
            .get("x-case")
            .and_then(|case| case.to_str().ok());
        let case = case.unwrap_or_default().to_owned();
        ready(Ok(match case.as_str() {
            "open-unimplemented" => Status::unimplemented("no tunnels").into_http(),
            "open-denied" => Status::permission_denied("not for you").into_http(),
            _ => tunnel(case, request.into_body()),
        }))
    }
}

fn tunnel(case: String, body: Body) -> http::Response<Body> {
    let (writer, responses) = FrameWriter::new();
    let negotiated = case != "honest-revision-zero";
    tokio::spawn(async move {
        let mut script = Script {
            case,
            writer,
            bystanders: BTreeSet::new(),
            gathering: HashMap::new(),
        };
        if negotiated {
            script.settle();
        }
        let mut reader = FrameReader::new(body);
        // An end of any kind ends the script.
        while let Ok(Some(frame)) = reader.next().await {
            script.receive(frame);
        }
    });
    let mut response = http::Response::new(responses);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    if negotiated {
        headers.insert("grpctunnel-negotiate", HeaderValue::from_static("on"));
    }
    response
}

struct Script {
    case: String,
    writer: FrameWriter,
    bystanders: BTreeSet<i64>,
    /// Requests of which chunks are still to come.
    gathering: HashMap<i64, (usize, Vec<u8>)>,
}

impl Script {
    /// The first frames of the tunnel.
    fn settle(&self) {
        let revisions = if self.case == "open-unknown-revision" {
            vec![7]
        } else {
            vec![0, 1]
        };
        match self.case.as_str() {
            "open-headers-first" => self.headers(-1),
            "open-finish" => self.writer.finish(&Status::ok("")),
            "open-reset" => self.writer.reset(),
            _ => self.send(-1, Some(settings(revisions))),
        }
    }

    fn receive(&mut self, frame: ClientToServer) {
        let id = frame.stream_id;
        let Some(frame) = frame.frame else { return };
        if let Request::NewStream(new) = &frame {
            let metadata = new.request_headers.as_ref().map(|metadata| &metadata.md);
            let case = metadata.and_then(|metadata| metadata.get("x-case"));
            if case.is_some_and(|case| case.val == ["bystander"]) {
                self.bystanders.insert(id);
            }
        }
        if self.bystanders.contains(&id) {
            self.answer_bystander(id, frame);
        } else {
            self.misbehave(id, &frame);
        }
    }

    /// `FullDuplexCall`, as it should be.
    fn answer_bystander(&mut self, id: i64, frame: Request) {
        let done = match frame {
            Request::RequestMessage(message) => {
                let size = usize::try_from(message.size).unwrap_or(usize::MAX);
                self.gathering.insert(id, (size, message.data.to_vec()));
                true
            }
            Request::MoreRequestData(data) => {
                if let Some((_, gathered)) = self.gathering.get_mut(&id) {
                    gathered.extend(data);
                }
                true
            }
            Request::HalfClose(()) => {
                self.close(id, Code::Ok);
                false
            }
            _ => false,
        };
        let whole = self
            .gathering
            .get(&id)
            .is_some_and(|(size, data)| data.len() == *size);
        if !(done && whole) {
            return;
        }
        let (_, data) = self.gathering.remove(&id).unwrap_or_default();
        let request = StreamingOutputCallRequest::decode(data.as_slice()).unwrap_or_default();
        for parameters in request.response_parameters {
            let response = StreamingOutputCallResponse {
                payload: zeros(parameters.size),
                ..StreamingOutputCallResponse::default()
            };
            self.message(id, &response.encode_to_vec());
        }
    }

    /// The probe's call, as the case says: once, when its half-close has come, or with its
    /// `new_stream`; credit is given for every chunk.
    fn misbehave(&self, id: i64, frame: &Request) {
        match frame {
            Request::RequestMessage(message) => self.credit(id, message.data.len()),
            Request::MoreRequestData(data) => self.credit(id, data.len()),
            Request::NewStream(_) if self.case == "honest-before-half-close" => self.play(id),
            Request::HalfClose(()) if self.case != "honest-before-half-close" => self.play(id),
            _ => {}
        }
    }

    fn play(&self, id: i64) {
        if self.play_message(id) || self.play_frame(id) {
            return;
        }
        match self.case.as_str() {
            "undecodable" => self.writer.write(&[0x08]),
            "finish" => self.writer.finish(&Status::ok("")),
            "finish-with-an-error" => self.writer.finish(&Status::data_loss("as asked")),
            "reset" => self.writer.reset(),
            "headers-only" => self.headers(id),
            "half-a-message" => self.envelope(id, 10, &[0]),
            _ => {}
        }
    }

    /// Cases of messages and of the status.
    fn play_message(&self, id: i64) -> bool {
        let code = match self.case.as_str() {
            "honest" | "honest-revision-zero" | "honest-before-half-close" => {
                self.headers(id);
                self.response(id);
                Code::Ok
            }
            "honest-without-headers" => {
                self.response(id);
                Code::Ok
            }
            "not-found" => Code::NotFound,
            "message-then-not-found" => {
                self.response(id);
                Code::NotFound
            }
            "no-message" => Code::Ok,
            "two-messages" => {
                self.response(id);
                self.response(id);
                Code::Ok
            }
            "truncated" => {
                self.envelope(id, 10, &[0]);
                Code::Ok
            }
            "unparsable" => {
                self.message(id, &[0x0a, 0xff]);
                Code::Ok
            }
            _ => return false,
        };
        self.close(id, code);
        true
    }

    /// Cases of single frames.
    fn play_frame(&self, id: i64) -> bool {
        match self.case.as_str() {
            "code-99" => self.close_with(id, 99),
            "more-than-said" => {
                self.envelope(id, 3, &[0]);
                self.send(id, Some(Response::MoreResponseData(vec![0; 3].into())));
            }
            "chunk-without-envelope" => {
                self.send(id, Some(Response::MoreResponseData(vec![0].into())));
            }
            "envelope-in-a-message" => {
                self.envelope(id, 10, &[0]);
                self.envelope(id, 10, &[0]);
            }
            "beyond-the-window" => self.envelope(id, 100_000, &[0; 65_537]),
            "four-gibibytes" => self.envelope(id, u32::MAX, &[]),
            "window-overflow" => {
                self.send(id, Some(Response::WindowUpdate(u32::MAX)));
                self.send(id, Some(Response::WindowUpdate(u32::MAX)));
            }
            "no-member" => self.send(id, None),
            "settings-on-the-stream" => self.send(id, Some(settings(vec![0, 1]))),
            "header-not-utf8" => self.headers_not_utf8(id),
            "stream-never-created" => self.headers(id + 1_000),
            "headers-twice" => {
                self.headers(id);
                self.headers(id);
                self.honest_end(id);
            }
            "close-twice" => {
                self.honest_end(id);
                self.close(id, Code::Internal);
            }
            "window-update-of-zero" => {
                self.send(id, Some(Response::WindowUpdate(0)));
                self.honest_end(id);
            }
            "frames-of-no-stream" => {
                self.headers(0);
                self.headers(-7);
                self.send(-1, Some(settings(vec![0, 1])));
                self.honest_end(id);
            }
            _ => return false,
        }
        true
    }

    fn honest_end(&self, id: i64) {
        self.response(id);
        self.close(id, Code::Ok);
    }

    fn send(&self, stream_id: i64, frame: Option<Response>) {
        self.writer.send(&ServerToClient { stream_id, frame });
    }

    fn headers(&self, id: i64) {
        self.send(id, Some(Response::ResponseHeaders(Metadata::default())));
    }

    /// Headers whose only value is the byte 0xff.
    fn headers_not_utf8(&self, id: i64) {
        let id = u8::try_from(id).unwrap_or(0x7f);
        // stream_id, response_headers { md { key "a", value { val 0xff } } }
        let entry = [0x0a, 0x01, b'a', 0x12, 0x03, 0x0a, 0x01, 0xff];
        let frame = [[0x08, id, 0x12, 0x0a, 0x0a, 0x08].as_slice(), &entry].concat();
        self.writer.write(&frame);
    }

    /// The answer to a `UnaryCall` with default arguments.
    fn response(&self, id: i64) {
        let response = SimpleResponse {
            payload: zeros(314),
            ..SimpleResponse::default()
        };
        self.message(id, &response.encode_to_vec());
    }

    fn message(&self, id: i64, data: &[u8]) {
        self.envelope(id, u32::try_from(data.len()).unwrap_or(u32::MAX), data);
    }

    fn envelope(&self, id: i64, size: u32, data: &[u8]) {
        let message = MessageData {
            size,
            data: data.to_vec().into(),
            ..MessageData::default()
        };
        self.send(id, Some(Response::ResponseMessage(message)));
    }

    fn credit(&self, id: i64, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.send(id, Some(Response::WindowUpdate(bytes)));
    }

    fn close(&self, id: i64, code: Code) {
        self.close_with(id, code.into());
    }

    fn close_with(&self, id: i64, code: i32) {
        let status = rpc::Status {
            code,
            ..rpc::Status::default()
        };
        let close = CloseStream {
            response_trailers: Some(Metadata {
                md: BTreeMap::new(),
            }),
            status: Some(status),
            unprocessed: false,
        };
        self.send(id, Some(Response::CloseStream(close)));
    }
}

fn settings(supported_protocol_revisions: Vec<i32>) -> Response {
    Response::Settings(Settings {
        supported_protocol_revisions,
        initial_window_size: WINDOW,
        ..Settings::default()
    })
}

fn zeros(size: i32) -> Option<Payload> {
    Some(Payload {
        body: vec![0; usize::try_from(size).unwrap_or_default()].into(),
        ..Payload::default()
    })
}
