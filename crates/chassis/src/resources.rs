//! What the process uses, from `/proc/self`, under the names that Prometheus's client libraries agree on.

use std::fmt::Write as _;
use std::fs;

use rustix::process::{Resource, getrlimit};

/// Linux counts CPU time in these for every program, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// In Prometheus's text format; empty where there is no `/proc`.
///
/// Not in the recorder: its counters are integers, and seconds of CPU are not.
pub(crate) fn exposition() -> String {
    let (Ok(stat), Ok(status), Ok(system)) = (
        fs::read_to_string("/proc/self/stat"),
        fs::read_to_string("/proc/self/status"),
        fs::read_to_string("/proc/stat"),
    ) else {
        return String::new();
    };
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let most_open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let _ = write!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n"
            );
        }
    };
    metric(
        "process_cpu_seconds_total",
        "counter",
        "CPU time, user and system.",
        cpu_seconds(&stat),
    );
    metric(
        "process_start_time_seconds",
        "gauge",
        "When the process started, in Unix time.",
        started(&stat, &system),
    );
    metric(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory.",
        kibibytes(&status, "VmRSS:"),
    );
    metric(
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory.",
        kibibytes(&status, "VmSize:"),
    );
    metric(
        "process_threads",
        "gauge",
        "Threads.",
        first_number(&status, "Threads:"),
    );
    metric(
        "process_open_fds",
        "gauge",
        "Open file descriptors.",
        Some(open as f64),
    );
    metric(
        "process_max_fds",
        "gauge",
        "Most file descriptors that may be open.",
        Some(most_open as f64),
    );
    text
}

/// Field `number` of `/proc/self/stat`, counted from 1 as proc(5) does. The second is in parentheses and may hold anything.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name
        .split_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn started(stat: &str, system: &str) -> Option<f64> {
    Some(first_number(system, "btime")? + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

fn kibibytes(status: &str, name: &str) -> Option<f64> {
    first_number(status, name).map(|kibibytes| kibibytes * 1024.0)
}

/// The number after `name` at the beginning of a line.
fn first_number(lines: &str, name: &str) -> Option<f64> {
    let line = lines.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_read_whatever_the_program_is_called() {
        let mut stat = "7 (a ) b) S".to_owned();
        for field in 4..=52 {
            let _ = write!(stat, " {field}");
        }
        assert_eq!(cpu_seconds(&stat), Some(0.29));
        assert_eq!(started(&stat, "cpu 1 2\nbtime 1000\n"), Some(1000.22));
        assert_eq!(
            kibibytes("VmSize:\t  9 kB\nVmRSS:\t    3 kB\n", "VmRSS:"),
            Some(3072.0)
        );
        assert_eq!(kibibytes("", "VmRSS:"), None);
    }
}
