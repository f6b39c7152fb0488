//! Vectors of blocks: their encoding, and chains of which the last block keeps or breaks a rule.

use common::address::Address;
use common::amount::Amount;
use common::block::{Block, BlockHeader, Body, Reward, Seal, seal_message};
use common::consensus::Ancestors;
use common::difficulty::CompactTarget;
use common::encoding::encode;
use common::hash::{BlockId, MerkleRoot, NetworkId};
use common::rules::Rules;
use common::time::{Height, Timestamp};
use common::transaction::{Payment, Transaction};
use serde_json::json;

use super::evaluate::{Fault, sign};
use super::{Case, Key, Keys, case, play_rules};

/// A chain that is being made.
#[derive(Clone)]
pub struct Draft {
    rules: Rules,
    ancestors: Ancestors,
    blocks: Vec<Vec<u8>>,
}

impl Draft {
    /// A chain of genesis alone.
    pub fn new(rules: Rules) -> Self {
        Self { ancestors: Ancestors::of_genesis_child(&rules), rules, blocks: Vec::new() }
    }

    /// The network's id.
    pub fn network(&self) -> NetworkId {
        self.rules.network_id()
    }

    /// A block that could come next, but that no work is done on.
    fn next(&self, after_ms: u64, to: Address, transactions: Vec<Transaction>) -> Block {
        let fees = transactions.iter().map(|transaction| transaction.payment.fee);
        let amount = Amount::checked_sum(fees.chain([self.rules.block_reward])).unwrap_or_default();
        let body = Body { reward: Reward { to, amount, data: Vec::new() }, transactions };
        let header = BlockHeader {
            version: 1,
            previous: self.ancestors.parent_id,
            merkle_root: body.merkle_root(),
            time: self.ancestors.parent.time.plus_millis(after_ms),
            bits: self.ancestors.next_bits(&self.rules),
            height: self.ancestors.parent.height.next(),
            nonce: 0,
        };
        Block { header, seal: None, body }
    }

    /// The next block, mined.
    pub fn mined(&self, after_ms: u64, to: Address, transactions: Vec<Transaction>) -> Block {
        mine(self.next(after_ms, to, transactions), true)
    }

    /// The next block, changed, and then mined over what it became.
    fn changed(&self, block: &Block, change: impl FnOnce(&mut Block)) -> Block {
        let mut block = block.clone();
        change(&mut block);
        block.header.merkle_root = block.body.merkle_root();
        mine(block, true)
    }

    /// Adds a block.
    pub fn push(&mut self, block: &Block) {
        self.ancestors = self.ancestors.of_child(&block.header, block.id());
        self.blocks.push(encode(block));
    }

    /// The chain as a case.
    fn case(&self, name: &str) -> Case {
        // An hour after the tip: no block of these chains is ahead of the clock but those that mean to be.
        let now = self.ancestors.parent.time.plus_millis(3_600_000);
        self.case_at(name, now, &self.blocks)
    }

    /// The chain with a last block, as a case.
    fn ending(&self, name: &str, last: &Block) -> Case {
        let now = self.ancestors.parent.time.plus_millis(3_600_000);
        self.ending_at(name, now, &encode(last))
    }

    fn ending_at(&self, name: &str, now: Timestamp, last: &[u8]) -> Case {
        let blocks: Vec<Vec<u8>> = self.blocks.iter().cloned().chain([last.to_vec()]).collect();
        self.case_at(name, now, &blocks)
    }

    fn case_at(&self, name: &str, now: Timestamp, blocks: &[Vec<u8>]) -> Case {
        let blocks: Vec<String> = blocks.iter().map(hex::encode).collect();
        let rules = hex::encode(self.rules.to_bytes());
        case(name, json!({ "rules": rules, "now": now.millis().to_string(), "blocks": blocks }))
    }
}

/// The block with the first nonce whose id is (or is not) below its target.
fn mine(mut block: Block, done: bool) -> Block {
    let target = block.header.bits.to_target();
    while target.is_met_by(&block.id()) != done {
        block.header.nonce += 1;
    }
    block
}

fn sealed(mut block: Block, key: &Key) -> Result<Block, Fault> {
    let signature = sign(&key.private, &seal_message(&block.id()))?;
    block.seal = Some(Seal { public_key: key.modulus.clone(), signature });
    Ok(block)
}

