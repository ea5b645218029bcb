//! The rules. Each function returns one line per violation, which names the rule and shows the path.

use spdx::{Expression, Licensee, ParseMode};
use stack::{Architecture, Process};

use super::deny::Deny;
use super::dependencies::{Dependencies, Package};

/// An arrow of `architecture.toml` and the crates without which it cannot exist. Of several that are reached, the first
/// is reported.
struct Arrow {
    name: &'static str,
    stated: fn(&Process) -> bool,
    crates: &'static [&'static str],
    /// A crate through which they may be reached all the same.
    except_through: Option<&'static str>,
}

const ARROWS: [Arrow; 7] = [
    Arrow {
        name: "redis",
        stated: |process| process.redis.is_some(),
        crates: &["redis", "deadpool-redis", "cache"],
        except_through: None,
    },
    Arrow {
        name: "database",
        stated: |process| process.database.is_some(),
        crates: &["tokio-postgres", "diesel-async", "diesel", "database"],
        except_through: None,
    },
    Arrow {
        name: "produces or consumes",
        stated: Process::uses_kafka,
        crates: &["rdkafka", "kafka-protocol", "kafka"],
        except_through: None,
    },
    Arrow {
        name: "produces",
        stated: |process| !process.produces.is_empty(),
        crates: &["outbox"],
        except_through: None,
    },
    Arrow {
        name: "consumes",
        stated: |process| !process.consumes.is_empty(),
        crates: &["consumer"],
        except_through: None,
    },
    Arrow {
        name: "smtp",
        stated: |process| process.smtp,
        crates: &["lettre"],
        except_through: None,
    },
    Arrow {
        name: "calls",
        stated: |process| !process.calls.is_empty(),
        crates: &["reqwest", "hyper", "awc", "ureq", "curl"],
        // Every process exports its telemetry, over HTTP. deny.toml keeps others from using that client.
        except_through: Some("opentelemetry-otlp"),
    },
];

/// Programs that are no box of the diagram.
const DEVELOPMENT: [&str; 2] = ["stack", "lab"];

/// Every broken rule; empty when all hold.
pub(super) fn violations(graph: &Dependencies, architecture: &Architecture, deny: &Deny) -> Vec<String> {
    [
        unnamed_binaries(graph, architecture),
        missing_processes(graph, architecture),
        unstated_arrows(graph, architecture),
        binaries_in_binaries(graph),
        c_libraries_in_stack(graph),
        fences(graph, deny),
        licences(graph, deny),
        sources(graph, deny),
    ]
    .concat()
}

