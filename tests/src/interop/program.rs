//! Our own programs as processes.

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

/// Starts the example `tcp` of the core, built as its sources are now.
///
/// # Errors
///
/// When it cannot be built or started.
pub async fn tcp_example(arguments: &[&str]) -> io::Result<Process> {
    let program = tcp_example_program().await?;
    Process::start(Command::new(program).args(arguments))
}

/// The example `tcp` of the core, built as its sources are now. A test in which another program
/// waits for it, for a limited time, asks for it first.
///
/// # Errors
///
/// When it cannot be built.
pub async fn tcp_example_program() -> io::Result<&'static Path> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM
        .get_or_try_init(build_example)
        .await
        .map(PathBuf::as_path)
}

async fn find_or_build() -> io::Result<PathBuf> {
    let profile = profile()?;
    let program = profile.join("grpctunnel");
    if !program.exists() {
        build(&profile, &["--package", "grpctunnel-cli"]).await?;
    }
    Ok(program)
}

/// Cargo knows whether there is anything to do.
async fn build_example() -> io::Result<PathBuf> {
    let profile = profile()?;
    let what = ["--package", "grpctunnel-core", "--example", "tcp"];
    build(&profile, &[&what[..], &["--features", "alloc"]].concat()).await?;
    Ok(profile.join("examples/tcp"))
}

/// The folder of the running test's profile.
fn profile() -> io::Result<PathBuf> {
    let test = env::current_exe()?;
    let profile = test.parent().and_then(Path::parent);
    let missing = || io::Error::other("the test is not where cargo puts tests");
    profile.map(Path::to_owned).ok_or_else(missing)
}

async fn build(profile: &Path, what: &[&str]) -> io::Result<()> {
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.arg("build").args(what).arg("--target-dir");
    build.arg(profile.parent().unwrap_or(profile));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    build.stdin(Stdio::null()).kill_on_drop(true);
    let built = timeout(BUILD, build.output()).await??;
    if built.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&built.stderr);
    let what = what.join(" ");
    Err(io::Error::other(format!(
        "{what} cannot be built: {errors}"
    )))
}