/// A sealed block of the play network's kind, and one without a seal; both with payments.
pub fn samples(keys: &Keys) -> Result<(Block, Block), Fault> {
    let draft = Draft::new(play_rules(keys));
    let first = keys.small.signed(&draft.network(), keys.small.payment(keys.middle.address, 10, 0))?;
    let noted = Payment { data: b"rent".to_vec(), ..keys.small.payment(keys.large.address, 5, 1) };
    let second = keys.small.signed(&draft.network(), noted)?;
    let plain = draft.mined(5000, keys.large.address, vec![first, second]);
    Ok((sealed(plain.clone(), &keys.large)?, plain))
}

pub fn blocks(keys: &Keys) -> Result<Vec<Case>, Fault> {
    let (sealed, plain) = samples(keys)?;
    let reward_only = Draft::new(play_rules(keys)).mined(5000, keys.small.address, Vec::new());
    let given = |name: &str, bytes: &[u8]| case(name, json!({ "block": hex::encode(bytes) }));
    let bytes = encode(&sealed);
    let mut bad_tag = bytes.clone();
    bad_tag[BlockHeader::ENCODED_BYTES] = 2;
    Ok(vec![
        given("reward alone", &encode(&reward_only)),
        given("two payments", &encode(&plain)),
        given("two payments, sealed", &bytes),
        given("an Option byte of 2", &bad_tag),
        given("a byte too few", &bytes[..bytes.len() - 1]),
        given("a byte too many", &[&bytes[..], &[0]].concat()),
    ])
}

pub fn chains(keys: &Keys) -> Result<Vec<Case>, Fault> {
    let mut cases = open_chains(keys)?;
    cases.extend(slow_chains(keys)?);
    cases.extend(sealed_chains(keys)?);
    cases.extend(choices());
    Ok(cases)
}

/// Which of two chains is better.
fn choices() -> Vec<Case> {
    let choice = |name: &str, (work, tip): (u64, u8), (other_work, other_tip): (u64, u8)| {
        case(
            format!("choice: {name}"),
            json!({
                "work": format!("{work:064x}"),
                "tip": hex::encode([tip; 32]),
                "other_work": format!("{other_work:064x}"),
                "other_tip": hex::encode([other_tip; 32]),
            }),
        )
    };
    vec![
        choice("more work", (256, 9), (255, 1)),
        choice("less work", (255, 1), (256, 9)),
        choice("equal work, the smaller tip", (256, 1), (256, 9)),
        choice("equal work, the larger tip", (256, 9), (256, 1)),
        choice("the same", (256, 1), (256, 1)),
    ]
}

