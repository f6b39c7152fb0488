//! The room on a disk.

use std::path::Path;

/// The room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The bytes that this user may still write.
    pub free: u64,
    /// All bytes.
    pub total: u64,
}

impl Space {
    /// The room where this path is, or would be. `None` where the system does not tell.
    pub fn of(path: &Path) -> Option<Self> {
        #[cfg(target_os = "linux")]
        {
            let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
            let status = rustix::fs::statvfs(existing).ok()?;
            let bytes = |blocks: u64| blocks.saturating_mul(status.f_frsize);
            Some(Self { free: bytes(status.f_bavail), total: bytes(status.f_blocks) })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = path;
            None
        }
    }
}

/// Whether the file system where this path is, or would be, has room for no more files, whatever their size.
pub(super) fn is_full_of_files(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        let existing = path.ancestors().find(|ancestor| ancestor.exists());
        let status = existing.and_then(|existing| rustix::fs::statvfs(existing).ok());
        // Where they are not counted there are none.
        status.is_some_and(|status| status.f_files > 0 && status.f_favail == 0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

/// A number of bytes for people: `12 KiB`, `3.4 GiB`.
pub fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, larger);
    }
    if amount < 10.0 && unit != "B" { format!("{amount:.1} {unit}") } else { format!("{amount:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_two_digits_or_more() {
        assert_eq!(
            [0, 1023, 1024, 12 << 10, 64 << 20, 3 << 40].map(size),
            ["0 B", "1023 B", "1.0 KiB", "12 KiB", "64 MiB", "3.0 TiB"]
        );
    }
}
