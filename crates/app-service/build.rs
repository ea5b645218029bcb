//! Without this, a new migration is not embedded until something else changes.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/app");
}
