//! The reverse tunnels of a server by key, as tonic channels.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use grpctunnel_driver::{Pick, RegistryKey, Runtime, TunnelId};
use tonic::Status;

use crate::channel::Channel;
use crate::group::TunnelGroup;
use crate::peer::TunnelPeer;
use crate::status::from_tonic;

/// The reverse tunnels of a server by a key that the application gives each, such as the name of the
/// agent that opened it. A [`TunnelServer`](crate::TunnelServer)
/// [registers](crate::TunnelServer::register) its tunnels.
///
/// Each [`TunnelGroup`] that it returns works with generated clients. While a tunnel of a key is
/// being opened, calls for the key wait for it instead of failing. See
/// [`grpctunnel_driver::Registry`] for what holds of keys and look-ups.
///
/// ```
/// use grpctunnel_tonic::{Registry, TunnelPeer};
/// use tonic::Status;
///
/// /// The agent's name, from the metadata with which it opened the tunnel.
/// fn name_of(peer: &TunnelPeer) -> Result<String, Status> {
///     let metadata = peer.metadata();
///     let name = metadata.get("x-name").and_then(|name| name.to_str().ok());
///     let missing = || Status::invalid_argument("x-name is missing");
///     Ok(name.ok_or_else(missing)?.to_owned())
/// }
///
/// # fn registry(runtime: grpctunnel_driver::Runtime) -> Option<grpctunnel_tonic::TunnelGroup> {
/// let registry = Registry::new(runtime, name_of);
/// // ... TunnelServer::new().register(&registry) ...
/// registry.get("pi")
/// # }
/// ```
pub struct Registry<K> {
    inner: grpctunnel_driver::Registry<K>,
}

impl<K> Clone for Registry<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<K> fmt::Debug for Registry<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<K: RegistryKey> Registry<K> {
    /// An empty registry. `runtime` keeps the time of calls that wait.
    ///
    /// `key_of` is called with each tunnel that is being opened, and sees what came with its
    /// opening: metadata, the connection's addresses and certificates, what interceptors have added.
    /// An error refuses the tunnel, and the agent gets the status.
    #[must_use]
    pub fn new(
        runtime: Runtime,
        key_of: impl Fn(&TunnelPeer) -> Result<K, Status> + Send + Sync + 'static,
    ) -> Self {
        let key_of = move |peer: &grpctunnel_driver::TunnelPeer| {
            key_of(&TunnelPeer::new(peer.clone())).map_err(|status| from_tonic(&status))
        };
        Self {
            inner: grpctunnel_driver::Registry::new(runtime, key_of),
        }
    }

    /// The registry beneath, whose groups speak HTTP bodies of any kind: for a
    /// [`Forwarder`](grpctunnel_driver::Forwarder).
    #[must_use]
    pub const fn raw(&self) -> &grpctunnel_driver::Registry<K> {
        &self.inner
    }

    /// Picks tunnels in this way, in the groups that this handle and its clones return.
    #[must_use]
    pub fn with_pick(self, pick: impl Pick) -> Self {
        Self {
            inner: self.inner.with_pick(pick),
        }
    }

    /// The limit for the wait of calls for a tunnel, in the groups that this handle and its clones
    /// return. 5 s by default.
    #[must_use]
    pub fn with_max_wait(self, max_wait: Duration) -> Self {
        Self {
            inner: self.inner.with_max_wait(max_wait),
        }
    }

    /// Lets a tunnel take the place of those of its key that are older: they end with ABORTED, and
    /// their calls may go on for `limit`. For servers that this registry is given to after that. By
    /// default the tunnels of a key share its calls.
    #[must_use]
    pub fn with_replacement(self, limit: Duration) -> Self {
        Self {
            inner: self.inner.with_replacement(limit),
        }
    }

    /// The tunnels of a key, if there are any, or one is being opened.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<TunnelGroup>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.inner.get(key).map(TunnelGroup::from)
    }

    /// The tunnels of a key, whether there are any or not: those that come later are in the group,
    /// too.
    #[must_use]
    pub fn group(&self, key: K) -> TunnelGroup {
        self.inner.group(key).into()
    }

    /// All tunnels.
    #[must_use]
    pub fn all(&self) -> TunnelGroup {
        self.inner.all().into()
    }

    /// The tunnel with this id.
    #[must_use]
    pub fn tunnel(&self, id: TunnelId) -> Option<Channel> {
        self.inner.tunnel(id).map(Channel::from)
    }

    /// The keys that have a tunnel, or one that is being opened, in no particular order.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        self.inner.keys()
    }
}
