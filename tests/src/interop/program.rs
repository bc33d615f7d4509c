//! The program `grpctunnel` as a process.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::process::Process;

/// How long building it may take where it is not there yet.
const BUILD: Duration = Duration::from_secs(900);

/// Starts `grpctunnel` with these arguments.
///
/// It is the one that lies beside the running test, where `cargo test --workspace` puts it; it is
/// built if there is none.
///
/// # Errors
///
/// When it cannot be built or started.
pub async fn grpctunnel(arguments: &[&str]) -> io::Result<Process> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let program = PROGRAM.get_or_try_init(find_or_build).await?;
    Process::start(Command::new(program).args(arguments))
}

async fn find_or_build() -> io::Result<PathBuf> {
    let test = env::current_exe()?;
    let missing = || io::Error::other("the test is not where cargo puts tests");
    let profile = test.parent().and_then(Path::parent).ok_or_else(missing)?;
    let program = profile.join("grpctunnel");
    if program.exists() {
        return Ok(program);
    }
    let target = profile.parent().ok_or_else(missing)?;
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--package", "grpctunnel-cli", "--target-dir"]);
    build.arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    build.stdin(Stdio::null()).kill_on_drop(true);
    let built = timeout(BUILD, build.output()).await??;
    if built.status.success() {
        return Ok(program);
    }
    let errors = String::from_utf8_lossy(&built.stderr);
    Err(io::Error::other(format!(
        "grpctunnel cannot be built: {errors}"
    )))
}
