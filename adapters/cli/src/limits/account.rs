//! What each identity has taken.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use governor::{
    DefaultDirectRateLimiter, Quota,
    clock::{Clock, DefaultClock},
};
use grpctunnel_driver::{Code, Status};
use http_body_util::Either;
use tonic_types::{ErrorDetails, StatusExt};

use super::{Limit, Waits, Watched, meter::Meter};
use crate::auth::Identity;

/// So many identities are kept that have nothing open.
const IDLE: usize = 1_024;

/// The accounts of all identities. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts(Arc<Mutex<HashMap<String, Arc<Account>>>>);

#[derive(Debug, Default)]
struct Account {
    taken: Mutex<Taken>,
    meter: Meter,
}

#[derive(Debug, Default)]
struct Taken {
    calls: u32,
    tunnels: u32,
    connections: u32,
    rate: Option<(Rate, DefaultDirectRateLimiter)>,
}

type Rate = (NonZeroU32, NonZeroU32);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What there may be too many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Call,
    Tunnel,
    Connection,
}

impl Kind {
    const fn of(self, limit: &Limit) -> Option<u32> {
        match self {
            Self::Call => limit.calls,
            Self::Tunnel => limit.tunnels,
            Self::Connection => limit.connections,
        }
    }

    fn count(self, taken: &mut Taken) -> &mut u32 {
        match self {
            Self::Call => &mut taken.calls,
            Self::Tunnel => &mut taken.tunnels,
            Self::Connection => &mut taken.connections,
        }
    }
}

impl Accounts {
    /// Takes a call, at the rate that is allowed.
    pub(crate) fn call(
        &self,
        identity: &Identity,
        limit: Option<&Limit>,
    ) -> Result<Permit, Exceeded> {
        self.take(identity, limit, Kind::Call)
    }

    /// Takes a tunnel.
    pub(crate) fn tunnel(
        &self,
        identity: &Identity,
        limit: Option<&Limit>,
    ) -> Result<Permit, Exceeded> {
        self.take(identity, limit, Kind::Tunnel)
    }

    /// Takes a connection.
    pub(crate) fn connection(
        &self,
        identity: &Identity,
        limit: Option<&Limit>,
    ) -> Result<Permit, Exceeded> {
        self.take(identity, limit, Kind::Connection)
    }

    fn take(
        &self,
        identity: &Identity,
        limit: Option<&Limit>,
        kind: Kind,
    ) -> Result<Permit, Exceeded> {
        let account = self.account(identity);
        let waiting = limit.and_then(|limit| limit.waiting);
        let is_metered = kind == Kind::Call && waiting.is_some();
        if let Some(most) = waiting.filter(|_| is_metered)
            && account.meter.read(Instant::now()) >= most.0
        {
            return Err(Exceeded::Waiting(most));
        }
        let mut taken = lock(&account.taken);
        if let Some(limit) = limit {
            let most = kind.of(limit);
            let count = *kind.count(&mut taken);
            if let Some(most) = most.filter(|most| count >= *most) {
                return Err(Exceeded::Open { kind, most });
            }
            if kind == Kind::Call {
                taken.pace(limit)?;
            }
        }
        *kind.count(&mut taken) += 1;
        drop(taken);
        Ok(Permit {
            account,
            kind,
            is_metered,
        })
    }

    fn account(&self, identity: &Identity) -> Arc<Account> {
        let name = identity.names().first().map_or("", String::as_str);
        let mut accounts = lock(&self.0);
        if let Some(account) = accounts.get(name) {
            return Arc::clone(account);
        }
        if accounts.len() >= IDLE {
            accounts.retain(|_, account| Arc::strong_count(account) > 1);
        }
        let account = Arc::<Account>::default();
        accounts.insert(name.to_owned(), Arc::clone(&account));
        account
    }
}

impl Taken {
    /// Takes one call of the rate.
    fn pace(&mut self, limit: &Limit) -> Result<(), Exceeded> {
        let Some(rate) = limit.rate else {
            self.rate = None;
            return Ok(());
        };
        let wanted = (rate, limit.burst.unwrap_or(rate));
        let paced = match self.rate.take() {
            Some((now, limiter)) if now == wanted => (now, limiter),
            _ => {
                let quota = Quota::per_second(rate).allow_burst(wanted.1);
                (wanted, DefaultDirectRateLimiter::direct(quota))
            }
        };
        let (_, limiter) = self.rate.insert(paced);
        limiter.check().map_err(|not_until| Exceeded::Rate {
            rate,
            wait: not_until.wait_time_from(DefaultClock::default().now()),
        })
    }
}

