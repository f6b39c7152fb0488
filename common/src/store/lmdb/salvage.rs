//! Finds blocks in a file that LMDB may not be able to read any more. No page is trusted: wherever something looks
//! like the header or the body of a block, and its checksum says so too, it is one; the rules say later whether it
//! is valid. Older copies in pages that are free again are as good.
//!
//! A file may be hostile: of a page only nodes that do not overlap are looked at, of a block only so many places are
//! tried, and all of that reads no more than a few times the file. So time and memory are linear in its length. A
//! block takes some 110 bytes of memory: of a header that is found only what the tree is made of is kept.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::super::BlockRecord;
use super::environment::DATA_FILE;
use super::pages::{self, possible_nodes};
use super::values::{CHECKSUM_BYTES, decode_record, unseal};
use crate::block::{EncodedBody, SealedHeader};
use crate::difficulty::CompactTarget;
use crate::encoding::MAX_DECODE_BYTES;
use crate::hash::BlockId;
use crate::time::Height;

/// The longest record that there is, with a seal of the largest key.
const MAX_RECORD_BYTES: usize = 4_096;
/// The most places of one sequence number that are tried for a body. A store holds a body once, and older copies of
/// the page that it is on, some tens of them at most.
const PLACES: usize = 64;
/// The most sequence numbers of one header that are tried: more than one are what a write that was cut short left.
const SEQUENCES: usize = 4;
/// How often as much as the file is read to find bodies: once is enough in a file that a program wrote.
const FILES_READ: u64 = 4;

/// The blocks that were found in a file.
pub struct Salvage {
    file: File,
    /// All headers that are whole, in the order of their ids, and of their sequence numbers where one was found under
    /// several: a write that was cut short may have left another than the one that counts.
    headers: Vec<Found>,
    /// Where something is that may be the body of the block with a sequence number, in the order of these.
    bodies: Vec<Place>,
    /// How many bytes may still be read for bodies.
    left: u64,
}

/// A header that was found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Its block's id.
    pub id: BlockId,
    /// Its parent's id.
    pub previous: BlockId,
    /// Its height.
    pub height: Height,
    /// Its target.
    pub bits: CompactTarget,
    place: Place,
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    sequence: u32,
    length: u32,
    start: u64,
}

