//! The file of a store, read with calls. Where the disk cannot read a page of it, that is an error for whoever asked;
//! through a map it would be the end of the program.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use super::environment::DATA_FILE;
use super::pages;

/// How much is read at once to see whether it can be.
const PIECE_BYTES: usize = 1 << 20;

pub(super) struct DataFile {
    file: File,
    /// Where the next read begins. Known here, so that going from page to page takes one call a page.
    position: u64,
}

impl DataFile {
    /// Opens the file of the store in a directory.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(directory.join(DATA_FILE))?, position: 0 })
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads all of it, and gives the pages that cannot be read. Those that others append meanwhile are none of them.
    pub(super) fn unreadable_pages(&mut self) -> io::Result<Vec<Range<u64>>> {
        let (bytes, page_bytes) = (self.len()?, pages::page_bytes(self) as u64);
        let mut unreadable: Vec<Range<u64>> = Vec::new();
        let mut piece = vec![0; PIECE_BYTES];
        for start in (0..bytes).step_by(PIECE_BYTES) {
            if self.can_read(start, &mut piece) {
                continue;
            }
            for at in (start..bytes.min(start + PIECE_BYTES as u64)).step_by(page_bytes as usize) {
                if !self.can_read(at, &mut piece[..page_bytes as usize]) {
                    let page = at / page_bytes;
                    match unreadable.last_mut() {
                        Some(last) if last.end == page => last.end += 1,
                        _ => unreadable.push(page..page + 1),
                    }
                }
            }
        }
        Ok(unreadable)
    }

    /// Whether what is there, up to the end of the file, can be read.
    fn can_read(&mut self, start: u64, piece: &mut [u8]) -> bool {
        let mut at_most = self.take(piece.len() as u64);
        let sought = at_most.get_mut().seek(SeekFrom::Start(start));
        let mut rest = piece;
        sought.is_ok()
            && loop {
                match at_most.read(rest) {
                    Ok(0) => break true,
                    Ok(read) => rest = &mut rest[read..],
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break false,
                }
            }
    }
}

impl Seek for DataFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.len()?.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Read for DataFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        #[cfg(all(test, unix))]
        let bytes = failing::readable(&self.file, self.position, bytes)?;
        let read = read_at(&mut self.file, bytes, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(unix)]
fn read_at(file: &mut File, bytes: &mut [u8], start: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, start)
}

#[cfg(not(unix))]
fn read_at(file: &mut File, bytes: &mut [u8], start: u64) -> io::Result<usize> {
    file.seek(SeekFrom::Start(start))?;
    file.read(bytes)
}

/// A disk that cannot read every page, for tests.
#[cfg(all(test, unix))]
pub(crate) mod failing {
    use std::cell::RefCell;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    thread_local! {
        /// The number of a file, and which of its bytes this thread cannot read.
        static UNREADABLE: RefCell<(u64, Vec<Range<u64>>)> = const { RefCell::new((0, Vec::new())) };
    }

    /// Runs something while a file, whatever its name, cannot be read at these places.
    pub(crate) fn while_unreadable<T>(file: &Path, places: Vec<Range<u64>>, run: impl FnOnce() -> T) -> T {
        UNREADABLE.set((file.metadata().expect("it is there").ino(), places));
        let done = run();
        UNREADABLE.take();
        done
    }

    /// As much of a read as the disk can do.
    pub(super) fn readable<'b>(file: &File, start: u64, bytes: &'b mut [u8]) -> io::Result<&'b mut [u8]> {
        let number = file.metadata()?.ino();
        let mut end = start + bytes.len() as u64;
        UNREADABLE.with_borrow(|(broken, places)| {
            for place in places.iter().filter(|_| *broken == number) {
                if place.contains(&start) {
                    return Err(io::Error::from_raw_os_error(5));
                }
                if place.start > start {
                    end = end.min(place.start);
                }
            }
            Ok(())
        })?;
        Ok(&mut bytes[..(end - start) as usize])
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::failing::while_unreadable;
    use super::*;

    #[test]
    fn the_pages_that_cannot_be_read_are_found_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(DATA_FILE);
        fs::write(&path, vec![0; (3 << 20) + 100]).unwrap();
        let page = |page: u64| page * 4096..page * 4096 + 4096;
        let found = |places| {
            while_unreadable(&path, places, || DataFile::open(directory.path()).unwrap().unreadable_pages())
                .unwrap()
        };
        assert_eq!(found(vec![]), []);
        // Of a page a sector, of two pieces the ends, and what is less than a page.
        let places = vec![page(0), 5 * 4096 + 512..5 * 4096 + 1024, page(255), page(256), page(768)];
        assert_eq!(found(places), [0..1, 5..6, 255..257, 768..769]);
    }
}
