//! Which metrics there are, and what their names and labels may be.

pub(super) const HTTP: (&str, &str) = ("http_server_request_duration_seconds", "histogram");

/// In every process.
const ALL: [(&str, &str); 5] = [
    ("build_info", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_open_fds", "gauge"),
];

/// In every process with a database.
const DATABASE: [(&str, &str); 4] = [
    ("db_client_operation_duration_seconds", "histogram"),
    ("db_client_connection_count", "gauge"),
    ("db_client_connection_max", "gauge"),
    ("db_client_connection_pending_requests", "gauge"),
];

/// In every consumer.
const CONSUMER: [(&str, &str); 7] = [
    ("messaging_client_consumed_messages_total", "counter"),
    ("messaging_process_duration_seconds", "histogram"),
    ("consumer_lag", "gauge"),
    ("consumer_oldest_unprocessed_age_seconds", "gauge"),
    ("consumer_duplicates_total", "counter"),
    ("consumer_rebalances_total", "counter"),
    ("dead_letters", "gauge"),
];

const APP_SERVICE: [(&str, &str); 11] = [
    HTTP,
    ("messaging_client_sent_messages_total", "counter"),
    ("outbox_pending", "gauge"),
    ("outbox_oldest_age_seconds", "gauge"),
    ("outbox_lease_owner", "gauge"),
    ("outbox_lease_changes_total", "counter"),
    ("outbox_halted", "gauge"),
    ("outbox_delivery_seconds", "histogram"),
    ("outbox_page_rows", "histogram"),
    ("outbox_rewinds_total", "counter"),
    ("outbox_unstated_versions", "gauge"),
];

/// Where there is a cache; Redis's operations are measured as the database's are.
const CACHE: [(&str, &str); 16] = [
    ("cache_requests_total", "counter"),
    ("cache_loads_total", "counter"),
    ("cache_load_duration_seconds", "histogram"),
    ("cache_coalesced_total", "counter"),
    ("cache_leases_total", "counter"),
    ("cache_populates_total", "counter"),
    ("cache_invalidations_total", "counter"),
    ("cache_invalidation_lag_seconds", "histogram"),
    ("cache_watermark_age_seconds", "gauge"),
    ("cache_watermark_lag_seconds", "gauge"),
    ("cache_reapplies_total", "counter"),
    ("cache_breaker_open", "gauge"),
    ("cache_loads_in_progress", "gauge"),
    ("cache_loads_waiting", "gauge"),
    ("cache_loads_shed_total", "counter"),
    ("cache_audits_total", "counter"),
];

const GATEWAY: [(&str, &str); 2] = [HTTP, ("http_client_request_duration_seconds", "histogram")];

/// The metrics that `process` must export, with their types.
pub(super) fn expected(process: &str) -> Vec<(&'static str, &'static str)> {
    let own: &[&[(&str, &str)]] = match process {
        "gateway" => &[&GATEWAY],
        "app-service" => &[&APP_SERVICE, &CACHE, &DATABASE],
        "email-consumer" => &[&CONSUMER, &DATABASE],
        _ => &[&[HTTP], &CONSUMER, &DATABASE],
    };
    [&ALL[..]]
        .iter()
        .chain(own)
        .flat_map(|part| part.iter().copied())
        .collect()
}

/// The labels that dashboards and alerts group by; a series of `metric` has exactly one of these sets, besides a histogram's own.
/// Nothing for a metric that no dashboard splits.
pub(super) fn label_sets(metric: &str) -> &'static [&'static [&'static str]] {
    match metric {
        "http_server_request_duration_seconds" => {
            &[&["http_request_method", "http_response_status_code", "http_route"]]
        }
        "http_client_request_duration_seconds" => &[
            &["http_request_method", "http_response_status_code", "peer_service"],
            &["error_type", "http_request_method", "peer_service"],
        ],
        "db_client_operation_duration_seconds" => &[&["db_operation_name", "db_system_name"]],
        "db_client_connection_count" => &[&["state"]],
        "cache_requests_total"
        | "cache_leases_total"
        | "cache_populates_total"
        | "cache_invalidations_total"
        | "cache_audits_total" => &[&["namespace", "result"]],
        "cache_loads_total" => &[&["namespace", "reason"]],
        "cache_load_duration_seconds" | "cache_coalesced_total" => &[&["namespace"]],
        "cache_invalidation_lag_seconds" => &[&["by"]],
        "messaging_client_consumed_messages_total" | "messaging_process_duration_seconds" => {
            &[&["messaging_destination_name"]]
        }
        "consumer_duplicates_total" => &[&["topic"]],
        "consumer_lag" | "consumer_oldest_unprocessed_age_seconds" => &[&["partition", "topic"]],
        "build_info" => &[&["revision", "service", "version"]],
        _ => &[],
    }
}

/// Whether `labels` are what [`label_sets`] says of `metric`.
pub(super) fn has_its_labels(metric: &str, labels: &[(String, String)]) -> bool {
    let mut names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
    names.retain(|name| !["le", "quantile"].contains(name));
    names.sort_unstable();
    let sets = label_sets(metric);
    sets.is_empty() || sets.contains(&names.as_slice())
}

/// Base units in the name, and `_total` on counters alone, as Prometheus asks.
pub(super) fn check_name(name: &str, kind: &str) -> Result<(), &'static str> {
    if !name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    {
        return Err("is not lower_case");
    }
    if (kind == "counter") != name.ends_with("_total") {
        return Err("must end in _total exactly if it is a counter");
    }
    if kind == "histogram"
        && !["_seconds", "_bytes", "_records", "_rows"]
            .iter()
            .any(|unit| name.ends_with(unit))
    {
        return Err("does not say its unit");
    }
    if [
        "_ms",
        "_millis",
        "_milliseconds",
        "_minutes",
        "_kb",
        "_mb",
        "_percent",
    ]
    .iter()
    .any(|unit| name.ends_with(unit))
    {
        return Err("is not in a base unit");
    }
    if (name.contains("_age") || name.contains("_duration"))
        && !name.trim_end_matches("_total").ends_with("_seconds")
    {
        return Err("is a time and does not say seconds");
    }
    Ok(())
}

