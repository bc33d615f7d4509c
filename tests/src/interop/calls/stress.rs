//! Calls that make heavy use of a tunnel.

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{TryStreamExt as _, stream};
use tonic::{Status, Streaming};

use super::duplex::PingPong;
use super::{Calls, Failure};
use crate::protos::grpc::testing::{
    Payload, ResponseParameters, StreamingInputCallRequest, StreamingOutputCallRequest,
    StreamingOutputCallResponse,
};
use crate::services::Caller;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// More than a message has around its payload.
const OVERHEAD: usize = 64;
/// Calls of a soak that are open at once.
const AT_ONCE: usize = 50;
/// Messages of 1 MiB in a stream.
const STREAMED: usize = 64;

fn show(status: Status) -> Failure {
    status.to_string()
}

fn download(count: usize, size: usize) -> StreamingOutputCallRequest {
    let parameters = ResponseParameters {
        size: i32::try_from(size).unwrap_or(i32::MAX),
        ..ResponseParameters::default()
    };
    StreamingOutputCallRequest {
        response_parameters: vec![parameters; count],
        ..StreamingOutputCallRequest::default()
    }
}

async fn drain(
    mut responses: Streaming<StreamingOutputCallResponse>,
    count: usize,
    size: usize,
) -> Result<(), Failure> {
    for received in 0..count {
        let response = responses.message().await.map_err(show)?;
        let response = response.ok_or_else(|| format!("the end after {received} responses"))?;
        let got = response.payload.unwrap_or_default().body.len();
        if got != size {
            return Err(format!("a response has {got} bytes, not {size}"));
        }
    }
    match responses.message().await.map_err(show)? {
        None => Ok(()),
        Some(_) => Err("one response too many".to_owned()),
    }
}

impl<T: Caller> Calls<T> {
    /// Messages of sizes from nothing to the largest that gRPC takes by default, both ways; and
    /// 64 MiB streamed each way.
    ///
    /// # Errors
    ///
    /// What was wrong with an answer.
    pub async fn sizes(&self) -> Result<(), Failure> {
        for (seed, size) in [0, 1, 64 * KIB, MIB, 4 * MIB - OVERHEAD]
            .into_iter()
            .enumerate()
        {
            let sent = self.unary(seed, size).await;
            sent.map_err(|failure| format!("{size} bytes: {failure}"))?;
        }
        self.upload(STREAMED, MIB).await?;
        let mut client = self.client.clone();
        let responses = client.streaming_output_call(download(STREAMED, MIB)).await;
        drain(responses.map_err(show)?.into_inner(), STREAMED, MIB).await
    }

    /// Sends messages of a size; their sum comes back.
    ///
    /// # Errors
    ///
    /// What was wrong with the answer.
    pub async fn upload(&self, count: usize, size: usize) -> Result<(), Failure> {
        let request = StreamingInputCallRequest {
            payload: Some(Payload {
                body: Bytes::from(vec![0; size]),
                ..Payload::default()
            }),
            ..StreamingInputCallRequest::default()
        };
        let requests = stream::iter(vec![request; count]);
        let response = self.client.clone().streaming_input_call(requests).await;
        let sum = response.map_err(show)?.into_inner().aggregated_payload_size;
        if usize::try_from(sum) == Ok(count * size) {
            return Ok(());
        }
        Err(format!("{sum} of {} bytes arrived", count * size))
    }

    /// A bidirectional call whose responses nobody reads, and ten uploads beside it, which must all
    /// end before it is read.
    ///
    /// # Errors
    ///
    /// What was wrong with a call.
    pub async fn slow_reader(&self) -> Result<(), Failure> {
        const COUNT: usize = 100;
        const SIZE: usize = 64 * KIB;
        let requests = stream::iter([download(COUNT, SIZE)]);
        let slow = self.client.clone().full_duplex_call(requests).await;
        let slow = slow.map_err(show)?.into_inner();
        try_join_all((0..10).map(|_| self.upload(5, MIB))).await?;
        drain(slow, COUNT, SIZE).await
    }

    /// So many calls of all kinds, 50 at a time, some of which fail or are cancelled.
    ///
    /// # Errors
    ///
    /// What was wrong with the first call that went wrong.
    pub async fn soak(&self, calls: usize) -> Result<(), Failure> {
        stream::iter((0..calls).map(Ok))
            .try_for_each_concurrent(AT_ONCE, async |seed| {
                let played = match seed % 10 {
                    0 => self.fail(seed).await,
                    1 => self.cancel(seed, 100, async {}).await,
                    2 => self.bidi(seed, 100, async {}).await,
                    3 => self.client_stream(seed, 100, async {}).await,
                    4 => self.server_stream(seed, 100).await,
                    _ => self.unary(seed, seed % 1_000).await,
                };
                played.map_err(|failure| format!("call {seed}: {failure}"))
            })
            .await
    }

    /// Begins ten calls and awaits `begun`; they must then still come to their end.
    ///
    /// # Errors
    ///
    /// What was wrong with a call.
    pub async fn in_flight(&self, begun: impl Future<Output = ()>) -> Result<(), Failure> {
        let calls =
            (0..10).map(|seed| PingPong::begin(&self.client, self.call(seed, 1_000 * seed)));
        let mut live = try_join_all(calls).await?;
        begun.await;
        for call in &mut live {
            call.exchange().await?;
        }
        for call in live {
            call.finish().await?;
        }
        Ok(())
    }
}
