//! A client that sends bytes, and reads one answer after the other from a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// So long no answer takes; it is a limit for the test, and no claim about speed.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended where its head said it would.
    pub(crate) complete: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn header_names(&self) -> Vec<&str> {
        self.headers.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The end of the problem's type.
    pub(crate) fn problem(&self) -> String {
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        kind.trim_start_matches("urn:plumbline:problem:").to_owned()
    }
}

pub(crate) struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(to: SocketAddr) -> Connection {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection {
            stream,
            unread: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The gateway may have answered and closed already; what it answered is read next.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub(crate) fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Reply {
        self.send(bytes);
        self.reply()
    }

    /// The next answer. An interim answer counts as one, without a body.
    pub(crate) fn reply(&mut self) -> Reply {
        let head = loop {
            match self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break self.unread.drain(..end + 4).collect::<Vec<u8>>(),
                None => assert!(
                    self.fill(),
                    "the connection ended before an answer: {:?}",
                    self.unread
                ),
            }
        };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Reply {
            status,
            headers,
            body: Vec::new(),
            complete: true,
        };
        if let Some(length) = reply.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.unread.len() < length && self.fill() {}
            reply.complete = self.unread.len() >= length;
            reply.body = self.unread.drain(..length.min(self.unread.len())).collect();
        } else if reply.header("transfer-encoding").is_some() {
            reply.complete = self.read_chunks(&mut reply.body);
        }
        reply
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let Some(end) = self.unread.windows(2).position(|window| window == b"\r\n") else {
                if self.fill() {
                    continue;
                }
                return false;
            };
            let size = String::from_utf8(self.unread[..end].to_vec()).unwrap();
            let size = usize::from_str_radix(&size, 16).unwrap();
            while self.unread.len() < end + 2 + size + 2 {
                if !self.fill() {
                    return false;
                }
            }
            body.extend_from_slice(&self.unread[end + 2..end + 2 + size]);
            self.unread.drain(..end + 2 + size + 2);
            if size == 0 {
                return true;
            }
        }
    }

    /// All that comes until the other side closes.
    pub(crate) fn rest(&mut self) -> String {
        while self.fill() {}
        String::from_utf8(std::mem::take(&mut self.unread)).unwrap()
    }

    /// Whether the other side has closed, once it has sent nothing more.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.fill()
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

/// The answer to `bytes` on a connection of their own.
pub(crate) fn send(to: SocketAddr, bytes: impl AsRef<[u8]>) -> Reply {
    Connection::open(to).exchange(bytes)
}

/// A request with a body, if it is not empty, and these further header lines.
pub(crate) fn request(method: &str, target: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: shop.example\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}

/// The header line that carries `token`.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}
