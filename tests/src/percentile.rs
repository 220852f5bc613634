//! Percentiles of times.

use std::time::Duration;

/// The time that this share (in hundredths) of the sorted ones does not exceed; none = there are none.
pub fn percentile(sorted: &[Duration], hundredths: usize) -> Option<Duration> {
    let place = (sorted.len() * hundredths).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied()
}

/// The same in milliseconds, 0 = there are none.
pub fn milliseconds(sorted: &[Duration], hundredths: usize) -> f64 {
    percentile(sorted, hundredths).unwrap_or_default().as_secs_f64() * 1000.0
}
