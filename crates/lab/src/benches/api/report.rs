//! What the benchmark of the API prints.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Plan;
use super::round::Round;
use crate::table::{Table, number};

/// One endpoint in one round.
pub(super) struct Sample {
    name: &'static str,
    latencies_us: Vec<u64>,
    per_second: f64,
    cpu: Duration,
    others: u64,
    refusal: Option<String>,
}

impl Sample {
    pub(super) fn of(name: &'static str, round: &Round) -> Sample {
        Sample {
            name,
            latencies_us: round.latencies_us.clone(),
            per_second: round.latencies_us.len() as f64 / round.seconds,
            cpu: round.cpu,
            others: (round.answers.len() - round.latencies_us.len()) as u64,
            refusal: round.refusal.clone(),
        }
    }
}

/// The order path in one round.
pub(crate) struct OrderSample {
    pub(crate) per_second: f64,
    pub(crate) floor_per_second: f64,
    /// Seconds of an order by step.
    pub(super) steps: BTreeMap<String, f64>,
}

/// One endpoint.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Endpoint {
    pub name: &'static str,
    /// Successful requests per second, by round.
    pub per_second: Vec<f64>,
    /// Over all rounds, in microseconds.
    pub p50_us: u64,
    pub p99_us: u64,
    /// CPU time of app-service for one request, in microseconds.
    pub cpu_us: f64,
    /// Requests that were not answered with success, and one such answer.
    pub other_answers: u64,
    pub refusal: Option<String>,
    #[serde(skip)]
    latencies_us: Vec<u64>,
    #[serde(skip)]
    cpu: Duration,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub connections: u16,
    pub endpoints: Vec<Endpoint>,
    /// By round: orders per second over HTTP and by pgbench, and their ratio.
    pub orders_per_second: Vec<f64>,
    pub floor_per_second: Vec<f64>,
    pub order_ratio: Vec<f64>,
    /// Microseconds of an order by step, by round.
    pub steps_us: BTreeMap<String, Vec<f64>>,
}

impl Report {
    pub(super) fn new(plan: Plan) -> Report {
        Report {
            connections: plan.connections,
            endpoints: Vec::new(),
            orders_per_second: Vec::new(),
            floor_per_second: Vec::new(),
            order_ratio: Vec::new(),
            steps_us: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, samples: Vec<Sample>, order: OrderSample) {
        for sample in samples {
            let known = self.endpoints.iter().position(|each| each.name == sample.name);
            let index = known.unwrap_or_else(|| {
                self.endpoints.push(Endpoint {
                    name: sample.name,
                    ..Endpoint::default()
                });
                self.endpoints.len() - 1
            });
            self.endpoints[index].add(sample);
        }
        self.orders_per_second.push(order.per_second);
        self.floor_per_second.push(order.floor_per_second);
        self.order_ratio.push(order.per_second / order.floor_per_second);
        for (step, seconds) in order.steps {
            self.steps_us.entry(step).or_default().push(seconds * 1e6);
        }
    }
}

impl Report {
    /// What does not hold, in words. A refusal is faster than an answer, so figures with refusals among them mean nothing.
    pub fn failures(&self) -> Vec<String> {
        let refused = self.endpoints.iter().filter(|each| each.other_answers > 0);
        refused
            .map(|each| {
                format!(
                    "{} was answered {} times without success: {}",
                    each.name,
                    each.other_answers,
                    each.refusal.as_deref().unwrap_or_default()
                )
            })
            .collect()
    }

