//! Calls that do not end well.

use tonic::Code;

use super::duplex::PingPong;
use super::{Calls, Failure};
use crate::protos::grpc::testing::{EchoStatus, SimpleRequest};
use crate::services::Caller;

/// A status message that shows when it was cut, or escaped and not unescaped.
const MESSAGE: &str = "not in this phase: 100% ☂\t\"quoted\"";

impl<T: Caller> Calls<T> {
    /// A call that must fail with a code, a message, trailers and, where the service knows them,
    /// details.
    ///
    /// # Errors
    ///
    /// What was wrong with the status.
    pub async fn fail(&self, seed: usize) -> Result<(), Failure> {
        let call = self.call(seed, 0);
        let request = SimpleRequest {
            response_status: Some(EchoStatus {
                code: Code::FailedPrecondition.into(),
                message: MESSAGE.to_owned(),
            }),
            ..SimpleRequest::default()
        };
        match self.client.clone().unary_call(call.request(request)).await {
            Ok(_) => Err("the call that was to fail succeeded".to_owned()),
            Err(status) => call.check_status(&status, Code::FailedPrecondition, MESSAGE),
        }
    }

    /// Begins a bidirectional call, awaits `pause` after its first answer, and cancels it.
    ///
    /// # Errors
    ///
    /// What was wrong with the answer.
    pub async fn cancel(
        &self,
        seed: usize,
        size: usize,
        pause: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let begun = PingPong::begin(&self.client, self.call(seed, size)).await?;
        pause.await;
        drop(begun);
        Ok(())
    }
}
