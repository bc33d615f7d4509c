//! Peers that send messages of a few bytes while this process is paused.

use std::time::Duration;

use bytes::Bytes;
use grpctunnel_http2::{Settings, connect};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;

use crate::support::*;

/// One-byte gRPC messages, and empty ones.
const MESSAGES: [&[u8]; 2] = [b"\0\0\0\0\x01x", b"\0\0\0\0\0"];

/// Bytes of both, each in a frame of its own.
const BYTES: usize = 9 + 6 + 9 + 5;

/// Frames of these messages as they wait in a socket that nobody reads.
fn backlog(size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + BYTES);
    while bytes.len() < size {
        for message in MESSAGES {
            let length = u8::try_from(message.len()).unwrap();
            bytes.extend([0, 0, length, 0, 0, 0, 0, 0, 1]);
            bytes.extend(message);
        }
    }
    bytes
}

/// A client's tunnel-like call, whose peer sent so many bytes before this end ran again. Its reader
/// leaves the processor to others after so many frames. Returns how many bytes were read.
async fn after_a_pause(settings: &Settings, size: usize, frames_at_once: usize) -> usize {
    let (near, far) = tokio::io::duplex(32 << 20);
    let mut raw = Raw(far);
    let runtime = runtime();
    let server = async {
        raw.send(SETTINGS, 0, 0, &[]).await;
        raw.read_preface().await;
    };
    let (client, ()) = tokio::join!(connect(TokioIo::new(near), settings, &runtime), server);
    let mut client = client.unwrap();
    let (_sender, body) = channel();
    let waiting = tokio::spawn(async move {
        let response = call(&mut client, post(body)).await?;
        let mut body = response.into_body();
        let (mut read, mut frames) = (0, 0);
        while let Some(frame) = body.frame().await {
            frames += 1;
            if frames % frames_at_once == 0 {
                tokio::task::yield_now().await;
            }
            read += frame?.into_data().map_or(0, |data| data.len());
        }
        Ok::<_, grpctunnel_http2::Error>(read)
    });
    raw.await_kind(HEADERS).await;
    // One write: this end sees all of it at once, as after a pause.
    // The windows count from the acknowledgement of their settings.
    let mut frames = vec![0, 0, 0, SETTINGS, 1, 0, 0, 0, 0];
    frames.extend([0, 0, 1, HEADERS, 4, 0, 0, 0, 1, 0x88]);
    frames.extend(backlog(size));
    frames.extend([0, 0, 0, 0, 1, 0, 0, 0, 1]);
    tokio::io::AsyncWriteExt::write_all(&mut raw.0, &frames)
        .await
        .unwrap();
    let reading = tokio::time::timeout(Duration::from_secs(60), waiting);
    reading.await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn a_backlog_of_small_messages_is_read_after_a_pause() {
    // As much as a socket's buffers on both sides hold by default on Linux.
    let size = 10 << 20;
    let read = after_a_pause(&Settings::tunnels(), size, usize::MAX).await;
    assert_eq!(read, size.div_ceil(BYTES) * 11);
    // A reader that keeps up needs far less than the budget: its turn comes before.
    let mut less = Settings::tunnels();
    less.small_frame_budget = 8 << 20;
    let read = after_a_pause(&less, size, usize::MAX).await;
    assert_eq!(read, size.div_ceil(BYTES) * 11);
}

#[tokio::test]
async fn a_reader_that_is_slower_than_its_peer_gets_everything() {
    let mut settings = Settings::tunnels();
    settings.small_frame_budget = 8 << 20;
    let size = 2 << 20;
    let read = after_a_pause(&settings, size, 64).await;
    assert_eq!(read, size.div_ceil(BYTES) * 11);
}

#[tokio::test]
async fn a_call_whose_reader_waits_may_fill_its_window_with_small_messages() {
    let settings = Settings::calls();
    let (mut client, server) = pair(&Settings::calls(), &settings, |request| {
        Box::pin(async move {
            if request.uri().path() == "/waits" {
                std::future::pending::<()>().await;
            }
            echo(request).await
        })
    })
    .await;
    let (sender, body) = channel();
    for _ in 0..50_000 {
        sender.send(data(Bytes::from_static(MESSAGES[0]))).unwrap();
    }
    let mut request = post(body);
    *request.uri_mut() = "http://localhost/waits".parse().unwrap();
    let mut calling = client.clone();
    let waiting = tokio::spawn(async move { call(&mut calling, request).await.map(drop) });
    settled(|| server.open_streams() == 1).await;
    for _ in 0..3 {
        client.connection().ping().await.unwrap();
    }
    let response = call(&mut client, post(full("alive"))).await.unwrap();
    assert_eq!(bytes(response).await.unwrap(), "alive");
    waiting.abort();
}

#[tokio::test]
async fn the_budget_bounds_what_nobody_reads() {
    let mut settings = Settings::calls();
    settings.small_frame_budget = 1 << 20;
    let (server, mut raw) = raw_client(&settings, |request| {
        Box::pin(async move {
            std::future::pending::<()>().await;
            echo(request).await
        })
    })
    .await;
    raw.send(HEADERS, 4, 1, &[0x83, 0x86, 0x84]).await;
    tokio::io::AsyncWriteExt::write_all(&mut raw.0, &backlog(200_000))
        .await
        .unwrap();
    let (_, _, payload) = raw.await_kind(GOAWAY).await;
    assert_eq!(
        payload.get(4..8),
        Some(&[0, 0, 0, 11][..]),
        "ENHANCE_YOUR_CALM"
    );
    assert!(payload.ends_with(b"too_many_data_frames"));
    let error = server.closed().await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(grpctunnel_http2::Reason::ENHANCE_YOUR_CALM)
    );
}

#[tokio::test]
async fn the_budget_bounds_what_no_client_reads() {
    let mut settings = Settings::calls();
    settings.small_frame_budget = 1 << 20;
    let (mut client, mut raw) = raw_server(&settings).await;
    let connection = client.connection().clone();
    let (_sender, body) = channel();
    let server = async {
        raw.await_kind(HEADERS).await;
        raw.send(HEADERS, 4, 1, &[0x88]).await;
    };
    let (response, ()) = tokio::join!(call(&mut client, post(body)), server);
    tokio::io::AsyncWriteExt::write_all(&mut raw.0, &backlog(200_000))
        .await
        .unwrap();
    let error = connection.closed().await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(grpctunnel_http2::Reason::ENHANCE_YOUR_CALM)
    );
    drop(response);
}
