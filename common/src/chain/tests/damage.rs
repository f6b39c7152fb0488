//! A store with bytes flipped, or cut short, anywhere: whoever opens or verifies it gets a sentence or the whole
//! truth, and a repair gives back a part of the same chain. All of it happens in other processes: a crash in the
//! database's own code would show.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use super::*;
use crate::address::Address;
use crate::chain::{RepairError, Repaired, VerifyError, repair, verify};
use crate::encoding::encode;
use crate::ledger::Account;
use crate::store::lmdb::SwapError;
#[cfg(unix)]
use crate::store::lmdb::while_unreadable;
use crate::store::{Activity, Write};
use crate::testing::StandIn;

/// How many bytes are changed, one at a time.
const FLIPS: u64 = 300;
/// Flips a child takes on.
const FLIPS_A_CHILD: u64 = 150;
/// Says to [`in_another_process`] what to do.
const CHILD: &str = "FARTHING_TEST_DAMAGE";
const DATA_FILE: &str = "data.mdb";

/// All that a store tells its users.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    best: Vec<(BlockId, Vec<u8>)>,
    accounts: Vec<(Address, Account)>,
    activity: Vec<Activity>,
    places: Vec<bool>,
}

fn content(chain: &Chain<LmdbStore>, branch: &Branch) -> Content {
    try_content(chain, branch).expect("the store is sound")
}

fn try_content(chain: &Chain<LmdbStore>, branch: &Branch) -> Result<Content, StoreError> {
    let gap = || StoreError::damaged("the best chain has a gap");
    chain.store().read(|reader| {
        let mut best = Vec::new();
        for height in 1..=reader.tip()?.height.get() {
            let id = reader.best_at(Height::new(height))?.ok_or_else(gap)?;
            best.push((id, reader.encoded_body(&id)?.ok_or_else(gap)?.into_owned()));
        }
        let mut accounts = Vec::new();
        reader.for_each_account(&mut |address, account| accounts.push((address, account)))?;
        let payments = branch.blocks.iter().flat_map(|block| block.entries());
        let places = payments.map(|entry| Ok(reader.find_transaction(&entry.id())?.is_some()));
        let places = places.collect::<Result<_, StoreError>>()?;
        Ok(Content { best, accounts, activity: reader.activity(&alice().address(), usize::MAX)?, places })
    })
}

/// A command that does not look as closely as `verify` finds damage, or it does not matter: whatever it is told of the
/// best chain and the accounts is right.
fn is_told_no_lie(chain: &Chain<LmdbStore>, branch: &Branch, whole: &[Content; 2]) {
    if let Ok(found) = try_content(chain, branch) {
        let is = |whole: &Content| (&whole.best, &whole.accounts) == (&found.best, &found.accounts);
        assert!(whole.iter().any(is), "a lie is believed");
    }
    let states = whole.each_ref().map(|state| BTreeMap::from_iter(state.accounts.iter().copied()));
    for address in states[0].keys() {
        if let Ok(got) = chain.store().read(|reader| reader.account(address)) {
            let is = |state: &BTreeMap<_, _>| state.get(address).copied().unwrap_or_default() == got;
            assert!(states.iter().any(is), "a lie about {address} is believed: {got:?}");
        }
    }
}

/// Fifty blocks, one of them large, that pay several hundred addresses, and a branch beside them, in as many writes.
fn branches(rules: &Arc<Rules>) -> (Branch, Branch) {
    let mut branch = Branch::new(rules);
    let mut side = branch.clone();
    for number in 0..50 {
        let payments = if number == 20 { 40 } else { 3 };
        let mut nonce = branch.ledger.account(&alice().address()).nonce;
        let payments = (0..payments).map(|payment| {
            let to = Key::new(1_000 + number * 100 + payment).address();
            nonce += 1;
            alice().sign(&rules.network_id(), alice().payment(to, 5 + number, nonce - 1))
        });
        let payments = payments.collect();
        branch.grow(&carol(), payments);
        if number == 10 {
            side = branch.clone();
        }
    }
    grow_idle(&mut side, &bob(), 4);
    (branch, side)
}

/// The file of such a store, what it says, and what it said before its last write.
fn original(rules: &Arc<Rules>, branch: &Branch, side: &Branch) -> (Vec<u8>, [Content; 2]) {
    let (chain, directory) = durable_chain(rules);
    chain.watch(&[alice().address()]).expect("the store is sound");
    let (last, blocks) = branch.blocks.split_last().expect("there are blocks");
    for block in blocks {
        connect(&chain, std::slice::from_ref(block));
    }
    connect(&chain, &side.blocks);
    let before = content(&chain, branch);
    connect(&chain, std::slice::from_ref(last));
    let after = content(&chain, branch);
    drop(chain);
    (fs::read(directory.path().join(DATA_FILE)).expect("the store is closed"), [after, before])
}

