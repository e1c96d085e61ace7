//! What the process has used.

/// Bytes resident of this process without the files that it has mapped besides its own code, such as models: code, heap, stacks. `None`
/// where the system does not say.
pub fn own_rss_bytes() -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let program = std::env::current_exe().ok()?;
    let (mut own, mut kibibytes) = (true, 0);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some(size) = first.strip_suffix("Rss:").and_then(|_| words.next()) {
            if own {
                kibibytes += size.parse::<usize>().ok()?;
            }
        } else if !first.ends_with(':') {
            // An address, rights, offset, device and inode stand in front of the file's name.
            let file = words.nth(4);
            let library = |file: &str| file.ends_with(".so") || file.contains(".so.");
            own = file.is_none_or(|file| {
                !file.starts_with('/') || library(file) || std::path::Path::new(file) == program
            });
        }
    }
    Some(kibibytes * 1024)
}

/// The most memory this process has had resident, in bytes; `None` where the system does not say.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_the_heap_counts() {
        let before = own_rss_bytes().unwrap();
        assert!(before > 1 << 20, "{before}");
        let large = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = own_rss_bytes().unwrap();
        assert!(after >= before + large.len() / 2, "{before} {after}");
        assert!(after as u64 <= peak_rss_bytes().unwrap());
        drop(std::hint::black_box(large));
    }
}
