//! A reverse tunnel over a WebSocket: where a proxy lets nothing else pass, a service connects out
//! and is called.
//!
//! `cargo run -p grpctunnel-tokio --example websocket`

use std::error::Error;
use std::io;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use grpctunnel_tokio::{Options, PipeEnd, byte_stream};
use tokio::io::{AsyncRead, AsyncWrite, join};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

/// A WebSocket as a stream of bytes: where its messages begin and end does not matter.
fn bytes_of<T>(socket: WebSocketStream<T>) -> impl AsyncRead + AsyncWrite + Unpin + Send + 'static
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, stream) = socket.split();
    let messages = stream
        .map_err(io::Error::other)
        .try_filter_map(async |message| {
            // Pings are answered by the library, and text is none of ours.
            Ok(match message {
                Message::Binary(bytes) => Some(bytes),
                _ => None,
            })
        });
    let sink = sink
        .sink_map_err(io::Error::other)
        .with(async |bytes: Bytes| Ok::<_, io::Error>(Message::Binary(bytes)));
    let reader = StreamReader::new(Box::pin(messages));
    let writer = SinkWriter::new(CopyToBytes::new(Box::pin(sink)));
    join(reader, writer)
}

/// The side that cannot be reached: it connects, and handles calls until the other end has finished.
async fn agent(address: std::net::SocketAddr) -> Result<(), Box<dyn Error + Send + Sync>> {
    let tcp = TcpStream::connect(address).await?;
    let (socket, _) = client_async(format!("ws://{address}/tunnel"), tcp).await?;
    let (_, health) = health_reporter();
    let stream = byte_stream(bytes_of(socket), PipeEnd::Opener);
    let handle = stream.serve(Routes::new(health), &Options::default())?;
    println!("agent: {}", handle.closed().await);
    Ok(())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let agent = tokio::spawn(agent(listener.local_addr()?));

    let (tcp, _) = listener.accept().await?;
    let socket: Result<_, WebSocketError> = accept_async(tcp).await;
    let stream = byte_stream(bytes_of(socket?), PipeEnd::Acceptor);
    let channel = stream.connect(&Options::default()).await?;
    let request = HealthCheckRequest::default();
    let answer = HealthClient::new(channel.clone()).check(request).await?;
    println!("gateway: status {}", answer.into_inner().status);
    channel.close();
    println!("gateway: {}", channel.closed().await);
    agent.await??;
    Ok(())
}