/// Whether a byte of a file is one of a block's, or of what leads there from the page that they are on.
fn is_of_block(file: &[u8], place: usize, block: &CheckedBlock) -> bool {
    // Keys, lengths, checksums and work are beside them.
    const BESIDE: usize = 40;
    [&encode(block.header()), block.encoded_body()].into_iter().any(|bytes| {
        let starts = place.saturating_sub(bytes.len() + BESIDE)..place + BESIDE;
        starts.into_iter().any(|start| file.get(start..).is_some_and(|rest| rest.starts_with(bytes)))
    })
}

/// Opens, verifies and repairs a store that holds these bytes, and checks what comes of it. Gives whether damage
/// was found, and how many blocks the repair saved. Where but one byte is another, of a sound file, it is known which.
fn survives(
    bytes: &[u8],
    changed: Option<(&[u8], usize)>,
    rules: &Arc<Rules>,
    [branch, side]: [&Branch; 2],
    whole: &[Content; 2],
) -> (bool, usize) {
    let root = tempfile::tempdir().expect("the system has room");
    let directory = root.path();
    let data = directory.join(DATA_FILE);
    fs::write(&data, bytes).expect("the system has room");
    let blocks = branch.blocks.len();
    match verify(directory, rules, &StandIn, &mut |_, _| ()) {
        Ok(None) => {
            assert!(bytes.is_empty());
            return (true, 0);
        }
        Ok(Some(verified)) => {
            let store =
                LmdbStore::open_existing(directory, rules).expect("it is sound").expect("it is there");
            let content = content(&Chain::new(rules.clone(), store), branch);
            // LMDB's own pages have no checksums: the number of a transaction can be wrong so that the state
            // before the last write is the newest.
            assert!(whole.contains(&content), "it is not sound");
            assert_eq!(verified.audit.tip.height.get() as usize, content.best.len());
            return (false, blocks);
        }
        Err(VerifyError::Damaged(damages)) => assert!(!damages.is_empty()),
        // A command would not come to the repair.
        Err(error @ (VerifyError::Unreadable(_) | VerifyError::Store(_))) => panic!("{error}"),
    }
    if let Ok(Some(store)) = LmdbStore::open_existing(directory, rules) {
        is_told_no_lie(&Chain::new(rules.clone(), store), branch, whole);
    }
    let damaged = fs::read(&data).expect("it is there");
    let Repaired { aside, tip, blocks: kept, left_out } =
        repair(directory, rules, &[alice().address()], &StandIn, &mut |_, _| ()).expect("it can be repaired");
    assert_eq!(fs::read(aside).expect("it was kept"), damaged);
    let verified = verify(directory, rules, &StandIn, &mut |_, _| ());
    assert_eq!(verified.expect("it is sound now").expect("it is there").audit.tip, tip);
    let store = LmdbStore::open_existing(directory, rules).expect("it is sound").expect("it is there");
    let chain = Chain::new(rules.clone(), store);
    let content = content(&chain, branch);
    // Without one of its early blocks the branch has less work than the one beside it.
    let is_of = |branch: &Branch| branch.ids().iter().zip(&content.best).all(|(id, (got, _))| id == got);
    assert!(whole[0].best.starts_with(&content.best) || is_of(side), "it is another chain");
    if let Some((sound, place)) = changed {
        let all =
            branch.blocks.len() + side.blocks.iter().filter(|block| !branch.blocks.contains(block)).count();
        assert!(
            kept + left_out + 1 >= all as u64,
            "more than one header is thrown away: {kept} and {left_out}"
        );
        for of in [branch, side] {
            let is_kept = |block: &&CheckedBlock| look(&chain, |reader| reader.record(&block.id())).is_some();
            if let Some(lost) = of.blocks.iter().find(|block| !is_kept(block)) {
                // What leads to a long body is somewhere else.
                let is_long = lost.encoded_body().len() > 2_000;
                assert!(is_long || is_of_block(sound, place, lost), "a sound block is thrown away");
            }
        }
    }
    (true, content.best.len())
}

/// A number that looks random and is always the same.
fn number(seed: u64) -> u64 {
    let hash = crate::hash::sha256(&[&seed.to_le_bytes()]);
    u64::from_le_bytes(hash[..8].try_into().expect("a hash is longer"))
}

