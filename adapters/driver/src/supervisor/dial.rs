//! How a supervisor gets connections.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::carrier::transmit::TransmitBody;
use crate::error::BoxError;

/// Makes the connections that a [`Supervisor`](crate::Supervisor) opens tunnels on, one for each
/// tunnel. Implemented for closures:
///
/// ```
/// # use grpctunnel_driver::{Dial, DialError, Handler, NoHandler, TunnelService};
/// # fn is_dial(_: impl Dial) {}
/// # fn test(service: TunnelService<NoHandler>) {
/// # #[derive(Debug)] struct Config; impl Config { fn address(&self) -> Result<u8, std::fmt::Error> { Ok(1) } }
/// # async fn connect_to(_: u8, service: TunnelService<NoHandler>) -> std::io::Result<TunnelService<NoHandler>> { Ok(service) }
/// # let config = std::sync::Arc::new(Config);
/// # is_dial(
/// move || {
///     let config = config.clone();
/// #   let service = service.clone();
///     async move {
///         // Another attempt would not change the configuration.
///         let address = config.address().map_err(DialError::permanent)?;
/// #       let connect_to = |address| connect_to(address, service);
///         Ok(connect_to(address).await?)
///     }
/// }
/// # );
/// # }
/// ```
pub trait Dial: Send + Sync + 'static {
    /// A connection: any HTTP client that speaks HTTP/2.
    type Carrier: Service<
            Request<TransmitBody>,
            Response = Response<Self::Body>,
            Error: Into<BoxError>,
            Future: Send,
        > + Send
        + 'static;
    /// The body of its responses.
    type Body: Body<Error: Into<BoxError>> + Send + 'static;

    /// Connects. The future is dropped when the supervisor is stopped. It should have a time limit
    /// of its own.
    ///
    /// # Errors
    /// There is no connection. The supervisor tries again after a pause, unless the error is
    /// [permanent](DialError::permanent).
    fn dial(&self) -> impl Future<Output = Result<Self::Carrier, DialError>> + Send;
}

impl<F, T, C, B> Dial for F
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Result<C, DialError>> + Send,
    C: Service<Request<TransmitBody>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Send
        + 'static,
    B: Body<Error: Into<BoxError>> + Send + 'static,
{
    type Carrier = C;
    type Body = B;

    fn dial(&self) -> impl Future<Output = Result<C, DialError>> + Send {
        self()
    }
}

/// Why there is no tunnel, by this end's own judgement: of a [`Dial`], or of a
/// [`check`](crate::SupervisorBuilder::check).
///
/// Any error becomes one by `?`, and is tried again. It is not an [`Error`] itself.
#[derive(Debug)]
pub struct DialError {
    source: Arc<dyn Error + Send + Sync + 'static>,
    permanent: bool,
}

impl DialError {
    /// A failure after which another attempt is made.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self {
            source: Arc::from(error.into()),
            permanent: false,
        }
    }

    /// A failure that another attempt would not cure, such as refused credentials or a wrong
    /// configuration. The supervisor gives up the tunnel.
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self {
            source: Arc::from(error.into()),
            permanent: true,
        }
    }

    /// Whether no other attempt is to be made.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.permanent
    }

    pub(crate) fn into_source(self) -> Arc<dyn Error + Send + Sync + 'static> {
        self.source
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for DialError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}
