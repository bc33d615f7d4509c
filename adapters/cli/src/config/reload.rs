//! Reading the configuration and its files again while a command runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{ConfigError, Parsed, Setting, parse};

/// Files are often replaced one after the other; they are read when they have been still so long.
const STILL: Duration = Duration::from_millis(200);

/// The options that may change while a command runs.
const RELOADABLE: [&str; 16] = [
    "tls-cert",
    "tls-key",
    "tls-client-ca",
    "tls-client-crl",
    "tokens-file",
    "allow",
    "limit",
    "ca",
    "cert",
    "key",
    "server-name",
    "token-file",
    "local-ca",
    "local-cert",
    "local-key",
    "local-token-file",
];

/// What came of reading everything again.
#[derive(Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// Everything was applied.
    Applied,
    /// Everything was applied but these options, which need a restart.
    Partly(Vec<String>),
    /// Nothing was applied, for this reason.
    Refused(String),
}

/// A command line that is read again when a file changes that has to do with it, and by SIGHUP.
#[derive(Debug)]
pub struct Reload {
    line: Vec<OsString>,
    began_as: BTreeMap<String, Setting>,
    files: BTreeSet<PathBuf>,
}

impl Reload {
    /// For what came of this command line.
    #[must_use]
    pub fn new(line: Vec<OsString>, parsed: &Parsed) -> Self {
        Self {
            line,
            began_as: parsed.settings.clone(),
            files: files(parsed),
        }
    }

    /// Waits for changes, and has each applied by `apply`, which says why it was not. `told` hears
    /// what came of it. Runs until it is dropped.
    ///
    /// # Errors
    ///
    /// When files cannot be watched, or signals not be heard.
    pub async fn run(
        mut self,
        mut apply: impl FnMut(Parsed) -> Result<(), String>,
        mut told: impl FnMut(Reloaded),
    ) -> io::Result<()> {
        let (changed, mut changes) = mpsc::channel(1);
        let mut watcher = Watch::new(changed)?;
        let mut hangup = Hangup::new()?;
        let mut seen = contents(&self.files);
        loop {
            watcher.watch(&self.files);
            // What changed between the reading and the watching.
            let is_late = contents(&self.files) != seen;
            let asked = tokio::select! {
                biased;
                () = hangup.next() => true,
                () = std::future::ready(()), if is_late => false,
                _ = changes.recv() => false,
            };
            if !asked {
                // Until nothing has changed for a while.
                while tokio::time::timeout(STILL, changes.recv()).await.is_ok() {}
            }
            let now = contents(&self.files);
            if !asked && now == seen {
                continue;
            }
            seen = now;
            let files = self.files.clone();
            told(self.again(&mut apply));
            if self.files != files {
                seen = contents(&self.files);
            }
        }
    }

    fn again(&mut self, apply: &mut impl FnMut(Parsed) -> Result<(), String>) -> Reloaded {
        let parsed = match parse(self.line.iter().cloned()) {
            Ok(parsed) => parsed,
            Err(error) => return Reloaded::Refused(ConfigError::to_string(&error)),
        };
        let (files, kept) = (files(&parsed), self.kept(&parsed));
        match apply(parsed) {
            Ok(()) => {
                self.files = files;
                match kept.is_empty() {
                    true => Reloaded::Applied,
                    false => Reloaded::Partly(kept),
                }
            }
            Err(why) => Reloaded::Refused(why),
        }
    }

    /// The options that changed and cannot be applied.
    fn kept(&self, parsed: &Parsed) -> Vec<String> {
        let changed = |(key, setting): &(&String, &Setting)| {
            let before = self.began_as.get(*key);
            before.is_none_or(|before| before.values != setting.values)
        };
        let changed = parsed.settings.iter().filter(changed);
        let keys = changed.map(|(key, _)| key.clone());
        keys.filter(|key| !RELOADABLE.contains(&key.as_str()))
            .collect()
    }
}

/// The files that a command depends on.
fn files(parsed: &Parsed) -> BTreeSet<PathBuf> {
    let is_file = |key: &&String| RELOADABLE.contains(&key.as_str()) && !is_no_file(key);
    let keys = parsed.settings.keys().filter(is_file);
    let named = keys.filter_map(|key| parsed.settings.get(key));
    let named = named.flat_map(|setting| setting.values.iter().map(PathBuf::from));
    named.chain(parsed.file.clone()).collect()
}

fn is_no_file(key: &str) -> bool {
    matches!(key, "allow" | "limit" | "server-name")
}

/// What is in the files; nothing for those that cannot be read.
fn contents(files: &BTreeSet<PathBuf>) -> Vec<Option<Vec<u8>>> {
    files.iter().map(|path| std::fs::read(path).ok()).collect()
}

/// Watches the directories of files: a file that is replaced is another one.
struct Watch {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
}

impl Watch {
    fn new(changed: mpsc::Sender<()>) -> io::Result<Self> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // One that is waiting is enough.
                let _ = changed.try_send(());
            }
        });
        Ok(Self {
            watcher: watcher.map_err(io::Error::other)?,
            watched: BTreeSet::new(),
        })
    }

    fn watch(&mut self, files: &BTreeSet<PathBuf>) {
        for file in files {
            // A link that leads elsewhere is watched at both of its ends.
            let real = std::fs::canonicalize(file).ok();
            for path in [Some(file.clone()), real].into_iter().flatten() {
                let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
                let directory = directory.unwrap_or(Path::new(".")).to_owned();
                if self.watched.insert(directory.clone()) {
                    // A directory that cannot be watched is read again by SIGHUP.
                    let _ = self.watcher.watch(&directory, RecursiveMode::NonRecursive);
                }
            }
        }
    }
}

#[cfg(unix)]
struct Hangup(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangup {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::hangup()).map(Self)
    }

    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
struct Hangup;

#[cfg(not(unix))]
impl Hangup {
    const fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}
