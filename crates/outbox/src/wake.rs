use std::sync::Arc;

use tokio::sync::watch;

/// Wakes the tails of this process after a commit, so that a fact needn't wait for a poll.
#[derive(Debug, Clone)]
pub struct Wake(Arc<watch::Sender<()>>);

impl Wake {
    pub fn new() -> Wake {
        Wake(Arc::new(watch::Sender::new(())))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    pub fn wake(&self) {
        self.0.send_replace(());
    }
}

impl Default for Wake {
    fn default() -> Wake {
        Wake::new()
    }
}
