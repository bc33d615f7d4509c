//! How many handshakes begin in a second, and whose turn it is.
//!
//! After a restart all agents of a gateway come at once. Handshakes are what costs most of a
//! connection, so only so many begin in a second, and only as fast as they end: a machine that is busy
//! finishes what it began, and does not begin what its peers will have given up by then. Addresses take
//! turns: who comes often waits for itself, not others for it.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use crate::listener::Endpoint;

const SECOND: Duration = Duration::from_secs(1);
/// Handshakes that are under way at once.
const UNDER_WAY: usize = 64;
/// One that takes longer waits for its peer, and is not counted among these.
const SLOW: Duration = Duration::from_secs(3);

/// Where a connection comes from: an IPv4 address, or a network of IPv6, which one site has. None
/// for Unix sockets.
type Source = Option<IpAddr>;

/// Lets no more than so many handshakes begin in any second. Clones count together.
#[derive(Clone)]
pub(crate) struct Pace(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// One that was under way is over.
    over: Notify,
}

/// A handshake that is under way until this is dropped.
pub(crate) struct Turn {
    pace: Pace,
    number: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pace.state().under_way.remove(&self.number);
        self.pace.0.over.notify_one();
    }
}

struct State {
    most: usize,
    /// When the last ones began, `most` at the most.
    begun: VecDeque<Instant>,
    /// When those began that are under way, the oldest first.
    under_way: BTreeMap<u64, Instant>,
    next_number: u64,
    /// Those that wait, by where they come from. No queue is empty.
    waiting: BTreeMap<Source, VecDeque<oneshot::Sender<Turn>>>,
    /// Who had the last turn.
    last: Source,
}

impl Pace {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                most: most.max(1),
                begun: VecDeque::new(),
                under_way: BTreeMap::new(),
                next_number: 0,
                waiting: BTreeMap::new(),
                last: None,
            }),
            over: Notify::new(),
        }))
    }

    /// Waits until a handshake with this peer may begin. None where the runtime ends.
    pub(crate) async fn turn(&self, peer: &Endpoint) -> Option<Turn> {
        let (sender, turn) = oneshot::channel();
        {
            let mut state = self.state();
            let is_first = state.waiting.is_empty();
            let now = Instant::now();
            if is_first && state.next_free(now) <= now {
                let number = state.begin(now);
                return Some(self.of(number));
            }
            let queue = state.waiting.entry(source(peer)).or_default();
            queue.push_back(sender);
            if is_first {
                tokio::spawn(self.clone().give_turns());
            }
        }
        turn.await.ok()
    }

    fn of(&self, number: u64) -> Turn {
        let pace = self.clone();
        Turn { pace, number }
    }

    /// Gives turns until nobody waits.
    async fn give_turns(self) {
        while let Some(next) = self.give_those_that_are_due() {
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.0.over.notified() => {}
            }
        }
    }

    /// When the next turn is due, where somebody waits.
    fn give_those_that_are_due(&self) -> Option<Instant> {
        loop {
            let (waiting, number) = {
                let mut state = self.state();
                let now = Instant::now();
                let next = state.next_free(now);
                if next > now {
                    return (!state.waiting.is_empty()).then_some(next);
                }
                let waiting = state.next()?;
                // Whoever left meanwhile takes no turn.
                if waiting.is_closed() {
                    continue;
                }
                (waiting, state.begin(now))
            };
            // A turn that nobody takes is over.
            drop(waiting.send(self.of(number)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is behind the lock is whole between any two statements.
        let state = &self.0.state;
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When the next handshake may begin.
    fn next_free(&self, now: Instant) -> Instant {
        let by_rate = match self.begun.front() {
            Some(oldest) if self.begun.len() >= self.most => *oldest + SECOND,
            _ => now,
        };
        // Those that are not slow began last.
        let last = self.under_way.values().nth_back(UNDER_WAY - 1);
        by_rate.max(last.map_or(now, |last| *last + SLOW))
    }

    /// Notes that one begins; its number.
    fn begin(&mut self, now: Instant) -> u64 {
        if self.begun.len() >= self.most {
            self.begun.pop_front();
        }
        self.begun.push_back(now);
        self.next_number += 1;
        self.under_way.insert(self.next_number, now);
        self.next_number
    }

    /// The next one that waits: the oldest of the source behind the one that had the last turn.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut behind = self.waiting.range((Excluded(self.last), Unbounded));
        let source = behind.next().or_else(|| self.waiting.first_key_value());
        let source = *source?.0;
        self.last = source;
        let queue = self.waiting.get_mut(&source)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&source);
        }
        next
    }
}

