//! A bidirectional call of which each message is sent after the answer to the one before.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Failure;
use super::expected::Call;
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::protos::grpc::testing::{StreamingOutputCallRequest, StreamingOutputCallResponse};
use crate::services::Caller;

/// A call that has had its first answer. Dropping it cancels it.
pub(super) struct PingPong {
    call: Call,
    requests: mpsc::Sender<StreamingOutputCallRequest>,
    responses: Streaming<StreamingOutputCallResponse>,
}

impl PingPong {
    pub(super) async fn begin<T: Caller>(
        client: &TestServiceClient<T>,
        call: Call,
    ) -> Result<Self, Failure> {
        let (requests, receiver) = mpsc::channel(1);
        send(&requests, call).await?;
        let request = call.request(ReceiverStream::new(receiver));
        let responses = client
            .clone()
            .full_duplex_call(request)
            .await
            .map_err(show)?;
        call.check_headers(responses.metadata())?;
        let mut begun = Self {
            call,
            requests,
            responses: responses.into_inner(),
        };
        begun.receive().await?;
        Ok(begun)
    }

    pub(super) async fn exchange(&mut self) -> Result<(), Failure> {
        send(&self.requests, self.call).await?;
        self.receive().await
    }

    /// Half-closes, and checks the end.
    pub(super) async fn finish(self) -> Result<(), Failure> {
        let Self {
            call,
            requests,
            mut responses,
        } = self;
        drop(requests);
        if responses.message().await.map_err(show)?.is_some() {
            return Err("bidi: one response too many".to_owned());
        }
        let trailers = responses.trailers().await.map_err(show)?;
        call.check_trailers(&trailers.unwrap_or_default())
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        match self.responses.message().await.map_err(show)? {
            Some(response) => self.call.check(response.payload),
            None => Err("bidi: ended before its time".to_owned()),
        }
    }
}

async fn send(
    requests: &mpsc::Sender<StreamingOutputCallRequest>,
    call: Call,
) -> Result<(), Failure> {
    let request = StreamingOutputCallRequest {
        payload: Some(call.payload()),
        response_parameters: vec![call.parameters()],
        ..StreamingOutputCallRequest::default()
    };
    let sent = requests.send(request).await;
    sent.map_err(|_| "bidi: nobody takes the requests any more".to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err wants it")]
fn show(status: Status) -> Failure {
    format!("bidi: {status}")
}
