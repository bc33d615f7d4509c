//! Options of who may come, and of who is presented to others.

use std::path::PathBuf;

use clap::Args;

use crate::{
    auth::{Allow, CredentialSettings, TokenSource, TokensFrom, TrustSettings},
    limits::Limit,
    tls::{ClientFiles, ServerFiles},
};

/// The environment variable that holds the tokens that a gateway accepts.
const TOKENS: &str = "GRPCTUNNEL_TOKENS";
/// The environment variable that holds the token that is presented to a gateway.
const TOKEN: &str = "GRPCTUNNEL_TOKEN";
/// The same for the local server.
const LOCAL_TOKEN: &str = "GRPCTUNNEL_LOCAL_TOKEN";

/// Whom a gateway trusts, and with what.
#[derive(Debug, Args)]
#[command(next_help_heading = "Trust")]
pub struct TrustArgs {
    /// The certificate of the gateway, as PEM: it speaks TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The authorities of client certificates, as PEM
    ///
    /// Whoever presents a certificate of theirs is `cert:NAME`, for each DNS name, URI and mail
    /// address in it. Without --tokens-file everybody has to present one.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// Revocation lists of these authorities, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_client_ca")]
    pub tls_client_crl: Option<PathBuf>,
    /// The tokens that are accepted: lines of NAME TOKEN
    ///
    /// Whoever presents the token is `token:NAME`. A name may have several tokens. The variable
    /// GRPCTUNNEL_TOKENS holds the same text.
    #[arg(long, value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,
    /// Who may serve or call which names: "IDENTITY serve NAMES" or "IDENTITY call NAMES"; may be
    /// repeated
    ///
    /// Names have commas between them; * stands for any characters, ? for one. What no rule allows
    /// is refused, and callers cannot tell it from what is not there.
    #[arg(long, value_name = "RULE")]
    pub allow: Vec<Allow>,
    /// What each identity may take: "IDENTITY KEY=NUMBER ..."; may be repeated, the first that
    /// fits counts
    ///
    /// The keys: calls, tunnels, connections (open at once), rate (calls a second), burst, waiting
    /// (bytes that were sent and not read, such as 16MiB).
    #[arg(long, value_name = "LIMIT")]
    pub limit: Vec<Limit>,
}

impl TrustArgs {
    /// The settings.
    #[must_use]
    pub fn settings(self) -> TrustSettings {
        let files = self.tls_cert.zip(self.tls_key);
        let tls = files.map(|(cert, key)| ServerFiles {
            client_ca: self.tls_client_ca,
            client_crl: self.tls_client_crl,
            ..ServerFiles::new(cert, key)
        });
        let text = || std::env::var(TOKENS).ok().map(TokensFrom::Text);
        TrustSettings {
            tls,
            tokens: self.tokens_file.map(TokensFrom::File).or_else(text),
            allow: self.allow,
            limits: self.limit,
        }
    }
}

/// What is presented to a gateway, and what it is checked against.
#[derive(Debug, Args)]
#[command(next_help_heading = "Credentials")]
pub struct CredentialArgs {
    /// The authorities that the server's certificate may come from, as PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The certificate that is presented, as PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The private key of --cert, as PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must have [default: the host of the URL]
    #[arg(long, value_name = "HOST")]
    pub server_name: Option<String>,
    /// The file with the token that is presented
    ///
    /// It holds the token and nothing else. The variable GRPCTUNNEL_TOKEN holds the same text.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// How often refused credentials are presented to a gateway again, before it is left alone
    ///
    /// With no gateway left, the exit code is 4.
    #[arg(long, value_name = "COUNT", default_value_t = crate::carrier::AUTH_RETRIES)]
    pub auth_retries: u32,
}

impl CredentialArgs {
    /// The settings.
    #[must_use]
    pub fn settings(self) -> CredentialSettings {
        CredentialSettings {
            tls: ClientFiles {
                ca: self.ca,
                identity: self.cert.zip(self.key),
                server_name: self.server_name,
            },
            token: token(self.token_file, TOKEN),
        }
    }
}

/// What is presented to a local server, and what it is checked against.
#[derive(Debug, Args)]
#[command(next_help_heading = "Credentials")]
pub struct LocalCredentialArgs {
    /// The authorities that a local server's certificate may come from, as PEM [default: the
    /// system's]
    #[arg(long, value_name = "FILE")]
    pub local_ca: Option<PathBuf>,
    /// The certificate that is presented to local servers, as PEM
    #[arg(long, value_name = "FILE", requires = "local_key")]
    pub local_cert: Option<PathBuf>,
    /// The private key of --local-cert, as PEM
    #[arg(long, value_name = "FILE", requires = "local_cert")]
    pub local_key: Option<PathBuf>,
    /// The name that a local server's certificate must have [default: the host of its URL]
    #[arg(long, value_name = "HOST")]
    pub local_server_name: Option<String>,
    /// The file with the token that is presented to a local server that is another gateway
    #[arg(long, value_name = "FILE")]
    pub local_token_file: Option<PathBuf>,
}

impl LocalCredentialArgs {
    /// The settings.
    #[must_use]
    pub fn settings(self) -> CredentialSettings {
        CredentialSettings {
            tls: ClientFiles {
                ca: self.local_ca,
                identity: self.local_cert.zip(self.local_key),
                server_name: self.local_server_name,
            },
            token: token(self.local_token_file, LOCAL_TOKEN),
        }
    }
}

pub(super) fn token(file: Option<PathBuf>, variable: &'static str) -> Option<TokenSource> {
    let text = || std::env::var(variable).ok();
    let text = || text().map(|text| TokenSource::Text(text, variable));
    file.map(TokenSource::File).or_else(text)
}
