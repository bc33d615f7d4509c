//! The call beside the probe's call: nothing that happens to the one may touch the other.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};

use super::CASE;
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::protos::grpc::testing::{
    ResponseParameters, StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use crate::services::Caller;

/// Lengths of the responses asked for at the start, and of those asked for at the end.
const FIRST: i32 = 1_000;
const LAST: [i32; 2] = [700, 33];

/// A `FullDuplexCall` that has had its first response.
pub(super) struct Bystander {
    requests: mpsc::Sender<StreamingOutputCallRequest>,
    responses: Streaming<StreamingOutputCallResponse>,
}

impl Bystander {
    /// Starts the call and checks its first response.
    pub(super) async fn start(channel: impl Caller) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(1 + LAST.len());
        send(&requests, FIRST).await?;
        let mut request = Request::new(ReceiverStream::new(receiver));
        request
            .metadata_mut()
            .insert(CASE, MetadataValue::from_static("bystander"));
        let responses = TestServiceClient::new(channel)
            .full_duplex_call(request)
            .await?
            .into_inner();
        let mut bystander = Self {
            requests,
            responses,
        };
        bystander.expect(FIRST).await?;
        Ok(bystander)
    }

    /// Checks the last responses and that the call then ends well.
    pub(super) async fn finish(mut self) -> Result<(), Status> {
        for size in LAST {
            send(&self.requests, size).await?;
            self.expect(size).await?;
        }
        let Self {
            requests,
            mut responses,
        } = self;
        drop(requests);
        match responses.message().await? {
            None => Ok(()),
            Some(_) => Err(Status::internal("one response too many")),
        }
    }

    async fn expect(&mut self, size: i32) -> Result<(), Status> {
        let Some(response) = self.responses.message().await? else {
            return Err(Status::internal(format!("the end instead of {size} bytes")));
        };
        let body = response.payload.unwrap_or_default().body;
        if usize::try_from(size) == Ok(body.len()) && body.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        Err(Status::internal(format!(
            "{} bytes instead of {size}, or not all of them zero",
            body.len()
        )))
    }
}

async fn send(
    requests: &mpsc::Sender<StreamingOutputCallRequest>,
    size: i32,
) -> Result<(), Status> {
    let parameters = ResponseParameters {
        size,
        ..ResponseParameters::default()
    };
    let request = StreamingOutputCallRequest {
        response_parameters: vec![parameters],
        ..StreamingOutputCallRequest::default()
    };
    requests
        .send(request)
        .await
        .map_err(|_| Status::internal("the call ended before its requests"))
}
