//! A Redis Cluster: three masters, and a replica of the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache::{CacheArgs, Lookup};
use uuid::Uuid;

use crate::judged::{KEYS, Running};
use crate::server::Server;
use crate::shelf::{HIT, STORED, Shelf, found, lasting, process, read, settings, version};

struct Ring {
    nodes: Vec<Server>,
}

const SETTINGS: &[(&str, &str)] = &[
    ("cluster-enabled", "yes"),
    ("cluster-node-timeout", "1000"),
    ("cluster-config-file", "nodes.conf"),
];

/// The slots below are the first master's.
const FIRST: u16 = 16_384 / 3;

impl Ring {
    async fn start() -> Ring {
        let nodes: Vec<Server> = (0..4).map(|_| Server::start(SETTINGS)).collect();
        let ring = Ring { nodes };
        for (number, node) in ring.nodes[..3].iter().enumerate() {
            let slots = number * 16_384 / 3..(number + 1) * 16_384 / 3;
            let slots: Vec<String> = slots.map(|slot| slot.to_string()).collect();
            let slots = slots.iter().map(String::as_str);
            let command: Vec<&str> = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots).collect();
            node.ask::<()>(&command);
        }
        for node in &ring.nodes[1..] {
            let port = node.port().to_string();
            ring.nodes[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port]);
        }
        let first = ring.id(0);
        testkit::eventually("the cluster is whole", async || {
            let whole = |node: &Server| {
                node.ask::<String>(&["CLUSTER", "INFO"])
                    .contains("cluster_state:ok")
                    && node.ask::<String>(&["CLUSTER", "NODES"]).lines().count() == 4
            };
            ring.nodes.iter().all(whole).then_some(())
        })
        .await;
        ring.nodes[3].ask::<()>(&["CLUSTER", "REPLICATE", &first]);
        testkit::eventually("the replica follows", async || {
            let info: String = ring.nodes[3].ask(&["INFO", "replication"]);
            info.contains("master_link_status:up").then_some(())
        })
        .await;
        ring
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].ask(&["CLUSTER", "MYID"])
    }

    /// Some of its nodes.
    fn url(&self) -> String {
        format!(
            "redis-cluster://127.0.0.1:{},127.0.0.1:{}",
            self.nodes[1].port(),
            self.nodes[2].port()
        )
    }

    /// Of an entry: `shelf:7`.
    fn slot(&self, entry: &str) -> u16 {
        let key = format!("c1:{{{entry}}}:d");
        self.nodes[1].ask(&["CLUSTER", "KEYSLOT", &key])
    }

    /// Moves a slot with its keys, as resharding does.
    fn migrate(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (self.id(from), self.id(to));
        let slot = slot.to_string();
        self.nodes[to].ask::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
        self.nodes[from].ask::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
        let port = self.nodes[to].port().to_string();
        loop {
            let keys: Vec<String> = self.nodes[from].ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]);
            if keys.is_empty() {
                break;
            }
            for key in keys {
                self.nodes[from].ask::<()>(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
            }
        }
        for node in [to, from] {
            self.nodes[node].ask::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_the_promises_through_a_migration_and_a_failover() {
    let mut ring = Ring::start().await;
    let rows = Shelf::<1>::default();
    let patient = CacheArgs {
        redis_command_timeout: Duration::from_secs(1),
        ..settings(&ring.url())
    };
    let cache = process(&patient).await;
    let shelf = rows.of(&cache, lasting());
    let keys: Arc<[Uuid]> = (0..60).map(|_| Uuid::now_v7()).collect();
    for key in keys.iter() {
        rows.put(*key, 1, "mug");
        assert_eq!(read(&shelf, *key).await, found(1, "mug", STORED));
    }
    for lookup in shelf.get_many(&keys).await.unwrap() {
        assert!(matches!(lookup, Lookup::Found(entry) if entry.status == HIT));
    }
    let mut tail = cache.tail();
    let before = tail.look().await.unwrap().identity;
    assert_eq!(before.to_string().split(',').count(), 3, "one for each master");

    let stop = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let (shelf, keys, stop) = (shelf.clone(), Arc::clone(&keys), Arc::clone(&stop));
        async move {
            for number in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let lookup = shelf.get(&keys[number % keys.len()]).await;
                assert!(matches!(lookup, Ok(Lookup::Found(_))), "{lookup:?}");
            }
        }
    });

    // A slot of the first master moves to the second, entry and floor with it.
    let slot = |key: &Uuid| ring.slot(&format!("shelf:{key}"));
    let moved = *keys.iter().find(|key| slot(key) < FIRST).unwrap();
    let slot = slot(&moved);
    ring.migrate(slot, 0, 1);
    rows.put(moved, 2, "cup");
    shelf.reapply(&mut tail, &[(moved, version(2))]).await.unwrap();
    testkit::eventually("the moved entry is a hit", async || {
        let (version, _, how) = read(&shelf, moved).await?;
        assert_eq!(version, 2, "it was invalidated");
        (how == HIT).then_some(())
    })
    .await;

    // The first master dies, and its replica takes over.
    ring.nodes[0].kill();
    testkit::eventually("the replica was promoted", async || {
        let info: String = ring.nodes[3].ask(&["INFO", "replication"]);
        info.contains("role:master").then_some(())
    })
    .await;
    testkit::eventually("every entry is a hit again", async || {
        for key in keys.iter() {
            if read(&shelf, *key).await?.2 != HIT {
                return None;
            }
        }
        Some(())
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    reading.await.unwrap();

    let after = testkit::eventually("the masters answer", async || tail.look().await.ok()).await;
    assert_ne!(after.identity, before, "acknowledged writes may be lost");
    let all: Vec<_> = keys.iter().map(|key| (*key, version(3))).collect();
    for key in keys.iter() {
        rows.put(*key, 3, "jug");
    }
    shelf.reapply(&mut tail, &all).await.unwrap();
    for key in keys.iter() {
        assert_eq!(read(&shelf, *key).await.unwrap().0, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_older_than_an_applied_invalidation_through_migrations_and_a_failover() {
    let mut ring = Ring::start().await;
    let patient = CacheArgs {
        redis_command_timeout: Duration::from_secs(1),
        ..settings(&ring.url())
    };
    let running = Running::start(&patient, false).await;
    let run = Arc::clone(&running.run);
    let slots: Vec<(usize, u16)> = (0..KEYS)
        .map(|key| (key, ring.slot(&format!("history:{key}"))))
        .collect();
    let of_first: Vec<_> = slots.iter().filter(|(_, slot)| *slot < FIRST).collect();
    assert!(of_first.len() >= 2, "{of_first:?}");
    running.go_on_for(2_000).await;

    // The first master's slots move to the second, and back.
    for (from, to) in [(0, 1), (1, 0)] {
        for (_, slot) in &of_first {
            tokio::task::block_in_place(|| ring.migrate(*slot, from, to));
            running.go_on_for(100).await;
        }
    }
    let moved = run.reads.load(Ordering::SeqCst);
    assert_eq!(run.rewinds.load(Ordering::SeqCst), 0, "nothing was lost");

    // It dies, and its replica takes over, without what it had not been told yet.
    for (key, _) in &of_first {
        run.lossy[*key].store(true, Ordering::SeqCst);
    }
    ring.nodes[0].kill();
    testkit::eventually("all was applied again", async || {
        (run.rewinds.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    for (key, _) in &of_first {
        run.lossy[*key].store(false, Ordering::SeqCst);
    }
    running.go_on_for(2_000).await;
    running.end().await;
    let [reads, batches, stale, excused, failed] =
        [&run.reads, &run.batches, &run.stale, &run.excused, &run.failed]
            .map(|count| count.load(Ordering::SeqCst));
    eprintln!(
        "{reads} reads, {moved} of them until all slots had moved; {batches} batches; {stale} stale, {excused} of what may be lost, \
         {failed} failed"
    );
    assert!(batches > 0);
    assert_eq!((stale, failed), (0, 0));
}
