//! One call of each kind.

use futures_util::stream;
use tonic::Status;

use super::duplex::PingPong;
use super::expected::Call;
use super::{Calls, Failure, MESSAGES};
use crate::protos::grpc::testing::{
    SimpleRequest, StreamingInputCallRequest, StreamingOutputCallRequest,
};
use crate::services::Caller;

impl<T: Caller> Calls<T> {
    pub(super) fn call(&self, seed: usize, size: usize) -> Call {
        Call {
            seed,
            size,
            echo: self.echo,
            details: self.details,
        }
    }

    /// One message there, one of the same size back.
    ///
    /// # Errors
    ///
    /// What was wrong with the answer.
    pub async fn unary(&self, seed: usize, size: usize) -> Result<(), Failure> {
        let call = self.call(seed, size);
        let request = SimpleRequest {
            payload: Some(call.payload()),
            response_size: call.size_field(),
            ..SimpleRequest::default()
        };
        let response = self.client.clone().unary_call(call.request(request)).await;
        let response = response.map_err(|status| show("unary", &status))?;
        call.check_headers(response.metadata())?;
        call.check_trailers(response.metadata())?;
        call.check(response.into_inner().payload)
    }

    /// Messages of a size, and their sum back. After the first message `pause` is awaited.
    ///
    /// # Errors
    ///
    /// What was wrong with the answer.
    pub async fn client_stream(
        &self,
        seed: usize,
        size: usize,
        pause: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Failure> {
        let call = self.call(seed, size);
        let request = StreamingInputCallRequest {
            payload: Some(call.payload()),
            ..StreamingInputCallRequest::default()
        };
        let start = (0, Some(Box::pin(pause)));
        let requests = stream::unfold(start, move |(sent, mut pause)| {
            let request = request.clone();
            async move {
                if sent == 1
                    && let Some(pause) = pause.take()
                {
                    pause.await;
                }
                (sent < MESSAGES).then_some((request, (sent + 1, pause)))
            }
        });
        let response = self
            .client
            .clone()
            .streaming_input_call(call.request(requests))
            .await;
        let response = response.map_err(|status| show("client stream", &status))?;
        let sum = response.into_inner().aggregated_payload_size;
        if usize::try_from(sum) == Ok(MESSAGES * size) {
            return Ok(());
        }
        Err(format!(
            "client stream: the sum is {sum}, not {}",
            MESSAGES * size
        ))
    }

    /// One message, and messages of a size back.
    ///
    /// # Errors
    ///
    /// What was wrong with an answer.
    pub async fn server_stream(&self, seed: usize, size: usize) -> Result<(), Failure> {
        let call = self.call(seed, size);
        let request = StreamingOutputCallRequest {
            payload: Some(call.payload()),
            response_parameters: vec![call.parameters(); MESSAGES],
            ..StreamingOutputCallRequest::default()
        };
        let fail = |status| show("server stream", &status);
        let responses = self
            .client
            .clone()
            .streaming_output_call(call.request(request))
            .await;
        let mut responses = responses.map_err(fail)?.into_inner();
        let mut received = 0;
        while let Some(response) = responses.message().await.map_err(fail)? {
            call.check(response.payload)?;
            received += 1;
        }
        if received == MESSAGES {
            return Ok(());
        }
        Err(format!(
            "server stream: {received} messages, not {MESSAGES}"
        ))
    }

    /// Messages of a size, each sent after the answer to the one before. After the first answer
    /// `pause` is awaited.
    ///
    /// # Errors
    ///
    /// What was wrong with an answer.
    pub async fn bidi(
        &self,
        seed: usize,
        size: usize,
        pause: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let mut begun = PingPong::begin(&self.client, self.call(seed, size)).await?;
        pause.await;
        for _ in 1..MESSAGES {
            begun.exchange().await?;
        }
        begun.finish().await
    }
}

fn show(kind: &str, status: &Status) -> Failure {
    format!("{kind}: {status}")
}
