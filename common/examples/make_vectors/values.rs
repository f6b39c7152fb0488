//! Vectors of what needs no chain: amounts, keys, payments, headers, targets, trees, rules.

use common::address::Address;
use common::amount::Amount;
use common::block::BlockHeader;
use common::difficulty::{CompactTarget, Target};
use common::encoding::encode;
use common::hash::{BlockId, MerkleRoot, sha256};
use common::rules::Rules;
use common::time::{Height, Timestamp};
use common::transaction::{Payment, Transaction};
use serde_json::json;

use super::evaluate::{Fault, sign, sign_held};
use super::{Case, Key, Keys, case, play_rules};

pub fn amounts() -> Vec<Case> {
    let texts = [
        "10",
        "0",
        "0.000001",
        "1.5",
        "007",
        "0.100000",
        "9223372036854.775807",
        "000000000000000000000000001",
        "",
        "-1",
        "+1",
        "1e3",
        "NaN",
        " 1",
        "1 ",
        "1.",
        ".5",
        ".",
        "1,5",
        "0x10",
        "1_000",
        "1.2.3",
        "١",
        "0.0000001",
        "1.0000000",
        "9223372036854.775808",
        "99999999999999999999",
        "18446744073709.551616",
    ];
    let units = [0, 1, 10_000_000, 1_500_000, 999_999, 1_000_001, i64::MAX as u64];
    let read = texts.map(|text| case(format!("read {text:?}"), json!({ "text": text })));
    let shown = units.map(|units| case(format!("show {units}"), json!({ "units": units.to_string() })));
    read.into_iter().chain(shown).collect()
}

pub fn addresses(keys: &Keys) -> Vec<Case> {
    let modulus = &keys.small.modulus;
    let changed = |at: usize, change: fn(u8) -> u8| {
        let mut changed = modulus.clone();
        changed[at] = change(changed[at]);
        changed
    };
    let moduli = [
        ("2048 bits", modulus.clone()),
        ("3072 bits", keys.middle.modulus.clone()),
        ("4096 bits", keys.large.modulus.clone()),
        ("the smallest top byte", changed(0, |_| 0x80)),
        ("even", changed(255, |byte| byte & 0xfe)),
        ("top bit clear", changed(0, |byte| byte & 0x7f)),
        ("a byte short", modulus[..255].to_vec()),
        ("a leading zero", [&[0], &modulus[..]].concat()),
        ("empty", Vec::new()),
    ];
    let text = keys.small.address.to_string();
    let letter = text.find(|digit: char| digit.is_ascii_alphabetic()).unwrap_or(0);
    let mut wrong_case = text.clone();
    let flipped = match wrong_case.as_bytes()[letter] {
        byte if byte.is_ascii_lowercase() => byte.to_ascii_uppercase(),
        byte => byte.to_ascii_lowercase(),
    };
    wrong_case.replace_range(letter..=letter, &char::from(flipped).to_string());
    let mut wrong_digit = text.clone();
    let digit = text.find(|digit: char| digit.is_ascii_digit()).unwrap_or(0);
    wrong_digit.replace_range(digit..=digit, if &text[digit..=digit] == "0" { "1" } else { "0" });
    let texts = [
        ("as printed", text.clone()),
        ("lower case", text.to_lowercase()),
        ("upper case", text.to_uppercase()),
        ("one letter of the other case", wrong_case),
        ("another digit", wrong_digit),
        ("a digit short", text[1..].to_owned()),
        ("no hexadecimal digit", format!("g{}", &text[1..])),
        ("digits only", "0123456789".repeat(7)[..64].to_owned()),
        ("empty", String::new()),
    ];
    let of_keys = moduli
        .into_iter()
        .map(|(name, modulus)| case(format!("key: {name}"), json!({ "modulus": hex::encode(modulus) })));
    let of_texts =
        texts.into_iter().map(|(name, text)| case(format!("text: {name}"), json!({ "text": text })));
    of_keys.chain(of_texts).collect()
}

