//! Finds blocks in a file that LMDB may not be able to read any more. No page is trusted: wherever something looks
//! like the header or the body of a block, and its checksum says so too, it is one; the rules say later whether it
//! is valid. Older copies in pages that are free again are as good.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::super::BlockRecord;
use super::environment::DATA_FILE;
use super::pages::{self, possible_nodes};
use super::values::{CHECKSUM_BYTES, decode_record, unseal};
use crate::block::EncodedBody;
use crate::encoding::MAX_DECODE_BYTES;
use crate::hash::BlockId;

/// The longest record that there is, with a seal of the largest key.
const MAX_RECORD_BYTES: usize = 4_096;

/// The blocks that were found in a file.
pub struct Salvage {
    file: File,
    /// All headers that are whole, with each sequence number that one was found under: a write that was cut short may
    /// have left another than the one that counts.
    blocks: HashMap<BlockId, (Vec<u32>, BlockRecord)>,
    /// Where something is that may be the body of the block with a sequence number.
    bodies: HashMap<u32, Vec<(u64, usize)>>,
}

impl Salvage {
    /// Looks through the file of a store. `None`: there is none.
    pub fn scan(directory: &Path) -> io::Result<Option<Self>> {
        let mut file = match File::open(directory.join(DATA_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let page_bytes = pages::page_bytes(&mut file);
        let mut salvage = Self { file, blocks: HashMap::new(), bodies: HashMap::new() };
        let bytes = salvage.file.metadata()?.len();
        let mut page = vec![0; page_bytes];
        for number in 0..bytes / page_bytes as u64 {
            salvage.file.seek(SeekFrom::Start(number * page_bytes as u64))?;
            // What the disk cannot read any more is lost; the rest is looked at.
            if salvage.file.read_exact(&mut page).is_err() {
                continue;
            }
            for node in possible_nodes(&page) {
                let sequence = node.key.try_into().ok().map(u64::from_be_bytes);
                let Some(sequence) = sequence.and_then(|sequence| u32::try_from(sequence).ok()) else {
                    continue;
                };
                let place = node.value_place(number, page_bytes);
                let Some((start, length)) = place.filter(|(start, length)| {
                    start.checked_add(*length as u64).is_some_and(|end| end <= bytes)
                        && *length <= MAX_DECODE_BYTES
                }) else {
                    continue;
                };
                salvage.take(sequence, start, length);
            }
        }
        Ok(Some(salvage))
    }

    /// Takes what may be a header, or a body, of this sequence number.
    fn take(&mut self, sequence: u32, start: u64, length: usize) {
        if length <= MAX_RECORD_BYTES {
            let Ok(sealed) = self.read(start, length) else { return };
            let record = sealed.get(CHECKSUM_BYTES..).and_then(decode_record);
            if let Some((id, record)) = record.map(|record| (record.id(), record))
                && unseal(id.as_bytes(), &sealed).is_some()
            {
                let (sequences, _) = self.blocks.entry(id).or_insert_with(|| (Vec::new(), record));
                if !sequences.contains(&sequence) {
                    sequences.push(sequence);
                }
                return;
            }
        }
        let places = self.bodies.entry(sequence).or_default();
        if !places.contains(&(start, length)) {
            places.push((start, length));
        }
    }

    fn read(&mut self, start: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The headers that were found, genesis perhaps among them.
    pub fn records(&self) -> impl Iterator<Item = (BlockId, &BlockRecord)> {
        self.blocks.iter().map(|(id, (_, record))| (*id, record))
    }

    /// The header of a block.
    pub fn record(&self, id: &BlockId) -> Option<&BlockRecord> {
        self.blocks.get(id).map(|(_, record)| record)
    }

    /// The body of a block, if it was found whole.
    pub fn body(&mut self, id: &BlockId) -> Option<EncodedBody> {
        let (sequences, _) = self.blocks.get(id)?;
        let places = sequences.iter().filter_map(|sequence| self.bodies.get(sequence)).flatten();
        for (start, length) in places.copied().collect::<Vec<_>>() {
            let Ok(sealed) = self.read(start, length) else { continue };
            if let Some(body) =
                unseal(id.as_bytes(), &sealed).and_then(|body| EncodedBody::decode(body.to_vec()).ok())
            {
                return Some(body);
            }
        }
        None
    }
}