/// A chain on which everybody may mine, with payments of all three keys, and every way to go on wrongly.
fn open_chains(keys: &Keys) -> Result<Vec<Case>, Fault> {
    let Keys { small, middle, large } = keys;
    let mut draft = Draft::new(Rules { max_block_bytes: 65_536, ..play_rules(keys) });
    let network = draft.network();
    let pay = |key: &Key, to: Address, coins: u64, fee: u64, nonce: u64| {
        key.signed(&network, Payment { fee: Amount::from_units(fee), ..key.payment(to, coins, nonce) })
    };
    draft.push(&draft.mined(40_000_000, middle.address, vec![]));
    draft.push(&draft.mined(250, large.address, vec![pay(small, middle.address, 100, 7, 0)?]));
    draft.push(&draft.mined(251, large.address, vec![]));
    let to_oneself = pay(small, small.address, 50, 1_000, 1)?;
    let received_just_before = pay(middle, large.address, 105, 0, 0)?;
    draft.push(&draft.mined(9000, small.address, vec![to_oneself, received_just_before]));
    draft.push(&draft.mined(1_000_000, middle.address, vec![pay(large, small.address, 1, 1, 0)?]));
    draft.push(&draft.mined(300, middle.address, vec![]));

    let payment = || pay(small, middle.address, 1, 9, 2);
    let good = draft.mined(5000, large.address, vec![payment()?]);
    let unmined = |change: fn(&mut Block)| {
        let mut block = good.clone();
        change(&mut block);
        block
    };
    let with = |transactions: Vec<Transaction>| draft.mined(5000, large.address, transactions);
    let data_of = |bytes: usize| draft.changed(&good, |block| block.body.reward.data = vec![0; bytes]);
    let tip_time = draft.ancestors.parent.time;
    let ahead = |ms: u64| Timestamp::from_millis(good.header.time.millis() - 120_000 - ms);
    let fields = |name: &str, change: fn(&mut Block)| draft.ending(name, &draft.changed(&good, change));
    let longest_reward = data_of(80);
    let too_large = data_of(65_536 - 56 - encode(&good.body.transactions).len() + 8 + 1);
    let just_not_too_large = data_of(too_large.body.reward.data.len() - 1);
    // With the block reward of 10,000,000 these fees come to exactly 2^64.
    let huge = |nonce, less: u64| pay(small, middle.address, 1, (1 << 63) - less, nonce);
    let expired = Payment { valid_until: 6, ..small.payment(middle.address, 1, 2) };
    let long_data = Payment { data: vec![0; 81], ..small.payment(middle.address, 1, 2) };
    let nothing = Payment { amount: Amount::ZERO, ..small.payment(middle.address, 1, 2) };
    let elsewhere = small.signed(&Rules::default().network_id(), small.payment(middle.address, 1, 2))?;
    let earlier = draft.clone().blocks[1].clone();
    Ok(vec![
        draft.case("open: six blocks"),
        draft.ending("open: a good seventh", &good),
        draft.ending("open: the longest note in the reward", &longest_reward),
        draft.ending_at("open: just not ahead of the clock", ahead(0), &encode(&good)),
        draft.ending_at("open: does not decode", tip_time, &encode(&good)[..500]),
        draft.ending_at("open: an earlier block again", tip_time, &earlier),
        fields("open: another parent", |block| block.header.previous = BlockId::from_bytes([9; 32])),
        fields("open: version 2", |block| block.header.version = 2),
        fields("open: height too large", |block| block.header.height = block.header.height.next()),
        fields("open: height too small", |block| block.header.height = Height::new(6)),
        fields("open: an easier target", |block| block.header.bits = CompactTarget::from_bits(0x207f_ffff)),
        draft.ending("open: no work", &mine(good.clone(), false)),
        draft.ending("open: too soon", &draft.mined(249, large.address, vec![])),
        draft.ending("open: the least spacing", &draft.mined(250, large.address, vec![])),
        draft.ending("open: a seal nobody asked for", &sealed(good.clone(), small)?),
        draft.ending_at("open: ahead of the clock", ahead(1), &encode(&good)),
        draft.ending(
            "open: another body",
            &unmined(|block| block.body.reward.to = Address::from_bytes([7; 32])),
        ),
        draft.ending("open: the payment left out", &unmined(|block| block.body.transactions.clear())),
        draft.ending(
            "open: another root",
            &mine(
                {
                    let mut block = good.clone();
                    block.header.merkle_root = MerkleRoot::from_bytes([0; 32]);
                    block
                },
                true,
            ),
        ),
        draft.ending("open: too many bytes", &too_large),
        draft.ending("open: just not too many bytes, but too long a note", &just_not_too_large),
        draft.ending("open: too long a note in the reward", &data_of(81)),
        fields("open: a reward of a millionth more", |block| {
            block.body.reward.amount = Amount::from_units(block.body.reward.amount.units() + 1);
        }),
        fields("open: a reward without the fees", |block| block.body.reward.amount = Amount::from_coins(10)),
        draft.ending("open: fees that overflow", &with(vec![huge(2, 0)?, huge(3, 10_000_000)?])),
        draft.ending("open: data too long", &with(vec![small.signed(&network, long_data)?])),
        draft.ending("open: pays nothing", &with(vec![small.signed(&network, nothing)?])),
        draft.ending("open: expired", &with(vec![small.signed(&network, expired)?])),
        draft.ending("open: a payment of another network", &with(vec![elsewhere])),
        draft.ending("open: a payment again", &with(vec![pay(small, small.address, 50, 1_000, 1)?])),
        draft.ending("open: a payment twice", &with(vec![payment()?, payment()?])),
        draft.ending(
            "open: payments out of order",
            &with(vec![pay(small, middle.address, 1, 0, 3)?, payment()?]),
        ),
        draft.ending(
            "open: spends twice what there is",
            &with(vec![pay(small, middle.address, 600, 0, 2)?, pay(small, large.address, 600, 0, 3)?]),
        ),
        draft.ending(
            "open: the same sender's payments in order",
            &with(vec![pay(small, middle.address, 600, 0, 2)?, pay(small, large.address, 200, 0, 3)?]),
        ),
        // It holds 10 + 10.000007 + 105 − 1 − 0.000001 coins; with this block's reward it would be enough.
        draft.ending(
            "open: spends its own block's reward",
            &with(vec![pay(large, small.address, 130, 0, 1)?]),
        ),
    ])
}

