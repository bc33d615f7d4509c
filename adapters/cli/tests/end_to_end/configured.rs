//! One file, the environment and the command line.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{
    program::program,
    support::{Tested, bounded},
};

/// A directory with a configuration of this text.
fn file(text: &str) -> Tested<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("grpctunnel.toml");
    std::fs::write(&path, text)?;
    Ok((dir, path))
}

async fn shown(path: &Path, command: &str, variables: &[(&str, &str)]) -> Tested<String> {
    let path = path.to_string_lossy();
    let mut program = program(&["config", "show", command, "--config", &path]);
    let output = program.envs(variables.iter().copied()).output().await?;
    let said = String::from_utf8(output.stderr)?;
    assert!(output.status.success(), "{said}");
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn the_environment_counts_more_than_the_file() -> Tested {
    bounded(async {
        let text = "[gateway]\nlisten = \"127.0.0.1:1\"\nmax-streams = 7\ninsecure = true\n\
            route = [\"shop=a\", \"test=b\"]\n";
        let (_dir, path) = file(text)?;
        let variables = [
            ("GRPCTUNNEL_LISTEN", "127.0.0.1:2"),
            ("GRPCTUNNEL_DRAIN_LIMIT", "9"),
        ];
        let shown = shown(&path, "gateway", &variables).await?;
        for line in [
            "[gateway]",
            "listen = \"127.0.0.1:2\" # environment",
            "drain-limit = 9 # environment",
            "max-streams = 7 # file",
            "insecure = true # file",
            "memory = 256 # default",
            "route = [\"shop=a\", \"test=b\"] # file",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_command_line_counts_more_than_everything() -> Tested {
    bounded(async {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = taken.local_addr()?.to_string();
        let (_dir, path) = file("[gateway]\nlisten = \"nonsense\"\n")?;
        let path = path.to_string_lossy();
        // The address of the command line is in use, so that it ends.
        let mut program = program(&["gateway", "--listen", &address, "--config", &path]);
        let output = program
            .env("GRPCTUNNEL_LISTEN", "nonsense")
            .output()
            .await?;
        let said = String::from_utf8(output.stderr)?;
        assert!(said.contains(&address) && said.contains("in use"), "{said}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_init_writes_is_good_and_is_not_written_twice() -> Tested {
    bounded(async {
        let dir = tempfile::tempdir()?;
        let target = dir.path().join("new");
        let target = target.to_string_lossy();
        let init = [
            "init",
            "--dir",
            &target,
            "--host",
            "gw.example.com",
            "--name",
            "pi",
        ];
        let output = program(&init).output().await?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8(output.stderr)?
        );
        let path = format!("{target}/grpctunnel.toml");
        let output = program(&["config", "check", "--config", &path])
            .output()
            .await?;
        let said = String::from_utf8(output.stdout)?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8(output.stderr)?
        );
        assert!(said.ends_with("is good: gateway, agent, dial\n"), "{said}");
        #[cfg(unix)]
        for secret in [
            "ca.key",
            "gateway.key",
            "tokens",
            "agent.token",
            "caller.token",
        ] {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(format!("{target}/{secret}"))?
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0, "{secret}");
        }
        let output = program(&init).output().await?;
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr)?.contains("exists already"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_example_has_every_section() -> Tested {
    bounded(async {
        let output = program(&["config", "example"]).output().await?;
        let text = String::from_utf8(output.stdout)?;
        for part in [
            "[gateway]",
            "[agent]",
            "[dial]",
            "[forward]",
            "#tls-cert = ",
            "#allow = ",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // As it is, it says nothing, and is good.
        let (_dir, path) = file(&text)?;
        let path = path.to_string_lossy();
        let output = program(&["config", "show", "dial", "--config", &path])
            .output()
            .await?;
        assert_eq!(output.status.code(), Some(2), "an address is required");
        Ok(())
    })
    .await
}
