//! The programs of the real peers, built on demand.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::process::Process;

/// Names the folder that `tests/interop/build.sh` has filled, or is to fill.
const DIRECTORY: &str = "GRPCTUNNEL_INTEROP_DIR";
/// Set to `required`, it makes a missing peer a failure.
const MODE: &str = "GRPCTUNNEL_INTEROP";
/// The exit code of the build script when Go or Python is missing.
const MISSING: i32 = 3;
/// How long the build may take.
const BUILD: Duration = Duration::from_secs(900);

/// The built programs of the Go and Python peers.
#[derive(Clone, Debug)]
pub struct Peers(PathBuf);

impl Peers {
    /// The peers, built if need be; `None`, after one plain line, where Go or Python is missing.
    ///
    /// # Panics
    ///
    /// When they cannot be had though the environment says that they are required, and when
    /// building them fails for another reason than a missing Go or Python.
    #[expect(clippy::panic, reason = "a test that cannot have its peer must fail")]
    pub async fn get() -> Option<Self> {
        static BUILT: OnceCell<Result<Peers, String>> = OnceCell::const_new();
        let built = BUILT.get_or_init(async || match build().await {
            Ok(built) => built,
            Err(error) => panic!("the peers cannot be built: {error}"),
        });
        match built.await {
            Ok(peers) => Some(peers.clone()),
            Err(missing) if env::var_os(MODE).as_deref() == Some(OsStr::new("required")) => {
                panic!("the peers are required: {missing}")
            }
            Err(missing) => {
                println!("skipped: {missing}");
                None
            }
        }
    }

    /// Starts the Go program `name`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn go(&self, name: &str, arguments: &[&str]) -> io::Result<Process> {
        Process::start(Command::new(self.0.join(name)).args(arguments))
    }

    /// Starts the Python program `name` of `tests/interop/python`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn python(&self, name: &str, arguments: &[&str]) -> io::Result<Process> {
        let program = scripts().join("python").join(name);
        Process::start(
            Command::new(self.0.join("venv/bin/python"))
                .arg(program)
                .args(arguments),
        )
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

/// Where the peers are built: as the environment says, else beside the running program's own
/// target folder.
fn directory() -> PathBuf {
    if let Some(directory) = env::var_os(DIRECTORY) {
        return directory.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    env::var_os("CARGO_TARGET_DIR")
        .map_or(workspace, PathBuf::from)
        .join("interop")
}

/// Runs the build script, one process at a time. `Ok(Err)` says which of Go and Python is missing.
async fn build() -> io::Result<Result<Peers, String>> {
    let directory = directory();
    fs::create_dir_all(&directory)?;
    let lock = File::create(directory.join("lock"))?;
    let lock = tokio::task::spawn_blocking(move || {
        flock(&lock, FlockOperation::LockExclusive).map(|()| lock)
    })
    .await??;
    let mut script = Command::new("bash");
    script.arg(scripts().join("build.sh")).arg(&directory);
    script.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(BUILD, script.output()).await??;
    drop(lock);
    let text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => Ok(Ok(Peers(directory))),
        Some(MISSING) => Ok(Err(text.trim().to_owned())),
        _ => Err(io::Error::other(format!("{}: {text}", output.status))),
    }
}
