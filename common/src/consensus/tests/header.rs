//! Rules 2 to 8: links, version, height, bits, work, time, seal, turn and clock.

use crate::block::{Block, BlockHeader, Seal, SealedHeader};
use crate::consensus::{Ancestors, HeaderError, check_header, earliest_time, not_ahead_of_clock};
use crate::difficulty::{CompactTarget, Target};
use crate::hash::BlockId;
use crate::rules::Rules;
use crate::testing::{Key, StandIn, child, easy_rules, find_nonce};
use crate::time::{Height, Timestamp};

/// A header in the making, valid until something in it is broken. Work is done, and the seal made, last.
struct Case {
    rules: Rules,
    ancestors: Ancestors,
    header: BlockHeader,
    sealer: Option<Key>,
    work_is_done: bool,
    seal_is_genuine: bool,
}

impl Case {
    /// The first block of a network where everybody mines.
    fn open() -> Self {
        Self::new(easy_rules(&[]), None)
    }

    /// The first block of a network of three authorities, made by its leader.
    fn sealed() -> Self {
        Self::new(authority_rules(), Some(authority(1)))
    }

    fn new(rules: Rules, sealer: Option<Key>) -> Self {
        let ancestors = Ancestors::of_genesis_child(&rules);
        let miner = sealer.clone().unwrap_or_else(|| Key::new(9));
        let Block { header, .. } = child(&rules, &ancestors, &miner, Vec::new());
        Self { rules, ancestors, header, sealer, work_is_done: true, seal_is_genuine: true }
    }

    fn finish(&self) -> SealedHeader {
        let mut header = self.header;
        find_nonce(&mut header, self.work_is_done);
        let signed = if self.seal_is_genuine { header.id() } else { BlockId::ZERO };
        SealedHeader { header, seal: self.sealer.as_ref().map(|key| key.seal(&signed)) }
    }

    fn check(&self) -> Result<(), HeaderError> {
        check_header(&self.rules, &self.ancestors, &self.finish(), &StandIn).map(|_| ())
    }

    /// The result after one change.
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Result<(), HeaderError> {
        change(&mut self);
        self.check()
    }

    fn millis_after_parent(&mut self, millis: u64) {
        self.header.time = self.ancestors.parent.time.plus_millis(millis);
    }
}

fn authority(place: u64) -> Key {
    Key::new(100 + place)
}

fn authority_rules() -> Rules {
    let rules = Rules {
        authorities: (0..3).map(|place| authority(place).address()).collect(),
        authority_timeout_seconds: 10,
        max_ahead_seconds: 9,
        ..easy_rules(&[])
    };
    rules.check().expect("the rules are within bounds");
    rules
}

#[test]
fn valid_headers_are_valid_and_named_by_their_id() {
    for case in [Case::open(), Case::sealed()] {
        let header = case.finish();
        assert_eq!(check_header(&case.rules, &case.ancestors, &header, &StandIn), Ok(header.header.id()));
    }
}

#[test]
fn rule_1_it_follows_its_parent() {
    let result = Case::open().with(|case| case.header.previous = BlockId::ZERO);
    assert_eq!(result, Err(HeaderError::NotTheParent));
}

#[test]
fn rule_2_its_version_is_1() {
    for got in [0, 2, u32::MAX] {
        let result = Case::open().with(|case| case.header.version = got);
        assert_eq!(result, Err(HeaderError::Version { got }));
    }
}

#[test]
fn rule_3_its_height_is_its_parents_and_1() {
    for got in [0, 2, u64::MAX] {
        let got = Height::new(got);
        let result = Case::open().with(|case| case.header.height = got);
        assert_eq!(result, Err(HeaderError::Height { got, expected: Height::new(1) }));
    }
}

#[test]
fn rule_3_the_last_height_is_below_2_to_the_32() {
    let child_of = |height: u64| {
        Case::open().with(|case| {
            case.ancestors.parent.height = Height::new(height);
            case.ancestors.grandparent_time = Some(case.ancestors.parent.time);
            case.header.height = Height::new(height + 1);
        })
    };
    assert_eq!(child_of((1 << 32) - 2), Ok(()));
    let height = Height::new(1 << 32);
    assert_eq!(child_of((1 << 32) - 1), Err(HeaderError::Height { got: height, expected: height }));
}

#[test]
fn rule_4_its_bits_are_computed() {
    let expected = Target::from_leading_zero_bits(1).to_compact().to_bits();
    // Harder than computed is wrong too, and so is another spelling of the same target.
    for got in [Target::from_leading_zero_bits(2).to_compact().to_bits(), expected - 1, 0x2200_0080] {
        let result = Case::open().with(|case| case.header.bits = CompactTarget::from_bits(got));
        assert_eq!(result, Err(HeaderError::Bits { got, expected }), "{got:#x}");
    }
}

