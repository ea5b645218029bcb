use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How a [`Proxy`] treats its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Open,
    /// Connections stay, and nothing passes.
    Silent,
    /// Connections end, also new ones, and what was on its way is lost.
    Closed,
    /// What is asked arrives, and no answer comes back.
    Mute,
    /// What the server answers arrives so much later.
    Slow(Duration),
}

/// A TCP proxy before a server, which can slow it down or cut it off. It ends with this value; its connections end with their peers.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    mood: Arc<watch::Sender<Mood>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Before the server that `url` names with its port: `redis://user:password@127.0.0.1:6379`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn before(url: &str) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (before, server, after) = parts(url);
        let proxied = format!("{before}{}{after}", listener.local_addr()?);
        let mood = Arc::new(watch::Sender::new(Mood::Open));
        let accepting = tokio::spawn(accept(listener, server.to_owned(), Arc::clone(&mood)));
        Ok(Proxy {
            url: proxied,
            mood,
            accepting,
        })
    }

    /// The server's URL with the proxy's address in it.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Mood::Closed);
    }
}

/// What stands before a URL's `host:port`, that, and what comes after it.
fn parts(url: &str) -> (&str, &str, &str) {
    let scheme = url.find("://").map_or(0, |at| at + 3);
    let host = url.rfind('@').map_or(scheme, |at| at + 1);
    let end = url[host..].find('/').map_or(url.len(), |length| host + length);
    (&url[..host], &url[host..end], &url[end..])
}

async fn accept(listener: TcpListener, upstream: String, mood: Arc<watch::Sender<Mood>>) {
    while let Ok((inbound, _)) = listener.accept().await {
        tokio::spawn(relay(inbound, upstream.clone(), mood.subscribe()));
    }
}

async fn relay(mut inbound: TcpStream, upstream: String, mut mood: watch::Receiver<Mood>) {
    if *mood.borrow() == Mood::Closed {
        return;
    }
    let Ok(mut outbound) = TcpStream::connect(upstream).await else {
        return;
    };
    loop {
        let now = *mood.borrow_and_update();
        match now {
            Mood::Closed => return,
            Mood::Silent => {
                if mood.changed().await.is_err() {
                    return;
                }
            }
            Mood::Open => tokio::select! {
                _ = mood.changed() => {}
                _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound) => return,
            },
            Mood::Mute => tokio::select! {
                _ = mood.changed() => {}
                _ = tokio::io::copy(&mut inbound, &mut outbound) => return,
            },
            Mood::Slow(by) => {
                let (mut asks, mut answers) = (vec![0; 65_536], vec![0; 65_536]);
                tokio::select! {
                    _ = mood.changed() => {}
                    read = inbound.read(&mut asks) => match read {
                        Ok(length @ 1..) if outbound.write_all(&asks[..length]).await.is_ok() => {}
                        _ => return,
                    },
                    read = outbound.read(&mut answers) => match read {
                        Ok(length @ 1..) => {
                            sleep(by).await;
                            if inbound.write_all(&answers[..length]).await.is_err() {
                                return;
                            }
                        }
                        _ => return,
                    },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_its_user_and_its_path() {
        for (url, expected) in [
            ("redis://host:1", ("redis://", "host:1", "")),
            ("redis://u:p@host:1", ("redis://u:p@", "host:1", "")),
            ("postgres://u:p@host:1/app", ("postgres://u:p@", "host:1", "/app")),
        ] {
            assert_eq!(parts(url), expected);
        }
    }
}