pub fn signatures(keys: &Keys) -> Result<Vec<Case>, Fault> {
    let mut cases = Vec::new();
    for key in [&keys.small, &keys.middle, &keys.large] {
        for message in [&b""[..], b"farthing", &[0x5a; 300]] {
            let input = json!({ "key": key.name, "message": hex::encode(message) });
            cases.push(case(format!("sign {} bytes with {}", message.len(), key.name), input));
        }
    }
    let key = &keys.small;
    let (message, larger) = signature_with_room(key)?;
    let signature = sign(&key.private, &message)?;
    let mut flipped = signature.clone();
    flipped[100] ^= 1;
    let verify = |name: &str, modulus: &[u8], message: &[u8], signature: &[u8]| {
        case(
            format!("verify: {name}"),
            json!({
                "modulus": hex::encode(modulus),
                "message": hex::encode(message),
                "signature": hex::encode(signature),
            }),
        )
    };
    let modulus = &key.modulus;
    cases.extend([
        verify("right", modulus, &message, &signature),
        verify("another message", modulus, b"another", &signature),
        verify("a bit flipped", modulus, &message, &flipped),
        verify("another key", &keys.middle.modulus, &message, &signature),
        verify("the modulus added to it", modulus, &message, &larger),
        verify("the modulus itself", modulus, &message, modulus),
        verify("zero", modulus, &message, &[0; 256]),
        verify("one", modulus, &message, &[&[0; 255][..], &[1]].concat()),
        verify("a leading zero", modulus, &message, &[&[0], &signature[..]].concat()),
        verify("a byte short", modulus, &message, &signature[1..]),
        verify("empty", modulus, &message, &[]),
        verify("no NULL in the DigestInfo", modulus, &message, &without_null(key, &message)?),
        verify("no DigestInfo", modulus, &message, &sign_held(&key.private, &sha256(&[&message]))?),
    ]);
    Ok(cases)
}

/// A message whose signature stays within 256 bytes when the modulus is added to it, and that sum.
fn signature_with_room(key: &Key) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let modulus = rsa::BigUint::from_bytes_be(&key.modulus);
    for number in 0..64_u8 {
        let message = vec![number];
        let sum = rsa::BigUint::from_bytes_be(&sign(&key.private, &message)?) + &modulus;
        if sum.bits() <= 2048 {
            let digits = sum.to_bytes_be();
            return Ok((message, [&vec![0; 256 - digits.len()][..], &digits].concat()));
        }
    }
    Err("no signature of the key leaves room for the modulus".into())
}

/// A signature whose DigestInfo names SHA-256 without parameters, which some verifiers accept.
fn without_null(key: &Key, message: &[u8]) -> Result<Vec<u8>, Fault> {
    let prefix = hex::decode("302f300b06096086480165030402010420")?;
    sign_held(&key.private, &[&prefix[..], &sha256(&[message])].concat())
}