/// The file with one byte changed: a few in what the meta pages say, many at the start of pages, where their
/// structure is, most anywhere; one bit of it or all.
fn flipped(file: &[u8], flip: u64) -> (usize, Vec<u8>) {
    let (page, at) = (number(flip) % (file.len() as u64 / 4096), number(flip + 10_000));
    let place = match flip % 7 {
        0 => (page % 2) * 4096 + at % 152,
        1 | 2 => page * 4096 + at % 16,
        3 => page * 4096 + at % 64,
        _ => page * 4096 + at % 4096,
    } as usize;
    let mut flipped = file.to_vec();
    flipped[place] ^= if flip.is_multiple_of(3) { 0xff } else { 1 << (number(flip + 20_000) % 8) };
    (place, flipped)
}

/// Not a test of its own: what the tests below run in a process of its own.
#[test]
fn in_another_process() {
    let Ok(job) = std::env::var(CHILD) else { return };
    let rules = rules();
    let (branch, side) = branches(&rules);
    let (file, whole) = original(&rules, &branch, &side);
    let (mut found, mut saved) = (0, 0);
    let mut survives = |what: String, bytes: &[u8], place: Option<usize>| {
        let _ = writeln!(std::io::stderr(), "{what}");
        let changed = place.map(|place| (&file[..], place));
        let (damaged, blocks) = survives(bytes, changed, &rules, [&branch, &side], &whole);
        found += u64::from(damaged);
        saved += blocks;
    };
    let mut count = 0;
    if let Ok(first) = job.parse::<u64>() {
        for flip in first..first + FLIPS_A_CHILD {
            let (place, bytes) = flipped(&file, flip);
            survives(format!("flip {flip} at byte {place}, page {}", place / 4096), &bytes, Some(place));
            count += 1;
        }
    } else {
        let pages = (0..file.len() / 4096).step_by(9).map(|page| page * 4096);
        let odd = [0, 1, 100, 4095, 4097, 8191, 8192, file.len() / 2 + 77, file.len() - 1, file.len() - 4096];
        for length in pages.chain(odd) {
            survives(format!("cut to {length} of {} bytes", file.len()), &file[..length], None);
            count += 1;
        }
    }
    let _ = writeln!(std::io::stderr(), "{count}: {found} found, {saved} blocks saved");
    assert!(found * 3 > count, "most of the file means something");
    assert!(saved as u64 * 2 > count * 50 || job == "cut", "most repairs save most");
}

fn run(job: &str) {
    let (_, module) = module_path!().split_once("::").expect("it is in a crate");
    let mut command = Command::new(std::env::current_exe().expect("tests have a file"));
    command.args([&format!("{module}::in_another_process"), "--exact", "--nocapture"]).env(CHILD, job);
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(ran_one(&output), "the test in another process has another name");
}

/// Whether the test program ran the one test that it was asked for, and not none.
fn ran_one(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stdout).contains("1 passed")
}

#[test]
fn any_flipped_byte_is_found_or_harmless_and_what_is_damaged_can_be_repaired() {
    std::thread::scope(|scope| {
        for first in (0..FLIPS).step_by(FLIPS_A_CHILD as usize) {
            scope.spawn(move || run(&first.to_string()));
        }
    });
}

#[test]
fn a_store_that_is_cut_short_anywhere_is_found_and_repaired() {
    run("cut");
}

#[test]
fn rubbish_is_repaired_to_an_empty_store() {
    let rules = rules();
    let root = tempfile::tempdir().expect("the system has room");
    fs::write(root.path().join(DATA_FILE), [0x5a; 30_000]).expect("the system has room");
    assert!(matches!(
        verify(root.path(), &rules, &StandIn, &mut |_, _| ()),
        Err(VerifyError::Damaged(damages)) if damages.len() == 1
    ));
    let repaired = repair(root.path(), &rules, &[], &StandIn, &mut |_, _| ()).expect("there is room");
    assert_eq!((repaired.blocks, repaired.tip.height), (0, Height::GENESIS));
    assert!(verify(root.path(), &rules, &StandIn, &mut |_, _| ()).expect("it is sound").is_some());
}

