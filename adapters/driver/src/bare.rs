//! Tunnels on a byte stream that is no gRPC stream: nothing opens them, and no headers come.

use std::sync::Arc;

use grpctunnel_core::wire::Extension;
use grpctunnel_core::{Negotiation, Opening, Side};
use http::{Extensions, HeaderMap};
use http_body::Body;

use crate::carrier::driver::Driver;
use crate::carrier::receive::CarrierReader;
use crate::carrier::transmit::{NetworkRole, TransmitBody};
use crate::client::{Channel, NoAcceptor};
use crate::error::{BoxError, ConnectError};
use crate::options::Options;
use crate::peer::{Direction, TunnelPeer};
use crate::runtime::Runtime;
use crate::server::{Handler, HandlerAcceptor, ServerHandle};
use crate::tunnel::input::CallAcceptor;
use crate::tunnel::shared::{self, Shared};
use crate::tunnel::state::TunnelRole;

/// Makes the tunnels of one end of a bare byte stream, for an adapter that carries their frames: at
/// most a forward and a reverse one.
///
/// What a tunnel sends is a [`TransmitBody`] of whole frames, each a length-prefixed message of flag
/// 0. It ends without an error where the byte stream is to be finished once the other tunnel has
/// ended so too, and with one where it is to be closed. What a tunnel receives is a body of the same
/// kind of frames, which ends without an error where the peer has finished the byte stream, and with
/// one where it was lost.
///
/// The adapter starts to carry frames after it has made, and [linked](Self::link), both tunnels.
#[derive(Debug)]
pub struct BareTunnels {
    runtime: Runtime,
    options: Arc<Options>,
    end: PipeEnd,
    extensions: Extensions,
}

/// Which end of a bare byte stream this is.
pub use grpctunnel_core::bare::PipeEnd;

impl BareTunnels {
    /// Of one end. `extensions` are for handlers, which find them in the [`TunnelPeer`].
    ///
    /// The protocol's extensions `DRAIN` and `PING` are offered in any case: the other end is one of
    /// this implementation.
    ///
    /// # Errors
    /// INTERNAL, if there is no runtime for the tunnels' tasks.
    pub fn new(
        end: PipeEnd,
        runtime: &Runtime,
        options: &Options,
        extensions: Extensions,
    ) -> Result<Self, ConnectError> {
        let mut options = options.clone();
        options.extensions = options
            .extensions
            .with(Extension::Drain)
            .with(Extension::Ping);
        Ok(Self {
            runtime: runtime.capture().map_err(ConnectError::not_tried)?,
            options: Arc::new(options),
            end,
            extensions,
        })
    }

    /// The tunnel on which this end makes the calls. It may carry them once it is
    /// [settled](Self::settled).
    ///
    /// # Errors
    /// INVALID_ARGUMENT, if the options hold a value that no tunnel can have.
    pub fn client<B>(&self, incoming: B) -> Result<(Channel, TransmitBody), ConnectError>
    where
        B: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let (shared, body) = self.start(incoming, NoAcceptor)?;
        Ok((Channel::new(shared), body))
    }

    /// The tunnel whose calls this end handles.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, if the options hold a value that no tunnel can have.
    pub fn server<B, H>(
        &self,
        incoming: B,
        handler: H,
    ) -> Result<(ServerHandle, TransmitBody), ConnectError>
    where
        B: Body<Error: Into<BoxError>> + Send + 'static,
        H: Handler,
    {
        let (shared, body) = self.start(incoming, HandlerAcceptor::new(handler))?;
        Ok((ServerHandle::new(shared), body))
    }

    /// Links the two tunnels of one end: where one drains, so does the other, and neither finishes
    /// before both have nothing left to do.
    pub fn link(client: &Channel, server: &ServerHandle) {
        shared::link(client.shared(), server.shared());
    }

    /// Waits until a tunnel may carry calls.
    ///
    /// # Errors
    /// See [`ConnectError`]: DEADLINE_EXCEEDED where the peer does not answer in time.
    pub async fn settled(client: Channel) -> Result<Channel, ConnectError> {
        client.shared().started().await.map_err(ConnectError::new)?;
        Ok(client)
    }

    fn start<R, B, A>(
        &self,
        incoming: B,
        acceptor: A,
    ) -> Result<(Arc<Shared<R>>, TransmitBody), ConnectError>
    where
        R: TunnelRole,
        B: Body<Error: Into<BoxError>> + Send + 'static,
        A: CallAcceptor<R>,
    {
        let opening = Opening::Accepted(Negotiation::On);
        let shared = Shared::<R>::new(self.runtime.clone(), self.options.clone(), opening)
            .map_err(ConnectError::config)?;
        let direction = match (self.end, R::OWN_SIDE) {
            (PipeEnd::Opener, Side::Client) | (PipeEnd::Acceptor, Side::Server) => {
                Direction::Forward
            }
            (PipeEnd::Opener, Side::Server) | (PipeEnd::Acceptor, Side::Client) => {
                Direction::Reverse
            }
        };
        let extensions = self.extensions.clone();
        let peer = TunnelPeer::new(shared.id, direction, HeaderMap::new(), extensions);
        // Set only here, so it cannot have been set.
        let _ = shared.peer.set(peer);
        // Either end may be the first to finish, as a client of the network may.
        let body = TransmitBody::new(shared.clone(), NetworkRole::Client);
        let driver = Driver::new(shared.clone(), CarrierReader::accepted(incoming), acceptor);
        self.runtime.spawn(driver);
        Ok((shared, body))
    }
}
