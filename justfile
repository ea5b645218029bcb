# Each verb is one command of `cargo stack` or `cargo lab`; arguments are passed on as they are.

set positional-arguments

# What there is
default:
    @just --list --unsorted

# Build and start everything, migrated and seeded
up *args:
    cargo stack up "$@"

# Stop what `up` started
down:
    cargo stack down

# Processes, topics, lag, log files
status *args:
    cargo stack status "$@"

# The logs of everything, or of one NAME
logs *args:
    cargo stack logs "$@"

# Stop, and delete all data
reset:
    cargo stack reset

# Fill the running shop
seed *args:
    cargo stack seed "$@"

# A signed access token
token *args:
    cargo stack token "$@"

# Every test, against real servers
test *args:
    cargo stack test "$@"

# Measure
bench *args:
    cargo lab bench "$@"

# Break things on purpose
chaos *args:
    cargo lab chaos "$@"

# Generate requests from the API's document and check the answers
fuzz *args:
    cargo lab fuzz "$@"

# Compare what the consumers did with what was committed
ledger *args:
    cargo lab ledger "$@"

# Clippy, with warnings as errors
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Format everything
fmt:
    cargo fmt --all

# What the continuous integration runs
ci:
    .ci/run
