//! Clients that keep their connections, behind a load balancer that asks the replicas whether they are ready.
//!
//! The HTTP is written out, because a client library sends again by itself what a closed connection swallowed, and that is what is
//! counted here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How often the balancer asks; well below the drain delay.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Longer than any deadline in the system.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Between two requests of one client, so that many connections need not be much load.
const THINK: Duration = Duration::from_millis(5);

/// A replica behind the balancer.
#[derive(Clone, Debug)]
pub struct Replica {
    pub http: SocketAddr,
    /// The base URL of its probes.
    pub admin: String,
}

/// What became of the requests.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Answers {
    /// By status.
    pub by_status: BTreeMap<u16, u64>,
    /// Written, at least in part, and not answered in full.
    pub unanswered: u64,
    /// Connections that a replica refused which the balancer held for ready. No request was lost with them.
    pub refused_connections: u64,
    /// Connections that an answer ended with `Connection: close`.
    pub told_to_go: u64,
}

impl Answers {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.by_status.values().sum::<u64>() + self.unanswered
    }
}

/// Makes the bytes of a client's next request from a number that no other request has.
pub(crate) type Write = dyn Fn(usize) -> Vec<u8> + Send + Sync;

/// Sends until it is stopped.
pub(crate) struct KeepAlive {
    answers: Arc<Mutex<Answers>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl KeepAlive {
    pub(crate) fn start(replicas: Vec<Replica>, connections: usize, write: Arc<Write>) -> KeepAlive {
        let (stop, stopped) = watch::channel(false);
        let (ready, known) = watch::channel(Vec::new());
        let answers = Arc::new(Mutex::new(Answers::default()));
        let number = Arc::new(AtomicUsize::new(0));
        let mut tasks = vec![tokio::spawn(balance(replicas, ready, stopped.clone()))];
        for _ in 0..connections {
            let client = Client {
                ready: known.clone(),
                write: write.clone(),
                number: number.clone(),
                answers: answers.clone(),
            };
            let stopped = stopped.clone();
            tasks.push(tokio::spawn(client.run(stopped)));
        }
        KeepAlive { answers, stop, tasks }
    }

    /// How many requests were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        let answers = lock(&self.answers);
        answers.requests() - answers.unanswered
    }

    /// Lets the requests in flight end.
    pub(crate) async fn stop(self) -> anyhow::Result<Answers> {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.context("a client panicked")?;
        }
        Ok(lock(&self.answers).clone())
    }
}

/// Keeps the list of those replicas whose `/readyz` is 200.
async fn balance(
    replicas: Vec<Replica>,
    ready: watch::Sender<Vec<SocketAddr>>,
    stopped: watch::Receiver<bool>,
) {
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(1))
        .build()
        .expect("a client with a timeout alone can be made");
    while !*stopped.borrow() {
        let asked = replicas.iter().map(async |replica| {
            let answer = http.get(format!("{}/readyz", replica.admin)).send().await;
            answer
                .is_ok_and(|answer| answer.status().is_success())
                .then_some(replica.http)
        });
        let now: Vec<SocketAddr> = futures_util::future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .collect();
        ready.send_replace(now);
        tokio::time::sleep(ASK_EVERY).await;
    }
}

struct Client {
    ready: watch::Receiver<Vec<SocketAddr>>,
    write: Arc<Write>,
    number: Arc<AtomicUsize>,
    answers: Arc<Mutex<Answers>>,
}

impl Client {
    async fn run(self, stopped: watch::Receiver<bool>) {
        let mut kept = None;
        while !*stopped.borrow() {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let Some(mut connection) = self.connection(kept.take(), number).await else {
                tokio::time::sleep(ASK_EVERY).await;
                continue;
            };
            let answer = timeout(ANSWER_LIMIT, exchange(&mut connection, &(self.write)(number))).await;
            match answer {
                Ok(Ok(Answer { status, close })) => {
                    let mut answers = lock(&self.answers);
                    *answers.by_status.entry(status).or_default() += 1;
                    if close {
                        answers.told_to_go += 1;
                    } else {
                        kept = Some(connection);
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!("a request was left without an answer: {error:#}");
                    lock(&self.answers).unanswered += 1;
                }
                Err(_) => {
                    tracing::warn!("a request was left without an answer for {ANSWER_LIMIT:?}");
                    lock(&self.answers).unanswered += 1;
                }
            }
            tokio::time::sleep(THINK).await;
        }
    }

    async fn connection(
        &self,
        kept: Option<BufReader<TcpStream>>,
        number: usize,
    ) -> Option<BufReader<TcpStream>> {
        if kept.is_some() {
            return kept;
        }
        let ready = self.ready.borrow().clone();
        let address = *ready.get(number % ready.len().max(1))?;
        match TcpStream::connect(address).await {
            Ok(stream) => Some(BufReader::new(stream)),
            Err(_) => {
                lock(&self.answers).refused_connections += 1;
                None
            }
        }
    }
}

struct Answer {
    status: u16,
    close: bool,
}

/// Writes a request and reads its whole answer, which has a length or is chunked.
async fn exchange(connection: &mut BufReader<TcpStream>, request: &[u8]) -> anyhow::Result<Answer> {
    let sent = Instant::now();
    connection.write_all(request).await.context("cannot send")?;
    let mut line = String::new();
    let read = connection.read_line(&mut line).await.context("no answer")?;
    ensure!(read > 0, "closed after {:?}", sent.elapsed());
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("not a status line: {line:?}"))?;
    let (mut close, mut length) = (false, None);
    loop {
        line.clear();
        ensure!(connection.read_line(&mut line).await? > 0, "the head broke off");
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "connection" => close = value.eq_ignore_ascii_case("close"),
            "content-length" => length = Some(value.parse()?),
            "transfer-encoding" => bail!("the answer is {value}, which this client does not read"),
            _ => {}
        }
    }
    let mut body = vec![0; length.unwrap_or(0)];
    connection
        .read_exact(&mut body)
        .await
        .context("the body broke off")?;
    Ok(Answer { status, close })
}

fn lock(answers: &Mutex<Answers>) -> std::sync::MutexGuard<'_, Answers> {
    answers.lock().expect("nothing panics while it holds the answers")
}
