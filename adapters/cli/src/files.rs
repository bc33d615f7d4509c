//! How many files this process may have open: each connection is one.

/// Raises the limit of open files as far as the system allows without asking, but to no more than
/// the program can use; what it is then.
#[must_use]
pub fn raise_limit(wanted: usize) -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        let possible = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        if limit.current.is_some_and(|current| current < possible) {
            limit.current = Some(possible);
            // Where that is refused it stays as it was.
            let _ = setrlimit(Resource::Nofile, limit);
        }
    }
    limit()
}

/// How many files this process may have open.
#[must_use]
pub fn limit() -> usize {
    #[cfg(unix)]
    if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        return usize::try_from(limit).unwrap_or(usize::MAX);
    }
    usize::MAX
}