#[test]
fn rule_4_a_foreign_compact_value_is_refused_undecoded() {
    for got in [0, 0x00ff_ffff, 0x2080_0000, 0xff7f_ffff, u32::MAX] {
        let case = Case::open();
        let mut header = case.finish();
        header.header.bits = CompactTarget::from_bits(got);
        let result = check_header(&case.rules, &case.ancestors, &header, &StandIn);
        assert!(matches!(result, Err(HeaderError::Bits { .. })), "{got:#x}");
    }
}

#[test]
fn rule_5_its_work_is_done() {
    let result = Case::open().with(|case| case.work_is_done = false);
    assert_eq!(result, Err(HeaderError::InsufficientWork));
}

#[test]
fn rule_6_it_comes_at_least_the_least_spacing_after_its_parent() {
    assert_eq!(Case::open().with(|case| case.millis_after_parent(250)), Ok(()));
    let too_soon = Err(HeaderError::TooSoonAfterParent { min_spacing_ms: 250 });
    assert_eq!(Case::open().with(|case| case.millis_after_parent(249)), too_soon);
    assert_eq!(Case::open().with(|case| case.millis_after_parent(0)), too_soon);
    assert_eq!(Case::open().with(|case| case.header.time = Timestamp::from_millis(0)), too_soon);
}

#[test]
fn rule_7_a_network_without_authorities_has_no_seals() {
    let result = Case::open().with(|case| case.sealer = Some(authority(1)));
    assert_eq!(result, Err(HeaderError::UnexpectedSeal));
}

#[test]
fn rule_7_a_network_of_authorities_has_no_block_without_a_seal() {
    assert_eq!(Case::sealed().with(|case| case.sealer = None), Err(HeaderError::MissingSeal));
}

#[test]
fn rule_7_a_seals_key_is_an_odd_modulus_of_at_least_key_size() {
    let sealed_by = |least: u32, key: &Key, change: fn(&mut Vec<u8>)| {
        let mut case = Case::sealed();
        case.rules.key_size = least;
        case.rules.authorities[1] = key.address();
        case.ancestors = Ancestors::of_genesis_child(&case.rules);
        case.header.previous = case.ancestors.parent_id;
        case.sealer = Some(key.clone());
        let mut header = case.finish();
        header.seal.iter_mut().for_each(|seal| change(&mut seal.public_key));
        check_header(&case.rules, &case.ancestors, &header, &StandIn).map(|_| ())
    };
    let (small, large) = (Key::new(101), Key::with_bits(101, 3072));
    assert_eq!(sealed_by(2048, &small, |_| ()), Ok(()));
    assert_eq!(sealed_by(3072, &large, |_| ()), Ok(()));
    let refused = |least| Err(HeaderError::SealKey { least });
    assert_eq!(sealed_by(3072, &small, |_| ()), refused(3072));
    assert_eq!(sealed_by(2048, &small, |modulus| modulus[255] ^= 1), refused(2048));
    assert_eq!(sealed_by(2048, &small, |modulus| modulus[0] ^= 0x80), refused(2048));
    assert_eq!(sealed_by(2048, &small, |modulus| modulus.insert(0, 0)), refused(2048));
    assert_eq!(sealed_by(2048, &small, Vec::clear), refused(2048));
}

#[test]
fn rule_7_its_sealer_is_an_authority() {
    let stranger = Key::new(1);
    let address = stranger.address();
    let result = Case::sealed().with(|case| case.sealer = Some(stranger));
    assert_eq!(result, Err(HeaderError::NotAnAuthority { address }));
}

#[test]
fn rule_7_its_seal_is_its_authoritys_signature_on_its_id() {
    assert_eq!(Case::sealed().with(|case| case.seal_is_genuine = false), Err(HeaderError::BadSeal));

    let case = Case::sealed();
    let bad: [fn(&mut Seal); 4] = [
        |seal| seal.signature[0] ^= 1,
        |seal| seal.signature.push(0),
        |seal| seal.signature.truncate(255),
        |seal| seal.signature.clear(),
    ];
    for change in bad {
        let mut header = case.finish();
        header.seal.iter_mut().for_each(change);
        let result = check_header(&case.rules, &case.ancestors, &header, &StandIn);
        assert_eq!(result, Err(HeaderError::BadSeal));
    }
}

#[test]
fn rule_7_an_authority_takes_over_at_exactly_its_timeout() {
    // Height 1 belongs to place 1, then after one timeout to place 2, after two to place 0.
    for (place, turn_ms) in [(1, 250), (2, 10_000), (0, 20_000)] {
        let made_at = |millis| {
            Case::sealed().with(|case| {
                case.sealer = Some(authority(place));
                case.millis_after_parent(millis);
            })
        };
        assert_eq!(made_at(turn_ms), Ok(()), "authority {place}");
        assert_eq!(made_at(turn_ms + 1_000_000), Ok(()), "a turn does not end: authority {place}");
        let early = match place {
            1 => HeaderError::TooSoonAfterParent { min_spacing_ms: 250 },
            _ => HeaderError::OutOfTurn { early_ms: 1 },
        };
        assert_eq!(made_at(turn_ms - 1), Err(early), "authority {place}");
    }
}

