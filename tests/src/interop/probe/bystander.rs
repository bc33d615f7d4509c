//! The call beside the probe's call: nothing that happens to the one may touch the other.

use std::ops::Range;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};

use super::CASE;
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::protos::grpc::testing::{
    Payload, ResponseParameters, StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use crate::services::{Caller, ECHO_PAYLOAD};

/// Lengths of the responses asked for at the start, and of those asked for at the end.
const FIRST: i32 = 1_000;
const LAST: [i32; 2] = [700, 33];
/// Messages that carry what it is to get back, an even number.
const ROUNDS: usize = 10;

/// A `FullDuplexCall` that has had its first response.
pub(super) struct Bystander {
    requests: mpsc::Sender<StreamingOutputCallRequest>,
    responses: Streaming<StreamingOutputCallResponse>,
    /// Bytes of each message that it gets back; none if 0.
    round: usize,
}

impl Bystander {
    /// Starts the call, checks its first response, and gets half of `bytes` back.
    pub(super) async fn start(channel: impl Caller, bytes: usize) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(1 + LAST.len());
        send(&requests, FIRST, None).await?;
        let mut request = Request::new(ReceiverStream::new(receiver));
        request
            .metadata_mut()
            .insert(CASE, MetadataValue::from_static("bystander"));
        if bytes > 0 {
            let echo = MetadataValue::from_static("1");
            request.metadata_mut().insert(ECHO_PAYLOAD, echo);
        }
        let responses = TestServiceClient::new(channel)
            .full_duplex_call(request)
            .await?
            .into_inner();
        let mut bystander = Self {
            requests,
            responses,
            round: bytes / ROUNDS,
        };
        bystander.expect(FIRST).await?;
        bystander.echo(0..ROUNDS / 2).await?;
        Ok(bystander)
    }

    /// Checks the last responses and that the call then ends well.
    pub(super) async fn finish(mut self) -> Result<(), Status> {
        self.echo(ROUNDS / 2..ROUNDS).await?;
        for size in LAST {
            send(&self.requests, size, None).await?;
            self.expect(size).await?;
        }
        let Self {
            requests,
            mut responses,
            ..
        } = self;
        drop(requests);
        match responses.message().await? {
            None => Ok(()),
            Some(_) => Err(Status::internal("one response too many")),
        }
    }

    /// Sends messages of these numbers, and checks that each comes back.
    async fn echo(&mut self, rounds: Range<usize>) -> Result<(), Status> {
        if self.round == 0 {
            return Ok(());
        }
        for round in rounds {
            let sent: Vec<u8> = (0..251).cycle().skip(round).take(self.round).collect();
            let payload = Payload {
                body: sent.clone().into(),
                ..Payload::default()
            };
            send(&self.requests, 0, Some(payload)).await?;
            let received = self.responses.message().await?.unwrap_or_default();
            if received.payload.unwrap_or_default().body != sent {
                return Err(Status::internal("not what was sent came back"));
            }
        }
        Ok(())
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
    payload: Option<Payload>,
) -> Result<(), Status> {
    let parameters = ResponseParameters {
        size,
        ..ResponseParameters::default()
    };
    let request = StreamingOutputCallRequest {
        response_parameters: vec![parameters],
        payload,
        ..StreamingOutputCallRequest::default()
    };
    requests
        .send(request)
        .await
        .map_err(|_| Status::internal("the call ended before its requests"))
}
