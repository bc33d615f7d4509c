//! The programs of the real peers, built on demand.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::process::Process;

/// Names the folder that `tests/interop/build.sh` has filled, or is to fill.
const DIRECTORY: &str = "GRPCTUNNEL_INTEROP_DIR";
/// Set to `required`, it makes a missing peer a failure.
const MODE: &str = "GRPCTUNNEL_INTEROP";
/// How long the build may take.
const BUILD: Duration = Duration::from_secs(900);

/// The built programs of the Go and Python peers.
#[derive(Clone, Debug)]
pub struct Peers(PathBuf);

impl Peers {
    /// The peers, built if need be; `None`, after one plain line, where they cannot be had: Go or
    /// Python is missing, or what they depend on cannot be fetched.
    ///
    /// # Panics
    ///
    /// When they cannot be had though the environment says that they are required.
    #[expect(clippy::panic, reason = "a test that cannot have its peer must fail")]
    pub async fn get() -> Option<Self> {
        static BUILT: OnceCell<Result<Peers, String>> = OnceCell::const_new();
        match BUILT.get_or_init(build).await {
            Ok(peers) => Some(peers.clone()),
            Err(why) if env::var_os(MODE).as_deref() == Some(OsStr::new("required")) => {
                panic!("the peers are required: {why}")
            }
            Err(why) => {
                println!("skipped: {}", why.lines().last().unwrap_or_default());
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

/// Runs the build script, which lets one process at a time build.
async fn build() -> Result<Peers, String> {
    let directory = directory();
    let mut script = Command::new("bash");
    script.arg(scripts().join("build.sh")).arg(&directory);
    script.stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(BUILD, script.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("bash: {error}")),
        Err(_) => return Err(format!("the peers were not built within {BUILD:?}")),
    };
    if output.status.success() {
        return Ok(Peers(directory));
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "building the peers: {}\n{}",
        output.status,
        errors.trim_end()
    ))
}
