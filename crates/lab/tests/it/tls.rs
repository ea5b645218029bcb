//! The real binaries over TLS, each asking for the other's certificate, as in production.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use testkit::{Authority, Identity, eventually, https_get};
use tls::ClientFiles;

use crate::whole::{self, WholeStack, binaries};

const NAME: &str = "shop.test";

/// A second replica of a process, with the settings of the first and others on top. Dropping it kills it.
struct Twin {
    child: Child,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Twin {
    fn start(whole: &WholeStack, process: &str, identity: &Identity, others: &[(&str, String)]) -> Twin {
        let first = whole.processes().iter().find(|each| each.name == process);
        let environment = std::fs::read(format!("/proc/{}/environ", first.unwrap().pid.unwrap())).unwrap();
        let environment = String::from_utf8(environment).unwrap();
        let (http, admin) = (free(), free());
        let child = Command::new(binaries().join(process))
            .arg("serve")
            .env_clear()
            .envs(environment.split('\0').filter_map(|pair| pair.split_once('=')))
            .env("HTTP_ADDR", http.to_string())
            .env("ADMIN_ADDR", admin.to_string())
            .env("PROFILE", "production")
            .env("TLS_CERT_FILE", &identity.certificate)
            .env("TLS_KEY_FILE", &identity.key)
            .envs(others.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Twin { child, http, admin }
    }

    /// A probe has no certificate, and none is asked for.
    async fn until_ready(&self, authority: &Authority) {
        eventually("it is ready over TLS", async || {
            let answer = https_get(self.admin, NAME, "/readyz", stranger(authority)).await;
            answer
                .is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
                .then_some(())
        })
        .await;
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nobody listens there now.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Trusts the authority, and shows nothing.
fn stranger(authority: &Authority) -> ClientFiles {
    ClientFiles {
        ca: Some(authority.ca()),
        identity: None,
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listener_of_the_real_processes_speaks_tls_and_asks_who_calls() {
    let authority = Authority::new("the shop's CA");
    let identity = authority.server(&[NAME]);
    let gateway_s = authority.client("gateway");
    let whole = whole::start("tls", Vec::new()).await;
    let asks = [("TLS_CLIENT_CA_FILE", text(&authority.ca()))];

    let known = ClientFiles {
        ca: Some(authority.ca()),
        identity: Some((gateway_s.certificate.clone(), gateway_s.key.clone())),
    };
    let mut app_service = None;
    for process in ["app-service", "analytics-consumer", "audit-consumer"] {
        let twin = Twin::start(&whole, process, &identity, &asks);
        twin.until_ready(&authority).await;
        let refused = https_get(twin.http, NAME, "/v1/products", stranger(&authority)).await;
        // In TLS 1.3 the refusal follows the client's end of the handshake: there is no answer, or an error.
        let refused = refused.unwrap_or_default();
        assert!(refused.is_empty(), "{process} answers a stranger: {refused}");
        let answer = https_get(twin.http, NAME, "/v1/products", known.clone())
            .await
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{process}: {answer}");
        if process == "app-service" {
            // Without an assertion nobody is answered, whatever certificate they show.
            assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
            app_service = Some(twin);
        }
    }

    let app_service = app_service.unwrap();
    let upstream = [
        ("APP_SERVICE_URL", format!("https://{}", app_service.http)),
        ("APP_SERVICE_NAME", NAME.to_owned()),
        ("APP_SERVICE_CA_FILE", text(&authority.ca())),
    ];
    let shows = [
        ("APP_SERVICE_CLIENT_CERT_FILE", text(&gateway_s.certificate)),
        ("APP_SERVICE_CLIENT_KEY_FILE", text(&gateway_s.key)),
    ];
    let shown = [&upstream[..], &shows[..]].concat();
    let gateway = Twin::start(&whole, "gateway", &identity, &shown);
    gateway.until_ready(&authority).await;
    let answer = https_get(gateway.http, NAME, "/v1/products", stranger(&authority))
        .await
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"items\""),
        "{answer}"
    );

    // The other way round: a gateway that shows nothing gets nothing from app-service.
    let silent = Twin::start(&whole, "gateway", &identity, &upstream);
    eventually("it says that app-service cannot be reached", async || {
        let answer = https_get(silent.http, NAME, "/v1/products", stranger(&authority)).await;
        answer
            .is_ok_and(|text| text.starts_with("HTTP/1.1 503") || text.starts_with("HTTP/1.1 502"))
            .then_some(())
    })
    .await;
    whole.down().await;
}