pub fn transactions(keys: &Keys) -> Result<Vec<Case>, Fault> {
    let play = play_rules(keys);
    let strict = Rules { min_fee: Amount::from_units(1000), key_size: 3072, ..play.clone() };
    let (key, to) = (&keys.small, keys.middle.address);
    let payment = || Payment { fee: Amount::from_units(1000), ..key.payment(to, 10, 7) };
    let signed = |payment: Payment| key.signed(&play.network_id(), payment);
    let on = |rules: &Rules, name: &str, height: u64, bytes: &[u8]| {
        case(
            name,
            json!({
                "rules": hex::encode(rules.to_bytes()),
                "height": height.to_string(),
                "balance": "100000000",
                "nonce": "7",
                "transaction": hex::encode(bytes),
            }),
        )
    };
    let at = |name: &str, transaction: &Transaction| on(&play, name, 1000, &encode(transaction));
    let good = signed(payment())?;
    let change = |change: fn(&mut Transaction)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let sign_changed = |change: fn(&mut Payment)| {
        let mut changed = payment();
        change(&mut changed);
        signed(changed)
    };
    let of = |key: &Key| {
        let longest = Payment {
            fee: Amount::from_units(1000),
            valid_until: 1000,
            data: (0..80).collect(),
            ..key.payment(to, 10, 7)
        };
        key.signed(&play.network_id(), longest)
    };
    let mut trailing = encode(&good);
    trailing.push(0);
    let mut unknown = encode(&good);
    unknown[0] = 1;
    let on_strict = |key: &Key, fee: u64| {
        let payment = Payment { fee: Amount::from_units(fee), ..key.payment(to, 10, 7) };
        Ok::<_, Fault>(encode(&key.signed(&strict.network_id(), payment)?))
    };
    Ok(vec![
        at("valid", &good),
        at("valid: 2048 bits, longest", &of(key)?),
        at("valid: 3072 bits, longest", &of(&keys.middle)?),
        at("valid: 4096 bits, longest", &of(&keys.large)?),
        at("valid: takes the whole balance", &sign_changed(|p| p.amount = Amount::from_units(99_999_000))?),
        at("valid: up to this height", &sign_changed(|p| p.valid_until = 1000)?),
        on(&strict, "valid: just the least fee and key", 1000, &on_strict(&keys.middle, 1000)?),
        at("data too long", &sign_changed(|p| p.data = vec![1; 81])?),
        at("pays nothing", &sign_changed(|p| p.amount = Amount::ZERO)?),
        at("amount and fee overflow", &sign_changed(|p| p.amount = Amount::from_units(u64::MAX))?),
        at(
            "amount and fee overflow by one",
            &sign_changed(|p| p.amount = Amount::from_units(u64::MAX - 999))?,
        ),
        at(
            "amount and fee just do not overflow",
            &sign_changed(|p| p.amount = Amount::from_units(u64::MAX - 1000))?,
        ),
        at("an even modulus", &change(|t| t.payment.public_key[255] &= 0xfe)),
        at("no modulus", &change(|t| t.payment.public_key.clear())),
        on(&strict, "the key is too small", 1000, &on_strict(key, 1000)?),
        at("the signature is short", &change(|t| t.signature.truncate(255))),
        at("no signature", &change(|t| t.signature.clear())),
        on(&strict, "the fee is too low", 1000, &on_strict(&keys.middle, 999)?),
        at("expired", &sign_changed(|p| p.valid_until = 999)?),
        at("signed for another network", &key.signed(&strict.network_id(), payment())?),
        at("a bit of the signature flipped", &change(|t| t.signature[9] ^= 1)),
        at("the amount changed afterwards", &change(|t| t.payment.amount = Amount::from_coins(11))),
        at(
            "the key changed afterwards",
            &Transaction {
                payment: Payment {
                    public_key: {
                        let mut other = key.modulus.clone();
                        other[128] ^= 1;
                        other
                    },
                    ..payment()
                },
                ..good.clone()
            },
        ),
        at("the nonce was used", &sign_changed(|p| p.nonce = 6)?),
        at("the nonce leaves a gap", &sign_changed(|p| p.nonce = 8)?),
        at("the largest nonce", &sign_changed(|p| p.nonce = u64::MAX)?),
        at("a millionth too much", &sign_changed(|p| p.amount = Amount::from_units(99_999_001))?),
        on(&play, "another variant", 1000, &unknown),
        on(&play, "a byte too many", 1000, &trailing),
        on(&play, "a byte too few", 1000, &encode(&good)[..599]),
        on(&play, "nothing", 1000, &[]),
    ])
}

pub fn headers() -> Vec<Case> {
    let ascending = BlockHeader {
        version: 1,
        previous: BlockId::from_bytes([0x11; 32]),
        merkle_root: MerkleRoot::from_bytes([0x22; 32]),
        time: Timestamp::from_millis(0x0102_0304_0506_0708),
        bits: CompactTarget::from_bits(0x1d00_ffff),
        height: Height::new(0x1112_1314),
        nonce: 0x2122_2324_2526_2728,
    };
    let largest = BlockHeader {
        version: u32::MAX,
        previous: BlockId::from_bytes([0xff; 32]),
        merkle_root: MerkleRoot::from_bytes([0xff; 32]),
        time: Timestamp::from_millis(u64::MAX),
        bits: CompactTarget::from_bits(u32::MAX),
        height: Height::new(u64::MAX),
        nonce: u64::MAX,
    };
    let given = |name: &str, bytes: &[u8]| case(name, json!({ "header": hex::encode(bytes) }));
    vec![
        given("genesis of the default network", &encode(&Rules::default().genesis().header)),
        given("every field different", &encode(&ascending)),
        given("every field the largest", &encode(&largest)),
        given("a byte short", &encode(&ascending)[..95]),
        given("a byte long", &[&encode(&ascending)[..], &[0]].concat()),
    ]
}

