//! The reverse tunnels of a server, by key.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use grpctunnel_core::Code;

use crate::accept::Register;
use crate::client::Channel;
use crate::group::{Membership, Pick, RoundRobin, TunnelGroup, Tunnels};
use crate::grpc::status::Status;
use crate::peer::TunnelPeer;
use crate::runtime::Runtime;
use crate::tunnel::id::TunnelId;

/// What may be the key of a [`Registry`]: a name, a tenant, a certificate's subject.
pub trait RegistryKey: Clone + Eq + Hash + Send + Sync + 'static {}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> RegistryKey for K {}

/// The key of a tunnel in a [`Registry`]: in the extensions of its
/// [`TunnelPeer`](crate::TunnelPeer), and of its [`ReverseTunnel`](crate::ReverseTunnel).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TunnelKey<K>(pub K);

type KeyOf<K> = dyn Fn(&TunnelPeer) -> Result<K, Status> + Send + Sync;

/// The reverse tunnels of a server by a key that the application gives each, such as the name of the
/// agent that opened it: one [`TunnelGroup`] for each key, and one for all.
///
/// A [`TunnelService`](crate::TunnelService) [registers](crate::TunnelService::register) its tunnels:
/// they are found as soon as they may carry calls, until they are over. A key is there with its first
/// tunnel and goes with its last. While a tunnel of a key is being opened, calls for the key wait for
/// it instead of failing; see [`TunnelGroup::with_max_wait`].
///
/// Clones share the tunnels. A look-up takes a lock that is held for other look-ups, and while a
/// tunnel comes or goes; no lock of a tunnel. How long it takes does not depend on how many tunnels
/// there are.
///
/// # Example
///
/// ```
/// # use grpctunnel_driver::{Code, Options, Registry, Runtime, Status, TunnelPeer, TunnelService, serve_reverse};
/// # use http::{HeaderMap, HeaderValue, Request, Response};
/// # use http_body_util::{BodyExt, Empty, Full};
/// # use tower_service::Service;
/// # struct Smol;
/// # impl grpctunnel_driver::Executor for Smol {
/// #     fn execute(&self, task: grpctunnel_driver::Task) {
/// #         smol::spawn(task).detach();
/// #     }
/// # }
/// # impl grpctunnel_driver::Timer for Smol {
/// #     fn sleep_until(&self, deadline: std::time::Instant) -> grpctunnel_driver::Sleep {
/// #         Box::pin(async move {
/// #             smol::Timer::at(deadline).await;
/// #         })
/// #     }
/// # }
/// # #[derive(Clone)]
/// # struct Hello;
/// # impl Service<Request<grpctunnel_driver::RequestBody>> for Hello {
/// #     type Response = Response<Empty<bytes::Bytes>>;
/// #     type Error = std::convert::Infallible;
/// #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
/// #         std::task::Poll::Ready(Ok(()))
/// #     }
/// #     fn call(&mut self, _: Request<grpctunnel_driver::RequestBody>) -> Self::Future {
/// #         std::future::ready(Ok(Status::new(Code::Ok, "hello").trailers_only(Empty::new())))
/// #     }
/// # }
/// fn name_of(peer: &TunnelPeer) -> Result<String, Status> {
///     let name = peer.metadata().get("x-name").and_then(|name| name.to_str().ok());
///     let name = name.ok_or_else(|| Status::new(Code::InvalidArgument, "x-name is missing"))?;
///     Ok(name.to_owned())
/// }
///
/// # smol::block_on(async {
/// let runtime = Runtime::new(Smol, Smol);
/// let registry = Registry::new(runtime.clone(), name_of);
/// let service = TunnelService::new(runtime.clone()).register(&registry);
///
/// // An agent opens a tunnel to the service; `Hello` handles its calls.
/// let mut metadata = HeaderMap::new();
/// metadata.insert("x-name", HeaderValue::from_static("pi"));
/// let agent = serve_reverse(service, Hello, &runtime, &Options::default(), metadata).await?;
///
/// // Calls find it by its name.
/// let mut pi = registry.get("pi").ok_or("pi is not connected")?;
/// let request = Request::post("/example.Hello/Say").body(Full::new(bytes::Bytes::new()))?;
/// let response = pi.call(request).await?;
/// assert_eq!(response.headers()["grpc-status"], "0");
/// assert!(registry.get("zero").is_none());
/// # drop(agent);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Registry<K> {
    keys: Arc<Keys<K>>,
    key_of: Arc<KeyOf<K>>,
    pick: Arc<dyn Pick>,
    max_wait: Option<Duration>,
    replace: Option<Duration>,
}