#[test]
fn a_block_that_is_lost_takes_those_above_it_with_it_and_is_named() {
    let rules = rules();
    let (branch, side) = branches(&rules);
    let (mut file, whole) = original(&rules, &branch, &side);
    // Every copy of what the thirtieth block's miner was paid for: the body is in no page any more.
    let body = branch.blocks[29].encoded_body();
    let places: Vec<_> = file.windows(200).enumerate().filter(|(_, bytes)| *bytes == &body[..200]).collect();
    let places: Vec<usize> = places.into_iter().map(|(place, _)| place).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|place| file[place + 100] ^= 1);
    let root = tempfile::tempdir().expect("the system has room");
    fs::write(root.path().join(DATA_FILE), &file).expect("the system has room");
    let error = verify(root.path(), &rules, &StandIn, &mut |_, _| ()).expect_err("it is damaged");
    let id = branch.blocks[29].id().to_string();
    assert!(error.to_string().contains(&format!("block 30 ({id}")), "{error}");
    let repaired = repair(root.path(), &rules, &[alice().address()], &StandIn, &mut |_, _| ());
    let repaired = repaired.expect("it can be repaired");
    assert_eq!(repaired.tip.height, Height::new(29));
    // The branch beside it is whole, and is kept.
    assert_eq!((repaired.blocks, repaired.left_out), (29 + 4, 21));
    let store = LmdbStore::open_existing(root.path(), &rules).expect("it is sound").expect("it is there");
    let chain = Chain::new(rules.clone(), store);
    assert!(whole[0].best.starts_with(&content(&chain, &branch).best));
    // What is missing comes from peers.
    connect(&chain, &branch.blocks[29..]);
    assert_eq!(content(&chain, &branch), whole[0]);
}

#[test]
fn a_store_in_use_is_not_repaired() {
    let rules = rules();
    let (chain, directory) = durable_chain(&rules);
    let file = fs::read(directory.path().join(DATA_FILE)).expect("it is there");
    // In another process: this one would share its locks.
    let (_, module) = module_path!().split_once("::").expect("it is in a crate");
    let mut command = Command::new(std::env::current_exe().expect("tests have a file"));
    command.args([&format!("{module}::in_use"), "--exact"]).env(CHILD, directory.path());
    let output = command.output().expect("it starts");
    assert!(output.status.success() && ran_one(&output), "{output:?}");
    assert_eq!(fs::read(directory.path().join(DATA_FILE)).expect("it is there"), file);
    drop(chain);
    repair(directory.path(), &rules, &[], &StandIn, &mut |_, _| ()).expect("nobody uses it now");
}

/// Only the first page of what is long was read by a call before the database read all of it, and ended the program.
#[cfg(unix)]
#[test]
fn a_long_body_that_the_disk_cannot_read_to_its_end_is_named_and_lost_and_nothing_else_is() {
    let rules = rules();
    let (branch, side) = branches(&rules);
    let (file, _) = original(&rules, &branch, &side);
    let root = tempfile::tempdir().expect("the system has room");
    let data = root.path().join(DATA_FILE);
    fs::write(&data, &file).expect("the system has room");
    let long = branch.blocks.iter().position(|block| block.encoded_body().len() > 4096 * 2);
    let long = long.expect("one is");
    let start = &branch.blocks[long].encoded_body()[..64];
    let copies = file.windows(start.len()).enumerate().filter(|(_, bytes)| *bytes == start);
    let places: Vec<_> = copies.map(|(place, _)| (place as u64 / 4096 + 1) * 4096).collect();
    assert!(!places.is_empty());
    while_unreadable(&data, places.into_iter().map(|place| place..place + 512).collect(), || {
        let Err(VerifyError::Unreadable(damages)) = verify(root.path(), &rules, &StandIn, &mut |_, _| ())
        else {
            panic!("a page cannot be read");
        };
        assert!(damages[0].starts_with("the disk cannot read page "), "{damages:?}");
        let repaired =
            repair(root.path(), &rules, &[], &StandIn, &mut |_, _| ()).expect("the rest can be read");
        assert_eq!(repaired.tip.height, Height::new(long as u64));
        assert_eq!((repaired.blocks, repaired.left_out), (long as u64 + 4, 50 - long as u64));
    });
}

