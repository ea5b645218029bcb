//! TLS on the listener, and to app-service.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use testkit::{Authority, Identity, eventually, https_get};
use tls::{ClientFiles, Server, ServerFiles};

use crate::client::{request, send};
use crate::process::{Gateway, ROUTES, refused};
use crate::upstream::Echo;

const EDGE: &str = "shop.test";
const APP: &str = "app-service.test";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn trusting(authority: &Authority, own: Option<&Identity>) -> ClientFiles {
    ClientFiles {
        ca: Some(authority.ca()),
        identity: own.map(|own| (own.certificate.clone(), own.key.clone())),
    }
}

/// The status line of a GET.
async fn get(gateway: &Gateway, files: ClientFiles) -> Result<String, String> {
    let answer = https_get(gateway.address, EDGE, "/v1/things", files).await;
    let answer = answer.map_err(|error| error.to_string())?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn the_listener_speaks_tls_takes_a_new_certificate_and_asks_for_the_clients() {
    let (ours, new) = (Authority::new("ours"), Authority::new("new"));
    let identity = ours.server(&[EDGE]);
    let echo = Echo::start();
    let settings = [
        ("TLS_CERT_FILE", text(&identity.certificate)),
        ("TLS_KEY_FILE", text(&identity.key)),
    ];
    let gateway = Gateway::start(ROUTES, &[echo.address], &settings);
    let ok = Ok("HTTP/1.1 200 OK".to_owned());
    assert_eq!(get(&gateway, trusting(&ours, None)).await, ok);
    let error = get(&gateway, trusting(&new, None)).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    identity.become_copy_of(&new.server(&[EDGE]));
    eventually("the new certificate", async || {
        get(&gateway, trusting(&new, None)).await.ok()
    })
    .await;

    let ca = ours.ca();
    let mutual = [settings.as_slice(), &[("TLS_CLIENT_CA_FILE", text(&ca))]].concat();
    let gateway = Gateway::start(ROUTES, &[echo.address], &mutual);
    let client = ours.client("balancer");
    assert_eq!(get(&gateway, trusting(&new, Some(&client))).await, ok);
    let error = get(&gateway, trusting(&new, None)).await.unwrap_err();
    assert!(error.contains("CertificateRequired"), "{error}");
}

/// TLS in front of `plain`, as app-service's own listener has it.
fn front(identity: &Identity, client_ca: Option<&Authority>, plain: SocketAddr) -> SocketAddr {
    let server = Server::load(ServerFiles {
        certificate: identity.certificate.clone(),
        key: identity.key.clone(),
        client_ca: client_ca.map(Authority::ca),
    })
    .unwrap();
    let config = Arc::new(server.config());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let config = Arc::clone(&config);
            tokio::spawn(async move {
                let mut inside = tokio::net::TcpStream::connect(plain).await.unwrap();
                if let Ok(mut outside) = tls::accept(config, stream).await {
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                }
            });
        }
    });
    address
}

struct Told {
    status: u16,
    body: Value,
    log: String,
}

/// What a gateway in front of app-service at `address` answers, with these settings on top.
async fn through(address: SocketAddr, settings: &[(&str, &str)]) -> Told {
    let url = format!("https://{address}");
    let settings = [&[("APP_SERVICE_URL", url.as_str())], settings].concat();
    let gateway = Gateway::start(ROUTES, &[], &settings);
    let reply = tokio::task::spawn_blocking({
        let address = gateway.address;
        move || send(address, request("GET", "/v1/things", &[], ""))
    })
    .await
    .unwrap();
    // An answer can arrive before its line in the log.
    gateway.access_line(reply.header("x-request-id").unwrap());
    let log: Vec<String> = gateway.log().iter().map(Value::to_string).collect();
    Told {
        status: reply.status,
        body: reply.json(),
        log: log.join("\n"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn app_service_is_called_by_tls_and_known_by_its_name() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let echo = Echo::start();
    let app = front(&ours.server(&[APP]), None, echo.address);
    let (ca, other_ca) = (ours.ca(), other.ca());

    // The URL holds an address; the certificate holds the configured name.
    let told = through(
        app,
        &[("APP_SERVICE_CA_FILE", text(&ca)), ("APP_SERVICE_NAME", APP)],
    )
    .await;
    assert_eq!(told.status, 200, "{}", told.body);
    let host = serde_json::json!(["host", APP]);
    assert!(
        told.body["headers"].as_array().unwrap().contains(&host),
        "{}",
        told.body
    );

    let check = |told: Told, reason: &str| {
        assert_eq!(told.status, 502);
        let problem = told.body["type"].as_str().unwrap();
        assert!(problem.ends_with("not-sent"), "{problem}");
        assert!(
            !told.body.to_string().contains(reason),
            "a cause was sent: {}",
            told.body
        );
        assert!(told.log.contains(reason), "{reason} is not in {}", told.log);
    };
    check(
        through(app, &[("APP_SERVICE_CA_FILE", text(&ca))]).await,
        "certificate not valid for name",
    );
    check(
        through(
            app,
            &[
                ("APP_SERVICE_CA_FILE", text(&other_ca)),
                ("APP_SERVICE_NAME", APP),
            ],
        )
        .await,
        "UnknownIssuer",
    );
    let expired = front(&ours.expired_server(&[APP]), None, echo.address);
    check(
        through(
            expired,
            &[("APP_SERVICE_CA_FILE", text(&ca)), ("APP_SERVICE_NAME", APP)],
        )
        .await,
        "certificate expired",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn app_service_may_ask_for_the_gateways_certificate() {
    let ours = Authority::new("ours");
    let echo = Echo::start();
    let app = front(&ours.server(&[APP]), Some(&ours), echo.address);
    let (ca, own) = (ours.ca(), ours.client("gateway"));
    let named = [("APP_SERVICE_CA_FILE", text(&ca)), ("APP_SERVICE_NAME", APP)];
    let with_own = [
        named.as_slice(),
        &[
            ("APP_SERVICE_CLIENT_CERT_FILE", text(&own.certificate)),
            ("APP_SERVICE_CLIENT_KEY_FILE", text(&own.key)),
        ],
    ]
    .concat();
    assert_eq!(through(app, &with_own).await.status, 200);
    assert_eq!(through(app, &named).await.status, 502);
}

#[test]
fn tls_settings_that_cannot_work_are_refused_at_the_start() {
    let ours = Authority::new("ours");
    let (ca, identity) = (ours.ca(), ours.server(&[EDGE]));
    let other_key = ours.server(&[EDGE]).key;
    for (settings, reason) in [
        (
            vec![("APP_SERVICE_CA_FILE", text(&ca))],
            "APP_SERVICE_URL is not https",
        ),
        (vec![("APP_SERVICE_NAME", "a b")], "not a host name"),
        (
            vec![("APP_SERVICE_CA_FILE", "/nowhere/ca.pem")],
            "/nowhere/ca.pem: cannot be read",
        ),
        (
            vec![
                ("TLS_CERT_FILE", text(&identity.certificate)),
                ("TLS_KEY_FILE", text(&other_key)),
            ],
            "does not go with its key",
        ),
        (
            vec![("TLS_CERT_FILE", text(&identity.certificate))],
            "--tls-key-file",
        ),
        (
            vec![("PROFILE", "production"), ("HTTP_ADDR", "0.0.0.0:0")],
            "ALLOW_PLAINTEXT=mesh",
        ),
    ] {
        let output = refused(ROUTES, &settings);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(reason), "{reason} is not in {said}");
    }
}