impl<K> Clone for Registry<K> {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            key_of: self.key_of.clone(),
            pick: self.pick.clone(),
            max_wait: self.max_wait,
            replace: self.replace,
        }
    }
}

impl<K: RegistryKey> Registry<K> {
    /// An empty registry. `runtime` keeps the time of calls that wait.
    ///
    /// `key_of` is called with each tunnel that is being opened, and sees what came with its
    /// opening: metadata, the connection's addresses and certificates, what interceptors and layers
    /// have added. An error refuses the tunnel, and the peer finds the status in its
    /// [`ConnectError`](crate::ConnectError).
    #[must_use]
    pub fn new(
        runtime: Runtime,
        key_of: impl Fn(&TunnelPeer) -> Result<K, Status> + Send + Sync + 'static,
    ) -> Self {
        Self {
            keys: Arc::new(Keys {
                groups: RwLock::default(),
                ids: RwLock::default(),
                all: TunnelGroup::new(runtime),
            }),
            key_of: Arc::new(key_of),
            pick: Arc::new(RoundRobin),
            max_wait: None,
            replace: None,
        }
    }

    /// Picks tunnels in this way, in the groups that this handle and its clones return. Default:
    /// [`RoundRobin`].
    #[must_use]
    pub fn with_pick(self, pick: impl Pick) -> Self {
        Self {
            pick: Arc::new(pick),
            ..self
        }
    }

    /// The limit for the wait of calls, in the groups that this handle and its clones return; see
    /// [`TunnelGroup::with_max_wait`].
    #[must_use]
    pub fn with_max_wait(self, max_wait: Duration) -> Self {
        Self {
            max_wait: Some(max_wait),
            ..self
        }
    }

    /// Lets a tunnel take the place of those of its key that are older. They are
    /// [dismissed](Channel::dismiss) with ABORTED: calls that are open may go on for `limit`. For
    /// services that this registry is given to after that. Default: tunnels of one key share its
    /// calls.
    #[must_use]
    pub fn with_replacement(self, limit: Duration) -> Self {
        Self {
            replace: Some(limit),
            ..self
        }
    }

