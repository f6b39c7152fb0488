//! The rules of a network, their bounds, and the genesis block that commits to them (`PROTOCOL.md`,
//! section 6). Reading them from files is in [`crate::settings`].

use bincode::{Decode, Encode};

use crate::address::Address;
use crate::amount::Amount;
use crate::block::{BlockHeader, SealedHeader};
use crate::difficulty::Target;
use crate::encoding::{DecodeError, decode, encode};
use crate::hash::{BlockId, MerkleRoot, NetworkId, sha256};
use crate::time::{Height, Timestamp};

/// The longest name of a network, in bytes.
pub const MAX_NAME_BYTES: usize = 32;
/// The most authorities: their turns are searched for at every header.
pub const MAX_AUTHORITIES: usize = 256;
/// The most accounts that genesis may fill; with their amounts 2.5 MiB of rules, which one frame holds.
pub const MAX_ALLOC: usize = 65_536;
/// The longest free data of a transaction or a reward, in bytes.
pub const MAX_DATA_BYTES: usize = 80;

/// Everything that the nodes of one network must agree on. Two networks are one exactly when these are
/// equal, byte for byte of their encoding.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rules {
    /// Of this encoding: 1.
    pub format: u32,
    /// What people call the network: 1–32 of `a–z 0–9 -`.
    pub name: String,
    /// The time of genesis.
    pub genesis_time: Timestamp,
    /// Leading zero bits of a block id: at the start, and the floor for ever. 1–224.
    pub difficulty: u32,
    /// The spacing that the retarget aims at; 0: difficulty never changes.
    pub target_block_seconds: u32,
    /// Half-life of the retarget, in blocks. 5–10,000.
    pub retarget_blocks: u32,
    /// The least time between parent and child. 1–60,000 ms.
    pub min_spacing_ms: u32,
    /// How far ahead of a node's clock a block may be. 1–7,200 s.
    pub max_ahead_seconds: u32,
    /// How many leaves (reward and transactions) a block must hold; at least 1.
    pub block_size: u32,
    /// This long after its parent a block may hold fewer; 0: never.
    pub block_interval_seconds: u32,
    /// Whether a block may hold the reward alone.
    pub allow_empty: bool,
    /// The longest encoded body. 64 KiB–4 MiB.
    pub max_block_bytes: u32,
    /// What a block's miner gets besides the fees.
    pub block_reward: Amount,
    /// The least fee of a transaction.
    pub min_fee: Amount,
    /// The smallest RSA modulus, in bits: 2048, 3072 or 4096.
    pub key_size: u32,
    /// Who may make blocks; none: everybody.
    pub authorities: Vec<Address>,
    /// After how long an authority's turn passes to the next.
    pub authority_timeout_seconds: u32,
    /// What accounts hold at genesis, addresses ascending.
    pub alloc: Vec<(Address, Amount)>,
    /// Room for later rules: tags ascending. This version knows none.
    pub extensions: Vec<(u16, Vec<u8>)>,
}

/// Which bound a set of rules breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum RulesError {
    #[error("the rules have format {got}; this version knows format 1: a newer version may know it")]
    Format { got: u32 },
    #[error("the rules have an extension {tag} that this version does not know: a newer version may")]
    UnknownExtension { tag: u16 },
    #[error("name {got:?} is not 1–{MAX_NAME_BYTES} of a–z 0–9 -")]
    Name { got: String },
    #[error("{rule} is {got}; it must be {allowed}")]
    OutOfBounds { rule: &'static str, got: u64, allowed: &'static str },
    #[error(
        "target_block_seconds above 0 needs block_size 1 and allow_empty true: blocks that wait for payments say nothing about the hash rate"
    )]
    RetargetNeedsEmptyBlocks,
    #[error(
        "max_ahead_seconds ({max_ahead_seconds}) must be below authority_timeout_seconds ({authority_timeout_seconds}): else an authority could take another's turn by its clock"
    )]
    AheadOfTurn { max_ahead_seconds: u32, authority_timeout_seconds: u32 },
    #[error("authorities holds {address} twice")]
    RepeatedAuthority { address: Address },
    #[error("alloc is not in ascending order of addresses, or holds {address} twice")]
    AllocOrder { address: Address },
    #[error("alloc and the rewards of 2^32 blocks come to more than {max}, the most that can exist", max = Amount::MAX)]
    Supply,
}

