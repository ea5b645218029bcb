//! `docs/configuration.md` is what the binaries say about themselves.

use std::process::Command;

use stack::Architecture;

use crate::whole::binaries;

const HEAD: &str = "\
# Configuration

Made from the binaries' own definitions; `<binary> <verb> --help` says the same. After changing a flag, run this: it rewrites the
page and fails once.

```sh
cargo build --bins && cargo test -p lab --test it -- configuration
```

A setting is a flag or a variable; the flag wins. Durations are like `250ms`, `5s` or `1m 30s`. What `serve` lists under Telemetry
every verb takes. `<binary> check-config` reads what `serve` would, prints everything that is wrong at once with what is allowed,
and exits with 78, or with 0. Values of secrets are never printed.

";

/// Everything from the environment would show up as a default.
fn reference(binary: &str) -> String {
    let output = Command::new(binaries().join(binary))
        .arg("reference")
        .env_clear()
        .output()
        .unwrap_or_else(|error| panic!("{binary}: {error}; build it with `cargo build --bins`"));
    assert!(output.status.success(), "{binary} reference: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_page_says_what_the_binaries_say() {
    let root = stack::find_root().unwrap();
    let processes = Architecture::read(&root).unwrap().processes;
    let parts: Vec<String> = processes.keys().map(|binary| reference(binary)).collect();
    let page = format!("{HEAD}{}", parts.join("\n"));
    for entry in page.lines().filter(|line| line.starts_with("- `--")) {
        let (_, help) = entry.split_once(": ").unwrap_or((entry, ""));
        assert!(help.len() > 10, "a flag is not explained: {entry}");
    }
    let path = root.join("docs/configuration.md");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if committed != page {
        std::fs::write(&path, &page).unwrap();
        panic!(
            "docs/configuration.md was out of date and is rewritten now: look at the difference and commit it"
        );
    }
}
