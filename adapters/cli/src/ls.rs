//! `grpctunnel ls` and `grpctunnel drain`: an admin port is asked.

use std::{
    error::Error,
    fmt::{self, Write as _},
    io::{self, IsTerminal, Write},
    str::FromStr,
    time::Duration,
};

use bytes::Bytes;
use grpctunnel_http2::{Client, Settings};
use http::{Method, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;
use tower_service::Service;

use crate::{
    admin::Drained,
    auth::{CredentialSettings, Credentials},
    connect::{Connector, Proxy, Watch},
    log::OneLine,
    name::Name,
    origin::{BadOrigin, Origin},
    words,
};

/// How often a list is printed again.
const EVERY: Duration = Duration::from_secs(2);
/// An answer may take this long.
const LIMIT: Duration = Duration::from_secs(10);
/// The largest answer: more than a gateway has tunnels for.
const LARGEST: usize = 64 << 20;
const WATCH: Watch = Watch {
    probe: Duration::from_secs(20),
    pause: Duration::from_secs(5),
    silence: Duration::from_secs(30),
};
/// What is to be seen, over what was there.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Where an admin port is: as its command was told, or a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At(Origin);

impl FromStr for At {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let is_address = !text.contains("://") && !text.starts_with("unix:");
        match is_address {
            true => format!("http://{text}").parse().map(Self),
            false => text.trim_end_matches('/').parse().map(Self),
        }
    }
}

/// Why an admin port did not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum AskError {
    /// A file is wrong.
    File(crate::tls::FileError),
    /// It cannot be reached.
    Unreachable(Origin, String),
    /// It wants a token, or another one.
    Token(Origin, String),
    /// It said no.
    Refused(String),
    /// What answers is no admin port.
    Other(Origin),
    /// Nobody reads what is printed.
    Unread,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Unreachable(at, why) => write!(
                f,
                "cannot reach the admin port {at}: {why}; is the command running, with --admin?"
            ),
            Self::Token(at, why) => write!(f, "{at}: {why}; add --token-file"),
            Self::Refused(why) => f.write_str(why),
            Self::Other(at) => write!(f, "{at} is no admin port of grpctunnel; see --admin"),
            Self::Unread => f.write_str("nobody reads what is printed"),
        }
    }
}

impl Error for AskError {}

/// An admin port that is asked.
#[derive(Debug)]
pub struct Asked {
    at: Origin,
    credentials: Credentials,
}

