//! A TCP proxy before a Redis, which can slow it down or cut it off.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Open,
    /// Connections stay, and nothing passes.
    Silent,
    /// Connections end, also new ones.
    Closed,
    /// What Redis answers arrives so much later.
    Slow(Duration),
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    pub(crate) mood: Arc<watch::Sender<Mood>>,
}

impl Proxy {
    pub(crate) async fn before(url: &str) -> Proxy {
        let (before, address) = url.rsplit_once('@').map_or_else(
            || ("redis://".to_owned(), url.trim_start_matches("redis://")),
            |(user, address)| (format!("{user}@"), address),
        );
        let upstream = address.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{before}{}", listener.local_addr().unwrap());
        let mood = Arc::new(watch::Sender::new(Mood::Open));
        tokio::spawn({
            let mood = Arc::clone(&mood);
            async move {
                while let Ok((inbound, _)) = listener.accept().await {
                    tokio::spawn(relay(inbound, upstream.clone(), mood.subscribe()));
                }
            }
        });
        Proxy { url, mood }
    }
}

async fn relay(mut inbound: TcpStream, upstream: String, mut mood: watch::Receiver<Mood>) {
    let Ok(mut outbound) = TcpStream::connect(upstream).await else {
        return;
    };
    loop {
        let now = *mood.borrow_and_update();
        match now {
            Mood::Closed => return,
            Mood::Silent => mood.changed().await.unwrap(),
            Mood::Open => tokio::select! {
                _ = mood.changed() => {}
                _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound) => return,
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
