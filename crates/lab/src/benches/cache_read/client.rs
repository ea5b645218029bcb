//! A closed loop over kept connections that costs little beside the server: the same few requests are sent again and again, and of
//! an answer only the status and the length are read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest answer.
const BUFFER: usize = 64 * 1024;

/// One round against one server.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) latencies_us: Vec<u32>,
    pub(super) seconds: f64,
}

/// Sends `requests` in turn for so long over so many connections. Every answer must be 200.
pub(super) async fn round(
    address: SocketAddr,
    requests: &Arc<[Vec<u8>]>,
    connections: usize,
    length: Duration,
) -> anyhow::Result<Sample> {
    let begun = Instant::now();
    let turn = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..connections)
        .map(|_| {
            let (requests, turn) = (Arc::clone(requests), Arc::clone(&turn));
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await?;
                let mut latencies = Vec::new();
                loop {
                    let sent = Instant::now();
                    if sent - begun >= length {
                        return anyhow::Ok(latencies);
                    }
                    let request = &requests[turn.fetch_add(1, Ordering::Relaxed) % requests.len()];
                    connection.exchange(request).await?;
                    latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
            })
        })
        .collect();
    let mut sample = Sample::default();
    for sender in senders {
        sample
            .latencies_us
            .extend(sender.await.context("a sender panicked")??);
    }
    sample.seconds = begun.elapsed().as_secs_f64();
    Ok(sample)
}

/// The body of one answer.
pub(super) async fn body(address: SocketAddr, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut connection = Connection::open(address).await?;
    Ok(connection.exchange(request).await?.to_vec())
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            buffer: vec![0; BUFFER],
        })
    }

    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "the connection was closed within an answer");
            filled += read;
            if let Some((body, end)) = complete(&self.buffer[..filled])? {
                ensure!(end == filled, "more than one answer");
                return Ok(&self.buffer[body..end]);
            }
        }
    }
}

/// Where the body begins and ends, once all of it is there.
fn complete(answer: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = str::from_utf8(&answer[..head]).context("a head that is no text")?;
    ensure!(text.starts_with("HTTP/1.1 200 "), "answered with {text}");
    let mut lines = text.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.context("an answer without a length")?.parse()?;
    let body = head + 4;
    Ok((answer.len() >= body + length).then_some((body, body + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_when_its_body_is_there() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        for cut in 0..answer.len() {
            assert_eq!(complete(&answer[..cut]).unwrap(), None, "{cut}");
        }
        let body = answer.len() - 2;
        assert_eq!(complete(answer).unwrap(), Some((body, body + 2)));
        assert!(complete(b"HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n").is_err());
    }
}
