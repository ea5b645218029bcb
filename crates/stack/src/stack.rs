//! The whole system: servers and processes as children of one [`Stack`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use crate::architecture::{Architecture, Process};
use crate::artifacts::Artifacts;
use crate::child::{Child, Ended, Spawner};
use crate::files::{check_disk, make_dir, set_old_logs_aside};
use crate::keys::Keys;
use crate::options::Options;
use crate::ports::{Listener, MAX_REPLICAS, PortBook, check_free, check_ports, listeners_of};
use crate::processes::{Listeners, Replica, command};
use crate::secrets::Secrets;
use crate::servers::{Server, Servers, log_file};
use crate::status::is_ready;

/// How long a process may take until it is ready.
const READY: Duration = Duration::from_secs(60);

/// How long a process may take to end: its drain delay and its grace, and a little.
const STOP: Duration = Duration::from_secs(12);

/// How long the migrations of one database may take.
const MIGRATE: Duration = Duration::from_secs(120);

/// Servers and processes as children. Dropping it kills them all; [`Stack::down`] ends them in order.
///
/// The children are not bound to the runtime that started them, so tests may share one stack.
pub struct Stack {
    pub(crate) options: Options,
    pub(crate) architecture: Architecture,
    pub(crate) servers: Servers,
    pub(crate) keys: Keys,
    pub(crate) ports: PortBook,
    spawner: Spawner,
    pub(crate) processes: BTreeMap<Replica, Child>,
}

impl Stack {
    /// Starts the servers, with roles, databases, topics and ACLs; no process.
    pub async fn servers(options: Options) -> anyhow::Result<Stack> {
        let architecture = Architecture::read(&options.root)?;
        for (name, replicas) in &options.replicas {
            check_replicas(&architecture, name, *replicas)?;
        }
        check_ports(&options, &architecture)?;
        let artifacts = match options.external.is_incomplete() {
            true => Some(Artifacts::fetch(&options.root, &options.target, |_| {})?),
            false => None,
        };
        make_dir(&options.dir)?;
        check_disk(&options.dir)?;
        set_old_logs_aside(&options.logs())?;
        let secrets = Secrets::open(&options.dir, options.passwords, &architecture)?;
        let keys = Keys::open(&options.dir.join("keys"))?;
        let ports = PortBook::new(options.ports, &architecture)?;
        let spawner = Spawner::new();
        let servers = Servers::plan(
            &options,
            &architecture,
            secrets,
            &ports,
            spawner.clone(),
            artifacts.as_ref(),
        )?;
        let processes = BTreeMap::new();
        let mut stack = Stack {
            options,
            architecture,
            servers,
            keys,
            ports,
            spawner,
            processes,
        };
        stack.servers.start_all().await?;
        Ok(stack)
    }

    /// Starts everything and waits until it is ready.
    pub async fn up(options: Options) -> anyhow::Result<Stack> {
        let mut stack = Stack::servers(options).await?;
        stack.migrate().await?;
        stack.start_all().await?;
        Ok(stack)
    }

    /// Runs every process's migrations, as the owner of its database; all databases at once.
    pub async fn migrate(&mut self) -> anyhow::Result<()> {
        let wiring = self.wiring()?;
        let mut running = Vec::new();
        for (database, name) in self.architecture.databases() {
            let command = command(
                &self.options.binaries.join(name),
                "migrate",
                wiring.migration(database),
            );
            let log = log_file(&self.options.logs(), &format!("{name}-migrate"));
            let (spawner, what) = (self.spawner.clone(), format!("{name} migrate"));
            running.push(tokio::spawn(async move {
                spawner.run(&what, command, &log, MIGRATE).await
            }));
        }
        for migration in running {
            migration.await.context("a migration was cancelled")??;
        }
        Ok(())
    }

    /// Starts every replica that the options want and waits until all are ready.
    pub async fn start_all(&mut self) -> anyhow::Result<()> {
        let wanted: Vec<Replica> = self.wanted().collect();
        for (name, replica) in &wanted {
            self.spawn(name, *replica)?;
        }
        self.until_ready(wanted).await
    }

    /// Starts one replica and waits until it is ready.
    pub async fn start(&mut self, name: &str, replica: u16) -> anyhow::Result<()> {
        self.spawn(name, replica)?;
        self.until_ready(vec![(name.to_owned(), replica)]).await
    }