impl Asked {
    /// With these credentials.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn new(at: At, credentials: &CredentialSettings) -> Result<Self, AskError> {
        Ok(Self {
            at: at.0,
            credentials: Credentials::load(credentials).map_err(AskError::File)?,
        })
    }

    /// Prints its tunnels: once, or again and again.
    ///
    /// # Errors
    ///
    /// When it does not tell; when it is printed again and again, only the first time.
    pub async fn ls(&self, json: bool, watch: bool) -> Result<(), AskError> {
        let clears = watch && !json && io::stdout().is_terminal();
        let mut told = false;
        loop {
            let text = match self.ask(Method::GET, "/tunnels").await {
                Ok(shown) if json => format!("{shown}\n"),
                Ok(shown) => table(&shown),
                Err(error) if told => format!("{error}\n"),
                Err(error) => return Err(error),
            };
            told = true;
            let begin = if clears { CLEAR } else { "" };
            let printed = write!(io::stdout(), "{begin}{text}").and_then(|()| io::stdout().flush());
            printed.map_err(|_| AskError::Unread)?;
            if !watch {
                return Ok(());
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Drains an agent, or has it taken again. Says how many tunnels it had.
    ///
    /// # Errors
    ///
    /// When it is not done.
    pub async fn change(&self, name: &Name, drained: Drained) -> Result<u64, AskError> {
        let verb = match drained {
            Drained::Drain => "drain",
            Drained::Admit => "admit",
        };
        let path = format!("/tunnels/{name}/{verb}");
        let done = self.ask(Method::POST, &path).await?;
        let other = || AskError::Other(self.at.clone());
        done.get("tunnels")
            .and_then(Value::as_u64)
            .ok_or_else(other)
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Value, AskError> {
        let asking = self.exchange(method, path);
        let unreachable = |why| AskError::Unreachable(self.at.clone(), why);
        let (status, body) = tokio::time::timeout(LIMIT, asking)
            .await
            .map_err(|_| unreachable("no answer in time".to_owned()))?
            .map_err(|error| {
                let spoken = words::spoken(&*error).map(str::to_owned);
                unreachable(spoken.unwrap_or_else(|| words::reason(&*error)))
            })?;
        let value: Value =
            serde_json::from_slice(&body).map_err(|_| AskError::Other(self.at.clone()))?;
        if status.is_success() {
            return Ok(value);
        }
        let why = value.get("error").and_then(Value::as_str);
        let why = OneLine(why.unwrap_or(status.as_str())).to_string();
        Err(match status {
            StatusCode::UNAUTHORIZED => AskError::Token(self.at.clone(), why),
            _ => AskError::Refused(why),
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
        let credentials = self.credentials.clone();
        let connector = Connector::new(self.at.clone(), Proxy::None, credentials, WATCH);
        let mut client: Client<Bytes> = connector.http2(&Settings::calls()).await?;
        let uri = self
            .at
            .with_path(self.at.authority().clone(), path.parse()?);
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = self.credentials.authorization() {
            request = request.header(AUTHORIZATION, token);
        }
        let response = client.call(request.body(Full::<Bytes>::default())?).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LARGEST).collect().await?;
        Ok((head.status, body.to_bytes()))
    }
}

const COLUMNS: [(&str, &str); 8] = [
    ("NAME", "name"),
    ("STATE", "state"),
    ("PEER", "peer"),
    ("IDENTITY", "identity"),
    ("SECONDS", "seconds"),
    ("OPEN", "calls_open"),
    ("CALLS", "calls"),
    ("WHY", "why"),
];

/// Tunnels as a table, and below it the names that are not taken.
fn table(shown: &Value) -> String {
    let list = |key| shown.get(key).and_then(Value::as_array);
    let cell = |tunnel: &Value, key: &str| match tunnel.get(key) {
        None => "-".to_owned(),
        Some(Value::String(text)) => OneLine(text).to_string(),
        Some(other) => other.to_string(),
    };
    let head = COLUMNS.map(|(title, _)| title.to_owned());
    let mut rows = vec![head];
    let tunnels = list("tunnels").into_iter().flatten();
    rows.extend(tunnels.map(|tunnel| COLUMNS.map(|(_, key)| cell(tunnel, key))));
    let mut widths = [0; COLUMNS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string does not fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for name in list("drained")
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        let _ = writeln!(text, "{} is drained, and not taken", OneLine(name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_port_is_named_as_it_was_told_or_by_a_url() {
        for (given, url) in [
            ("127.0.0.1:7009", "http://127.0.0.1:7009"),
            ("http://localhost:7009/", "http://localhost:7009"),
            ("https://gw.example:7009", "https://gw.example:7009"),
            ("unix:/run/admin.sock", "unix:/run/admin.sock"),
        ] {
            assert_eq!(given.parse::<At>().unwrap().0.to_string(), url);
        }
        assert!("ftp://a:1".parse::<At>().is_err());
    }

    #[test]
    fn a_table_has_a_line_for_each_tunnel_whatever_is_in_it() {
        let shown = serde_json::json!({
            "tunnels": [
                {"name": "pi", "state": "open", "peer": "127.0.0.1:5", "calls": 12},
                {"peer": "a\u{1b}[2J\nb", "state": "waiting", "why": "connection refused"},
            ],
            "drained": ["old"],
        });
        let text = table(&shown);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].starts_with("NAME  STATE    PEER"), "{text}");
        assert!(lines[1].starts_with("pi    open     127.0.0.1:5"), "{text}");
        assert!(lines[2].contains("a\\u{1b}[2J\\nb"), "{text}");
        assert_eq!(lines[3], "old is drained, and not taken");
    }
}
