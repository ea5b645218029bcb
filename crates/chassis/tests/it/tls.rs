//! The listeners with TLS, from outside.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;
use testkit::{Authority, Identity, eventually, https_get};
use tls::ClientFiles;

use crate::child::{Child, command, run};

const NAME: &str = "minimal.test";

fn serve(identity: &Identity, more: &[(&str, &str)]) -> Child {
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (certificate, key) = (text(&identity.certificate), text(&identity.key));
    let mut settings = vec![
        ("TLS_CERT_FILE", certificate.as_str()),
        ("TLS_KEY_FILE", key.as_str()),
    ];
    settings.extend(more);
    Child::serve_with(&[], &settings)
}

fn trusting(authority: &Authority, own: Option<&Identity>) -> ClientFiles {
    ClientFiles {
        ca: Some(authority.ca()),
        identity: own.map(|own| (own.certificate.clone(), own.key.clone())),
    }
}

async fn status(address: SocketAddr, path: &str, files: ClientFiles) -> Result<String, String> {
    let answer = https_get(address, NAME, path, files).await;
    let answer = answer.map_err(|error| error.to_string())?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn both_listeners_speak_tls_and_nothing_else() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let child = serve(&ours.server(&[NAME]), &[]);
    let ok = Ok("HTTP/1.1 200 OK".to_owned());
    assert_eq!(status(child.http, "/trace", trusting(&ours, None)).await, ok);
    assert_eq!(status(child.admin, "/livez", trusting(&ours, None)).await, ok);
    for address in [child.http, child.admin] {
        let error = status(address, "/livez", trusting(&other, None))
            .await
            .unwrap_err();
        assert!(error.contains("UnknownIssuer"), "{error}");
        let mut plain = TcpStream::connect(address).unwrap();
        plain
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "plain text was answered");
    }
}

#[tokio::test]
async fn with_a_client_ca_callers_need_a_certificate_and_probes_do_not() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let ca = ours.ca();
    let child = serve(
        &ours.server(&[NAME]),
        &[("TLS_CLIENT_CA_FILE", ca.to_str().unwrap())],
    );
    let gateway = ours.client("gateway");
    let ok = Ok("HTTP/1.1 200 OK".to_owned());
    assert_eq!(
        status(child.http, "/trace", trusting(&ours, Some(&gateway))).await,
        ok
    );
    assert_eq!(status(child.admin, "/livez", trusting(&ours, None)).await, ok);
    let error = status(child.http, "/trace", trusting(&ours, None))
        .await
        .unwrap_err();
    assert!(error.contains("CertificateRequired"), "{error}");
    let foreign = other.client("gateway");
    let error = status(child.http, "/trace", trusting(&ours, Some(&foreign)))
        .await
        .unwrap_err();
    assert!(error.contains("alert"), "{error}");
}

#[tokio::test]
async fn a_new_certificate_is_in_use_without_a_restart() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let identity = old.server(&[NAME]);
    let child = serve(&identity, &[]);
    assert!(status(child.http, "/trace", trusting(&new, None)).await.is_err());
    identity.become_copy_of(&new.server(&[NAME]));
    for (address, path) in [(child.http, "/trace"), (child.admin, "/livez")] {
        eventually("the new certificate", async || {
            status(address, path, trusting(&new, None)).await.ok()
        })
        .await;
    }
    std::fs::write(&identity.certificate, "garbage").unwrap();
    child.line("the TLS files have changed and cannot be used; the last good ones stay");
    assert!(status(child.http, "/trace", trusting(&new, None)).await.is_ok());
}

#[test]
fn healthcheck_asks_over_tls_and_needs_no_certificate_of_its_own() {
    let ours = Authority::new("ours");
    let (identity, ca) = (ours.server(&[NAME]), ours.ca());
    let files = [
        ("TLS_CERT_FILE", identity.certificate.to_str().unwrap()),
        ("TLS_KEY_FILE", identity.key.to_str().unwrap()),
        ("TLS_CLIENT_CA_FILE", ca.to_str().unwrap()),
    ];
    // The process's own environment, as in a container.
    let ask = |admin: SocketAddr, environment: &[(&str, &str)]| {
        let output = run(command(&["healthcheck"])
            .env("ADMIN_ADDR", admin.to_string())
            .envs(environment.iter().copied()));
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    for environment in [&files[..2], &files[..]] {
        let child = serve(
            &identity,
            &[&[("DRAIN_DELAY", "10m")], &environment[2..]].concat(),
        );
        child.line("readiness changed");
        let (code, said) = ask(child.admin, environment);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(r#""ready":true"#), "{said}");
        let (code, said) = ask(child.admin, &[]);
        assert_eq!(code, Some(1), "asked in plain text: {said}");

        child.signal(Signal::TERM);
        child.line("shutting down: no longer ready, still serving");
        let (code, said) = ask(child.admin, environment);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(r#""draining":true"#), "{said}");
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, said) = ask(free, &files);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot connect"), "{said}");
}

#[test]
fn production_refuses_a_public_listener_without_tls() {
    let start = |settings: &[(&str, &str)]| {
        let output = run(command(&["serve"])
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .env("HTTP_ADDR", "0.0.0.0:0")
            .env("PROFILE", "production")
            .envs(settings.iter().copied()));
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.code(), said)
    };
    let (code, said) = start(&[]);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("HTTP_ADDR=0.0.0.0:0") && said.contains("ALLOW_PLAINTEXT=mesh"),
        "{said}"
    );
    let (code, said) = start(&[("ADMIN_ADDR", "0.0.0.0:0"), ("HTTP_ADDR", "127.0.0.1:0")]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("ADMIN_ADDR=0.0.0.0:0"), "{said}");
    let (code, said) = start(&[("ALLOW_PLAINTEXT", "trust")]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("mesh"), "{said}");

    let allowed = [
        ("PROFILE", "production"),
        ("HTTP_ADDR", "0.0.0.0:0"),
        ("ALLOW_PLAINTEXT", "mesh"),
    ];
    Child::serve_with(&[], &allowed);
}
