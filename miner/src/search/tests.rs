//! The kernels against the definition of a block's id, and the threads against their promises.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

use common::address::Address;
use common::amount::Amount;
use common::block::{BlockHeader, Reward};
use common::difficulty::Target;
use common::hash::{BlockId, MerkleRoot};
use common::time::{Height, Timestamp};

use super::*;

/// For a test that fails only: nothing here takes longer than moments.
const AT_MOST: Duration = Duration::from_secs(60);

/// Nonces that each kernel is asked for one by one. Interpreted (`scripts/miri`), each takes thousands of times as long.
const NONCES: u64 = if cfg!(miri) { 4 } else { 400 };

fn random_header(zero_bits: u32) -> BlockHeader {
    let mut bytes = [0; 84];
    getrandom::fill(&mut bytes).unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    BlockHeader {
        version: word(0) as u32,
        previous: BlockId::from_bytes(bytes[4..36].try_into().unwrap()),
        merkle_root: MerkleRoot::from_bytes(bytes[36..68].try_into().unwrap()),
        time: Timestamp::from_millis(word(68)),
        bits: Target::from_leading_zero_bits(zero_bits).to_compact(),
        height: Height::new(word(76)),
        nonce: 7,
    }
}

fn template(zero_bits: u32) -> Arc<Template> {
    Arc::new(Template {
        header: random_header(zero_bits),
        reward: Reward { to: Address::default(), amount: Amount::ZERO, data: Vec::new() },
        transactions: Vec::new(),
        parent_time: Timestamp::default(),
    })
}

fn solves(header: &BlockHeader, nonce: u64) -> bool {
    header.bits.to_target().is_met_by(&BlockHeader { nonce, ..*header }.id())
}

#[test]
fn a_kernel_finds_exactly_the_nonces_whose_ids_meet_the_target() {
    for kernel in kernels() {
        for zero_bits in [1, 2, 5, 8] {
            let header = random_header(zero_bits);
            let puzzle = Puzzle::new(&header);
            let first = getrandom::u64().unwrap();
            for nonce in (0..NONCES).map(|offset| first.wrapping_add(offset)) {
                let found = kernel.search(&puzzle, nonce, 1);
                assert_eq!(
                    found,
                    solves(&header, nonce).then_some(nonce),
                    "{kernel:?}, {zero_bits} bits, {nonce}"
                );
            }
        }
    }
}

#[test]
fn a_kernel_finds_the_first_nonce_of_a_range_and_none_beyond_it() {
    for kernel in kernels() {
        let header = random_header(10);
        let puzzle = Puzzle::new(&header);
        let known = (0..).find(|nonce| solves(&header, *nonce)).unwrap();
        assert_eq!(kernel.search(&puzzle, 0, u32::try_from(known).unwrap()), None);
        assert_eq!(kernel.search(&puzzle, 0, u32::try_from(known).unwrap() + 1), Some(known));
        assert_eq!(kernel.search(&puzzle, 0, 1_000_000), Some(known));
    }
}

#[test]
fn after_the_last_nonce_comes_the_first() {
    for kernel in kernels() {
        let first = u64::MAX - 3;
        let header = std::iter::repeat_with(|| random_header(6))
            .find(|header| (0..4).all(|offset| !solves(header, first + offset)))
            .unwrap();
        let known = (0..).find(|nonce| solves(&header, *nonce)).unwrap();
        assert_eq!(kernel.search(&Puzzle::new(&header), first, 1_000_000), Some(known));
    }
}

#[test]
fn the_full_target_decides_where_its_first_word_does_not() {
    let mut header = random_header(1);
    // The target of an id that is found: the same first word, and the id is not below itself.
    let nonce = 5;
    let id = BlockHeader { nonce, ..header }.id();
    let mut puzzle = Puzzle::new(&header);
    let [a, b, c, d, ..] = *id.as_bytes();
    puzzle.most = u32::from_be_bytes([a, b, c, d]);
    header.bits = Target::from_leading_zero_bits(250).to_compact();
    puzzle.target = header.bits.to_target();
    for kernel in kernels() {
        assert_eq!(kernel.search(&puzzle, nonce, 1), None);
    }
}

#[test]
fn a_search_gives_a_nonce_of_the_template_it_was_given_and_one_alone() {
    let (sender, found) = mpsc::channel();
    let search = Search::start(
        2,
        best_kernel(),
        Arc::new(move |template, nonce| sender.send((template, nonce)).unwrap()),
    )
    .unwrap();
    for _ in 0..20 {
        let wanted = template(4);
        search.work_on(Some(wanted.clone()));
        let (template, nonce) = found.recv_timeout(AT_MOST).unwrap();
        assert!(Arc::ptr_eq(&template, &wanted));
        assert!(solves(&wanted.header, nonce));
    }
    drop(search);
    assert!(found.try_recv().is_err(), "nothing is found twice");
}

/// A kernel that says that it runs, and never finds anything.
static SEARCHED_FOR: Mutex<Option<mpsc::Sender<u32>>> = Mutex::new(None);
static HOLD: AtomicBool = AtomicBool::new(false);

fn telling_kernel(puzzle: &Puzzle, _: u64, _: u32) -> Option<u64> {
    if let Some(sender) = SEARCHED_FOR.lock().unwrap().as_ref() {
        let _ = sender.send(puzzle.midstate[0]);
    }
    while HOLD.load(Ordering::Relaxed) {
        thread::yield_now();
    }
    None
}

#[test]
fn a_template_is_let_go_of_as_soon_as_there_is_another() {
    let (sender, searched) = mpsc::channel();
    *SEARCHED_FOR.lock().unwrap() = Some(sender);
    HOLD.store(true, Ordering::Relaxed);
    let telling = Kernel { name: "telling", batch: 1_024, search: telling_kernel };
    let search = Search::start(1, telling, Arc::new(|_, _| panic!("nothing is found"))).unwrap();
    let (first, second) = (template(200), template(200));
    search.work_on(Some(first.clone()));
    assert_eq!(searched.recv_timeout(AT_MOST), Ok(Puzzle::new(&first.header).midstate[0]));
    // The thread is in the kernel. The very next batch is of the new template.
    search.work_on(Some(second.clone()));
    HOLD.store(false, Ordering::Relaxed);
    assert_eq!(searched.recv_timeout(AT_MOST), Ok(Puzzle::new(&second.header).midstate[0]));
    // Dropping ends the thread, in the middle of a template that nobody can solve.
    drop(search);
    *SEARCHED_FOR.lock().unwrap() = None;
    while let Ok(searched) = searched.recv_timeout(AT_MOST) {
        assert_eq!(searched, Puzzle::new(&second.header).midstate[0]);
    }
}

/// The others, if there were any, searched on, and nobody was told.
#[test]
fn a_thread_that_panics_is_noticed() {
    let defective =
        Kernel { name: "defective", batch: 1, search: |_, _, _| panic!("a defect, as this test wants it") };
    let search = Search::start(2, defective, Arc::new(|_, _| {})).unwrap();
    assert!(!search.has_lost_a_thread());
    search.work_on(Some(template(1)));
    let deadline = std::time::Instant::now() + AT_MOST;
    while !search.has_lost_a_thread() {
        assert!(std::time::Instant::now() < deadline, "nobody notices");
        thread::yield_now();
    }
}