impl Salvage {
    /// Looks through the file of a store. `None`: there is none.
    pub fn scan(directory: &Path) -> io::Result<Option<Self>> {
        let mut file = match File::open(directory.join(DATA_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let page_bytes = pages::page_bytes(&mut file);
        let bytes = file.metadata()?.len();
        let left = bytes.saturating_mul(FILES_READ);
        let mut salvage = Self { file, headers: Vec::new(), bodies: Vec::new(), left };
        let mut page = vec![0; page_bytes];
        for number in 0..bytes / page_bytes as u64 {
            salvage.file.seek(SeekFrom::Start(number * page_bytes as u64))?;
            // What the disk cannot read any more is lost; the rest is looked at.
            if salvage.file.read_exact(&mut page).is_ok() {
                salvage.take_page(number, &page, bytes);
            }
        }
        salvage.headers.sort_unstable_by_key(|found| (found.id, found.place));
        salvage.headers.dedup_by_key(|found| (found.id, found.place.sequence));
        salvage.bodies.sort_unstable();
        salvage.bodies.dedup();
        Ok(Some(salvage))
    }

    /// Takes what a page of a file of so many bytes holds, or leads to. From its end down: there the first blocks are, and
    /// of two nodes that overlap it is the later that is as long as it says by damage.
    fn take_page(&mut self, number: u64, page: &[u8], bytes: u64) {
        let mut free_up_to = page.len();
        for node in possible_nodes(page).into_iter().rev() {
            let sequence = node.key.try_into().ok().map(u64::from_be_bytes);
            let sequence = sequence.and_then(|sequence| u32::try_from(sequence).ok());
            let Some((sequence, (start, length))) = sequence.zip(node.value_place(number, page.len())) else {
                continue;
            };
            let is_within = start.checked_add(length as u64).is_some_and(|end| end <= bytes);
            if node.place.1 > free_up_to || !is_within || length > MAX_DECODE_BYTES {
                continue;
            }
            free_up_to = node.place.0;
            let place = Place { sequence, length: length as u32, start };
            match self.header_at(place) {
                Some(found) => self.headers.push(found),
                None => self.bodies.push(place),
            }
        }
    }

    /// The header that is there, if one is.
    fn header_at(&mut self, place: Place) -> Option<Found> {
        let BlockRecord { header: SealedHeader { header, .. }, .. } = self.record_at(place)?;
        let (id, previous) = (header.id(), header.previous);
        Some(Found { id, previous, height: header.height, bits: header.bits, place })
    }

    fn record_at(&mut self, place: Place) -> Option<BlockRecord> {
        if place.length as usize > MAX_RECORD_BYTES {
            return None;
        }
        let sealed = self.read(place).ok()?;
        let record = decode_record(sealed.get(CHECKSUM_BYTES..)?)?;
        unseal(record.id().as_bytes(), &sealed).map(|_| record)
    }

    fn read(&mut self, place: Place) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; place.length as usize];
        self.file.seek(SeekFrom::Start(place.start))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The headers that were found, genesis perhaps among them, in the order of their ids. Where one follows another
    /// with the same id, the first counts.
    pub fn headers(&self) -> &[Found] {
        &self.headers
    }

    /// Where among the headers the first with this id is.
    pub fn position(&self, id: &BlockId) -> Option<usize> {
        let first = self.headers.partition_point(|found| found.id < *id);
        self.headers.get(first).is_some_and(|found| found.id == *id).then_some(first)
    }

    /// The whole of the header at a position, if it can still be read.
    pub fn header(&mut self, position: usize) -> Option<SealedHeader> {
        let found = *self.headers.get(position)?;
        self.record_at(found.place).map(|record| record.header)
    }

    /// The body of the block at a position, if it was found whole.
    pub fn body(&mut self, position: usize) -> Option<EncodedBody> {
        let id = self.headers.get(position)?.id;
        let same = self.headers[position..].iter().take_while(|found| found.id == id).take(SEQUENCES);
        let places: Vec<_> = same.flat_map(|found| self.places(found.place.sequence)).copied().collect();
        places.into_iter().find_map(|place| {
            self.left = self.left.checked_sub(place.length.into())?;
            let sealed = self.read(place).ok()?;
            unseal(id.as_bytes(), &sealed).and_then(|body| EncodedBody::decode(body.to_vec()).ok())
        })
    }

    /// Where bodies of a sequence number may be.
    fn places(&self, sequence: u32) -> &[Place] {
        let first = self.bodies.partition_point(|place| place.sequence < sequence);
        let places = &self.bodies[first..];
        let most = places.iter().take(PLACES);
        &places[..most.take_while(|place| place.sequence == sequence).count()]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file of pages that are full of nodes, all of one sequence number, each with a value of 16 KB, of which any two
    /// overlap.
    fn hostile(pages: u64) -> Vec<u8> {
        let mut file = Vec::new();
        for page in 0..pages {
            let nodes: Vec<_> = (0..120_u64)
                .map(|node| {
                    // A value on pages of its own: its length, a flag, the key's length, the key, the first page.
                    let mut bytes = 16_384_u32.to_ne_bytes().to_vec();
                    bytes.extend_from_slice(&[1, 0, 8, 0]);
                    bytes.extend_from_slice(&7_u64.to_be_bytes());
                    bytes.extend_from_slice(&((page * 120 + node) % pages).to_ne_bytes());
                    bytes
                })
                .collect();
            let start = 4096 - 120 * nodes[0].len();
            // Every other pointer leads into the middle of a node.
            let places: Vec<u16> = (0..120)
                .flat_map(|node| [start + node * 24, start + node * 24 + 2])
                .map(|at| at as u16)
                .collect();
            let mut bytes = vec![0; 16];
            bytes[12..14].copy_from_slice(&(16 + 2 * places.len() as u16).to_ne_bytes());
            places.iter().for_each(|place| bytes.extend_from_slice(&place.to_ne_bytes()));
            bytes.resize(start, 0);
            nodes.iter().for_each(|node| bytes.extend_from_slice(node));
            file.extend_from_slice(&bytes);
        }
        file
    }

    /// A bit in the length of a block's value took the sound blocks before it along.
    #[test]
    fn of_two_nodes_that_overlap_the_first_that_was_written_is_kept() {
        let node = |sequence: u64, says: u32| {
            let head = [&says.to_ne_bytes()[..], &[0, 0, 8, 0], &sequence.to_be_bytes()].concat();
            [head, vec![7; 100]].concat()
        };
        // The later a node is written, the lower it lies. That of 6 says that it is longer than it is.
        let (early, late) = (node(5, 100), node(6, 164));
        let (early_at, late_at) = (4096 - early.len(), 4096 - early.len() - late.len());
        let mut page = vec![0; 4096];
        page[12..14].copy_from_slice(&20_u16.to_ne_bytes());
        page[16..18].copy_from_slice(&(early_at as u16).to_ne_bytes());
        page[18..20].copy_from_slice(&(late_at as u16).to_ne_bytes());
        page[late_at..].copy_from_slice(&[late, early].concat());
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(DATA_FILE), &page).unwrap();
        let salvage = Salvage::scan(directory.path()).unwrap().unwrap();
        let found: Vec<u32> = salvage.bodies.iter().map(|place| place.sequence).collect();
        assert_eq!(found, [5]);
    }

    /// Every place of a sequence number was compared with all before it, and read for every block of that number.
    #[test]
    fn of_one_block_only_so_many_places_are_tried_and_of_all_no_more_than_a_few_times_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = hostile(400);
        fs::write(directory.path().join(DATA_FILE), &file).unwrap();
        let mut salvage = Salvage::scan(directory.path()).unwrap().unwrap();
        assert!(salvage.headers().is_empty());
        assert!((390..=400).contains(&salvage.bodies.len()), "{}", salvage.bodies.len());
        assert_eq!((salvage.places(7).len(), salvage.places(6).len()), (PLACES, 0));
        assert!(salvage.places(7).is_sorted_by(|one, other| one < other), "each is tried once");

        let all = file.len() as u64 * FILES_READ;
        assert_eq!(salvage.left, all);
        let found = |number: u8| Found {
            id: BlockId::from_bytes([number; 32]),
            previous: BlockId::ZERO,
            height: Height::GENESIS,
            bits: CompactTarget::from_bits(0),
            place: Place { sequence: 7, length: 0, start: 0 },
        };
        salvage.headers = (0..9).map(found).collect();
        assert!(salvage.body(0).is_none());
        assert_eq!(salvage.left, all - PLACES as u64 * 16_384);
        (1..9).for_each(|position| assert!(salvage.body(position).is_none()));
        assert!(salvage.left < 16_384, "and then no more");
    }
}
