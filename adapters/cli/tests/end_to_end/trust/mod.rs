//! Who gets in, and who does not: each promise with its attacker.

mod breaking;
mod certificates;
mod forward;
mod handshakes;
mod limits;
mod names;
mod promises;
mod rotation;
mod smuggling;
mod tokens;

pub(crate) use self::rotation::Spoken;

use std::{net::SocketAddr, path::Path};

use grpctunnel_cli::{
    agent::Agent,
    auth::{AUTHORIZATION, CredentialSettings, Credentials, TokenSource, TokensFrom},
    tls::{ClientFiles, ServerFiles},
};
use tonic::{
    Request,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::support::{
    RunningAgent, RunningGateway, Tested, gateway_with,
    pki::{Authority, Pair},
    stubs::depot_client::DepotClient,
};

/// Tokens of tests: long enough, and the same each time.
pub(crate) const HOME: &str = "home-token-0123456789";
pub(crate) const CALLER: &str = "caller-token-0123456789";
pub(crate) const OTHER: &str = "other-token-0123456789";

/// The tokens of `home`, `caller` and `other`.
pub(crate) fn tokens() -> TokensFrom {
    let lines = [("home", HOME), ("caller", CALLER), ("other", OTHER)];
    let lines = lines.map(|(name, token)| format!("{name} {token}"));
    TokensFrom::Text(lines.join("\n"))
}

/// A gateway without TLS that knows the [`tokens`].
pub(crate) async fn gateway_of(rules: &[&str]) -> Tested<RunningGateway> {
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| rule.parse())
        .collect::<Result<_, _>>()?;
    gateway_with("127.0.0.1:0", |settings| {
        settings.trust.tokens = Some(tokens());
        settings.trust.allow = rules;
    })
    .await
}

pub(crate) fn server_files(pair: &Pair, client_ca: Option<&Path>) -> ServerFiles {
    let mut files = ServerFiles::new(pair.cert.clone(), pair.key.clone());
    files.client_ca = client_ca.map(Path::to_owned);
    files
}

pub(crate) fn token(token: &str) -> Tested<Credentials> {
    let mut settings = CredentialSettings::default();
    settings.token = Some(TokenSource::Text(token.to_owned(), "A_TEST"));
    Ok(Credentials::load(&settings)?)
}

pub(crate) fn certificate(ca: &Path, pair: Option<&Pair>) -> Tested<Credentials> {
    let mut settings = CredentialSettings::default();
    settings.tls = ClientFiles::trusting(ca);
    settings.tls.identity = pair.map(Pair::both);
    Ok(Credentials::load(&settings)?)
}

/// An agent that may never connect.
pub(crate) fn agent_of(
    gateway: &str,
    name: &str,
    local: SocketAddr,
    credentials: Credentials,
) -> Tested<RunningAgent> {
    let mut agent = Agent::new(gateway.parse()?, name.parse()?, local.into());
    agent.retry_limit = std::time::Duration::from_millis(200);
    agent.drain_limit = std::time::Duration::ZERO;
    agent.credentials = credentials;
    Ok(RunningAgent::start(agent))
}

pub(crate) fn tls_caller(
    gateway: SocketAddr,
    tls: ClientTlsConfig,
) -> Tested<DepotClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("https://{gateway}"))?;
    let endpoint = endpoint.tls_config(tls.domain_name("localhost"))?;
    Ok(DepotClient::new(endpoint.connect_lazy()))
}

/// A request with a token.
pub(crate) fn by<T>(token: &str, mut request: Request<T>) -> Tested<Request<T>> {
    let value = format!("Bearer {token}").parse()?;
    request.metadata_mut().insert(AUTHORIZATION, value);
    Ok(request)
}

/// An authority, and a gateway with a certificate of its.
pub(crate) async fn secured(rules: &[&str]) -> Tested<(Authority, RunningGateway)> {
    let authority = Authority::new()?;
    let pair = authority.issue("gateway", &["localhost", "127.0.0.1"])?;
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| rule.parse())
        .collect::<Result<_, _>>()?;
    let gateway = gateway_with("127.0.0.1:0", |settings| {
        settings.trust.tls = Some(server_files(&pair, Some(&authority.ca())));
        settings.trust.allow = rules;
    })
    .await?;
    Ok((authority, gateway))
}
