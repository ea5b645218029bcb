//! Who is connected to whom, from /proc.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use stack::Status;

const ESTABLISHED: &str = "01";
const SYN_SENT: &str = "02";

/// A process and what it was connected to.
type Edge = (String, String);

/// Between two looks. Each takes a few milliseconds itself.
const PAUSE: Duration = Duration::from_millis(2);

/// Collects the outbound connections of a system's processes for as long as it runs.
pub(crate) struct Sampler {
    seen: Arc<Mutex<BTreeSet<Edge>>>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Sampler {
    /// `names` are the boxes that listen, by port.
    pub(crate) fn start(status: Status, names: BTreeMap<u16, String>) -> Sampler {
        let (seen, stopping) = (
            Arc::new(Mutex::new(BTreeSet::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (found, stop) = (seen.clone(), stopping.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let now = outbound(&status, &names);
                found.lock().unwrap().extend(now);
                std::thread::sleep(PAUSE);
            }
        });
        Sampler {
            seen,
            stopping,
            thread,
        }
    }

    pub(crate) fn seen(&self) -> BTreeSet<Edge> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn stop(self) -> BTreeSet<Edge> {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// The outbound TCP connections of every process of `status` as `(process, name of the remote
/// port)`; an unknown port shows as its number.
fn outbound(status: &Status, names: &BTreeMap<u16, String>) -> BTreeSet<Edge> {
    let mut edges = BTreeSet::new();
    for process in &status.processes {
        let Some(pid) = process.pid else { continue };
        let inodes = socket_inodes(pid);
        let own = listening_ports(pid, &inodes);
        for socket in sockets(pid)
            .into_iter()
            .filter(|socket| inodes.contains(&socket.inode))
        {
            let connected = [ESTABLISHED, SYN_SENT].contains(&socket.state.as_str());
            // A connection to a port that the process itself listens on was opened by the peer.
            if connected && !own.contains(&socket.local_port) {
                let remote = names.get(&socket.remote_port).cloned();
                edges.insert((
                    process.name.clone(),
                    remote.unwrap_or(format!("port {}", socket.remote_port)),
                ));
            }
        }
    }
    edges
}

struct Socket {
    local_port: u16,
    remote_port: u16,
    state: String,
    inode: u64,
}

fn listening_ports(pid: u32, inodes: &BTreeSet<u64>) -> BTreeSet<u16> {
    let listening = |socket: &Socket| socket.state == "0A" && inodes.contains(&socket.inode);
    sockets(pid)
        .into_iter()
        .filter(listening)
        .map(|socket| socket.local_port)
        .collect()
}

/// The sockets of the network namespace of `pid`.
fn sockets(pid: u32) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for table in ["tcp", "tcp6"] {
        let lines = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in lines.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16).unwrap();
            sockets.push(Socket {
                local_port: port(fields[1]),
                remote_port: port(fields[2]),
                state: fields[3].to_owned(),
                inode: fields[9].parse().unwrap(),
            });
        }
    }
    sockets
}

fn socket_inodes(pid: u32) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return BTreeSet::new();
    };
    entries
        .filter_map(|entry| {
            let link = fs::read_link(entry.ok()?.path()).ok()?;
            link.to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        })
        .collect()
}
