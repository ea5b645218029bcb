use std::ops::RangeInclusive;
use std::time::Duration;

/// A value parser for durations like `250ms`, `5s` or `1m 30s`; a refusal says what is allowed. Every duration that is a setting is
/// read by it.
pub fn duration(
    allowed: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let (least, most) = (
            humantime::format_duration(*allowed.start()),
            humantime::format_duration(*allowed.end()),
        );
        humantime::parse_duration(text)
            .ok()
            .filter(|duration| allowed.contains(duration))
            .ok_or_else(|| format!("it is not a duration from {least} to {most}, like 250ms, 5s or 1m"))
    }
}
