//! What LMDB writes passes, whatever is done to its tables; what it never writes is found, or is not looked at.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, EnvOpenOptions};

use super::*;

/// A number that looks random and is always the same.
fn number(seed: u64) -> u64 {
    let hash = crate::hash::sha256(&[&seed.to_le_bytes()]);
    u64::from_le_bytes(hash[..8].try_into().unwrap())
}

fn checked(bytes: &[u8]) -> Result<PageCounts, PageError> {
    let mut file = Cursor::new(bytes);
    let metas = metas(&mut file)?;
    let newest = metas.iter().max_by_key(|meta| meta.transaction).unwrap();
    check(&mut file, bytes.len() as u64, newest)
}

/// A database in which tables grew and shrank, with values of all lengths; every state of it is looked at.
fn database(commits: u64, seed: u64, mut look: impl FnMut(&[u8])) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data.mdb");
    // SAFETY: nobody else uses the files.
    let env = unsafe { EnvOpenOptions::new().map_size(64 << 20).max_dbs(4).open(directory.path()) }.unwrap();
    let tables = env.create_databases_and_commit(env.write_txn().unwrap(), |opener, txn| {
        let tables = ["one", "two", "three"].map(|name| opener.create_database(txn, Some(name)).unwrap());
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(tables))
    });
    let tables: [Database<Bytes, Bytes>; 3] = tables.unwrap().unwrap_commit();
    look(&fs::read(&data).unwrap());
    for commit in 0..commits {
        let mut txn = env.write_txn().unwrap();
        for change in 0..number(seed + commit) % 200 {
            let random = number(seed + commit * 1_000 + change);
            let table = tables[random as usize % 3];
            // Grows for a while, shrinks for a while.
            let key = (number(random) % 2_000).to_be_bytes();
            let key = [&key[..], &vec![7; random as usize % 300]].concat();
            match (commit / 10 % 2, random % 5) {
                (0, 0) | (1, 1..) => {
                    let first = table
                        .iter(&txn)
                        .unwrap()
                        .nth(random as usize % 50)
                        .map(|entry| entry.unwrap().0.to_vec());
                    if let Some(key) = first {
                        table.delete(&mut txn, &key).unwrap();
                    }
                }
                _ => {
                    let length = if random.is_multiple_of(11) { 20_000 } else { 1_500 };
                    table
                        .put(&mut txn, &key, &vec![commit as u8; number(random + 1) as usize % length])
                        .unwrap();
                }
            }
        }
        if commit % 17 == 16 {
            tables[commit as usize % 3].clear(&mut txn).unwrap();
        }
        if commit % 7 == 3 {
            txn.abort();
        } else {
            txn.commit().unwrap();
        }
        look(&fs::read(&data).unwrap());
    }
}

#[test]
fn whatever_is_put_and_deleted_every_committed_state_passes() {
    let mut used = 0;
    database(120, 1, |bytes| {
        let counts = checked(bytes).unwrap();
        used = used.max(counts.used);
    });
    assert!(used > 60, "there was something to check: {used}");
}

#[test]
fn whatever_bytes_are_wrong_nothing_is_read_out_of_bounds() {
    let mut file = Vec::new();
    database(15, 2, |bytes| file = bytes.to_vec());
    let (mut found, pages) = (0, file.len() as u64 / 4096);
    for flip in 0..3_000 {
        let mut damaged = file.clone();
        let at = if flip % 2 == 0 { number(flip) % 64 } else { number(flip) % 4096 };
        let place = (number(flip + 50_000) % pages * 4096 + at) as usize;
        damaged[place] ^= 1 << (flip % 8);
        found += u64::from(checked(&damaged).is_err());
        // Nobody's word is taken for where nodes are.
        possible_nodes(&damaged[place / 4096 * 4096..][..4096], |_| true);
    }
    assert!(found > 50, "most of it is values: {found}");
    for length in (0..file.len()).step_by(4_001) {
        let mut cut = file[..length].to_vec();
        let passes = checked(&cut).is_ok();
        cut.resize(file.len(), 0);
        assert!(!passes || checked(&cut).is_ok(), "pages are used that are beyond {length}");
    }
}

#[test]
fn numbers_of_transactions_that_do_not_follow_each_other_are_found() {
    let mut file = Vec::new();
    database(3, 3, |bytes| file = bytes.to_vec());
    assert!(checked(&file).is_ok());
    for page in [0, 1] {
        let place = page * 4096 + 144;
        let before = u64_at(&file, place);
        for wrong in [before + 1, before + 4, before ^ 1 << 40, u64::MAX, 0] {
            let mut damaged = file.clone();
            damaged[place..place + 8].copy_from_slice(&wrong.to_ne_bytes());
            assert!(matches!(checked(&damaged), Err(PageError::Page { .. })), "{before} is {wrong}");
        }
    }
}

/// Where a page is longer than most, a file whose first page is damaged was read as if it had pages of 4096 bytes.
#[test]
fn the_second_meta_page_tells_how_long_a_page_is_wherever_it_begins() {
    let mut usual = Vec::new();
    database(3, 5, |bytes| usual = bytes.to_vec());
    for page_bytes in PAGE_SIZES {
        let mut file = vec![0x5a; 2 * page_bytes as usize];
        let second = &mut file[page_bytes as usize..][..META_BYTES];
        second.copy_from_slice(&usual[4096..][..META_BYTES]);
        second[40..44].copy_from_slice(&page_bytes.to_ne_bytes());
        let mut file = Cursor::new(file);
        assert_eq!(super::page_bytes(&mut file), page_bytes as usize);
        assert!(matches!(metas(&mut file), Err(PageError::Page { page: 0, .. })), "of {page_bytes}");
    }
}

/// One bit in what says how many nodes there are took most of a page's headers along.
#[test]
fn a_damaged_count_of_nodes_costs_no_node() {
    let mut file = Vec::new();
    database(15, 6, |bytes| file = bytes.to_vec());
    let mut looked_at = 0;
    for page in file.chunks(4096).filter(|page| u16_at(page, 10) == LEAF && u16_at(page, 12) > 24) {
        let Ok(sound) = nodes(0, page, true) else { continue };
        let sound: BTreeSet<_> = sound.iter().map(|node| node.place).collect();
        let found = |page: &[u8]| -> BTreeSet<_> {
            possible_nodes(page, |_| true).iter().map(|node| node.place).collect()
        };
        assert_eq!(found(page), sound);
        for bit in 0..16 {
            let mut damaged = page.to_vec();
            damaged[12 + bit / 8] ^= 1 << (bit % 8);
            if u16_at(&damaged, 12) < u16_at(page, 12) {
                assert_eq!(found(&damaged), sound, "bit {bit}");
                looked_at += 1;
            }
            // With more of them than there are, what is no pointer may lead to what is no node, but to none of ours.
            let of_ours = |node: &Node| sound.contains(&node.place);
            assert_eq!(possible_nodes(&damaged, of_ours).len(), sound.len(), "bit {bit}");
        }
    }
    assert!(looked_at > 20, "{looked_at}");
}
