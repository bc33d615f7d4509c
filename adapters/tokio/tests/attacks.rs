//! The attacks on what is below a tunnel and behind it: HTTP/2, and tonic's services.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use grpctunnel_tokio::{TunnelServer, incoming, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const LIMIT: Duration = Duration::from_secs(20);

/// What a client of HTTP/2 begins with: the preface, and settings that say nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The frame type, and the settings, by their numbers in RFC 9113.
const SETTINGS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;

/// The settings that an HTTP/2 server begins with.
async fn settings_of(stream: &mut TcpStream) -> Outcome<BTreeMap<u16, u32>> {
    stream.write_all(PREFACE).await?;
    let [a, b, c, kind, ..] = {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        head
    };
    assert_eq!(kind, SETTINGS);
    let len = u32::from_be_bytes([0, a, b, c]);
    let mut settings = BTreeMap::new();
    for _ in 0..len / 6 {
        settings.insert(stream.read_u16().await?, stream.read_u32().await?);
    }
    Ok(settings)
}

#[tokio::test]
async fn attack_a31_a_running_server_bounds_the_streams_of_a_connection() -> Outcome {
    tokio::time::timeout(LIMIT, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(listener.local_addr()?).await?;
        let serving = server()
            .add_service(TunnelServer::new())
            .serve_with_incoming(incoming(listener));
        tokio::spawn(serving);
        let settings = settings_of(&mut client).await?;
        assert_eq!(settings.get(&MAX_CONCURRENT_STREAMS), Some(&1_024));
        // The window of a tunnel, and room for a batch of its frames.
        assert_eq!(settings.get(&INITIAL_WINDOW_SIZE), Some(&(16 << 20)));
        assert_eq!(settings.get(&MAX_FRAME_SIZE), Some(&(256 << 10)));
        Ok(())
    })
    .await?
}
