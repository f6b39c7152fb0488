//! Vectors of datagrams and frames: every message, and what is refused.

use bincode::Encode;
use common::block::BlockHeader;
use common::difficulty::Work;
use common::encoding::encode;
use common::hash::{BlockId, TransactionId, sha256};
use common::merkle;
use common::time::{Height, Timestamp};
use common::wire::{
    Announcement, CompactBlock, Datagram, Hello, MAGIC, Proof, Request, Response, Status, SubmitResult,
    encode_frame,
};
use serde_json::json;

use super::chains::samples;
use super::evaluate::Fault;
use super::{Case, Keys, case, play_rules};

pub fn messages(keys: &Keys) -> Result<Vec<Case>, Fault> {
    let mut cases = datagrams(keys)?;
    cases.extend(hellos(keys));
    cases.extend(requests(keys)?);
    cases.extend(responses(keys)?);
    Ok(cases)
}

fn block_id(number: u8) -> BlockId {
    BlockId::from_bytes(sha256(&[&[number]]))
}

fn transaction_id(number: u8) -> TransactionId {
    TransactionId::from_bytes(sha256(&[&[number]]))
}

fn status() -> Status {
    let mut work = [0; 32];
    work[30..].copy_from_slice(&[1, 2]);
    Status {
        instance: 0x0102_0304_0506_0708,
        height: Height::new(258),
        work: Work::from_be_bytes(work),
        tip: block_id(1),
        block_server_port: 2607,
    }
}

fn datagrams(keys: &Keys) -> Result<Vec<Case>, Fault> {
    let network = play_rules(keys).network_id();
    let given = |name: &str, bytes: &[u8]| {
        let datagram = hex::encode(bytes);
        case(format!("datagram: {name}"), json!({ "network": network.to_string(), "datagram": datagram }))
    };
    let (_, block) = samples(keys)?;
    let longest =
        common::transaction::Payment { data: vec![0x2a; 80], ..keys.large.payment(keys.small.address, 1, 0) };
    let announced = |announcement| Datagram::new(&network, announcement).to_bytes();
    let bytes = announced(Announcement::Status(status()));
    let changed = |at: usize, byte: u8| {
        let mut changed = bytes.clone();
        changed[at] = byte;
        changed
    };
    Ok(vec![
        given("Status", &bytes),
        given("Transaction", &announced(Announcement::Transaction(block.body.transactions[0].clone()))),
        given(
            "the longest Transaction",
            &announced(Announcement::Transaction(keys.large.signed(&network, longest)?)),
        ),
        given("another magic", &changed(0, 0)),
        given("version 2", &changed(4, 2)),
        given("another network", &changed(6, bytes[6] ^ 1)),
        given("another variant", &changed(14, 2)),
        given("a byte too few", &bytes[..99]),
        given("a byte too many", &[&bytes[..], &[0]].concat()),
        given("its head alone", &bytes[..14]),
        given("shorter than its head", &bytes[..13]),
        given("just not too long", &[&bytes[..], &[0; 1132]].concat()),
        given("too long", &[&bytes[..], &[0; 1133]].concat()),
    ])
}

fn hellos(keys: &Keys) -> Vec<Case> {
    let network = play_rules(keys).network_id();
    let hello = Hello {
        magic: MAGIC,
        version: 1,
        min_version: 1,
        network,
        instance: 0x1112_1314_1516_1718,
        time: Timestamp::from_millis(1_767_225_600_123),
        block_server_port: 2607,
        features: 1,
        agent: b"farthing vectors".to_vec(),
    };
    let given = |name: &str, hello: Hello| {
        case(
            format!("hello: {name}"),
            json!({ "network": network.to_string(), "hello": hex::encode(encode_frame(&hello)) }),
        )
    };
    vec![
        given("right", hello.clone()),
        given("a newer program that still speaks version 1", Hello { version: 9, ..hello.clone() }),
        given("the longest agent", Hello { agent: vec![0xff; 64], ..hello.clone() }),
        given("another magic", Hello { magic: *b"HTTP", ..hello.clone() }),
        given("too new", Hello { version: 3, min_version: 2, ..hello.clone() }),
        given("too old", Hello { version: 0, min_version: 0, ..hello.clone() }),
        given("too long an agent", Hello { agent: vec![0x61; 65], ..hello.clone() }),
        given("another network", Hello { network: Default::default(), ..hello }),
    ]
}

