//! `grpctunnel ls` and `grpctunnel drain`.

use serde_json::Value;

use super::{Running, token_file};
use crate::{
    program::program,
    support::{Tested, bounded, depot},
};

async fn run(arguments: &[&str]) -> Tested<(Option<i32>, String, String)> {
    let output = program(arguments).output().await?;
    let (out, err) = (output.stdout, output.stderr);
    Ok((
        output.status.code(),
        String::from_utf8(out)?,
        String::from_utf8(err)?,
    ))
}

#[tokio::test]
async fn tunnels_are_listed_and_drained_from_a_command_line() -> Tested {
    bounded(async {
        let depot = depot("depot").await?;
        let token = token_file()?;
        let token = token.path().to_str().ok_or("not UTF-8")?;
        let (gateway, address, admin) = Running::gateway(&["--admin-token-file", token]).await?;
        let (agent, agents_admin) = Running::agent(address, "pi", depot.address).await?;
        let (admin, agents_admin) = (admin.to_string(), agents_admin.to_string());
        let with = ["--admin", &admin, "--token-file", token];

        let (code, out, _) = run(&[&["ls"][..], &with].concat()).await?;
        assert_eq!(code, Some(0));
        let row = out.lines().find(|line| line.starts_with("pi "));
        assert!(row.is_some_and(|row| row.contains(" open ")), "{out}");
        let (_, out, _) = run(&[&["ls", "--json"][..], &with].concat()).await?;
        let shown: Value = serde_json::from_str(out.trim_end())?;
        assert_eq!(shown["tunnels"][0]["name"], "pi");
        let (_, out, _) = run(&["ls", "--admin", &agents_admin]).await?;
        assert!(out.contains(&format!("http://{address}")), "{out}");

        let (code, out, _) = run(&[&["drain", "pi"][..], &with].concat()).await?;
        assert_eq!((code, out.contains("tunnels: 1")), (Some(0), true), "{out}");
        agent.err.having("is drained", 1).await?;
        let (_, out, _) = run(&[&["ls"][..], &with].concat()).await?;
        assert!(out.contains("pi is drained"), "{out}");
        let (code, ..) = run(&[&["drain", "pi", "--undo"][..], &with].concat()).await?;
        assert_eq!(code, Some(0));
        gateway.err.having("agent joined", 2).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_list_is_printed_again_while_it_is_watched() -> Tested {
    bounded(async {
        let (_gateway, address, admin) = Running::gateway(&[]).await?;
        let watching = Running::start(&["ls", "--json", "--watch", "--admin", &admin.to_string()])?;
        watching.out.having("\"tunnels\":[]", 1).await?;
        let depot = depot("depot").await?;
        let (_agent, _) = Running::agent(address, "pi", depot.address).await?;
        watching.out.having("\"name\":\"pi\"", 2).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_wrong_is_told_with_what_to_do() -> Tested {
    bounded(async {
        let token = token_file()?;
        let token = token.path().to_str().ok_or("not UTF-8")?;
        let (_gateway, address, admin) = Running::gateway(&["--admin-token-file", token]).await?;
        let (admin, address) = (admin.to_string(), address.to_string());
        let with = ["--admin", &admin, "--token-file", token];
        let unused = std::net::TcpListener::bind("127.0.0.1:0")?;
        let nobody = unused.local_addr()?.to_string();
        drop(unused);
        for (arguments, code, part) in [
            (vec!["ls", "--admin", &admin], 1, "--token-file"),
            (
                vec!["ls", "--admin", &nobody],
                1,
                "connection refused; is the command running",
            ),
            (vec!["ls", "--admin", &address], 1, "is no admin port"),
            (vec!["ls"], 2, "--admin"),
            (
                [&["drain", "nobody"][..], &with].concat(),
                1,
                "agent nobody is not connected",
            ),
            (vec!["drain", "a b", "--admin", &admin], 2, "DNS label"),
        ] {
            let (ended, _, said) = run(&arguments).await?;
            assert_eq!(ended, Some(code), "{arguments:?}: {said}");
            assert!(said.contains(part), "{arguments:?}: {said}");
        }
        Ok(())
    })
    .await
}
