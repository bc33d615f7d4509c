//! The local server of the tests.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt};
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::{MetadataMap, MetadataValue},
};

use super::stubs::{
    Chunk, GreetReply, GreetRequest, Line, Receipt, WaitReply, WaitRequest, WorkRequest, WorkStep,
    depot_server,
};

/// The text of a failure.
pub(crate) const TEXT: &str = "nö, 100% \"not\" found";
/// A serialized `google.rpc.Status`: code 5, the text, one detail of an unknown type.
pub(crate) const DETAILS: &[u8] = b"\x08\x05\x12\x15n\xc3\xb6, 100% \"not\" found\
    \x1a\x0f\x0a\x07x.y/Abc\x12\x04\x00\xff\x80\x01";
/// A value of binary metadata.
pub(crate) const BINARY: &[u8] = b"\x00\x01 raw \x7f";

/// What the server saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Calls of `Wait` that began.
    pub(crate) begun: watch::Sender<u32>,
    /// Calls of `Wait` that ended, answered or not.
    pub(crate) ended: watch::Sender<u32>,
    /// Lets every `Wait` be answered.
    pub(crate) release: watch::Sender<bool>,
}

/// The service. `Greet` says which server answered; the name `fail` fails with details.
#[derive(Clone, Debug)]
pub(crate) struct Depot {
    label: &'static str,
    pub(crate) seen: Arc<Seen>,
}

impl Depot {
    pub(crate) fn new(label: &'static str) -> Self {
        Self {
            label,
            seen: Arc::default(),
        }
    }
}

struct Ends(Arc<Seen>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.ended.send_modify(|ended| *ended += 1);
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Sends back what the caller sent, and the names of all keys.
fn echo(from: &MetadataMap, to: &mut MetadataMap) {
    for value in from.get_all("x-echo") {
        to.append("x-echo", value.clone());
    }
    for value in from.get_all_bin("x-echo-bin") {
        to.append_bin("x-echo-bin", value.clone());
    }
    for name in from.as_ref().keys() {
        if let Ok(name) = name.as_str().parse() {
            to.append("x-saw", name);
        }
    }
}

#[tonic::async_trait]
impl depot_server::Depot for Depot {
    type WorkStream = Answers<WorkStep>;
    type ConverseStream = Answers<Line>;

    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetReply>, Status> {
        if request.get_ref().name == "fail" {
            let mut trailers = MetadataMap::new();
            trailers.insert("x-trailer", MetadataValue::from_static("told"));
            trailers.insert_bin("x-trailer-bin", MetadataValue::from_bytes(BINARY));
            let details = Bytes::from_static(DETAILS);
            return Err(Status::with_details_and_metadata(
                Code::NotFound,
                TEXT,
                details,
                trailers,
            ));
        }
        let text = format!("{} greets {}", self.label, request.get_ref().name);
        let mut response = Response::new(GreetReply { text });
        echo(request.metadata(), response.metadata_mut());
        Ok(response)
    }

    async fn work(
        &self,
        request: Request<WorkRequest>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let steps = (1..=request.get_ref().steps).map(|done| Ok(WorkStep { done }));
        Ok(Response::new(Box::pin(tokio_stream::iter(steps))))
    }

    async fn converse(
        &self,
        request: Request<Streaming<Line>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        Ok(Response::new(Box::pin(
            request.into_inner().map(|line| line),
        )))
    }

    async fn upload(
        &self,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<Receipt>, Status> {
        let mut chunks = request.into_inner();
        let mut receipt = Receipt::default();
        let mut crc = crc32fast::Hasher::new();
        while let Some(chunk) = chunks.message().await? {
            receipt.bytes += chunk.data.len() as u64;
            receipt.chunks += 1;
            crc.update(&chunk.data);
        }
        receipt.crc32 = crc.finalize();
        Ok(Response::new(receipt))
    }

    async fn wait(&self, _request: Request<WaitRequest>) -> Result<Response<WaitReply>, Status> {
        let _ends = Ends(Arc::clone(&self.seen));
        let mut release = self.seen.release.subscribe();
        self.seen.begun.send_modify(|begun| *begun += 1);
        let released = release.wait_for(|release| *release).await.map(drop);
        released.map_err(|_| Status::internal("the test is over"))?;
        Ok(Response::new(WaitReply {}))
    }
}
