//! How many handshakes begin in a second, and whose turn it is.
//!
//! After a restart all agents of a gateway come at once. Handshakes are what costs most of a
//! connection, so they begin one after the other, and addresses take turns: who comes often waits for
//! itself, not others for it.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use crate::listener::Endpoint;

const SECOND: Duration = Duration::from_secs(1);

/// Where a connection comes from: an IPv4 address, or a network of IPv6, which one site has. None
/// for Unix sockets.
type Source = Option<IpAddr>;

/// Lets no more than so many handshakes begin in any second. Clones count together.
#[derive(Clone)]
pub(crate) struct Pace(Arc<Mutex<State>>);

struct State {
    most: usize,
    /// When the last ones began, `most` at the most.
    begun: VecDeque<Instant>,
    /// Those that wait, by where they come from. No queue is empty.
    waiting: BTreeMap<Source, VecDeque<oneshot::Sender<()>>>,
    /// Who had the last turn.
    last: Source,
}

impl Pace {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            most: most.max(1),
            begun: VecDeque::new(),
            waiting: BTreeMap::new(),
            last: None,
        })))
    }

    /// Waits until a handshake with this peer may begin.
    pub(crate) async fn turn(&self, peer: &Endpoint) {
        let (sender, turn) = oneshot::channel();
        {
            let mut state = self.state();
            let is_first = state.waiting.is_empty();
            if is_first && state.next_free() <= Instant::now() {
                return state.begin();
            }
            let queue = state.waiting.entry(source(peer)).or_default();
            queue.push_back(sender);
            if is_first {
                tokio::spawn(self.clone().give_turns());
            }
        }
        // The task ends when nobody waits any more.
        let _ = turn.await;
    }

    /// Gives turns until nobody waits.
    async fn give_turns(self) {
        loop {
            let next = {
                let mut state = self.state();
                while state.next_free() <= Instant::now() {
                    let Some(turn) = state.next() else {
                        return;
                    };
                    // Whoever left meanwhile takes no turn.
                    if turn.send(()).is_ok() {
                        state.begin();
                    }
                }
                state.next_free()
            };
            sleep_until(next).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is behind the lock is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When the next handshake may begin.
    fn next_free(&self) -> Instant {
        match self.begun.front() {
            Some(oldest) if self.begun.len() >= self.most => *oldest + SECOND,
            _ => Instant::now(),
        }
    }

    fn begin(&mut self) {
        if self.begun.len() >= self.most {
            self.begun.pop_front();
        }
        self.begun.push_back(Instant::now());
    }

    /// The next one that waits: the oldest of the source behind the one that had the last turn.
    fn next(&mut self) -> Option<oneshot::Sender<()>> {
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

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_it_may_have() {
        const MOST: usize = 30;
        let pace = Pace::new(MOST);
        let begun = Arc::new(Mutex::new(Vec::new()));
        let mut all = Vec::new();
        for number in 0..200_u16 {
            let (pace, begun) = (pace.clone(), Arc::clone(&begun));
            all.push(tokio::spawn(async move {
                // Some come later than others.
                tokio::time::sleep(Duration::from_millis(u64::from(number % 7) * 130)).await;
                pace.turn(&peer([10, 0, 0, 1], number)).await;
                begun.lock().unwrap().push(Instant::now());
            }));
        }
        for one in all {
            one.await.unwrap();
        }
        let begun = begun.lock().unwrap();
        assert_eq!(begun.len(), 200);
        for (first, later) in begun.iter().zip(begun.iter().skip(MOST)) {
            assert!(*later - *first >= SECOND);
        }
        // As many as may begin do begin.
        let took = *begun.last().unwrap() - *begun.first().unwrap();
        assert!(took < SECOND * 8, "{took:?}");
        assert!(pace.state().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn sources_take_turns_and_who_left_takes_none() {
        let pace = Pace::new(1);
        pace.turn(&peer([10, 0, 0, 1], 1)).await;
        let turn = |address, port| {
            let pace = pace.clone();
            async move {
                pace.turn(&peer(address, port)).await;
                Instant::now()
            }
        };
        let begun = Instant::now();
        let many: Vec<_> = (0..100)
            .map(|port| tokio::spawn(turn([10, 0, 0, 1], port)))
            .collect();
        tokio::task::yield_now().await;
        // It does not wait for those that came before it from elsewhere.
        let other = tokio::spawn(turn([10, 0, 0, 2], 1)).await.unwrap();
        assert!(other - begun <= SECOND * 2);
        for one in many.iter().skip(1).take(98) {
            one.abort();
        }
        let mut last = other;
        for one in many {
            last = one.await.map_or(last, |turn| turn.max(last));
        }
        assert!(last - begun <= SECOND * 5);
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
