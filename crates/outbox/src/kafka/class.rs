//! Which kind of trouble it is.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A label for what went wrong: who has to act, and on what.
pub(crate) fn class(error: &KafkaError) -> &'static str {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize) => {
            "oversized"
        }
        Some(
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication,
        ) => "unauthorised",
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => "unknown_topic",
        Some(
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut,
        ) => "broker_down",
        Some(Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend) => "not_enough_replicas",
        // What a broker says whose disk is full or broken, until it takes the log's folder offline.
        Some(Code::KafkaStorageError) => "storage",
        Some(Code::LeaderNotAvailable | Code::NotLeaderForPartition) => "no_leader",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_trouble_has_a_class_of_its_own() {
        use RDKafkaErrorCode as Code;
        for (code, expected) in [
            (Code::MessageSizeTooLarge, "oversized"),
            (Code::TopicAuthorizationFailed, "unauthorised"),
            (Code::Authentication, "unauthorised"),
            (Code::UnknownTopicOrPartition, "unknown_topic"),
            (Code::AllBrokersDown, "broker_down"),
            (Code::NotEnoughReplicas, "not_enough_replicas"),
            (Code::KafkaStorageError, "storage"),
            (Code::LeaderNotAvailable, "no_leader"),
            (Code::InvalidTimestamp, "other"),
        ] {
            assert_eq!(class(&KafkaError::MessageProduction(code)), expected, "{code:?}");
        }
    }
}
