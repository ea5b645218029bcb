//! A key's partition is the one that Java's clients compute, so that whoever else produces or looks keys up agrees.

use std::time::Duration;

use rdkafka::message::Message as _;
use uuid::Uuid;

use crate::fixture::Fixture;
use crate::reader::commit_one;
use crate::sinks::{PARTITIONS, reading, relay, topic};

/// MurmurHash2 with the seed and the byte order of Kafka's Java client (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(key.len()).unwrap();
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().unwrap()).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[test]
fn the_hash_is_kafkas() {
    // The values of Kafka's own test of it.
    for (key, hash) in [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_lies_in_the_partition_that_java_computes_for_its_key() {
    const FACTS: usize = 30;
    let topic = topic().await;
    let fixture = Fixture::publishing_to(topic).await;
    for _ in 0..FACTS {
        commit_one(&fixture, Uuid::now_v7()).await;
    }
    let tail = fixture.tail(relay(topic));
    let reading = tokio::task::spawn_blocking(move || {
        let consumer = reading(&testkit::kafka_args(), topic);
        let mut places = Vec::new();
        let begun = std::time::Instant::now();
        while places.len() < FACTS {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "only {} came",
                places.len()
            );
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                places.push((message.key().unwrap().to_vec(), message.partition()));
            }
        }
        places
    });
    let places = reading.await.unwrap();
    for (key, partition) in &places {
        let positive = murmur2(key) & 0x7fff_ffff;
        assert_eq!(*partition, (positive % PARTITIONS.unsigned_abs()).cast_signed());
    }
    let used: std::collections::BTreeSet<_> = places.iter().map(|(_, partition)| *partition).collect();
    assert!(used.len() > 1, "thirty keys in one partition prove nothing");
    tail.stop().await;
}
