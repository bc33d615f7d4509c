//! Bad input gives one line that names cause and cure, and its exit code.

use std::{fmt::Write, net::SocketAddr};

use crate::{
    program::program,
    support::{
        Tested, bounded, depot,
        pki::{Authority, Valid},
    },
    trust::Spoken,
};

const GATEWAY: &str = "gateway --listen 127.0.0.1:0";
const AGENT: &str = "agent --name home --local http://127.0.0.1:9 --gateway";

/// A command line, with `{}` for the directory of files, `{port}` for a port that is in use, and
/// `{server}` for a gRPC server that is no gateway; what is said; the exit code.
type Row = (&'static str, &'static [&'static str], i32);

/// Wrong command lines and configurations.
const CONFIGURATION: &[Row] = &[
    (
        "gateway --config {}/key.toml",
        &["key.toml", "gateway.lisen", "is gateway.listen meant?"],
        2,
    ),
    (
        "gateway --config {}/section.toml",
        &["unknown key gatway", "is gateway meant?"],
        2,
    ),
    (
        "gateway --config {}/strange.toml",
        &["gateway.frobnicate", "config example"],
        2,
    ),
    (
        "gateway --config {}/syntax.toml",
        &["syntax.toml, line 2", "not TOML"],
        2,
    ),
    (
        "gateway --config {}/kind.toml",
        &["gateway.listen", "expected a text or a number"],
        2,
    ),
    (
        "gateway --config {}/switch.toml",
        &["gateway.insecure", "expected true or false"],
        2,
    ),
    (
        "gateway --config {}/value.toml",
        &["value.toml", "--listen", "HOST:PORT"],
        2,
    ),
    (
        "gateway --config {}/flat.toml",
        &["gateway: expected a section, as [gateway]"],
        2,
    ),
    (
        "gateway --config {}/none.toml",
        &["none.toml", "no such file", "check the path"],
        2,
    ),
    (
        "gateway --config {}",
        &["it is a directory", "name the file"],
        2,
    ),
    ("config check", &["which file?", "--config FILE"], 2),
    (
        "config show nonsense",
        &["nonsense", "gateway, agent, dial, forward"],
        2,
    ),
    (
        "gateway --listen 7000",
        &["--listen", "a port alone", "HOST:PORT"],
        2,
    ),
    ("gateway", &["--listen", "grpctunnel --help"], 2),
    (
        "agent --gateway h:1 --name a --local http://h:1",
        &["--gateway", "https://HOST:PORT"],
        2,
    ),
    ("agent --token secret", &["--token", "--token-file"], 2),
    (
        "gateway --listen 127.0.0.1:0 --allow token:a",
        &["--allow", "IDENTITY serve NAMES"],
        2,
    ),
    (
        "gateway --listen 127.0.0.1:0 --limit *",
        &["--limit", "IDENTITY KEY=NUMBER"],
        2,
    ),
    (
        "gateway --listen 127.0.0.1:0 --limit token:ci+waiting=16MB",
        &["--limit", "not a number", "KiB, MiB or GiB"],
        2,
    ),
    (
        "gateway --listen 127.0.0.1:0 --retry shop.Cart",
        &["--retry", "it has no codes", "codes=UNAVAILABLE"],
        2,
    ),
];

/// Wrong files of the gateway: what stands behind [`GATEWAY`].
const FILES: &[Row] = &[
    (
        "--tls-cert {}/good.pem",
        &["--tls-key <FILE>", "not provided"],
        2,
    ),
    (
        "--tls-cert {}/none.pem --tls-key {}/good.key",
        &["none.pem", "no such file", "check the path"],
        2,
    ),
    (
        "--tls-cert {}/good.pem --tls-key {}",
        &["directory", "name the file in it"],
        2,
    ),
    (
        "--tls-cert {}/good.key --tls-key {}/good.key",
        &["good.key", "no certificate", "BEGIN CERTIFICATE"],
        2,
    ),
    (
        "--tls-cert {}/good.pem --tls-key {}/good.pem",
        &["good.pem", "no private key", "BEGIN PRIVATE KEY"],
        2,
    ),
    (
        "--tls-cert {}/good.pem --tls-key {}/other.key",
        &["other.key", "does not belong to", "made together"],
        2,
    ),
    (
        "--tls-cert {}/cut.pem --tls-key {}/good.key",
        &["cut.pem", "damaged or not PEM"],
        2,
    ),
    (
        "--tls-cert {}/garbage.pem --tls-key {}/good.key",
        &["garbage.pem", "issued again"],
        2,
    ),
    (
        "--tls-cert {}/old.pem --tls-key {}/old.key",
        &["old.pem", "expired on Wed, 01 Jan 2020", "renew it"],
        2,
    ),
    (
        "--tls-cert {}/new.pem --tls-key {}/new.key",
        &["not valid before Fri, 01 Jan 2100", "set the clock"],
        2,
    ),
    (
        "--tls-cert {}/good.pem --tls-key {}/good.key --tls-client-ca {}/garbage.pem \
      --allow token:a+call+a",
        &["garbage.pem", "issued again"],
        2,
    ),
    (
        "--tls-cert {}/good.pem --tls-key {}/good.key --tls-client-ca {}/good.pem --tls-client-crl {}/good.pem \
      --allow token:a+call+a",
        &["no revocation list", "BEGIN X509 CRL"],
        2,
    ),
    (
        "--tokens-file {}/none --allow token:a+call+a",
        &["none", "check the path"],
        2,
    ),
    (
        "--tokens-file {}/short --allow token:a+call+a",
        &["short, line 2", "at least 16"],
        2,
    ),
    (
        "--tokens-file {}/alone --allow token:a+call+a",
        &["alone, line 1", "expected NAME TOKEN"],
        2,
    ),
    (
        "--tokens-file {}/empty --allow token:a+call+a",
        &["empty", "no token"],
        2,
    ),
    ("--tokens-file {}/tokens", &["no rule allows", "--allow"], 2),
    (
        "--allow token:a+call+a",
        &["--allow needs", "--tokens-file"],
        2,
    ),
];

/// Addresses that cannot be listened on.
const ADDRESSES: &[Row] = &[
    ("gateway --listen {port}", &["{port}", "in use"], 1),
    (
        "gateway --listen :0",
        &[":0", "nobody has to authenticate", "--insecure"],
        2,
    ),
    (
        "gateway --listen 0.0.0.0:0 --tokens-file {}/tokens --allow token:a+call+a",
        &["tokens included", "--tls-cert"],
        2,
    ),
    (
        "dial --gateway http://127.0.0.1:9 --name a --listen :0",
        &["--insecure"],
        2,
    ),
    (
        "gateway --listen 203.0.113.1:0 --insecure",
        &["203.0.113.1:0", "no such address"],
        1,
    ),
];

/// Wrong credentials of an agent: what stands behind [`AGENT`].
const CREDENTIALS: &[Row] = &[
    (
        "https://127.0.0.1:9 --token-file {}/two-lines",
        &["two-lines", "several lines", "one token and nothing else"],
        2,
    ),
    (
        "https://127.0.0.1:9 --token-file {}/empty",
        &["it is empty", "expected one token"],
        2,
    ),
    (
        "https://127.0.0.1:9 --token-file {}/blank",
        &["blank", "characters that no token has"],
        2,
    ),
    (
        "http://gw.example.com:80 --token-file {}/token",
        &["http://gw.example.com:80", "use https://", "--insecure"],
        2,
    ),
    (
        "https://127.0.0.1:9 --ca {}/none.pem",
        &["none.pem", "check the path"],
        2,
    ),
    (
        "https://127.0.0.1:9 --cert {}/good.pem",
        &["--key <FILE>"],
        2,
    ),
    (
        "https://127.0.0.1:9 --cert {}/good.pem --key {}/other.key",
        &["does not belong to"],
        2,
    ),
    (
        "https://127.0.0.1:9 --cert {}/new.pem --key {}/new.key",
        &["set the clock"],
        2,
    ),
];

/// What is wrong with a gateway may be put right, so the agent goes on: what it says first.
const GATEWAYS: &[(&str, &[&str])] = &[
    (
        "http://{server}",
        &["this is no grpctunnel gateway", "UNIMPLEMENTED"],
    ),
    (
        "http://{http1}",
        &["this is no grpctunnel gateway", "it speaks HTTP/1"],
    ),
    (
        "https://{server} --ca {}/ca.pem",
        &["it speaks plaintext", "use http://"],
    ),
    ("http://{port}", &["did not speak HTTP/2 within"]),
    (
        "http://127.0.0.1:1",
        &["cannot reach the gateway", "connection refused"],
    ),
];

fn files(authority: &Authority) -> Tested {
    let write = |name: &str, text: &str| std::fs::write(authority.path(name), text);
    let good = authority.issue("good", &["localhost"])?;
    authority.issue("other", &["localhost"])?;
    authority.issue_valid("old", &["localhost"], Valid::Until2020)?;
    authority.issue_valid("new", &["localhost"], Valid::From2100)?;
    let whole = std::fs::read_to_string(good.cert)?;
    write("cut.pem", whole.split("-----END").next().ok_or("no end")?)?;
    write(
        "garbage.pem",
        "-----BEGIN CERTIFICATE-----\nAAECAwQFBgcICQ==\n-----END CERTIFICATE-----\n",
    )?;
    write("tokens", "a 0123456789abcdef\n")?;
    write("short", "a 0123456789abcdef\nb short\n")?;
    write("alone", "0123456789abcdef\n")?;
    write("empty", "\n")?;
    write("token", "0123456789abcdef\n")?;
    write("two-lines", "0123456789abcdef\nfedcba9876543210\n")?;
    write("blank", "0123456789abc def\n")?;
    write("key.toml", "[gateway]\nlisen = \"127.0.0.1:0\"\n")?;
    write("section.toml", "[gatway]\n")?;
    write("strange.toml", "[gateway]\nfrobnicate = 1\n")?;
    write("syntax.toml", "[gateway]\nlisten = \n")?;
    write("kind.toml", "[gateway]\nlisten = true\n")?;
    write("switch.toml", "[gateway]\ninsecure = \"yes\"\n")?;
    write("value.toml", "[gateway]\nlisten = \"7000\"\n")?;
    write("flat.toml", "gateway = 1\n")?;
    Ok(())
}

/// A command line, word by word; `+` stands for a blank in a word.
fn words(line: &str, places: &[(&str, &str)]) -> Vec<String> {
    let word = |word: &str| {
        let word = match word.contains("token:") {
            true => word.replace('+', " "),
            false => word.to_owned(),
        };
        places
            .iter()
            .fold(word, |word, (place, value)| word.replace(place, value))
    };
    line.split_whitespace().map(word).collect()
}

#[tokio::test]
async fn bad_input_is_told_in_one_line_with_its_exit_code() -> Tested {
    bounded(async {
        let authority = Authority::new()?;
        files(&authority)?;
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let (dir, port) = (
            authority.dir.path().display().to_string(),
            taken.local_addr()?,
        );
        let port = port.to_string();
        let places = [("{}", &*dir), ("{port}", &*port)];
        let rows = [
            (CONFIGURATION, ""),
            (FILES, GATEWAY),
            (ADDRESSES, ""),
            (CREDENTIALS, AGENT),
        ];
        let (mut count, mut wrong) = (0, String::new());
        for (rows, before) in rows {
            for (line, parts, code) in rows {
                let line = words(&format!("{before} {line}"), &places);
                let line: Vec<_> = line.iter().map(String::as_str).collect();
                let output = tokio::time::timeout(
                    std::time::Duration::from_secs(20),
                    program(&line).output(),
                );
                let output = output
                    .await
                    .map_err(|_| format!("it goes on: {line:?}"))??;
                let said = String::from_utf8(output.stderr)?;
                let is_one_line =
                    said.lines().count() == 1 && said.starts_with("grpctunnel: error: ");
                let has = |part: &&str| said.contains(&part.replace("{port}", &port));
                let is_told = parts.iter().all(has);
                if output.status.code() != Some(*code) || !is_one_line || !is_told {
                    writeln!(wrong, "{line:?}: {:?}: {said}", output.status.code())?;
                }
                count += 1;
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        assert!(count >= 45, "{count} rows");
        Ok(())
    })
    .await
}

/// A server that answers everything in HTTP/1.
async fn http1() -> Tested<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::AsyncWriteExt;
            let text = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(text).await?;
        }
        Tested::Ok(())
    });
    Ok(address)
}

#[tokio::test]
async fn a_gateway_that_is_none_is_told_in_one_line() -> Tested {
    bounded(async {
        let authority = Authority::new()?;
        let (depot, http1) = (depot("no gateway").await?, http1().await?);
        // It accepts, and says nothing.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let (dir, port) = (
            authority.dir.path().display().to_string(),
            silent.local_addr()?,
        );
        let (server, http1, port) = (
            depot.address.to_string(),
            http1.to_string(),
            port.to_string(),
        );
        let places = [
            ("{}", &*dir),
            ("{server}", &*server),
            ("{http1}", &*http1),
            ("{port}", &*port),
        ];
        for (gateway, parts) in GATEWAYS {
            let line = words(&format!("{AGENT} {gateway}"), &places);
            let line: Vec<_> = line.iter().map(String::as_str).collect();
            let mut agent = Spoken::start(program(&line))?;
            let (first, rest) = parts.split_first().ok_or("no parts")?;
            let said = agent.says(first).await?;
            for part in rest {
                assert!(said.contains(part), "{gateway}: {said}");
            }
        }
        Ok(())
    })
    .await
}
