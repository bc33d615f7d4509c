//! Picking one of several tunnels for a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use grpctunnel_core::wire::ExtensionSet;
use http::request::Parts;

use crate::client::Channel;
use crate::group::needs::Needs;
use crate::tunnel::id::TunnelId;
use crate::tunnel::published::TunnelState;

/// A tunnel of a group.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its place in the order of the group.
    pub(crate) place: u64,
    pub(crate) channel: Channel,
    /// The extensions in effect. They do not change, and asking the channel takes its lock.
    pub(crate) extensions: ExtensionSet,
}

/// How a tunnel of a group is picked for a call.
///
/// [`RoundRobin`] is the default; [`LeastLoaded`] suits calls of different weight. One of your own
/// sees the call's method and metadata, for example to send all calls of a session to the same
/// tunnel:
///
/// ```
/// use std::hash::{DefaultHasher, Hash, Hasher};
/// use grpctunnel_driver::{Candidate, Candidates, Pick};
/// use http::request::Parts;
///
/// /// Calls of one session go to the same tunnel, as long as that takes calls (rendezvous hashing).
/// struct Sessions;
///
/// impl Pick for Sessions {
///     fn pick<'c>(&self, call: &Parts, tunnels: &'c Candidates<'_>) -> Option<Candidate<'c>> {
///         let Some(session) = call.headers.get("x-session") else {
///             return tunnels.next_in_turn();
///         };
///         tunnels.iter().max_by_key(|tunnel| {
///             let mut hasher = DefaultHasher::new();
///             (session.as_bytes(), tunnel.channel().id()).hash(&mut hasher);
///             hasher.finish()
///         })
///     }
/// }
/// ```
pub trait Pick: Send + Sync + 'static {
    /// Picks a tunnel for a call. No lock is held.
    ///
    /// It is asked up to four times for a call, until it picks one: with the tunnels that take the
    /// call at once; with those that are full, too, where the call would wait; and where none of the
    /// group carries all of the call (see [`TunnelGroup`](crate::TunnelGroup)) with the others, in
    /// the same two steps. `None` each time: no tunnel is to take the call, which waits or fails as
    /// if there were none.
    fn pick<'c>(&self, call: &Parts, tunnels: &'c Candidates<'_>) -> Option<Candidate<'c>>;
}

/// Tunnels take their turns.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin;

impl Pick for RoundRobin {
    fn pick<'c>(&self, _call: &Parts, tunnels: &'c Candidates<'_>) -> Option<Candidate<'c>> {
        tunnels.next_in_turn()
    }
}

/// Of two tunnels that are picked at random, the one on which this end has fewer open calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoaded;

/// How far the second of two tunnels is looked for.
const NEAR: usize = 32;

impl Pick for LeastLoaded {
    fn pick<'c>(&self, _call: &Parts, tunnels: &'c Candidates<'_>) -> Option<Candidate<'c>> {
        let first = tunnels.ring(tunnels.random(), tunnels.len()).next()?;
        let near = NEAR.min(tunnels.len());
        let mut others = tunnels.ring(tunnels.random(), near);
        let Some(second) = others.find(|other| other.place != first.place) else {
            return Some(first);
        };
        let load = |tunnel: &Candidate<'_>| tunnel.state().calls;
        Some(if load(&second) < load(&first) {
            second
        } else {
            first
        })
    }
}

/// Which tunnels of a group come into question for a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit<'c> {
    pub(crate) needs: &'c Needs,
    /// Those that were tried already.
    pub(crate) tried: &'c [TunnelId],
    /// Also those where the call has to wait for room.
    pub(crate) full: bool,
    /// Also those that do not carry all of it.
    pub(crate) lacking: bool,
}

impl Fit<'_> {
    pub(crate) fn suits(&self, member: &Member) -> bool {
        let state = member.channel.state();
        let takes = state.takes_calls() || (self.full && state.is_usable() && state.responsive);
        takes
            && !self.tried.contains(&member.channel.id())
            && (self.lacking || self.needs.are_met_by(&member.channel, member.extensions))
    }
}

/// The tunnels that come into question for a call; see [`Pick`].
///
/// Each is looked at when it is asked for, so that a strategy that asks for few is quick in a large
/// group.
#[derive(Debug)]
pub struct Candidates<'c> {
    pub(crate) members: &'c [Arc<Member>],
    pub(crate) turn: &'c AtomicUsize,
    pub(crate) fit: Fit<'c>,
}

impl Candidates<'_> {
    /// The tunnels of the group, including those that do not come into question.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the group has no tunnel.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The tunnel at this place, below [`len`](Self::len), if it comes into question. Places are in
    /// the order in which the tunnels were added, and change when one is removed.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<Candidate<'_>> {
        let member = self.members.get(place)?;
        let suits = self.fit.suits(member);
        suits.then_some(Candidate { member, place })
    }

    /// The tunnels that come into question.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'_>> {
        (0..self.len()).filter_map(|place| self.get(place))
    }

    /// The tunnel whose turn it is.
    #[must_use]
    pub fn next_in_turn(&self) -> Option<Candidate<'_>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let picked = self.ring(turn, self.len()).next()?;
        if picked.place != turn.wrapping_rem(self.len()) {
            // Whoever stands behind one that was passed over does not get its turn as well.
            let next = picked.place.wrapping_add(1);
            self.turn.store(next, Ordering::Relaxed);
        }
        Some(picked)
    }

    /// Those of the `count` tunnels from a place on, in a ring, that come into question.
    fn ring(&self, from: usize, count: usize) -> impl Iterator<Item = Candidate<'_>> {
        let len = self.len().max(1);
        let from = from.wrapping_rem(len);
        (0..count).filter_map(move |step| self.get(from.wrapping_add(step).wrapping_rem(len)))
    }

    /// A number that looks random: the turn, mixed as in SplitMix64.
    fn random(&self) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut mixed = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The upper half is as good as the whole, and fits everywhere.
        (mixed >> 32) as usize
    }
}

/// A tunnel that comes into question for a call.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'c> {
    member: &'c Arc<Member>,
    place: usize,
}

impl<'c> Candidate<'c> {
    /// The tunnel.
    #[must_use]
    pub fn channel(&self) -> &'c Channel {
        &self.member.channel
    }

    /// What it is doing. Takes no lock.
    #[must_use]
    pub fn state(&self) -> TunnelState {
        self.member.channel.state()
    }
}