pub fn targets() -> Vec<Case> {
    let mut cases = Vec::new();
    for text in [
        "01",
        "7f",
        "80",
        "ff",
        "0100",
        "ff00",
        "010000",
        "7fffff",
        "800000",
        "ffffff",
        "01000000",
        "7fffffff",
        "80000000",
        "100000000",
        "123456789abcdef0",
        "ffffffffffffffffffffffffffffffff",
    ] {
        let target = format!("{text:0>64}");
        cases.push(case(format!("to bits: 0x{text}"), json!({ "target": target })));
    }
    for zeros in [1, 2, 7, 8, 9, 15, 16, 17, 24, 200, 223, 224] {
        let target = Target::from_leading_zero_bits(zeros);
        cases.push(case(
            format!("to bits: difficulty {zeros}"),
            json!({ "target": hex::encode(target.to_be_bytes()) }),
        ));
        let bits = format!("{:#010x}", target.to_compact().to_bits());
        cases.push(case(format!("from bits: difficulty {zeros}"), json!({ "bits": bits })));
    }
    cases.push(case("to bits: all ones", json!({ "target": "f".repeat(64) })));
    for bits in ["0x1d00ffff", "0x1b0404cb", "0x05010000", "0x057fffff", "0x20123456", "0x1e7fffff"] {
        cases.push(case(format!("from bits: {bits}"), json!({ "bits": bits })));
    }
    cases.extend(retargets());
    cases
}

fn retargets() -> Vec<Case> {
    let with = |difficulty, target_block_seconds, retarget_blocks| Rules {
        difficulty,
        target_block_seconds,
        retarget_blocks,
        ..Rules::default()
    };
    let chain = |name: &str, rules: &Rules, first: u64, spacings: &[u64]| {
        let mut time = rules.genesis_time.millis() + first;
        let mut times = vec![time.to_string()];
        for spacing in spacings {
            time += spacing;
            times.push(time.to_string());
        }
        case(format!("retarget: {name}"), json!({ "rules": hex::encode(rules.to_bytes()), "times": times }))
    };
    let usual = Rules::default();
    // A fixed walk: spacings between 250 ms and 20 s that no pattern fits.
    let walk: Vec<u64> = (0..120_u32).map(|i| 250 + u64::from(sha256(&[&i.to_le_bytes()])[0]) * 77).collect();
    let week = 7 * 24 * 3_600_000;
    let fast_then_pause: Vec<u64> = [vec![300; 60], vec![week], vec![300; 5], vec![week; 8]].concat();
    let mut cases = vec![
        chain("as planned", &usual, 40_000_000, &[5000; 12]),
        chain("fast", &usual, 1000, &[250; 60]),
        chain("slow from the floor", &usual, 1000, &[60_000; 12]),
        chain("any spacings", &usual, 1000, &walk),
        chain("fast, pauses of a week, back at the floor", &usual, 1000, &fast_then_pause),
        chain("fast to the hardest target", &with(200, 5, 5), 1000, &[1; 90]),
        chain(
            "half-life of 5 blocks of a day",
            &with(10, 86_400, 5),
            1000,
            &[1, week, 3_600_000, 1, 86_400_000],
        ),
        chain(
            "half-life of 10,000 blocks",
            &with(30, 600, 10_000),
            1000,
            &[1, 600_000, 599_999, 600_001, week],
        ),
        chain("never", &with(24, 0, 20), 1000, &[1, 1000, week]),
    ];
    let step = |name: &str, rules: &Rules, bits: &str, spacing: u64| {
        case(
            format!("retarget step: {name}"),
            json!({
                "rules": hex::encode(rules.to_bytes()),
                "parent_bits": bits,
                "parent_time": (10_000_000 + spacing).to_string(),
                "grandparent_time": "10000000",
            }),
        )
    };
    cases.extend([
        step("on time", &usual, "0x1b0404cb", 5000),
        step("a millisecond early", &usual, "0x1b0404cb", 4999),
        step("a millisecond late", &usual, "0x1b0404cb", 5001),
        step("early by less than one part", &with(24, 86_400, 10_000), "0x1b0404cb", 86_399_999),
        step("late, just below the longest pause", &usual, "0x1b0404cb", 299_999),
        step("late by the longest pause", &usual, "0x1b0404cb", 300_000),
        step("late by more than the longest pause", &usual, "0x1b0404cb", 300_001),
        step("six spacings are the longest pause", &with(24, 86_400, 5), "0x1b0404cb", 1_000_000_000),
        step("hardest stays hardest", &usual, "0x05010000", 1),
        step("just above the hardest", &usual, "0x05010001", 250),
        step("easiest stays easiest", &usual, "0x1e010000", 300_000),
    ]);
    cases
}

