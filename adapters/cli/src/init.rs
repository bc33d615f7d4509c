//! `grpctunnel init`: certificates, tokens and a configuration to begin with.

use std::{
    fs,
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tokio_rustls::rustls::crypto::ring;

use crate::args::InitArgs;

/// How long the certificates are valid, in days from yesterday.
const DAYS: i64 = 825;

/// Writes into a new directory: an authority with its key, the gateway's certificate and key, a
/// token each for the agent and for callers, and a configuration that uses them. Says which files.
///
/// # Errors
///
/// When a file cannot be written, or exists.
pub fn init(args: &InitArgs) -> io::Result<Vec<PathBuf>> {
    let dir = &args.dir;
    fs::create_dir_all(dir)?;
    let (authority, cert, key) = certificates(&args.host).map_err(io::Error::other)?;
    let (agent, caller) = (token()?, token()?);
    let name = &args.name;
    let tokens = format!(
        "# NAME TOKEN; a name may have several tokens while they are replaced.\n\
         {name} {agent}\ncaller {caller}\n"
    );
    let host = args.host.first().map_or("localhost", String::as_str);
    let files = [
        ("ca.pem", authority.pem(), false),
        ("ca.key", authority.key().serialize_pem(), true),
        ("gateway.pem", cert, false),
        ("gateway.key", key, true),
        ("tokens", tokens, true),
        ("agent.token", agent + "\n", true),
        ("caller.token", caller + "\n", true),
        ("grpctunnel.toml", configuration(host, name.as_str()), false),
    ];
    // All or nothing: a mixture of two would not fit together.
    for (file, ..) in &files {
        let path = dir.join(file);
        if path.exists() {
            let text = format!("{} exists already", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
    }
    let mut written = Vec::new();
    for (file, text, is_secret) in files {
        let path = dir.join(file);
        write(&path, &text, is_secret)?;
        written.push(path);
    }
    Ok(written)
}

fn configuration(host: &str, name: &str) -> String {
    // What only this machine can reach by its name needs no other address.
    let is_local = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let listen = if is_local { "127.0.0.1:7443" } else { ":7443" };
    format!(
        "[gateway]\n\
         listen = \"{listen}\"\n\
         tls-cert = \"gateway.pem\"\n\
         tls-key = \"gateway.key\"\n\
         tokens-file = \"tokens\"\n\
         allow = [\"token:{name} serve {name}\", \"token:caller call {name}\"]\n\
         \n\
         [agent]\n\
         gateway = [\"https://{host}:7443\"]\n\
         ca = \"ca.pem\"\n\
         token-file = \"agent.token\"\n\
         name = \"{name}\"\n\
         local = \"http://127.0.0.1:50051\"\n\
         \n\
         [dial]\n\
         gateway = \"https://{host}:7443\"\n\
         ca = \"ca.pem\"\n\
         token-file = \"caller.token\"\n\
         name = \"{name}\"\n\
         listen = \"127.0.0.1:7001\"\n"
    )
}

type Certificates = (CertifiedIssuer<'static, KeyPair>, String, String);

fn certificates(hosts: &[String]) -> Result<Certificates, rcgen::Error> {
    let yesterday = rcgen::date_time_ymd(1970, 1, 1) + since_1970() - days(1);
    let mut params = CertificateParams::default();
    params.not_before = yesterday;
    params.not_after = yesterday + days(DAYS);
    let mut authority = params.clone();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let name = "grpctunnel authority";
    authority.distinguished_name.push(DnType::CommonName, name);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut hosts = hosts.to_vec();
    for local in ["localhost", "127.0.0.1"] {
        if !hosts.iter().any(|host| host == local) {
            hosts.push(local.to_owned());
        }
    }
    let mut leaf = CertificateParams::new(hosts)?;
    (leaf.not_before, leaf.not_after) = (params.not_before, params.not_after);
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&key, &authority)?;
    let key = key.serialize_pem();
    Ok((authority, leaf.pem(), key))
}

fn since_1970() -> std::time::Duration {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

const fn days(days: i64) -> std::time::Duration {
    std::time::Duration::from_secs(days.unsigned_abs() * 24 * 3600)
}

/// A token of 32 random bytes.
fn token() -> io::Result<String> {
    let mut bytes = [0; 32];
    let random = ring::default_provider().secure_random;
    let filled = random.fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a new file; a secret one for this user alone.
fn write(path: &Path, text: &str, is_secret: bool) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if is_secret {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}
