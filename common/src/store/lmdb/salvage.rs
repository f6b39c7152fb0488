//! Finds blocks in a file that LMDB may not be able to read any more. No page is trusted: wherever something looks
//! like the header or the body of a block, and its checksum says so too, it is one; the rules say later whether it
//! is valid. Older copies in pages that are free again are as good.
//!
//! A file may be hostile, and so may what is in a sound one: what others pay with a block's data may look like pages that
//! lead to other blocks. Therefore what a page says that is a leaf and has its own number counts first. Of a page only
//! nodes that do not overlap are looked at, of a block only so much is tried, and all of that reads no more than a few
//! times the file. So time and memory are linear in its length. A block takes some 130 bytes of memory: of a header that
//! is found only what the tree is made of is kept.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use super::super::BlockRecord;
use super::data_file::DataFile;
use super::pages::{self, Node, possible_nodes};
use super::values::{CHECKSUM_BYTES, decode_record, unseal};
use crate::block::{EncodedBody, SealedHeader};
use crate::difficulty::CompactTarget;
use crate::encoding::MAX_DECODE_BYTES;
use crate::hash::BlockId;
use crate::time::Height;

/// The longest record that there is, with a seal of the largest key.
const MAX_RECORD_BYTES: usize = 4_096;
/// The shortest body that there is: who is rewarded, how much, and that there is nothing else.
const LEAST_BODY_BYTES: usize = 32 + 8 + 8 + 8;
/// The most that is read to find the body of one block, and what each place counts at least. A store holds a body once,
/// and older copies of the page that it is on, some tens of them at most.
const BYTES_A_BLOCK: u64 = 4 * MAX_DECODE_BYTES as u64;
/// See [`BYTES_A_BLOCK`].
const LEAST_BYTES_A_PLACE: u64 = 4_096;
/// The most sequence numbers of one header that are tried: more than one are what a write that was cut short left.
const SEQUENCES: usize = 4;
/// How often as much as the file is read to find bodies in the places that are likely, and again in those that are not:
/// once, and not at all, is enough in a file that a program wrote.
const FILES_READ: u64 = 4;

/// The blocks that were found in a file.
pub struct Salvage {
    file: DataFile,
    /// All headers that are whole, in the order of their ids, and of their places where one was found in several: a write
    /// that was cut short may have left another sequence number than the one that counts.
    headers: Vec<Found>,
    /// Where something is that may be the body of the block with a sequence number, in the order of these.
    bodies: Vec<Place>,
    /// How many bytes may still be read for bodies in places that are likely, and in those that are not.
    left: [u64; 2],
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
    /// Whether the page that leads there is none that says of itself that it does.
    is_unlikely: bool,
    length: u32,
    start: u64,
}

impl Salvage {
    /// Looks through the file of a store. `None`: there is none.
    pub fn scan(directory: &Path) -> io::Result<Option<Self>> {
        let mut file = match DataFile::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let page_bytes = pages::page_bytes(&mut file);
        let bytes = file.len()?;
        let left = [bytes.saturating_mul(FILES_READ); 2];
        let mut salvage = Self { file, headers: Vec::new(), bodies: Vec::new(), left };
        let mut page = vec![0; page_bytes];
        for number in 0..bytes / page_bytes as u64 {
            salvage.file.seek(SeekFrom::Start(number * page_bytes as u64))?;
            // What the disk cannot read any more is lost; the rest is looked at.
            if salvage.file.read_exact(&mut page).is_ok() {
                salvage.take_page(number, &page, bytes);
            }
        }
        salvage.headers.sort_unstable_by_key(|found| (found.id, found.place.is_unlikely, found.place));
        salvage.headers.dedup_by_key(|found| (found.id, found.place.sequence));
        salvage.bodies.sort_unstable();
        salvage.bodies.dedup();
        Ok(Some(salvage))
    }

