//! `healthcheck`: the process's own probe, for images that have no shell to ask with.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use settings::duration;

use crate::args::AdminArgs;

/// A probe's answer is a few hundred bytes.
const MOST_ANSWER: u64 = 64 * 1024;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HealthcheckArgs {
    #[command(flatten)]
    admin: AdminArgs,

    /// The listeners' certificate, as `serve` takes it. With it the question is asked over TLS.
    ///
    /// The answer's certificate is not verified, as by a kubelet: the question goes to this machine, and holds nothing.
    #[arg(long, env = "TLS_CERT_FILE", value_name = "FILE")]
    tls_cert_file: Option<PathBuf>,

    /// Ask `/livez`: whether the process has to be restarted, not whether it can serve.
    #[arg(long)]
    live: bool,

    /// How long the whole exchange may take (10ms to 1m).
    #[arg(long, env = "HEALTHCHECK_TIMEOUT", value_name = "DURATION", default_value = "2s", value_parser = duration(Duration::from_millis(10)..=Duration::from_secs(60)))]
    timeout: Duration,
}

/// Prints the answer; 0 when it is 200, otherwise 1.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a command's answer, and there is no log"
)]
pub(crate) fn run(args: &HealthcheckArgs) -> ExitCode {
    let path = if args.live { "/livez" } else { "/readyz" };
    let address = reachable(args.admin.admin_addr);
    match ask(address, args.tls_cert_file.is_some(), path, args.timeout) {
        Ok((200, body)) => {
            println!("{body}");
            ExitCode::SUCCESS
        }
        Ok((status, body)) => {
            println!("{body}");
            eprintln!("{path} answered {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{path} at {}: {error:#}", args.admin.admin_addr);
            ExitCode::FAILURE
        }
    }
}

/// A process that listens on every address is asked on the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// One GET over a connection of its own; the status and the body.
fn ask(address: SocketAddr, tls: bool, path: &str, limit: Duration) -> anyhow::Result<(u16, String)> {
    let deadline = Instant::now() + limit;
    let stream = TcpStream::connect_timeout(&address, limit).context("cannot connect")?;
    stream.set_write_timeout(Some(limit))?;
    // A limit for each read alone would let an answer that drips in take for ever.
    let socket = stream.try_clone()?;
    let limited = move || {
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no whole answer within {limit:?}");
        Ok(socket.set_read_timeout(Some(left))?)
    };
    limited()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let answer = if tls {
        let config = tls::Client::new(tls::ClientFiles::default()).config(tls::Verify::Nothing)?;
        exchange(
            tls::connect_blocking(config, address.ip(), stream)?,
            &request,
            limited,
        )?
    } else {
        exchange(stream, &request, limited)?
    };
    let answer = String::from_utf8(answer).context("the answer is not text")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    Ok((status.context("the answer is not HTTP/1.1")?, body.to_owned()))
}

/// Sends the request and reads until the other side closes.
fn exchange(
    mut stream: impl Read + Write,
    request: &str,
    limited: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<u8>> {
    stream
        .write_all(request.as_bytes())
        .context("cannot send the request")?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        limited()?;
        match stream.read(&mut piece).context("no answer")? {
            0 => return Ok(answer),
            read => answer.extend_from_slice(&piece[..read]),
        }
        ensure!(answer.len() as u64 <= MOST_ANSWER, "the answer is too long");
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn check(answer: &'static [u8], expected: Result<(u16, &str), &str>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 256];
            let read = stream.read(&mut head).unwrap();
            assert!(head[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(answer).unwrap();
        });
        let asked = ask(address, false, "/readyz", Duration::from_secs(30));
        server.join().unwrap();
        match (asked, expected) {
            (Ok((status, body)), Ok(expected)) => assert_eq!((status, body.as_str()), expected),
            (Err(error), Err(reason)) => assert!(format!("{error:#}").contains(reason), "{error:#}"),
            (asked, expected) => panic!("{asked:?}, not {expected:?}"),
        }
    }

    #[test]
    fn an_answer_is_its_status_and_body_or_a_reason() {
        check(b"HTTP/1.1 200 OK\r\na: b\r\n\r\n{}", Ok((200, "{}")));
        check(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Ok((503, "")));
        check(b"SSH-2.0-OpenSSH\r\n", Err("not HTTP"));
        check(b"", Err("not HTTP"));
    }

    #[test]
    fn a_process_that_never_answers_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = ask(address, false, "/readyz", Duration::from_millis(50));
        assert!(asked.is_err());
        drop(listener);
        assert!(ask(address, false, "/readyz", Duration::from_millis(50)).is_err());
    }

    #[test]
    fn a_process_on_all_addresses_is_asked_on_the_loopback_one() {
        for (address, expected) in [
            ("0.0.0.0:9080", "127.0.0.1:9080"),
            ("[::]:9080", "[::1]:9080"),
            ("10.1.2.3:9080", "10.1.2.3:9080"),
        ] {
            assert_eq!(reachable(address.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