/// Why bytes are not the rules of a network.
#[derive(Debug, thiserror::Error)]
pub enum DecodeRulesError {
    /// Not an encoding of rules.
    #[error("the rules do not decode: {0}")]
    Decode(#[from] DecodeError),
    /// Decoded, and out of bounds.
    #[error(transparent)]
    Rules(#[from] RulesError),
}

impl Rules {
    /// The bytes that genesis commits to.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// From the bytes that genesis commits to, checked against every bound.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeRulesError> {
        let rules: Self = decode(bytes)?;
        rules.check()?;
        Ok(rules)
    }

    /// Checks every bound of section 6.
    pub fn check(&self) -> Result<(), RulesError> {
        if self.format != 1 {
            return Err(RulesError::Format { got: self.format });
        }
        if let Some((tag, _)) = self.extensions.first() {
            return Err(RulesError::UnknownExtension { tag: *tag });
        }
        check_name(&self.name)?;
        self.check_numbers()?;
        self.check_authorities()?;
        self.check_supply()
    }

    fn check_numbers(&self) -> Result<(), RulesError> {
        let within = |rule, got: u64, least: u64, most: u64, allowed| {
            (least..=most).contains(&got).then_some(()).ok_or(RulesError::OutOfBounds { rule, got, allowed })
        };
        within(
            "genesis_time",
            self.genesis_time.millis(),
            0,
            (1 << 53) - 1,
            "milliseconds since 1970, below 2^53",
        )?;
        within("difficulty", self.difficulty.into(), 1, 224, "1–224 leading zero bits")?;
        within("target_block_seconds", self.target_block_seconds.into(), 0, 86_400, "0–86400 seconds")?;
        within("retarget_blocks", self.retarget_blocks.into(), 5, 10_000, "5–10000 blocks")?;
        within("min_spacing_ms", self.min_spacing_ms.into(), 1, 60_000, "1–60000 milliseconds")?;
        within("max_ahead_seconds", self.max_ahead_seconds.into(), 1, 7_200, "1–7200 seconds")?;
        within("block_size", self.block_size.into(), 1, u32::MAX.into(), "1 or more")?;
        within("max_block_bytes", self.max_block_bytes.into(), 64 << 10, 4 << 20, "65536–4194304 bytes")?;
        within(
            "authority_timeout_seconds",
            self.authority_timeout_seconds.into(),
            1,
            u32::MAX.into(),
            "1 or more seconds",
        )?;
        if ![2048, 3072, 4096].contains(&self.key_size) {
            return Err(RulesError::OutOfBounds {
                rule: "key_size",
                got: self.key_size.into(),
                allowed: "2048, 3072 or 4096 bits",
            });
        }
        if self.target_block_seconds > 0 && (self.block_size != 1 || !self.allow_empty) {
            return Err(RulesError::RetargetNeedsEmptyBlocks);
        }
        Ok(())
    }

    fn check_authorities(&self) -> Result<(), RulesError> {
        let count = self.authorities.len();
        if count > MAX_AUTHORITIES {
            return Err(RulesError::OutOfBounds {
                rule: "authorities",
                got: count as u64,
                allowed: "at most 256 addresses",
            });
        }
        let mut sorted = self.authorities.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(RulesError::RepeatedAuthority { address: pair[0] });
        }
        if count > 0 && self.max_ahead_seconds >= self.authority_timeout_seconds {
            return Err(RulesError::AheadOfTurn {
                max_ahead_seconds: self.max_ahead_seconds,
                authority_timeout_seconds: self.authority_timeout_seconds,
            });
        }
        Ok(())
    }