    /// Takes what a page of a file of so many bytes holds, or leads to.
    fn take_page(&mut self, number: u64, page: &[u8], bytes: u64) {
        let is_unlikely = !pages::is_leaf(number, page);
        let place = |node: &Node| {
            let sequence = u32::try_from(u64::from_be_bytes(node.key.try_into().ok()?)).ok()?;
            let (start, length) = node.value_place(number, page.len())?;
            let is_within = start.checked_add(length as u64).is_some_and(|end| end <= bytes);
            let is_possible = (CHECKSUM_BYTES + LEAST_BODY_BYTES..=MAX_DECODE_BYTES).contains(&length);
            (is_within && is_possible).then_some(Place {
                sequence,
                is_unlikely,
                length: length as u32,
                start,
            })
        };
        let nodes = possible_nodes(page, |node| place(node).is_some());
        for place in nodes.iter().filter_map(place) {
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
        let places: Vec<_> = same.map(|found| self.places(found.place.sequence)).collect();
        let mut left = BYTES_A_BLOCK;
        places.into_iter().flatten().find_map(|place| {
            let place = self.bodies[place];
            let left_of_kind = &mut self.left[usize::from(place.is_unlikely)];
            let (of_block, of_all) = (
                left.checked_sub(LEAST_BYTES_A_PLACE.max(place.length.into()))?,
                left_of_kind.checked_sub(place.length.into())?,
            );
            (left, *left_of_kind) = (of_block, of_all);
            let sealed = self.read(place).ok()?;
            unseal(id.as_bytes(), &sealed).and_then(|body| EncodedBody::decode(body.to_vec()).ok())
        })
    }

    /// Which of the bodies may be those of a sequence number.
    fn places(&self, sequence: u32) -> Range<usize> {
        let first = self.bodies.partition_point(|place| place.sequence < sequence);
        let count = self.bodies[first..].partition_point(|place| place.sequence == sequence);
        first..first + count
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::environment::DATA_FILE;
    use super::*;
    use crate::address::Address;
    use crate::amount::Amount;
    use crate::block::{Body, Reward};
    use crate::encoding::encode;

    /// A file of pages that are full of nodes, all of one sequence number, with values as long as this says, of which any
    /// two overlap.
    fn hostile(pages: u64, length: impl Fn(u64) -> u64) -> Vec<u8> {
        let mut file = Vec::new();
        for page in 0..pages {
            let nodes: Vec<_> = (0..120_u64)
                .map(|node| {
                    // A value on pages of its own: its length, a flag, the key's length, the key, the first page.
                    let mut bytes = (length(node) as u32).to_ne_bytes().to_vec();
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

    /// A header as if it had been found under this sequence number.
    fn found(id: u8, sequence: u32) -> Found {
        Found {
            id: BlockId::from_bytes([id; 32]),
            previous: BlockId::ZERO,
            height: Height::GENESIS,
            bits: CompactTarget::from_bits(0),
            place: Place { sequence, is_unlikely: false, length: 0, start: 0 },
        }
    }

    /// Every place of a sequence number was compared with all before it, and read for every block of that number.
    #[test]
    fn of_all_places_no_more_is_read_than_a_few_times_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = hostile(400, |_| 16_384);
        fs::write(directory.path().join(DATA_FILE), &file).unwrap();
        let mut salvage = Salvage::scan(directory.path()).unwrap().unwrap();
        assert!(salvage.headers().is_empty());
        assert!((390..=400).contains(&salvage.bodies.len()), "{}", salvage.bodies.len());
        assert_eq!((salvage.places(7).len(), salvage.places(6).len()), (salvage.bodies.len(), 0));
        assert!(salvage.bodies.is_sorted_by(|one, other| one < other), "each is tried once");

        let all = file.len() as u64 * FILES_READ;
        assert_eq!(salvage.left, [all; 2]);
        salvage.headers = (0..9).map(|id| found(id, 7)).collect();
        (0..9).for_each(|position| assert!(salvage.body(position).is_none()));
        assert!(salvage.left[1] < 16_384, "and then no more");
        assert_eq!(salvage.left[0], all, "which costs those that are likely nothing");
    }

    #[test]
    fn no_body_is_shorter_than_the_least() {
        let reward = Reward { to: Address::default(), amount: Amount::ZERO, data: Vec::new() };
        assert_eq!(encode(&Body { reward, transactions: Vec::new() }).len(), LEAST_BODY_BYTES);
    }

    /// Whoever pays can put into a block what looks like pages of a store. Of the places of one number the first 64 were
    /// tried, the shortest first, so such a block kept every node from repairing another.
    #[test]
    fn an_honest_body_is_found_among_false_nodes_of_its_number() {
        let reward = Reward { to: Address::from_bytes([9; 32]), amount: Amount::MAX, data: vec![3; 300] };
        let body = encode(&Body { reward, transactions: Vec::new() });
        let of = found(1, 7);
        let sealed = super::super::values::seal(of.id.as_bytes(), &body);
        let leaf = |number: u64| {
            let mut node = (sealed.len() as u32).to_ne_bytes().to_vec();
            node.extend_from_slice(&[0, 0, 8, 0]);
            node.extend_from_slice(&7_u64.to_be_bytes());
            node.extend_from_slice(&sealed);
            node.resize(node.len().next_multiple_of(2), 0);
            let mut page = number.to_ne_bytes().to_vec();
            let upper = (4096 - node.len()) as u16;
            page.extend([0_u16, 2, 18, upper, upper].into_iter().flat_map(u16::to_ne_bytes));
            page.resize(4096 - node.len(), 0);
            [page, node].concat()
        };
        // More than are tried for one block, all of them shorter and before it.
        let file = [hostile(211, |node| 60 + node), leaf(211)].concat();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(DATA_FILE), &file).unwrap();
        let mut salvage = Salvage::scan(directory.path()).unwrap().unwrap();
        assert!(salvage.bodies.len() as u64 > BYTES_A_BLOCK / LEAST_BYTES_A_PLACE);
        salvage.headers = vec![of];
        let whole = EncodedBody::decode(body).unwrap();
        assert_eq!(salvage.body(0).as_ref(), Some(&whole));
        // Nor does it matter which copies of its header there are.
        let header = |sequence| {
            let mut copy = found(1, sequence);
            copy.place.is_unlikely = true;
            copy
        };
        salvage.headers.splice(1..1, (0..9).map(header));
        assert_eq!(salvage.body(0), Some(whole));
    }
}