/// A label that is not here is new: add it with what it may hold, if that is a set that no input can enlarge.
pub(super) fn is_allowed(label: &str, value: &str) -> bool {
    let word = |value: &str| {
        value.len() <= 40
            && value.starts_with(|first: char| first.is_ascii_alphabetic())
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_. ".contains(&b))
    };
    let topics = events::topics::ALL;
    match label {
        "http_request_method" => [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "_OTHER",
        ]
        .contains(&value),
        "http_route" => value == "unmatched" || value.strip_prefix('/').is_some_and(is_template),
        "http_response_status_code" => value
            .parse()
            .is_ok_and(|status: u16| (100..600).contains(&status)),
        "peer_service" => value == "app-service",
        "messaging_destination_name" | "topic" => topics.iter().any(|topic| topic.name == value),
        "partition" => value.parse().is_ok_and(|partition: i32| {
            topics
                .iter()
                .any(|topic| (0..topic.partitions).contains(&partition))
        }),
        "le" | "quantile" => value == "+Inf" || value.parse::<f64>().is_ok(),
        "service" | "state" | "namespace" | "result" | "template" | "reason" | "error_type"
        | "db_system_name" | "db_operation_name" | "sink" | "class" | "job" | "step" | "by" => word(value),
        "version" | "revision" => !value.is_empty(),
        _ => false,
    }
}

/// Segments are words of the API or `{names}`; an id has a digit.
fn is_template(path: &str) -> bool {
    path.split('/').all(|segment| {
        let named = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let word = named.unwrap_or(segment);
        segment == "v1"
            || word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b"-_.:*".contains(&b))
    })
}
