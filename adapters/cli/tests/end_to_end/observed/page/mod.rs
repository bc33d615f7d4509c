//! The page of the admin port, in a browser.

mod driver;

use std::{net::SocketAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use self::driver::{Browser, Installed};
use super::{Running, TOKEN, get, token_file};
use crate::support::{Tested, bounded, caller, depot, stubs::GreetRequest, to};

/// A browser takes long to start on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);
/// The window of a phone.
const PHONE: (u32, u32) = (500, 900);

#[tokio::test]
async fn the_page_has_everything_in_it_and_runs_nothing_else() -> Tested {
    bounded(async {
        let (_gateway, _, admin) = Running::gateway(&[]).await?;
        let page = get(admin, "/").await?;
        assert_eq!(page.status, 200);
        let mut lines = page.head.lines();
        let policy = lines.find_map(|line| line.strip_prefix("content-security-policy: "));
        let policy = policy.ok_or("no policy")?;
        let begin = "default-src 'none'; script-src 'nonce-";
        let nonce = policy
            .strip_prefix(begin)
            .and_then(|rest| rest.split('\'').next());
        let nonce = nonce.ok_or("no nonce")?;
        assert!(page.body.contains(&format!("<script nonce=\"{nonce}\">")));
        let again = get(admin, "/").await?;
        assert!(!again.body.contains(nonce), "the nonce is the same again");
        for part in [
            "http://", "https://", " src=", " href=", "url(", "@import", "NONCE",
        ] {
            assert!(!page.body.contains(part), "{part}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_operator_sees_and_drains_agents_in_a_browser() -> Tested {
    let Some(installed) = Installed::find() else {
        eprintln!(
            "skipped: no Chromium and ChromeDriver in /usr or in what GRPCTUNNEL_CHROMIUM names; \
             `.ci/unpack DIR chromium chromium-driver` unpacks them into DIR/root"
        );
        return Ok(());
    };
    let test = async {
        let depot = depot("depot").await?;
        let token = token_file()?;
        let path = token.path().to_str().ok_or("not UTF-8")?;
        let (_gateway, address, admin) = Running::gateway(&["--admin-token-file", path]).await?;
        let (_agent, _) = Running::agent(address, "pi", depot.address).await?;
        let mut caller = caller(address)?;
        for name in ["x", "fail", "x"] {
            let name = name.to_owned();
            let _ = caller.greet(to("pi", GreetRequest { name })).await;
        }
        let browser = Browser::start(&installed, PHONE.0, PHONE.1).await?;
        let seen = operate(&browser, admin).await;
        browser.quit().await?;
        seen
    };
    tokio::time::timeout(LIMIT, test).await?
}

/// Whether an element has this in its text.
fn shows(id: &str, text: &str) -> String {
    format!("return document.getElementById('{id}').textContent.includes('{text}')")
}

async fn operate(browser: &Browser, admin: SocketAddr) -> Tested {
    browser.open(&format!("http://{admin}/")).await?;
    browser
        .until("return !document.getElementById('login').hidden")
        .await?;
    browser.write("//input[@id='token']", TOKEN).await?;
    browser.click("//button[text()='Show']").await?;
    browser.until(&shows("tunnels", "pi")).await?;
    browser.until(&shows("ready", "ready")).await?;
    browser.until(&shows("failures", "NOT_FOUND")).await?;
    browser.until(&shows("agents", "pi")).await?;
    let login = "return getComputedStyle(document.getElementById('login')).display === 'none'";
    browser.until(login).await?;
    // Nothing is wider than the phone.
    let fits = "return document.documentElement.scrollWidth <= window.innerWidth";
    browser.until(fits).await?;
    keep(&browser.screenshot().await?)?;

    browser.click("//button[text()='drain']").await?;
    browser.until(&shows("drained", "pi is drained")).await?;
    browser.click("//button[text()='admit']").await?;
    browser.until(&shows("tunnels", "pi")).await?;
    let trouble = "return document.getElementById('trouble').hidden";
    browser.until(trouble).await?;

    browser.click("//button[text()='Pause']").await?;
    browser.until(&shows("pause", "Go on")).await?;
    let hostile = "<img id='evil' src=x onerror='document.title=1'>";
    let shown = json!([{
        "command": "gateway",
        "version": hostile,
        "seconds": 1,
        "ready": true,
        "tunnels": [{"name": hostile, "way": "agent", "state": "open", "peer": hostile, "identity": hostile}],
        "drained": [hostile],
    }]);
    let script = "showTunnels(arguments[0]); \
        return document.getElementById('evil') ? 'markup' : document.body.innerText";
    let text = browser.run(script, shown).await?;
    let count = text.as_str().map(|text| text.matches(hostile).count());
    assert_eq!(count, Some(5), "{text}");
    Ok(())
}

/// A picture is a PNG; it is kept for people where `GRPCTUNNEL_SCREENSHOTS` says.
fn keep(picture: &str) -> Tested {
    let picture = BASE64_STANDARD.decode(picture)?;
    assert!(picture.starts_with(b"\x89PNG"));
    if let Some(folder) = std::env::var_os("GRPCTUNNEL_SCREENSHOTS") {
        let path = std::path::Path::new(&folder).join("admin.png");
        std::fs::write(path, &picture)?;
    }
    Ok(())
}