/// Something that counts for its identity until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    account: Arc<Account>,
    kind: Kind,
    is_metered: bool,
}

impl Permit {
    /// Counts the bytes that wait in a body of the call, where they are limited.
    pub(crate) fn watch<B: Waits + Send + 'static>(&self, body: B) -> Watched<B> {
        match self.is_metered {
            true => Either::Right(self.account.meter.watch(body)),
            false => Either::Left(body),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = lock(&self.account.taken);
        let count = self.kind.count(&mut taken);
        *count = count.saturating_sub(1);
    }
}

/// The identities that use one connection, each of which it counts for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionPermits(Arc<Mutex<Vec<(String, Permit)>>>);

impl ConnectionPermits {
    /// Counts the connection for an identity, unless it does already.
    pub(crate) fn count(
        &self,
        accounts: &Accounts,
        identity: &Identity,
        limit: Option<&Limit>,
    ) -> Result<(), Exceeded> {
        let name = identity.names().first().map_or("", String::as_str);
        let mut permits = lock(&self.0);
        if permits.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        permits.push((name.to_owned(), accounts.connection(identity, limit)?));
        Ok(())
    }
}

/// An identity has all that it may have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Exceeded {
    Open { kind: Kind, most: u32 },
    Rate { rate: NonZeroU32, wait: Duration },
    Waiting(super::Bytes),
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { kind, most } => {
                let what = match kind {
                    Kind::Call => "calls",
                    Kind::Tunnel => "tunnels",
                    Kind::Connection => "connections",
                };
                write!(f, "the gateway allows this identity {most} {what} at once")
            }
            Self::Rate { rate, .. } => {
                write!(f, "the gateway allows this identity {rate} calls a second")
            }
            Self::Waiting(most) => write!(
                f,
                "the gateway lets {most} of this identity wait, and that much was sent and not \
                 read; no new calls"
            ),
        }
    }
}

impl Exceeded {
    /// What the caller is told; of a rate, when to try again.
    pub(crate) fn status(&self) -> Status {
        let status = Status::new(Code::ResourceExhausted, self.to_string());
        match self {
            Self::Open { .. } | Self::Waiting(_) => status,
            Self::Rate { wait, .. } => {
                let details = ErrorDetails::with_retry_info(Some(*wait));
                let code = tonic::Code::ResourceExhausted;
                let detailed = tonic::Status::with_error_details(code, self.to_string(), details);
                status.with_details(Bytes::copy_from_slice(detailed.details()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_counts_until_it_is_over_and_for_its_identity_alone() {
        let (accounts, one) = (Accounts::default(), Identity::anybody());
        let limit: Limit = "* calls=2 tunnels=0".parse().unwrap();
        let first = accounts.call(&one, Some(&limit)).unwrap();
        let _second = accounts.call(&one, Some(&limit)).unwrap();
        let refused = accounts.call(&one, Some(&limit)).unwrap_err();
        assert_eq!(refused.status().code(), Code::ResourceExhausted);
        assert!(accounts.tunnel(&one, Some(&limit)).is_err());
        assert!(accounts.connection(&one, Some(&limit)).is_ok());
        drop(first);
        assert!(accounts.call(&one, Some(&limit)).is_ok());
    }

    #[test]
    fn a_rate_says_when_to_try_again() {
        let (accounts, one) = (Accounts::default(), Identity::anybody());
        let limit: Limit = "* rate=1 burst=3".parse().unwrap();
        for _ in 0..3 {
            accounts.call(&one, Some(&limit)).unwrap();
        }
        let status = accounts.call(&one, Some(&limit)).unwrap_err().status();
        let told = tonic::Status::with_details(
            tonic::Code::ResourceExhausted,
            status.message(),
            status.details().clone(),
        );
        let told = told.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(
            told > Duration::ZERO && told <= Duration::from_secs(1),
            "{told:?}"
        );
        // Another limit begins anew.
        let other: Limit = "* rate=5".parse().unwrap();
        assert!(accounts.call(&one, Some(&other)).is_ok());
    }
}