#[test]
fn rule_7_the_leader_changes_with_every_height() {
    let rules = authority_rules();
    let mut parent = rules.genesis().header;
    for height in 1..=7 {
        for place in 0..3 {
            let waits = (place + 3 - height % 3) % 3;
            let expected = parent.time.plus_millis((waits * 10_000).max(250));
            let earliest = earliest_time(&rules, &parent, Some(&authority(place).address()));
            assert_eq!(earliest, Some(expected), "authority {place} at height {height}");
        }
        parent.height = parent.height.next();
    }
    assert_eq!(earliest_time(&rules, &parent, Some(&Key::new(1).address())), None);
    assert_eq!(earliest_time(&rules, &parent, None), None);
}

#[test]
fn a_spacing_longer_than_the_timeout_holds_for_every_authority() {
    let mut rules = authority_rules();
    (rules.min_spacing_ms, rules.authority_timeout_seconds) = (15_000, 10);
    let parent = rules.genesis().header;
    for (place, earliest_ms) in [(1, 15_000), (2, 15_000), (0, 20_000)] {
        let earliest = earliest_time(&rules, &parent, Some(&authority(place).address()));
        assert_eq!(earliest, Some(parent.time.plus_millis(earliest_ms)));
    }
}

#[test]
fn rule_8_a_header_waits_while_it_is_too_far_ahead_of_the_clock() {
    let Case { rules, header, .. } = Case::open();
    let ahead_by = |millis| {
        let now = Timestamp::from_millis(header.time.millis() - millis);
        not_ahead_of_clock(&rules, &header, now)
    };
    assert_eq!(ahead_by(0), Ok(()));
    assert_eq!(ahead_by(120_000), Ok(()));
    assert_eq!(ahead_by(120_001), Err(HeaderError::AheadOfClock { ahead_ms: 120_001 }));
    assert_eq!(not_ahead_of_clock(&rules, &header, Timestamp::from_millis(u64::MAX)), Ok(()));
}

#[test]
fn of_two_broken_rules_the_earlier_one_is_reported() {
    type Break = fn(&mut Case);
    let rules: [(&str, Break); 10] = [
        ("NotTheParent", |case| case.header.previous = BlockId::ZERO),
        ("Version", |case| case.header.version = 7),
        ("Height", |case| case.header.height = Height::new(7)),
        ("Bits", |case| case.header.bits = Target::from_leading_zero_bits(2).to_compact()),
        ("InsufficientWork", |case| case.work_is_done = false),
        ("TooSoonAfterParent", |case| case.millis_after_parent(249)),
        ("SealKey", |case| case.rules.key_size = 3072),
        ("NotAnAuthority", |case| case.rules.authorities.retain(|who| *who != authority(1).address())),
        ("OutOfTurn", |case| case.rules.authorities.rotate_left(1)),
        ("BadSeal", |case| case.seal_is_genuine = false),
    ];
    for (i, (name, first)) in rules.iter().enumerate() {
        for (_, second) in &rules[i..] {
            let mut case = Case::sealed();
            first(&mut case);
            second(&mut case);
            // The changed rules are a variation of the check, not another network.
            let error = case.check().expect_err("two rules are broken");
            let variant = format!("{error:?}");
            assert_eq!(variant.split([' ', '{']).next(), Some(*name));
        }
    }
}

#[test]
fn a_key_that_no_seal_may_have_is_never_hashed_into_an_address() {
    // `address_of` promises nothing for such a key; the check of its form must come first.
    let case = Case::sealed();
    let mut header = case.finish();
    let key = vec![0xff; 100_000];
    header.seal = Some(Seal { signature: key.clone(), public_key: key });
    let result = check_header(&case.rules, &case.ancestors, &header, &StandIn);
    assert_eq!(result, Err(HeaderError::SealKey { least: 2048 }));
}

#[test]
fn rule_4_blocks_1_and_2_keep_the_bits_of_genesis_and_block_3_is_the_first_that_is_measured() {
    let rules = Rules { difficulty: 8, target_block_seconds: 5, ..easy_rules(&[]) };
    let genesis = rules.genesis().header;
    // The first block comes a second after genesis, which would make the second one harder.
    let (mut ancestors, mut bits) = (Ancestors::of_genesis_child(&rules), Vec::new());
    for _ in 1..=4 {
        bits.push(ancestors.next_bits(&rules));
        let header = BlockHeader {
            time: ancestors.parent.time.plus_millis(1_000),
            bits: ancestors.next_bits(&rules),
            height: ancestors.parent.height.next(),
            ..genesis
        };
        ancestors = ancestors.of_child(&header, header.id());
    }
    assert_eq!(bits[..2], [genesis.bits; 2]);
    assert!(bits[2].to_target() < genesis.bits.to_target());
    assert!(bits[3].to_target() < bits[2].to_target());
}
