use std::time::Duration;

use tokio::time::{sleep, timeout};

const DEADLINE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(50);

/// Asks `probe` every 50 ms until it has an answer.
///
/// # Panics
/// With `what`, after 30 s without one.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(answer) = probe().await {
                return answer;
            }
            sleep(INTERVAL).await;
        }
    };
    match timeout(DEADLINE, polling).await {
        Ok(answer) => answer,
        Err(_) => panic!("still not true after {DEADLINE:?}: {what}"),
    }
}