    /// The tunnels of a key, if there are any, or one is being opened.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<TunnelGroup>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        // Dropped behind the lock: the last handle of a group locks it again.
        let tunnels = read(&self.keys.groups).get(key).and_then(Weak::upgrade);
        let tunnels = tunnels.filter(|tunnels| !tunnels.is_deserted())?;
        Some(self.group_of(tunnels))
    }

    /// The tunnels of a key, whether there are any or not: those that come later are in the group,
    /// too.
    #[must_use]
    pub fn group(&self, key: K) -> TunnelGroup {
        let found = read(&self.keys.groups).get(&key).and_then(Weak::upgrade);
        let tunnels = found.unwrap_or_else(|| Keys::add(&self.keys, key));
        self.group_of(tunnels)
    }

    /// All tunnels.
    #[must_use]
    pub fn all(&self) -> TunnelGroup {
        self.group_of(self.keys.all.tunnels.clone())
    }

    /// The tunnel with this id.
    #[must_use]
    pub fn tunnel(&self, id: TunnelId) -> Option<Channel> {
        read(&self.keys.ids).get(&id).cloned()
    }

    /// The keys that have a tunnel, or one that is being opened, in no particular order.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        let groups: Vec<_> = {
            let groups = read(&self.keys.groups);
            let groups = groups
                .iter()
                .map(|(key, tunnels)| (key.clone(), tunnels.clone()));
            groups.collect()
        };
        // Behind the lock: the last handle of a group locks it again.
        let tunnels = |weak: Weak<Tunnels>| weak.upgrade().filter(|tunnels| !tunnels.is_deserted());
        let found = groups
            .into_iter()
            .filter_map(|(key, weak)| tunnels(weak).map(|_| key));
        found.collect()
    }

    fn group_of(&self, tunnels: Arc<Tunnels>) -> TunnelGroup {
        let runtime = self.keys.all.runtime.clone();
        let group = TunnelGroup::of(tunnels, runtime, self.pick.clone());
        match self.max_wait {
            Some(max_wait) => group.with_max_wait(max_wait),
            None => group,
        }
    }

    /// What a service asks about tunnels that are being opened.
    pub(crate) fn register(&self) -> Register {
        let registry = self.clone();
        Arc::new(move |peer| {
            let key = (registry.key_of)(peer)?;
            peer.attach(TunnelKey(key.clone()));
            let group = registry.group(key);
            let expected = group.expect();
            let registry = registry.clone();
            Ok(Box::new(move |channel| {
                let entry = registry.enter(&group, channel);
                drop(expected);
                Box::new(entry)
            }))
        })
    }

    fn enter(&self, group: &TunnelGroup, channel: Channel) -> Entry<K> {
        let id = channel.id();
        let older = self.replace.map(|limit| (group.channels(), limit));
        let entry = Entry {
            keys: self.keys.clone(),
            id,
            _members: [
                group.add(channel.clone()),
                self.keys.all.add(channel.clone()),
            ],
        };
        write(&self.keys.ids).insert(id, channel);
        if let Some((older, limit)) = older {
            let text = "a newer tunnel of the same key has taken its place";
            for channel in older {
                channel.dismiss(Status::new(Code::Aborted, text), limit);
            }
        }
        entry
    }
}

impl<K> fmt::Debug for Registry<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("tunnels", &self.keys.all.len())
            .finish_non_exhaustive()
    }
}

/// What the clones of a registry share.
struct Keys<K> {
    /// Held by their members and by handles; the last one takes the entry with it.
    groups: RwLock<HashMap<K, Weak<Tunnels>>>,
    ids: RwLock<HashMap<TunnelId, Channel>>,
    all: TunnelGroup,
}

/// No code of users runs under these locks, but that of keys.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl<K: RegistryKey> Keys<K> {
    /// The group of a key that had none, unless it has one now.
    fn add(keys: &Arc<Self>, key: K) -> Arc<Tunnels> {
        let entry = KeyEntry {
            keys: Arc::downgrade(keys),
            key: key.clone(),
        };
        let new = Arc::new(Tunnels::new(Some(Box::new(entry))));
        let mut groups = write(&keys.groups);
        let slot = groups.entry(key).or_default();
        let old = slot.upgrade();
        if old.is_none() {
            *slot = Arc::downgrade(&new);
        }
        drop(groups);
        old.unwrap_or(new)
    }
}

/// Takes the entry of a key out when its group is gone.
struct KeyEntry<K: RegistryKey> {
    keys: Weak<Keys<K>>,
    key: K,
}

impl<K: RegistryKey> Drop for KeyEntry<K> {
    fn drop(&mut self) {
        let Some(keys) = self.keys.upgrade() else {
            return;
        };
        let mut groups = write(&keys.groups);
        // A new group may have taken its place.
        let is_gone = groups
            .get(&self.key)
            .is_some_and(|tunnels| tunnels.strong_count() == 0);
        if is_gone {
            groups.remove(&self.key);
        }
    }
}

/// A tunnel in a registry. Dropping this takes it out.
struct Entry<K> {
    keys: Arc<Keys<K>>,
    id: TunnelId,
    _members: [Membership; 2],
}

impl<K> Drop for Entry<K> {
    fn drop(&mut self) {
        let channel = write(&self.keys.ids).remove(&self.id);
        drop(channel);
    }
}