fn source(peer: &Endpoint) -> Source {
    let address = peer.tcp()?.ip().to_canonical();
    Some(match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    })
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pace").field(&self.state().most).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: [u8; 4], port: u16) -> Endpoint {
        Endpoint::Tcp((address, port).into())
    }

    #[test]
    fn no_second_has_more_than_it_may_have() {
        const MOST: usize = 30;
        let pace = Pace::new(MOST);
        let mut state = pace.state();
        let (mut now, mut begun) = (Instant::now(), Vec::new());
        for millis in 0..8_000 {
            // They come at any time, more of them than may begin, and are soon over.
            for _ in 0..millis % 3 {
                if state.next_free(now) <= now {
                    let number = state.begin(now);
                    state.under_way.remove(&number);
                    begun.push(now);
                }
            }
            now += Duration::from_millis(1);
        }
        for (first, later) in begun.iter().zip(begun.iter().skip(MOST)) {
            assert!(*later - *first >= SECOND);
        }
        // As many as may begin do begin.
        assert_eq!(begun.len(), 8 * MOST);
    }

    #[test]
    fn no_more_begin_than_are_over_and_slow_ones_stop_nobody() {
        let pace = Pace::new(1_000);
        let mut state = pace.state();
        let now = Instant::now();
        let numbers: Vec<_> = (0..UNDER_WAY).map(|_| state.begin(now)).collect();
        assert_eq!(state.next_free(now), now + SLOW);
        state.under_way.remove(&numbers[7]);
        assert_eq!(state.next_free(now), now);
        state.begin(now + SECOND);
        assert_eq!(state.next_free(now + SECOND), now + SLOW);
        let later = now + SLOW;
        assert_eq!(state.next_free(later), later);
    }

    #[test]
    fn sources_take_turns() {
        let pace = Pace::new(1);
        let mut state = pace.state();
        let sources = [1, 2, 3].map(|last| source(&peer([10, 0, 0, last], 1)));
        for (source, count) in sources.iter().zip([100, 2, 1]) {
            let queue = (0..count).map(|_| oneshot::channel().0).collect();
            state.waiting.insert(*source, queue);
        }
        let mut turns = Vec::new();
        for _ in 0..6 {
            assert!(state.next().is_some());
            turns.push(state.last);
        }
        let [one, two, three] = sources;
        assert_eq!(turns, [one, two, three, one, two, one]);
    }

    #[tokio::test]
    async fn each_gets_its_turn_but_those_who_left() {
        let pace = Pace::new(10_000);
        let mut held = VecDeque::new();
        for port in 0..64 {
            held.push_back(pace.turn(&peer([10, 0, 0, 1], port)).await);
        }
        let turn = |port| {
            let pace = pace.clone();
            tokio::spawn(async move { pace.turn(&peer([10, 0, 0, 2], port)).await })
        };
        let mut waiting: Vec<_> = (0..300).map(turn).collect();
        let left = waiting.split_off(200);
        for one in left {
            one.abort();
        }
        for one in waiting {
            held.pop_front();
            held.push_back(one.await.unwrap());
        }
        assert!(held.iter().all(Option::is_some));
        drop(held);
        // Those who left are found out about by then.
        assert!(pace.turn(&peer([10, 0, 0, 3], 1)).await.is_some());
        assert!(pace.state().waiting.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let peer = |address: &str| Endpoint::Tcp(address.parse().unwrap());
        let one = source(&peer("[2001:db8:0:1::1]:1"));
        assert_eq!(one, source(&peer("[2001:db8:0:1:ffff::]:2")));
        assert_ne!(one, source(&peer("[2001:db8:0:2::1]:1")));
        assert_eq!(
            source(&peer("[::ffff:10.0.0.1]:1")),
            source(&peer("10.0.0.1:2"))
        );
        assert_eq!(source(&Endpoint::Unix("a".into())), None);
    }
}
