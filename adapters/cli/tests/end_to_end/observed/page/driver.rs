//! A headless Chromium, told what to do by WebDriver (<https://www.w3.org/TR/webdriver2/>).

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::support::Tested;

/// What WebDriver calls the id of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Without a sandbox, which containers do not allow, and without asking anything of the network.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// Where Chromium and its driver are: installed, or unpacked below `GRPCTUNNEL_CHROMIUM`.
pub(super) struct Installed {
    root: PathBuf,
}

impl Installed {
    pub(super) fn find() -> Option<Self> {
        let root = std::env::var_os("GRPCTUNNEL_CHROMIUM").map_or("/".into(), PathBuf::from);
        let installed = Self { root };
        let has_both = installed.driver().exists() && installed.browser().exists();
        has_both.then_some(installed)
    }

    fn driver(&self) -> PathBuf {
        self.root.join("usr/bin/chromedriver")
    }

    fn browser(&self) -> PathBuf {
        self.root.join("usr/lib/chromium/chromium")
    }

    /// Where the libraries are of what was unpacked.
    fn libraries(&self) -> Option<String> {
        if self.root == Path::new("/") {
            return None;
        }
        let folders = ["usr/lib", "lib"].map(|folder| self.root.join(folder));
        let archs = folders
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok());
        let archs = archs.flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let archs = archs.filter(|path| path.is_dir());
        let folders = archs.flat_map(|arch| [arch.join("pulseaudio"), arch]);
        let folders: Vec<_> = folders.map(|folder| folder.display().to_string()).collect();
        Some(folders.join(":"))
    }
}

/// A browser with one window.
pub(super) struct Browser {
    port: u16,
    session: String,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts it, with a window of this size.
    pub(super) async fn start(installed: &Installed, width: u32, height: u32) -> Tested<Self> {
        let profile = tempfile::tempdir()?;
        let mut command = Command::new(installed.driver());
        command
            .arg("--port=0")
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if let Some(libraries) = installed.libraries() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let mut driver = command.spawn()?;
        let mut lines = BufReader::new(driver.stdout.take().ok_or("no stdout")?).lines();
        let port = loop {
            let line = lines.next_line().await?.ok_or("the driver ended early")?;
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').parse()?;
            }
        };
        let mut arguments: Vec<_> = ARGUMENTS.iter().map(ToString::to_string).collect();
        let data = profile.path().join("data");
        arguments.push(format!("--user-data-dir={}", data.display()));
        arguments.push(format!("--window-size={width},{height}"));
        let options = json!({ "binary": installed.browser(), "args": arguments });
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let begun = ask(port, Method::POST, "/session", wanted).await?;
        let session = text(&begun, "sessionId")?.to_owned();
        Ok(Self {
            port,
            session,
            _driver: driver,
            _profile: profile,
        })
    }

    async fn tell(&self, method: Method, path: &str, value: Value) -> Tested<Value> {
        let path = format!("/session/{}{path}", self.session);
        ask(self.port, method, &path, value).await
    }

    pub(super) async fn open(&self, url: &str) -> Tested {
        let told = self.tell(Method::POST, "/url", json!({"url": url})).await;
        told.map(drop)
    }

    /// What a piece of JavaScript returns.
    pub(super) async fn run(&self, script: &str, arguments: Value) -> Tested<Value> {
        let script = json!({"script": script, "args": arguments});
        self.tell(Method::POST, "/execute/sync", script).await
    }

    /// Waits until a piece of JavaScript returns true.
    pub(super) async fn until(&self, script: &str) -> Tested {
        while self.run(script, json!([])).await? != true {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The element of an XPath, as a part of paths.
    async fn element(&self, path: &str) -> Tested<String> {
        let by = json!({"using": "xpath", "value": path});
        let found = self.tell(Method::POST, "/element", by).await?;
        let id = text(&found, ELEMENT)?;
        Ok(format!("/element/{id}"))
    }

    /// Clicks on the element of an XPath, as soon as there is one that stays for long enough: the
    /// page makes them anew every few seconds.
    pub(super) async fn click(&self, path: &str) -> Tested {
        loop {
            let clicked = async {
                let path = format!("{}/click", self.element(path).await?);
                self.tell(Method::POST, &path, json!({})).await
            };
            match clicked.await {
                Err(error) if is_passing(&error.to_string()) => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                clicked => return clicked.map(drop),
            }
        }
    }

    pub(super) async fn write(&self, path: &str, text: &str) -> Tested {
        let path = format!("{}/value", self.element(path).await?);
        let text = json!({ "text": text });
        self.tell(Method::POST, &path, text).await.map(drop)
    }

    /// A picture of the window: a PNG in base64.
    pub(super) async fn screenshot(&self) -> Tested<String> {
        let taken = self.tell(Method::GET, "/screenshot", Value::Null).await?;
        Ok(taken.as_str().ok_or("no picture")?.to_owned())
    }

    pub(super) async fn quit(self) -> Tested {
        self.tell(Method::DELETE, "", Value::Null).await.map(drop)
    }
}

/// Whether an error is one of a page that changes.
fn is_passing(error: &str) -> bool {
    let passing = [
        "stale element reference",
        "no such element",
        "element not interactable",
        "element click intercepted",
    ];
    passing.iter().any(|passing| error.contains(passing))
}

/// Asks the driver at a port for something.
async fn ask(port: u16, method: Method, path: &str, value: Value) -> Tested<Value> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let body = match value {
        Value::Null => String::new(),
        value => value.to_string(),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", format!("127.0.0.1:{port}"))
        .header("content-type", "application/json")
        .body(Full::<bytes::Bytes>::from(body))?;
    let response = sender.send_request(request).await?;
    let is_good = response.status().is_success();
    let body = response.into_body().collect().await?.to_bytes();
    let mut answered: Value = serde_json::from_slice(&body)?;
    let value = answered.get_mut("value").ok_or("no value")?.take();
    match is_good {
        true => Ok(value),
        false => {
            let (error, message) = (text(&value, "error")?, text(&value, "message")?);
            Err(format!("{path}: {error}: {message}").into())
        }
    }
}

fn text<'v>(value: &'v Value, key: &str) -> Tested<&'v str> {
    let text = value.get(key).and_then(Value::as_str);
    text.ok_or_else(|| format!("no {key} in {value}").into())
}
