//! Many requests over a fixed number of connections, each sending the next one as soon as it has an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::benches::cpu;

/// A request that is ready to be sent.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    /// The gateway's word on who is calling.
    pub(super) assertion: Arc<str>,
    pub(super) body: Option<Bytes>,
    pub(super) if_match: Option<String>,
    pub(super) key: Option<String>,
}

/// What became of a round.
pub(super) struct Round {
    /// Of successful requests, in microseconds.
    pub(super) latencies_us: Vec<u64>,
    pub(super) seconds: f64,
    /// CPU time of the process that answered.
    pub(super) cpu: Duration,
    /// By request: the body of a successful answer.
    pub(super) answers: Vec<Option<Bytes>>,
    /// One of the others, for the report of an error.
    pub(super) refusal: Option<String>,
}

/// Where requests go.
pub(super) struct Target {
    http: reqwest::Client,
    url: String,
    /// Whose CPU time counts.
    pid: u32,
}

impl Target {
    pub(super) fn new(url: String, pid: u32) -> anyhow::Result<Target> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Target { http, url, pid })
    }

    /// Sends all `requests` from `connections` senders.
    pub(super) async fn round(
        self: &Arc<Self>,
        requests: Vec<Request>,
        connections: usize,
    ) -> anyhow::Result<Round> {
        let requests = Arc::new(requests);
        let next = Arc::new(AtomicUsize::new(0));
        let cpu = cpu::of(self.pid)?;
        let begun = Instant::now();
        let senders: Vec<_> = (0..connections)
            .map(|_| {
                let (target, requests, next) = (self.clone(), requests.clone(), next.clone());
                tokio::spawn(async move {
                    let mut sent = Vec::new();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(request) = requests.get(index) else {
                            return sent;
                        };
                        let begun = Instant::now();
                        let answer = target.send(request).await;
                        sent.push((index, begun.elapsed(), answer));
                    }
                })
            })
            .collect();
        let mut round = Round {
            latencies_us: Vec::with_capacity(requests.len()),
            seconds: 0.0,
            cpu: Duration::ZERO,
            answers: vec![None; requests.len()],
            refusal: None,
        };
        let mut all = Vec::new();
        for sender in senders {
            all.extend(sender.await.context("a sender panicked")?);
        }
        round.seconds = begun.elapsed().as_secs_f64();
        round.cpu = cpu::of(self.pid)?.saturating_sub(cpu);
        for (index, took, answer) in all {
            match answer {
                Ok((status, body)) if status.is_success() => {
                    round
                        .latencies_us
                        .push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                    round.answers[index] = Some(body);
                }
                Ok((status, body)) => {
                    round.refusal = Some(format!("{status} {}", String::from_utf8_lossy(&body)));
                }
                Err(error) => round.refusal = Some(format!("{error:#}")),
            }
        }
        Ok(round)
    }

    async fn send(&self, request: &Request) -> reqwest::Result<(StatusCode, Bytes)> {
        let mut sending = self
            .http
            .request(request.method.clone(), format!("{}{}", self.url, request.path))
            .header("x-plumbline-identity", &*request.assertion);
        if let Some(body) = &request.body {
            sending = sending
                .header("content-type", "application/json")
                .body(body.clone());
        }
        if let Some(tag) = &request.if_match {
            sending = sending.header("if-match", tag);
        }
        if let Some(key) = &request.key {
            sending = sending.header("idempotency-key", key);
        }
        let answer = sending.send().await?;
        let status = answer.status();
        Ok((status, answer.bytes().await?))
    }
}

impl Round {
    /// The `id` of each answer. Every request must have succeeded.
    pub(super) fn ids(&self) -> anyhow::Result<Vec<String>> {
        self.answers
            .iter()
            .map(|answer| {
                let answer = answer.as_ref().with_context(|| {
                    format!(
                        "a request failed: {}",
                        self.refusal.as_deref().unwrap_or_default()
                    )
                })?;
                let body: Value = serde_json::from_slice(answer)?;
                Ok(body["id"].as_str().context("an answer has no id")?.to_owned())
            })
            .collect()
    }
}