    /// What processes that are started from now on have in their environment, whatever the stack would say.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.options.env = environment;
    }

    /// SIGKILL; the replica is gone when this returns.
    pub fn kill(&mut self, name: &str, replica: u16) -> anyhow::Result<()> {
        self.take(name, replica).map(drop)
    }

    /// SIGTERM; the replica is killed when it takes longer than its grace.
    pub async fn stop(&mut self, name: &str, replica: u16) -> anyhow::Result<Ended> {
        Ok(self.take(name, replica)?.stop(Signal::TERM, STOP).await)
    }

    /// SIGSTOP: the replica keeps its connections and does nothing.
    pub fn pause(&self, name: &str, replica: u16) -> anyhow::Result<()> {
        self.child(name, replica)?.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self, name: &str, replica: u16) -> anyhow::Result<()> {
        self.child(name, replica)?.signal(Signal::CONT)
    }

    /// Brings a process to `replicas` of them. Processes that call it are restarted one after another,
    /// gracefully, because they know its addresses from their environment.
    pub async fn scale(&mut self, name: &str, replicas: u16) -> anyhow::Result<()> {
        check_replicas(&self.architecture, name, replicas)?;
        let callers: Vec<String> = self.callers(name).collect();
        ensure!(
            replicas > 0 || callers.is_empty(),
            "{name} is called by {}, so it needs a replica",
            callers.join(", ")
        );
        let running: BTreeSet<Replica> = self
            .processes
            .keys()
            .filter(|(each, _)| each == name)
            .cloned()
            .collect();
        self.options.replicas.insert(name.to_owned(), replicas);
        let wanted: BTreeSet<Replica> = self.wanted().filter(|(each, _)| each == name).collect();
        let added: Vec<Replica> = wanted.difference(&running).cloned().collect();
        for (_, replica) in &added {
            let listeners = listeners_of(name, *replica, &self.architecture.processes[name]);
            check_free(&self.ports, listeners)?;
        }
        for (_, replica) in &added {
            self.spawn(name, *replica)?;
        }
        self.until_ready(added).await?;
        if wanted != running {
            self.restart(&callers).await?;
        }
        for (_, replica) in running.difference(&wanted) {
            self.stop(name, *replica).await?;
        }
        Ok(())
    }

    async fn restart(&mut self, names: &[String]) -> anyhow::Result<()> {
        let running: Vec<Replica> = self
            .processes
            .keys()
            .filter(|(name, _)| names.contains(name))
            .cloned()
            .collect();
        for (name, replica) in running {
            self.stop(&name, replica).await?;
            self.start(&name, replica).await?;
        }
        Ok(())
    }

    /// SIGKILL; the server is gone when this returns.
    pub fn kill_server(&mut self, server: Server) -> anyhow::Result<()> {
        self.servers.kill(server)
    }

    /// Starts a server again on its port and with its data, and waits until it answers.
    pub async fn start_server(&mut self, server: Server) -> anyhow::Result<()> {
        self.servers.start(server).await
    }

    /// SIGSTOP: the server keeps its connections and answers nothing.
    pub fn pause_server(&self, server: Server) -> anyhow::Result<()> {
        self.servers.signal(server, Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume_server(&self, server: Server) -> anyhow::Result<()> {
        self.servers.signal(server, Signal::CONT)
    }

    /// What became of a server or process that ended without being asked to; nothing while all is well.
    pub fn dead(&mut self) -> anyhow::Result<Option<anyhow::Error>> {
        // Servers first: when Kafka is gone, that is the news, and not the processes that gave up because of
        // it.
        if let Some(death) = self.servers.dead()? {
            return Ok(Some(death));
        }
        for child in self.processes.values_mut() {
            if let Some(status) = child.exited()? {
                return Ok(Some(child.obituary(status)));
            }
        }
        Ok(None)
    }

    /// Ends everything in order, from the edge inwards: what the public calls, what that calls, the rest, the
    /// servers. Returns the names of those that did not end in time and were killed.
    pub async fn down(mut self) -> Vec<String> {
        let mut killed = Vec::new();
        for stage in 0..=2 {
            let (now, later) = std::mem::take(&mut self.processes)
                .into_iter()
                .partition(|((name, _), _)| {
                    self.architecture.processes.get(name).map_or(2, stage_of) == stage
                });
            self.processes = later;
            let now: BTreeMap<Replica, Child> = now;
            let ending: Vec<_> = now
                .into_iter()
                .map(|(replica, child)| {
                    tokio::spawn(async move { (replica, child.stop(Signal::TERM, STOP).await) })
                })
                .collect();
            for ended in ending {
                if let Ok(((name, replica), Ended::Killed)) = ended.await {
                    killed.push(format!("{name} {replica}"));
                }
            }
        }
        killed.extend(
            self.servers
                .stop_all()
                .await
                .into_iter()
                .map(|server| server.to_string()),
        );
        killed
    }

    fn spawn(&mut self, name: &str, replica: u16) -> anyhow::Result<()> {
        let key = (name.to_owned(), replica);
        ensure!(!self.processes.contains_key(&key), "{name} {replica} is running");
        check_replicas(&self.architecture, name, replica)?;
        let process = &self.architecture.processes[name];
        let listeners = Listeners {
            http: process
                .serves
                .as_ref()
                .map(|_| self.ports.address(&Listener::Http(name.to_owned(), replica)))
                .transpose()?,
            admin: self.ports.address(&Listener::Admin(name.to_owned(), replica))?,
        };
        let environment = self.wiring()?.environment(name, process, &listeners);
        let environment = environment.into_iter().chain(self.options.env.iter().cloned());
        let command = command(&self.options.binaries.join(name), "serve", environment);
        let log = log_file(&self.options.logs(), &format!("{name}-{replica}"));
        let child = self.spawner.spawn(&format!("{name} {replica}"), command, &log)?;
        self.processes.insert(key, child);
        Ok(())
    }

    async fn until_ready(&mut self, mut waiting: Vec<Replica>) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        while !waiting.is_empty() {
            let mut still = Vec::new();
            for key in waiting {
                let child = self
                    .processes
                    .get_mut(&key)
                    .with_context(|| format!("{} {} was stopped", key.0, key.1))?;
                if let Some(status) = child.exited()? {
                    let obituary = child.obituary(status);
                    self.processes.remove(&key);
                    return Err(obituary);
                }
                if !is_ready(self.admin_url(&key.0, key.1)?).await {
                    still.push(key);
                }
            }
            waiting = still;
            if let Some((name, replica)) = waiting.first() {
                let log = log_file(&self.options.logs(), &format!("{name}-{replica}"));
                let seconds = READY.as_secs();
                ensure!(
                    Instant::now() < deadline,
                    "{name} {replica} is not ready after {seconds} s; its log is {}",
                    log.display()
                );
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
        Ok(())
    }

    fn take(&mut self, name: &str, replica: u16) -> anyhow::Result<Child> {
        let child = self.processes.remove(&(name.to_owned(), replica));
        child.with_context(|| format!("{name} {replica} is not running"))
    }

    pub(crate) fn child(&self, name: &str, replica: u16) -> anyhow::Result<&Child> {
        let child = self.processes.get(&(name.to_owned(), replica));
        child.with_context(|| format!("{name} {replica} is not running"))
    }

    /// Every replica that the options want.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = Replica> {
        let names = self.architecture.processes.keys();
        names.flat_map(|name| (1..=self.options.replicas_of(name)).map(|replica| (name.clone(), replica)))
    }

    fn callers(&self, called: &str) -> impl Iterator<Item = String> {
        let callers = self
            .architecture
            .processes
            .iter()
            .filter(move |(_, process)| process.calls.iter().any(|each| each == called));
        callers.map(|(name, _)| name.clone())
    }
}

/// The order of ending: the edge, what it calls, the rest.
fn stage_of(process: &Process) -> u8 {
    match process.serves.as_deref() {
        Some("public") => 0,
        Some("operator") | None => 2,
        Some(_) => 1,
    }
}

fn check_replicas(architecture: &Architecture, name: &str, replicas: u16) -> anyhow::Result<()> {
    if !architecture.processes.contains_key(name) {
        let names: Vec<&str> = architecture.processes.keys().map(String::as_str).collect();
        bail!("there is no process {name:?}; there are {}", names.join(", "));
    }
    ensure!(
        replicas <= MAX_REPLICAS,
        "{replicas} replicas of {name}: there can be {MAX_REPLICAS}"
    );
    Ok(())
}