/// Where the disk was full it stayed so: all that there had been room for was left.
#[test]
fn a_repair_that_fails_leaves_nothing_of_the_new_store() {
    let rules = rules();
    let (chain, directory) = durable_chain(&rules);
    let mut branch = Branch::new(&rules);
    grow_idle(&mut branch, &carol(), 3);
    connect(&chain, &branch.blocks);
    drop(chain);
    let (data, new) = (directory.path().join(DATA_FILE), directory.path().join("repaired"));
    let mut seen = 0;
    let failed = repair(directory.path(), &rules, &[], &StandIn, &mut |_, _| {
        seen = fs::metadata(new.join(DATA_FILE)).expect("it is being made").len();
        let mut file = fs::OpenOptions::new().append(true).open(&data).expect("it is there");
        file.write_all(&[0; 4096]).expect("there is room");
    });
    assert!(matches!(failed, Err(RepairError::Swap(SwapError::Changed { .. }))), "{failed:?}");
    assert!(seen > 0 && !new.exists());
    let repaired =
        repair(directory.path(), &rules, &[], &StandIn, &mut |_, _| ()).expect("it is left alone now");
    assert_eq!(repaired.blocks, 3);
    assert!(!new.exists());
}

/// Not a test of its own.
#[test]
fn in_use() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let result = repair(Path::new(&directory), &rules(), &[], &StandIn, &mut |_, _| ());
    assert!(matches!(result, Err(RepairError::Swap(SwapError::InUse { .. }))), "{result:?}");
}

/// One bit in an account made the next honest block break a rule, which condemned it for ever and banned who sent it.
#[test]
fn an_honest_block_is_not_condemned_for_a_damaged_account() {
    let rules = rules();
    let (chain, directory) = durable_chain(&rules);
    drop(chain);
    let file = directory.path().join(DATA_FILE);
    let sound = fs::read(&file).expect("it is there");
    let of = alice().address();
    let place = sound.windows(32).position(|bytes| bytes == of.as_bytes()).expect("alice has an account");
    let mut branch = Branch::new(&rules);
    // All that she has, but for a coin and the fee.
    let payment = branch.pay(&alice(), bob().address(), 998_000_000, 3);
    branch.grow(&carol(), vec![payment]);
    for bit in 0..8 * 8 {
        let mut bytes = sound.clone();
        bytes[place + 32 + bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &bytes).expect("there is room");
        let store = LmdbStore::open_existing(directory.path(), &rules).expect("its pages are sound");
        let chain = Chain::new(rules.clone(), store.expect("it is there"));
        let refused = chain.connect(&branch.blocks);
        assert!(
            matches!(refused, Err(ChainError::Store(StoreError::Damaged { .. }))),
            "bit {bit}: {refused:?}"
        );
        assert!(!look(&chain, |reader| reader.is_invalid(&branch.tip())));
    }
}

/// Such a parent ended every repair of the store with an error.
#[test]
fn what_builds_on_a_block_that_a_repair_condemns_is_left_out_and_what_was_kept_of_it_not_counted() {
    let rules = rules();
    // The branch that most work seems to lead to lacks a body; the next one breaks a rule in its first block, which is
    // noticed when it has more work than what is left of the other, by then one write later.
    let (mut main, mut side) = (Branch::new(&rules), Branch::new(&rules));
    grow_idle(&mut main, &carol(), 289);
    grow_idle(&mut main, &Key::new(77), 1);
    grow_idle(&mut main, &carol(), 110);
    let too_early = alice().sign(&rules.network_id(), alice().payment(bob().address(), 5, 7));
    side.grow_anyway(&alice(), vec![too_early]);
    grow_idle(&mut side, &alice(), 99);
    let mut third = side.clone();
    grow_idle(&mut side, &alice(), 250);
    grow_idle(&mut third, &bob(), 3);

    let (chain, directory) = durable_chain(&rules);
    chain.store().write(|writer| put_all(writer, &[&main, &side, &third])).expect("there is room");
    drop(chain);
    let data = directory.path().join(DATA_FILE);
    let mut file = fs::read(&data).expect("the store is closed");
    let lost = main.blocks[289].encoded_body();
    while let Some(place) = file.windows(lost.len()).position(|bytes| bytes == lost) {
        file[place] ^= 1;
    }
    fs::write(&data, &file).expect("there is room");

    let repaired =
        repair(directory.path(), &rules, &[], &StandIn, &mut |_, _| ()).expect("it can be repaired");
    assert_eq!(repaired.tip.id, main.ids()[288]);
    assert_eq!((repaired.blocks, repaired.left_out), (289, 111 + 350 + 3));
}

/// Puts blocks into the tree without a look at the ledger.
fn put_all(writer: &mut dyn Write, branches: &[&Branch]) -> Result<(), StoreError> {
    for branch in branches {
        let mut work = crate::difficulty::Work::ZERO;
        for block in &branch.blocks {
            work = work.plus(block.header().header.bits.to_target().work());
            writer.put_block(block, work)?;
        }
    }
    Ok(())
}