    fn check_supply(&self) -> Result<(), RulesError> {
        let count = self.alloc.len();
        if count > MAX_ALLOC {
            return Err(RulesError::OutOfBounds {
                rule: "alloc",
                got: count as u64,
                allowed: "at most 65536 addresses",
            });
        }
        if let Some(pair) = self.alloc.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(RulesError::AllocOrder { address: pair[1].0 });
        }
        let rewards = u128::from(self.block_reward.units()) << 32;
        let alloc: u128 = self.alloc.iter().map(|(_, amount)| u128::from(amount.units())).sum();
        if rewards + alloc > u128::from(Amount::MAX.units()) {
            return Err(RulesError::Supply);
        }
        Ok(())
    }

    /// The header of the genesis block: it needs no work, no seal, and has no body.
    pub fn genesis(&self) -> SealedHeader {
        let header = BlockHeader {
            version: 1,
            previous: BlockId::ZERO,
            merkle_root: MerkleRoot::from_bytes(sha256(&[&self.to_bytes()])),
            time: self.genesis_time,
            bits: Target::from_leading_zero_bits(self.difficulty).to_compact(),
            height: Height::GENESIS,
            nonce: 0,
        };
        SealedHeader { header, seal: None }
    }

    /// The id of genesis.
    pub fn network_id(&self) -> NetworkId {
        NetworkId::from_bytes(*self.genesis().id().as_bytes())
    }

    /// Whether blocks are sealed by authorities.
    pub fn has_authorities(&self) -> bool {
        !self.authorities.is_empty()
    }

    /// The fewest leaves of a block whatever its time.
    pub fn least_leaves(&self) -> u32 {
        if self.allow_empty { 1 } else { 2 }
    }
}

/// Checks the name of a network: 1–32 of `a–z 0–9 -`.
pub fn check_name(name: &str) -> Result<(), RulesError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(RulesError::Name { got: name.to_owned() })
    }
}

