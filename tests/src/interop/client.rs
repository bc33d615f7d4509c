//! Our ends of tunnels that we open, in the interoperability tests.

use std::error::Error;
use std::fmt::Display;

use grpctunnel_tokio::tonic_transport::{self, endpoint};
use grpctunnel_tokio::{Carrier, Channel, ConnectError, Options, ServerHandle, dial};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Code, Status, transport};

use crate::services::{WithCompression, grpchan, official};

/// Makes a plaintext HTTP/2 connection to `HOST:PORT` with tonic's HTTP/2, for direct calls.
///
/// # Errors
///
/// UNAVAILABLE when nobody answers there.
pub async fn connection(address: impl Display) -> Result<transport::Channel, Status> {
    let endpoint = endpoint(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| Status::invalid_argument(chain(&error)))?;
    let channel = tonic_transport::dial(&endpoint).await;
    channel.map_err(|error| Status::unavailable(chain(&error)))
}

/// The connection of a tunnel.
async fn carrier(address: impl Display) -> Result<Carrier, Status> {
    let connection = dial(&format!("http://{address}")).await;
    connection.map_err(|error| Status::unavailable(chain(&error)))
}

/// Opens a forward tunnel on a connection of its own, with `metadata`.
///
/// # Errors
///
/// What the opening ended with, as an application sees it.
pub async fn open(
    address: impl Display,
    options: &Options,
    metadata: MetadataMap,
) -> Result<Channel, Status> {
    let connection = carrier(address).await?;
    let opened = grpctunnel_tokio::connect(connection, options, metadata).await;
    opened.map_err(|error| status_of(&error))
}

/// Opens a reverse tunnel on a connection of its own, with `metadata`, and serves all the test
/// services on it.
///
/// # Errors
///
/// What the opening ended with.
pub async fn serve_reverse(
    address: impl Display,
    options: &Options,
    metadata: MetadataMap,
) -> Result<ServerHandle, Status> {
    let services = Routes::new(WithCompression(official())).add_service(grpchan());
    serve_reverse_with(services, address, options, metadata).await
}

/// The same with other services.
///
/// # Errors
///
/// What the opening ended with.
pub async fn serve_reverse_with(
    services: Routes,
    address: impl Display,
    options: &Options,
    metadata: MetadataMap,
) -> Result<ServerHandle, Status> {
    let connection = carrier(address).await?;
    let opened = grpctunnel_tokio::serve_reverse(connection, services, options, metadata).await;
    opened.map_err(|error| status_of(&error))
}

/// The status of an opening that failed.
#[must_use]
pub fn status_of(error: &ConnectError) -> Status {
    let status = error.status();
    Status::new(Code::from_i32(status.code().as_i32()), status.message())
}

/// An error and all that caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += ": ";
        text += &error.to_string();
        source = error.source();
    }
    text
}
