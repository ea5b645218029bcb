//! Which build this is. All but the version is the same for every process of one build.

use crate::run::Service;

/// The commit, when the build was told: `BUILD_REVISION=$(git rev-parse HEAD) cargo build --release`.
pub(crate) const REVISION: &str = env!("CHASSIS_BUILD_REVISION");
const RUSTC: &str = env!("CHASSIS_BUILD_RUSTC");
const PROFILE: &str = env!("CHASSIS_BUILD_PROFILE");
const TARGET: &str = env!("CHASSIS_BUILD_TARGET");

/// The body of `/buildinfo`.
pub(crate) fn info(service: Service) -> serde_json::Value {
    serde_json::json!({
        "name": service.name,
        "version": service.version,
        "revision": REVISION,
        "rustc": RUSTC,
        "profile": PROFILE,
        "target": TARGET,
    })
}
