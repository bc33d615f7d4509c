//! Cases about calls that their caller ends.

use std::pin::pin;
use std::time::Duration;

use futures_util::{FutureExt as _, future};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

use super::messages::{REQUESTS, RESPONSES, check, duplex, zeros};
use super::{Failure, expect, show};
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::protos::grpc::testing::{SimpleRequest, StreamingInputCallRequest};
use crate::services::Caller;

/// How long the server has, to see a call before it is cancelled. A tunnel that does not care is
/// not noticed by any pause.
const BEGINNING: Duration = Duration::from_millis(20);

/// A caller in Rust cancels by dropping, so what is left to see is that the next call succeeds.
pub(super) async fn cancel_after_begin<T: Caller>(
    client: TestServiceClient<T>,
) -> Result<(), Failure> {
    let nothing = tokio_stream::pending::<StreamingInputCallRequest>();
    {
        let mut client = client.clone();
        let call = pin!(client.streaming_input_call(nothing));
        let pause = pin!(async_io::Timer::after(BEGINNING).fuse());
        if let future::Either::Left((ended, _)) = future::select(call, pause).await {
            let ended = ended.map(|response| response.into_inner());
            return Err(format!("the call ended by itself: {ended:?}"));
        }
    }
    goes_on(client).await
}

/// The call that was cancelled hurt no other.
async fn goes_on<T: Caller>(mut client: TestServiceClient<T>) -> Result<(), Failure> {
    let request = SimpleRequest {
        payload: zeros(1),
        response_size: 1,
        ..SimpleRequest::default()
    };
    let response = client.unary_call(request).await.map_err(show)?;
    check(response.into_inner().payload, 1)
}

pub(super) async fn cancel_after_first_response<T: Caller>(
    mut client: TestServiceClient<T>,
) -> Result<(), Failure> {
    let ([sent, ..], [due, ..]) = (REQUESTS, RESPONSES);
    let (requests, receiver) = mpsc::channel(1);
    let gone = |_| "nobody takes the requests".to_owned();
    requests.send(duplex(sent, due)).await.map_err(gone)?;
    let responses = client.full_duplex_call(ReceiverStream::new(receiver));
    let mut responses = responses.await.map_err(show)?.into_inner();
    let response = responses.message().await.map_err(show)?;
    check(response.ok_or("the response is missing")?.payload, due)?;
    drop(responses);
    goes_on(client).await
}

pub(super) async fn timeout_on_sleeping_server<T: Caller>(
    mut client: TestServiceClient<T>,
) -> Result<(), Failure> {
    let [sent, ..] = REQUESTS;
    let (requests, receiver) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(receiver));
    request.set_timeout(Duration::from_millis(1));
    let mut message = duplex(sent, 0);
    message.response_parameters.clear();
    // That nobody takes it is the point of the case.
    let _ = requests.send(message).await;
    let ended = match client.full_duplex_call(request).await {
        Ok(responses) => responses.into_inner().message().await.err(),
        Err(status) => Some(status),
    };
    let status = ended.ok_or("the call succeeded")?;
    expect("the code", &status.code(), &Code::DeadlineExceeded)
}