impl Default for Rules {
    /// The rules of the network `farthing`, as `config/default.toml` has them (a test compares them).
    fn default() -> Self {
        Self {
            format: 1,
            name: "farthing".to_owned(),
            genesis_time: Timestamp::from_millis(1_767_225_600_000),
            difficulty: 24,
            target_block_seconds: 5,
            retarget_blocks: 20,
            min_spacing_ms: 250,
            max_ahead_seconds: 120,
            block_size: 1,
            block_interval_seconds: 0,
            allow_empty: true,
            max_block_bytes: 2 << 20,
            block_reward: Amount::from_coins(10),
            min_fee: Amount::ZERO,
            key_size: 2048,
            authorities: Vec::new(),
            authority_timeout_seconds: 10,
            alloc: Vec::new(),
            extensions: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(byte: u8) -> Address {
        Address::from_bytes([byte; 32])
    }

    fn broken(change: impl FnOnce(&mut Rules)) -> RulesError {
        let mut rules = Rules::default();
        change(&mut rules);
        rules.check().expect_err("the change breaks a bound")
    }

    #[test]
    fn the_default_rules_keep_every_bound_and_survive_their_encoding() {
        let rules = Rules::default();
        assert_eq!(rules.check(), Ok(()));
        assert_eq!(Rules::from_bytes(&rules.to_bytes()).unwrap(), rules);
    }

    #[test]
    fn each_bound_is_checked_by_name() {
        assert_eq!(broken(|r| r.format = 2), RulesError::Format { got: 2 });
        assert_eq!(broken(|r| r.extensions.push((9, vec![]))), RulesError::UnknownExtension { tag: 9 });
        for name in ["", "Farthing", "a b", "../x", "a".repeat(33).as_str()] {
            assert_eq!(broken(|r| r.name = name.to_owned()), RulesError::Name { got: name.to_owned() });
        }
        type Change = fn(&mut Rules);
        let numbers: [(&str, Change, Change); 10] = [
            (
                "genesis_time",
                |r| r.genesis_time = Timestamp::from_millis(1 << 53),
                |r| r.genesis_time = Timestamp::from_millis(u64::MAX),
            ),
            ("difficulty", |r| r.difficulty = 0, |r| r.difficulty = 225),
            (
                "target_block_seconds",
                |r| r.target_block_seconds = 86_401,
                |r| r.target_block_seconds = u32::MAX,
            ),
            ("retarget_blocks", |r| r.retarget_blocks = 4, |r| r.retarget_blocks = 10_001),
            ("min_spacing_ms", |r| r.min_spacing_ms = 0, |r| r.min_spacing_ms = 60_001),
            ("max_ahead_seconds", |r| r.max_ahead_seconds = 0, |r| r.max_ahead_seconds = 7_201),
            ("block_size", |r| r.block_size = 0, |r| r.block_size = 0),
            (
                "max_block_bytes",
                |r| r.max_block_bytes = (64 << 10) - 1,
                |r| r.max_block_bytes = (4 << 20) + 1,
            ),
            ("key_size", |r| r.key_size = 1024, |r| r.key_size = 2049),
            (
                "authority_timeout_seconds",
                |r| r.authority_timeout_seconds = 0,
                |r| r.authority_timeout_seconds = 0,
            ),
        ];
        for (name, below, above) in numbers {
            for change in [below, above] {
                let error = broken(change);
                assert!(
                    matches!(error, RulesError::OutOfBounds { rule, .. } if rule == name),
                    "{name}: {error}"
                );
            }
        }
    }

    #[test]
    fn a_retarget_needs_blocks_that_wait_for_nothing() {
        assert_eq!(broken(|r| r.block_size = 2), RulesError::RetargetNeedsEmptyBlocks);
        assert_eq!(broken(|r| r.allow_empty = false), RulesError::RetargetNeedsEmptyBlocks);
    }

    #[test]
    fn authorities_are_few_distinct_and_slower_than_clocks_may_differ() {
        let error = broken(|r| (r.authorities, r.authority_timeout_seconds) = (vec![address(1); 2], 200));
        assert_eq!(error, RulesError::RepeatedAuthority { address: address(1) });
        assert!(matches!(broken(|r| r.authorities = vec![address(1)]), RulesError::AheadOfTurn { .. }));
        let many = (0..=256_u16).map(|i| Address::from_bytes(sha256(&[&i.to_le_bytes()]))).collect();
        assert!(matches!(
            broken(|r| r.authorities = many),
            RulesError::OutOfBounds { rule: "authorities", .. }
        ));
    }

    #[test]
    fn alloc_is_ascending_and_the_supply_can_never_overflow() {
        let coin = Amount::from_coins(1);
        let error = broken(|r| r.alloc = vec![(address(2), coin), (address(1), coin)]);
        assert_eq!(error, RulesError::AllocOrder { address: address(1) });
        let error = broken(|r| r.alloc = vec![(address(1), coin), (address(1), coin)]);
        assert_eq!(error, RulesError::AllocOrder { address: address(1) });
        assert_eq!(broken(|r| r.block_reward = Amount::from_units(1 << 31)), RulesError::Supply);
        assert_eq!(
            broken(|r| r.alloc = vec![(address(1), Amount::from_units(u64::MAX))]),
            RulesError::Supply
        );
        let exactly =
            Rules { block_reward: Amount::ZERO, alloc: vec![(address(1), Amount::MAX)], ..Rules::default() };
        assert_eq!(exactly.check(), Ok(()));
    }

    #[test]
    fn any_different_rule_is_another_network() {
        let other = Rules { min_fee: Amount::from_units(1), ..Rules::default() };
        assert_ne!(other.network_id(), Rules::default().network_id());
    }
}