    /// The report itself, or as an error what it failed by, with the figures.
    pub(super) fn judged(self) -> anyhow::Result<Report> {
        let failures = self.failures();
        anyhow::ensure!(failures.is_empty(), "{self}\nFAILED: {}", failures.join("; "));
        Ok(self)
    }
}

impl Endpoint {
    fn add(&mut self, sample: Sample) {
        self.per_second.push(sample.per_second);
        self.latencies_us.extend(sample.latencies_us);
        self.latencies_us.sort_unstable();
        self.p50_us = percentile(&self.latencies_us, 50);
        self.p99_us = percentile(&self.latencies_us, 99);
        self.cpu += sample.cpu;
        self.other_answers += sample.others;
        let requests = self.latencies_us.len() as u64 + self.other_answers;
        self.cpu_us = self.cpu.as_secs_f64() * 1e6 / requests as f64;
        self.refusal = sample.refusal.or(self.refusal.take());
    }
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(0)
}

/// Median, lowest and highest.
fn spread(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    [at(sorted.len() / 2), at(0), at(sorted.len().saturating_sub(1))]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.order_ratio.len();
        writeln!(
            f,
            "{} connections, {rounds} rounds, app-service itself\n",
            self.connections
        )?;
        let heads = [
            "endpoint",
            "per second",
            "lowest",
            "highest",
            "p50 ms",
            "p99 ms",
            "CPU us",
            "other answers",
        ];
        let mut table = Table::new(heads);
        for endpoint in &self.endpoints {
            let [rate, lowest, highest] =
                spread(&endpoint.per_second).map(|rate| number(rate.round() as i64));
            let [p50, p99] =
                [endpoint.p50_us, endpoint.p99_us].map(|us| format!("{:.2}", us as f64 / 1000.0));
            table.row([
                endpoint.name.to_owned(),
                rate,
                lowest,
                highest,
                p50,
                p99,
                format!("{:.0}", endpoint.cpu_us),
                endpoint.other_answers.to_string(),
            ]);
        }
        writeln!(f, "{}", table.render())?;
        let [orders, floor] = [&self.orders_per_second, &self.floor_per_second].map(|rates| spread(rates)[0]);
        let [ratio, lowest, highest] = spread(&self.order_ratio);
        writeln!(
            f,
            "orders per second: {orders:.0}; pgbench with the same SQL: {floor:.0}"
        )?;
        writeln!(
            f,
            "orders / pgbench: {ratio:.2} (lowest {lowest:.2}, highest {highest:.2})\n"
        )?;
        let mut means: BTreeMap<&str, f64> = self
            .steps_us
            .iter()
            .map(|(step, values)| (step.as_str(), spread(values)[0]))
            .collect();
        // The answer is made while the handler decides.
        let serialise = means.get("serialise").copied().unwrap_or(0.0);
        if let Some(decide) = means.get_mut("decide") {
            *decide -= serialise;
        }
        let all: f64 = means.values().sum();
        let mut table = Table::new(["step of an order", "mean us", "share"]);
        for (step, mean) in means {
            table.row([
                step.to_owned(),
                format!("{mean:.0}"),
                format!("{:.0} %", mean * 100.0 / all),
            ]);
        }
        write!(f, "{}", table.render())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(others: u64) -> Report {
        let plan = Plan {
            connections: 1,
            reads: 100,
            writes: 100,
            rounds: 1,
            floor_seconds: 1,
        };
        let sample = Sample {
            name: "GET /v1/orders/{id}",
            latencies_us: vec![1_000; 99],
            per_second: 99.0,
            cpu: Duration::from_millis(1),
            others,
            refusal: (others > 0).then(|| "503 overloaded".to_owned()),
        };
        let order = OrderSample {
            per_second: 1.0,
            floor_per_second: 2.0,
            steps: BTreeMap::new(),
        };
        let mut report = Report::new(plan);
        report.add(vec![sample], order);
        report
    }

    #[test]
    fn an_endpoint_with_another_answer_than_success_fails_the_benchmark() {
        assert_eq!(report(0).judged().unwrap().failures(), [""; 0]);
        let failed = report(1).judged().unwrap_err().to_string();
        assert!(
            failed.ends_with(
                "FAILED: GET /v1/orders/{id} was answered 1 times without success: 503 overloaded"
            ),
            "{failed}"
        );
    }
}
