//! The most memory a section of the program has had resident.

use crayon_engine::peak_rss_bytes;

/// Forgets the peak so far, where the system allows it (Linux), so that what came before is not counted.
pub(super) fn forget_peak() {
    // "5" resets the high-water mark: proc(5), clear_refs. Where it is not allowed the peak stays an upper bound.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Peak since [`forget_peak`] in 10^6 bytes. Pages of mapped files count once they are touched, so a model's
/// weights are part of it although they take no memory of the process's own.
pub(crate) fn peak_mb() -> Option<f64> {
    peak_rss_bytes().map(|bytes| bytes as f64 / 1e6)
}

/// What the process has resident now, in 10^6 bytes; `None` where the system does not say.
pub(super) fn resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_follows_what_is_used() {
        super::forget_peak();
        let before = super::peak_mb().unwrap();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = super::peak_mb().unwrap();
        assert!(after - before > 50.0, "{before} {after}");
        drop(block);
    }
}
