//! LMDB's locks and map are shared memory: they do not work between the machines of a network file system,
//! and a store there would be damaged sooner or later.

use std::path::Path;

use super::super::StoreError;

/// Refuses a directory on a network file system. Only Linux is asked; where the answer is unknown, the
/// directory passes.
pub(super) fn is_local(directory: &Path) -> Result<(), StoreError> {
    match kind_of(directory).and_then(network_kind) {
        None => Ok(()),
        Some(kind) => Err(StoreError::NetworkFileSystem { path: directory.display().to_string(), kind }),
    }
}

/// The number by which Linux knows the kind of a file system.
#[cfg(target_os = "linux")]
fn kind_of(directory: &Path) -> Option<u32> {
    // The field's type differs from one architecture to the next, the numbers fit 32 bits in all.
    rustix::fs::statfs(directory).ok().map(|status| status.f_type as u32)
}

#[cfg(not(target_os = "linux"))]
fn kind_of(_: &Path) -> Option<u32> {
    None
}

/// The name of a network file system with this number (`statfs(2)` and Linux's `magic.h`).
fn network_kind(kind: u32) -> Option<&'static str> {
    match kind {
        0x6969 => Some("NFS"),
        0x517b => Some("SMB"),
        0xfe53_4d42 => Some("SMB2"),
        0xff53_4d42 => Some("CIFS"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        0x00c3_6400 => Some("Ceph"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_directory_passes_and_network_file_systems_are_known() {
        let directory = tempfile::tempdir().unwrap();
        assert!(is_local(directory.path()).is_ok());
        assert!(is_local(&directory.path().join("missing")).is_ok());
        assert_eq!(network_kind(0x6969), Some("NFS"));
        assert_eq!(network_kind(0xff53_4d42), Some("CIFS"));
        // ext4, btrfs, tmpfs, overlay
        for local in [0xef53, 0x9123_683e, 0x0102_1994, 0x794c_7630] {
            assert_eq!(network_kind(local), None);
        }
    }
}