pub fn merkle() -> Vec<Case> {
    let known =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let mut cases: Vec<Case> = (1..=known.len())
        .map(|count| case(format!("RFC 6962, {count} leaves"), json!({ "leaves": &known[..count] })))
        .collect();
    let many: Vec<String> = (0..21_u8).map(|byte| hex::encode([byte])).collect();
    cases.push(case("21 leaves", json!({ "leaves": many })));
    let leaves: Vec<[u8; 32]> = (0..21_u8).map(|byte| common::merkle::leaf(&[byte])).collect();
    let path = common::merkle::path(&leaves, 20).unwrap_or_default();
    let proof = |name: &str, index: u32, count: u32, path: &[[u8; 32]]| {
        let path: Vec<String> = path.iter().map(hex::encode).collect();
        case(
            format!("proof: {name}"),
            json!({
                "leaf_hash": hex::encode(leaves[20]),
                "index": index,
                "count": count,
                "path": path,
            }),
        )
    };
    let longer = [&path[..], &[[0; 32]]].concat();
    cases.extend([
        proof("right", 20, 21, &path),
        proof("another index", 19, 21, &path),
        proof("another count", 20, 22, &path),
        proof("too short a path", 20, 21, &path[1..]),
        proof("too long a path", 20, 21, &longer),
        proof("no such leaf", 21, 21, &path),
        proof("no leaves", 0, 0, &[]),
        proof("a tree of one leaf", 0, 1, &[]),
        proof("the largest tree", u32::MAX - 1, u32::MAX, &[[7; 32]; 32]),
        proof("the last leaf of the largest tree", u32::MAX - 1, u32::MAX, &[[7; 32]; 31]),
    ]);
    cases
}