fn unnamed_binaries(graph: &Dependencies, architecture: &Architecture) -> Vec<String> {
    let is_named = |name: &str| architecture.processes.contains_key(name) || DEVELOPMENT.contains(&name);
    let binaries = graph.packages().iter().filter(|package| package.is_own_binary());
    binaries
        .filter(|package| !is_named(&package.name))
        .map(|Package { name, .. }| {
            format!(r#"{name}: rule "every binary is a process of architecture.toml, or stack or lab""#)
        })
        .collect()
}

fn missing_processes(graph: &Dependencies, architecture: &Architecture) -> Vec<String> {
    let is_binary = |name: &str| {
        graph
            .packages()
            .iter()
            .any(|package| package.is_own_binary() && package.name == name)
    };
    let missing = architecture.processes.keys().filter(|name| !is_binary(name));
    missing
        .map(|name| format!(r#"{name}: rule "every process of architecture.toml is a binary of that name""#))
        .collect()
}

fn unstated_arrows(graph: &Dependencies, architecture: &Architecture) -> Vec<String> {
    let mut found = Vec::new();
    for (process, stated) in &architecture.processes {
        for arrow in ARROWS.iter().filter(|arrow| !(arrow.stated)(stated)) {
            let is_exception = |package: &Package| Some(package.name.as_str()) == arrow.except_through;
            let path_to = |name: &&str| graph.path(process, |package| package.name == *name, is_exception);
            if let Some(path) = arrow.crates.iter().find_map(path_to) {
                found.push(broken(
                    &path,
                    &format!("{process} has no {} arrow in architecture.toml", arrow.name),
                ));
            }
        }
    }
    found
}

fn binaries_in_binaries(graph: &Dependencies) -> Vec<String> {
    let binaries = graph.packages().iter().filter(|package| package.is_own_binary());
    let paths = binaries.filter_map(|binary| {
        // `stack` is a library too, and deny.toml says for whom.
        graph.path(
            &binary.name,
            |package| package.is_own_binary() && package.name != "stack",
            |_| false,
        )
    });
    paths
        .map(|path| broken(&path, "no binary depends on another binary"))
        .collect()
}

fn c_libraries_in_stack(graph: &Dependencies) -> Vec<String> {
    let path = graph.path("stack", |package| package.links.is_some(), |_| false);
    path.iter()
        .map(|path| {
            broken(
                path,
                "stack links no C library, so that it builds before one is installed",
            )
        })
        .collect()
}

fn fences(graph: &Dependencies, deny: &Deny) -> Vec<String> {
    let mut found = Vec::new();
    for fence in deny.fences() {
        let name = &fence.name;
        let dependents = graph.dependents(name);
        let allowed = match fence.wrappers.as_slice() {
            [] => format!("deny.toml lets nobody depend on {name}: {}", fence.reason),
            wrappers => format!(
                "deny.toml lets only {} depend on {name}: {}",
                wrappers.join(", "),
                fence.reason
            ),
        };
        let outside = dependents
            .iter()
            .filter(|dependent| !fence.wrappers.iter().any(|wrapper| wrapper == *dependent));
        found.extend(outside.map(|dependent| format!(r#"{dependent} → {name}: rule "{allowed}""#)));
        let is_present = graph.packages().iter().any(|package| package.name == *name);
        let unused = fence
            .wrappers
            .iter()
            .filter(|wrapper| is_present && !dependents.contains(wrapper.as_str()));
        found.extend(unused.map(|wrapper| {
            format!(r#"{wrapper} → {name}: rule "deny.toml allows only what is used": no such dependency"#)
        }));
    }
    found
}

fn licences(graph: &Dependencies, deny: &Deny) -> Vec<String> {
    let allowed: Vec<Licensee> = deny
        .licenses
        .allow
        .iter()
        .map(|id| {
            Licensee::parse(id)
                .unwrap_or_else(|_| panic!("deny.toml allows {id:?}, which is no SPDX identifier"))
        })
        .collect();
    let is_allowed = |license: &Option<String>| {
        // Lax, as cargo-deny is: older manifests write `/` for `OR`.
        let expression = license
            .as_ref()
            .and_then(|text| Expression::parse_mode(text, ParseMode::LAX).ok());
        expression.is_some_and(|expression| {
            expression.evaluate(|required| allowed.iter().any(|licensee| licensee.satisfies(required)))
        })
    };
    let refused = graph
        .packages()
        .iter()
        .filter(|package| !is_allowed(&package.license));
    refused
        .map(
            |Package {
                 name,
                 version,
                 license,
                 ..
             }| {
                let license = license.as_deref().unwrap_or("none stated");
                format!(r#"{name} {version}: rule "deny.toml allows the licence": {license}"#)
            },
        )
        .collect()
}

fn sources(graph: &Dependencies, deny: &Deny) -> Vec<String> {
    let is_allowed = |source: &str| {
        let index = source.strip_prefix("registry+");
        index.is_some_and(|index| deny.sources.allow_registry.iter().any(|allowed| allowed == index))
    };
    let foreign = graph
        .packages()
        .iter()
        .filter_map(|package| Some((package, package.source.as_deref()?)));
    foreign
        .filter(|(_, source)| !is_allowed(source))
        .map(|(Package { name, version, .. }, source)| {
            format!(r#"{name} {version}: rule "deny.toml allows the source": {source}"#)
        })
        .collect()
}

fn broken(path: &[&str], rule: &str) -> String {
    let (from, to) = (path[0], path[path.len() - 1]);
    format!(r#"{from} → {to}: rule "{rule}": {}"#, path.join(" → "))
}
