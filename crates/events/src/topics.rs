//! The topics and their settings, stated once: the local stack and the deployment create them
//! from here and the relay publishes to nothing else.

pub const CUSTOMERS: &str = "plumbline.customers.v1";
pub const CATALOGUE: &str = "plumbline.catalogue.v1";
pub const ORDERS: &str = "plumbline.orders.v1";

/// A topic as it must be created. Replication is the cluster's business (3 in production with
/// `min.insync.replicas` 2; 1 and 1 on a local single broker).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    pub name: &'static str,
    /// Fixed for the life of a `.v1`: adding partitions moves keys, and with them their order.
    pub partitions: i32,
    pub settings: &'static [(&'static str, &'static str)],
}

const SETTINGS: &[(&str, &str)] = &[
    // Facts are replayable: a new consumer starts at the beginning.
    ("retention.ms", "-1"),
    ("cleanup.policy", "delete"),
    // An unclean leader would lose acknowledged facts.
    ("unclean.leader.election.enable", "false"),
    // Kafka's default, said because the relay's batches are almost as large: a lower limit would refuse facts that are small.
    ("max.message.bytes", "1048588"),
];

pub const ALL: [Topic; 3] = [
    Topic {
        name: CUSTOMERS,
        partitions: 12,
        settings: SETTINGS,
    },
    Topic {
        name: CATALOGUE,
        partitions: 12,
        settings: SETTINGS,
    },
    Topic {
        name: ORDERS,
        partitions: 12,
        settings: SETTINGS,
    },
];