pub fn rules(keys: &Keys) -> Vec<Case> {
    let given = |name: &str, bytes: &[u8]| case(name, json!({ "rules": hex::encode(bytes) }));
    let usual = Rules::default();
    let mut cases = vec![given("the default network", &usual.to_bytes())];
    let full = Rules {
        name: "every-rule-different-0123456789ab".chars().take(32).collect(),
        genesis_time: Timestamp::from_millis((1 << 53) - 1),
        difficulty: 224,
        target_block_seconds: 0,
        retarget_blocks: 10_000,
        min_spacing_ms: 60_000,
        max_ahead_seconds: 7_200,
        block_size: 5,
        block_interval_seconds: 600,
        allow_empty: false,
        max_block_bytes: 4 << 20,
        block_reward: Amount::from_units(2_147_000_000),
        min_fee: Amount::from_units(u64::MAX),
        key_size: 4096,
        authorities: vec![keys.small.address, keys.large.address, keys.middle.address],
        authority_timeout_seconds: 7_201,
        alloc: vec![
            (Address::from_bytes([1; 32]), Amount::from_coins(5)),
            (Address::from_bytes([2; 32]), Amount::ZERO),
        ],
        ..Rules::default()
    };
    cases.push(given("every rule different", &full.to_bytes()));
    let most = Rules {
        block_reward: Amount::ZERO,
        alloc: vec![(keys.small.address, Amount::MAX)],
        ..Rules::default()
    };
    cases.push(given("all that can exist", &most.to_bytes()));
    let shortest = Rules { name: "a".to_owned(), ..Rules::default() };
    cases.push(given("a name of one", &shortest.to_bytes()));
    let address_of_number = |i: u16| Address::from_bytes(sha256(&[&i.to_le_bytes()]));
    let authorities = (0..256).map(address_of_number).collect();
    let crowded = Rules { authorities, authority_timeout_seconds: 121, ..Rules::default() };
    cases.push(given("256 authorities", &crowded.to_bytes()));
    type Change = fn(&mut Rules);
    let changes: [(&str, Change); 32] = [
        ("format 2", |r| r.format = 2),
        ("an extension", |r| r.extensions = vec![(1, vec![2, 3])]),
        ("no name", |r| r.name.clear()),
        ("a name in upper case", |r| r.name = "Farthing".to_owned()),
        ("a name of 33", |r| r.name = "a".repeat(33)),
        ("a name with a point", |r| r.name = "a.b".to_owned()),
        ("genesis_time too late", |r| r.genesis_time = Timestamp::from_millis(1 << 53)),
        ("difficulty 0", |r| r.difficulty = 0),
        ("difficulty 225", |r| r.difficulty = 225),
        ("target_block_seconds 86401", |r| r.target_block_seconds = 86_401),
        ("retarget_blocks 4", |r| r.retarget_blocks = 4),
        ("retarget_blocks 10001", |r| r.retarget_blocks = 10_001),
        ("min_spacing_ms 0", |r| r.min_spacing_ms = 0),
        ("min_spacing_ms 60001", |r| r.min_spacing_ms = 60_001),
        ("max_ahead_seconds 0", |r| r.max_ahead_seconds = 0),
        ("max_ahead_seconds 7201", |r| r.max_ahead_seconds = 7_201),
        ("block_size 0", |r| r.block_size = 0),
        ("max_block_bytes 65535", |r| r.max_block_bytes = 65_535),
        ("max_block_bytes 4194305", |r| r.max_block_bytes = 4_194_305),
        ("authority_timeout_seconds 0", |r| r.authority_timeout_seconds = 0),
        ("key_size 1024", |r| r.key_size = 1024),
        ("key_size 2049", |r| r.key_size = 2049),
        ("a retarget with block_size 2", |r| r.block_size = 2),
        ("a retarget without empty blocks", |r| r.allow_empty = false),
        ("257 authorities", |r| {
            r.authorities = (0..257_u16).map(|i| Address::from_bytes(sha256(&[&i.to_le_bytes()]))).collect();
        }),
        ("an authority twice", |r| {
            r.authorities = [1, 2, 1].map(|byte| Address::from_bytes([byte; 32])).to_vec();
            r.authority_timeout_seconds = 200;
        }),
        ("max_ahead_seconds not below the timeout", |r| {
            r.authorities = vec![Address::from_bytes([1; 32])];
            r.authority_timeout_seconds = r.max_ahead_seconds;
        }),
        ("alloc descending", |r| {
            r.alloc = [2, 1].map(|byte| (Address::from_bytes([byte; 32]), Amount::from_coins(1))).to_vec();
        }),
        ("alloc twice", |r| {
            r.alloc = [1, 1].map(|byte| (Address::from_bytes([byte; 32]), Amount::from_coins(1))).to_vec();
        }),
        ("a reward that comes to too much", |r| r.block_reward = Amount::from_units(1 << 31)),
        ("an alloc that comes to too much", |r| {
            r.alloc = vec![(Address::from_bytes([1; 32]), Amount::from_units(u64::MAX))];
        }),
        ("alloc and reward that come to one too much", |r| {
            let rewards = r.block_reward.units() << 32;
            let rest = Amount::from_units(Amount::MAX.units() - rewards + 1);
            r.alloc = vec![(Address::from_bytes([1; 32]), rest)];
        }),
    ];
    for (name, change) in changes {
        let mut changed = usual.clone();
        change(&mut changed);
        cases.push(given(name, &changed.to_bytes()));
    }
    let bytes = usual.to_bytes();
    let mut bad_bool = bytes.clone();
    // format 4, name 8 + 8, genesis_time 8, difficulty to block_interval_seconds 7 · 4.
    bad_bool[56] = 2;
    let mut bad_text = bytes.clone();
    bad_text[12] = 0xff;
    cases.extend([
        given("a bool of 2", &bad_bool),
        given("a name that is no UTF-8", &bad_text),
        given("a byte too many", &[&bytes[..], &[0]].concat()),
        given("a byte too few", &bytes[..bytes.len() - 1]),
        given("an absurd length", &[&bytes[..4], &[0xff; 8]].concat()),
        given("nothing", &[]),
    ]);
    cases
}