/// A chain whose blocks wait for payments.
fn slow_chains(keys: &Keys) -> Result<Vec<Case>, Fault> {
    let Keys { small, middle, .. } = keys;
    let mut draft = Draft::new(Rules {
        target_block_seconds: 0,
        block_size: 3,
        block_interval_seconds: 60,
        allow_empty: false,
        ..play_rules(keys)
    });
    let network = draft.network();
    let payments = |count: u64| {
        (0..count)
            .map(|nonce| small.signed(&network, small.payment(middle.address, 1, nonce)))
            .collect::<Result<Vec<_>, Fault>>()
    };
    draft.push(&draft.mined(1000, small.address, vec![]));
    let after = |ms: u64, count: u64| Ok::<_, Fault>(draft.mined(ms, small.address, payments(count)?));
    let mut never = Draft::new(Rules { block_interval_seconds: 0, ..draft.rules.clone() });
    never.push(&never.mined(1000, small.address, vec![]));
    let payment = small.signed(&never.network(), small.payment(middle.address, 1, 0))?;
    Ok(vec![
        draft.case("slow: the first block may be empty"),
        draft.ending("slow: three leaves at once", &after(250, 2)?),
        draft.ending("slow: two leaves too soon", &after(59_999, 1)?),
        draft.ending("slow: two leaves after the interval", &after(60_000, 1)?),
        draft.ending("slow: one leaf after the interval", &after(60_000, 0)?),
        never.ending(
            "slow: two leaves, and no interval",
            &never.mined(3_000_000, small.address, vec![payment]),
        ),
    ])
}

/// Chains whose blocks are sealed.
fn sealed_chains(keys: &Keys) -> Result<Vec<Case>, Fault> {
    let Keys { small, middle, large } = keys;
    // Heights 0, 3, 6 … are led by `small`, 1, 4 … by `middle`, 2, 5 … by `large`.
    let rules = Rules {
        max_ahead_seconds: 5,
        authorities: vec![small.address, middle.address, large.address],
        authority_timeout_seconds: 10,
        ..play_rules(keys)
    };
    let mut draft = Draft::new(rules.clone());
    let next =
        |draft: &Draft, after_ms: u64, key: &Key| sealed(draft.mined(after_ms, key.address, Vec::new()), key);
    draft.push(&next(&draft, 40_000_000, middle)?);
    draft.push(&next(&draft, 250, large)?);
    draft.push(&next(&draft, 20_000, large)?);
    let led_by_middle = next(&draft, 10_000, middle)?;
    let mut unsealed = led_by_middle.clone();
    unsealed.seal = None;
    let changed = |change: fn(&mut Seal)| {
        let mut block = led_by_middle.clone();
        block.seal.iter_mut().for_each(change);
        block
    };
    // Its own seal on another's block, at a time at which it may make one itself.
    let stolen = sealed(led_by_middle.clone(), large)?;
    let elsewhere = sealed(draft.mined(10_000, small.address, vec![]), middle)?;
    let other_block = sealed(next(&draft, 10_001, middle)?, middle)?.seal;
    let few = Draft::new(Rules { authorities: vec![small.address, middle.address], ..rules.clone() });
    let strong = Draft::new(Rules { key_size: 3072, ..rules.clone() });
    Ok(vec![
        draft.case("sealed: the leader, the leader, the last in turn"),
        draft.ending("sealed: the leader at once", &next(&draft, 250, middle)?),
        draft.ending("sealed: the second a millisecond early", &next(&draft, 9_999, large)?),
        draft.ending("sealed: the second at its turn", &next(&draft, 10_000, large)?),
        draft.ending("sealed: the third a millisecond early", &next(&draft, 19_999, small)?),
        draft.ending("sealed: the third at its turn", &next(&draft, 20_000, small)?),
        draft.ending("sealed: the leader too soon after the parent", &next(&draft, 249, middle)?),
        draft.ending("sealed: no seal", &unsealed),
        draft.ending("sealed: a bit of the signature flipped", &changed(|seal| seal.signature[3] ^= 1)),
        draft.ending("sealed: a short signature", &changed(|seal| seal.signature.truncate(255))),
        draft.ending("sealed: an even modulus", &changed(|seal| seal.public_key[383] &= 0xfe)),
        draft.ending("sealed: a key that is no authority's", &changed(|seal| seal.public_key[9] ^= 1)),
        draft.ending(
            "sealed: the seal of another block",
            &Block { seal: other_block, ..led_by_middle.clone() },
        ),
        draft.ending("sealed: another authority's seal on a good block", &stolen),
        draft.ending("sealed: the reward goes elsewhere", &elsewhere),
        few.ending("sealed: no authority", &next(&few, 40_000_000, large)?),
        strong.ending("sealed: too small a key", &next(&strong, 40_000_000, small)?),
    ])
}