fn requests(keys: &Keys) -> Result<Vec<Case>, Fault> {
    let (sealed, plain) = samples(keys)?;
    let ids = |count: usize| vec![block_id(1); count];
    let good = [
        ("GetHeaders", Request::GetHeaders { locator: vec![block_id(2), block_id(1)], limit: 2000 }),
        ("GetHeaders, no locator", Request::GetHeaders { locator: vec![], limit: 0 }),
        ("GetHeaders, the longest locator", Request::GetHeaders { locator: ids(64), limit: u32::MAX }),
        ("GetBlocks", Request::GetBlocks { ids: vec![block_id(1), block_id(2)] }),
        ("GetCompact", Request::GetCompact { id: block_id(3) }),
        ("GetBlockTransactions", Request::GetBlockTransactions { id: block_id(3), indices: vec![0, 5, 6] }),
        ("GetPoolIds, the first page", Request::GetPoolIds { after: None }),
        ("GetPoolIds, a later page", Request::GetPoolIds { after: Some(transaction_id(4)) }),
        ("GetTransactions", Request::GetTransactions { ids: vec![transaction_id(5)] }),
        ("SubmitTransactions", Request::SubmitTransactions(plain.body.transactions.clone())),
        ("SubmitBlocks", Request::SubmitBlocks(vec![sealed.clone(), plain.clone()])),
        ("WaitStatus", Request::WaitStatus { tip: block_id(6) }),
        ("GetProof", Request::GetProof { transaction: transaction_id(7) }),
        ("GetRules", Request::GetRules),
        ("a locator too long", Request::GetHeaders { locator: ids(65), limit: 1 }),
        ("too many blocks", Request::GetBlocks { ids: ids(257) }),
        ("indices that repeat", Request::GetBlockTransactions { id: block_id(3), indices: vec![1, 1] }),
        ("indices that descend", Request::GetBlockTransactions { id: block_id(3), indices: vec![2, 1] }),
    ];
    let given = |name: &str, bytes: Vec<u8>| {
        case(format!("request: {name}"), json!({ "request": hex::encode(bytes) }))
    };
    let mut cases: Vec<Case> =
        good.into_iter().map(|(name, request)| given(name, encode_frame(&request))).collect();
    let framed = |message: &[u8]| [&(message.len() as u32).to_le_bytes()[..], message].concat();
    cases.extend([
        given("variant 11", framed(&[11, 0, 0, 0])),
        given("the last variant, with bytes", framed(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3])),
        given("an empty frame", framed(&[])),
        given("a byte too many", framed(&[10, 0, 0, 0, 0])),
        given("an absurd length", framed(&[[1, 0, 0, 0].as_slice(), &[0xff; 8]].concat())),
    ]);
    Ok(cases)
}

fn responses(keys: &Keys) -> Result<Vec<Case>, Fault> {
    let (sealed, plain) = samples(keys)?;
    let ids: Vec<TransactionId> =
        plain.body.transactions.iter().map(|transaction| transaction.id()).collect();
    let leaves: Vec<[u8; 32]> =
        [plain.body.reward.leaf()].into_iter().chain(ids.iter().map(|id| *id.as_bytes())).collect();
    let path = merkle::path(&leaves, 2).unwrap_or_default();
    let answers = [
        ("Headers", Response::Headers(vec![sealed.sealed_header(), plain.sealed_header()])),
        ("Headers, none", Response::Headers(vec![])),
        ("Block", Response::Block((&plain).into())),
        ("NotFound", Response::NotFound(sha256(&[b"nothing"]))),
        (
            "Compact",
            Response::Compact(CompactBlock {
                header: sealed.sealed_header(),
                reward: sealed.body.reward.clone(),
                ids: ids.clone(),
            }),
        ),
        ("Transactions", Response::Transactions(plain.body.transactions.clone())),
        ("PoolIds", Response::PoolIds(ids)),
        ("Results", Response::Results((0..15).map(SubmitResult).collect())),
        ("Status", Response::Status(status())),
        ("Proof", Response::Proof(Proof { header: plain.sealed_header(), index: 2, count: 3, path })),
        ("Rules", Response::Rules(play_rules(keys).to_bytes())),
        ("Unsupported", Response::Unsupported(11)),
    ];
    let given = |name: &str, bytes: Vec<u8>| {
        case(format!("response: {name}"), json!({ "response": hex::encode(bytes) }))
    };
    let mut cases: Vec<Case> =
        answers.into_iter().map(|(name, answer)| given(name, encode_frame(&answer))).collect();
    cases.push(given("variant 11", encode_frame(&Bare(11))));
    let cut = encode(&Response::Block((&plain).into()))[..4 + BlockHeader::ENCODED_BYTES].to_vec();
    cases.push(given("a block cut after its header", [&100_u32.to_le_bytes()[..], &cut].concat()));
    Ok(cases)
}

/// A variant number and nothing else.
#[derive(Encode)]
struct Bare(u32);
