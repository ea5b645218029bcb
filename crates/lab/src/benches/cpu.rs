//! CPU time of a process, as Linux counts it.

use std::time::Duration;

use anyhow::Context as _;

/// `/proc` counts in ticks of USER_HZ, which is 100 on every architecture that this is built for.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads since the process began.
pub(crate) fn of(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field is the program's name, which may hold blanks.
    let (_, fields) = stat.rsplit_once(')').context("no name in the process's state")?;
    let field = |number: usize| -> anyhow::Result<u32> {
        let text = fields.split_whitespace().nth(number - 3);
        Ok(text.context("the process's state is too short")?.parse()?)
    };
    Ok(TICK * (field(14)? + field(15)?))
}

/// The sum over several processes.
pub(crate) fn of_all(pids: &[u32]) -> anyhow::Result<Duration> {
    pids.iter().map(|pid| of(*pid)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted() {
        let own = std::process::id();
        let before = of(own).unwrap();
        while of(own).unwrap() < before + TICK * 3 {
            std::hint::spin_loop();
        }
    }
}
