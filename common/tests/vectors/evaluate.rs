//! What the code makes of the input of a test vector. `examples/make_vectors.rs` writes its answers into the
//! files, `tests/vectors.rs` compares them with what the files hold.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use bincode::Encode;
use common::address::Address;
use common::amount::Amount;
use common::block::{Block, BlockHeader, Body, Reward, Seal, SealedHeader, seal_message};
use common::consensus::{
    Ancestors, BodyError, NothingKnown, check_body, check_header, check_transaction, not_ahead_of_clock,
    not_expired,
};
use common::difficulty::{CompactTarget, RetargetContext, Target, Work, next_bits};
use common::encoding::{decode, encode};
use common::hash::{BlockId, NetworkId, sha256};
use common::ledger::{self, Account, Accounts, LedgerError, charge};
use common::merkle;
use common::node::serve::check_request;
use common::rules::{DecodeRulesError, Rules, RulesError};
use common::signature::{RsaVerifier, SignatureVerifier, address_of, modulus_bits};
use common::store::beats;
use common::time::{Height, Timestamp};
use common::transaction::{Payment, Transaction};
use common::wire::{
    Announcement, Datagram, DatagramError, FrameError, Hello, Incoming, Proof, Request, Response, Status,
    SubmitResult, decode_frame,
};
use rsa::pkcs8::{DecodePrivateKey, EncodePublicKey};
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use serde_json::{Value, json};

/// A vector that cannot be evaluated at all: its file is not what its README says.
pub type Fault = Box<dyn Error>;

/// The files of vectors, by their names without `.json`.
pub const FILES: [&str; 11] = [
    "amounts",
    "addresses",
    "signatures",
    "transactions",
    "headers",
    "targets",
    "merkle",
    "rules",
    "blocks",
    "chains",
    "messages",
];

/// The folder of the files.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// The output for an input of one of the [`FILES`].
pub fn evaluate(file: &str, input: &Value) -> Result<Value, Fault> {
    match file {
        "amounts" => amount(input),
        "addresses" => address(input),
        "signatures" => signature(input),
        "transactions" => transaction(input),
        "headers" => header(input),
        "targets" => target(input),
        "merkle" => tree(input),
        "rules" => rules(input),
        "blocks" => block(input),
        "chains" => chain(input),
        "messages" => message(input),
        other => Err(format!("no file of vectors is called {other:?}").into()),
    }
}

/// A private key of `keys/`.
pub fn test_key(name: &str) -> Result<RsaPrivateKey, Fault> {
    let text = std::fs::read(folder().join("keys").join(format!("{name}.pem")))?;
    Ok(RsaPrivateKey::from_pkcs8_der(pem::parse(text)?.contents())?)
}

/// A key's modulus.
pub fn modulus_of(key: &RsaPrivateKey) -> Vec<u8> {
    key.n().to_bytes_be()
}

/// A key's signature over a message.
pub fn sign(key: &RsaPrivateKey, message: &[u8]) -> Result<Vec<u8>, Fault> {
    sign_held(key, &[DIGEST_INFO, &sha256(&[message])].concat())
}

/// What stands before the hash in a signature: that it is SHA-256.
const DIGEST_INFO: &[u8] = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";

/// A signature whose padding is right, and which holds these bytes.
pub fn sign_held(key: &RsaPrivateKey, held: &[u8]) -> Result<Vec<u8>, Fault> {
    Ok(key.sign(Pkcs1v15Sign::new_unprefixed(), held)?)
}

fn amount(input: &Value) -> Result<Value, Fault> {
    if input.get("units").is_some() {
        return Ok(json!({ "text": Amount::from_units(long(input, "units")?).to_string() }));
    }
    Ok(match text(input, "text")?.parse::<Amount>() {
        Ok(amount) => json!({ "units": amount.units().to_string() }),
        Err(error) => refused(&error),
    })
}

fn address(input: &Value) -> Result<Value, Fault> {
    if input.get("text").is_some() {
        return Ok(match text(input, "text")?.parse::<Address>() {
            Ok(address) => json!({ "address": hex::encode(address.as_bytes()) }),
            Err(error) => refused(&error),
        });
    }
    let modulus = bytes(input, "modulus")?;
    let Some(bits) = modulus_bits(&modulus) else { return Ok(json!({ "error": "PublicKeyForm" })) };
    let (n, e) = (rsa::BigUint::from_bytes_be(&modulus), rsa::BigUint::from(65537_u32));
    let subject_public_key_info = rsa::RsaPublicKey::new(n, e)?.to_public_key_der()?;
    let address = address_of(&modulus);
    Ok(json!({
        "bits": bits,
        "subject_public_key_info": hex::encode(subject_public_key_info.as_bytes()),
        "address": hex::encode(address.as_bytes()),
        "text": address.to_string(),
    }))
}

fn signature(input: &Value) -> Result<Value, Fault> {
    let message = bytes(input, "message")?;
    if input.get("key").is_some() {
        let key = test_key(text(input, "key")?)?;
        return Ok(json!({
            "modulus": hex::encode(modulus_of(&key)),
            "signature": hex::encode(sign(&key, &message)?),
        }));
    }
    let (modulus, signature) = (bytes(input, "modulus")?, bytes(input, "signature")?);
    let valid = modulus_bits(&modulus).is_some()
        && modulus.len() == signature.len()
        && RsaVerifier::default().verify(&modulus, &message, &signature);
    Ok(json!({ "valid": valid }))
}

fn transaction(input: &Value) -> Result<Value, Fault> {
    let rules = Rules::from_bytes(&bytes(input, "rules")?)?;
    let network = rules.network_id();
    let encoded = bytes(input, "transaction")?;
    let transaction: Transaction = match decode(&encoded) {
        Ok(transaction) => transaction,
        Err(error) => return Ok(refused(&error)),
    };
    encodes_to(&transaction, &encoded)?;
    let sender =
        Account { balance: Amount::from_units(long(input, "balance")?), nonce: long(input, "nonce")? };
    let height = Height::new(long(input, "height")?);
    let outcome = check_transaction(&rules, &network, transaction.clone(), &RsaVerifier::default())
        .and_then(|checked| not_expired(checked.entry().valid_until(), height).map(|()| checked))
        .and_then(|checked| charge(sender, checked.entry()));
    let known_key = modulus_bits(&transaction.payment.public_key).is_some();
    Ok(json!({
        "fields": of_transaction(&transaction),
        "signed_message": hex::encode(transaction.payment.signing_message(&network)),
        "id": transaction.id().to_string(),
        "sender": known_key.then(|| hex::encode(address_of(&transaction.payment.public_key).as_bytes())),
        "error": outcome.as_ref().err().map(name),
        "sender_after": outcome.ok().map(|account| json!({
            "balance": account.balance.units().to_string(),
            "nonce": account.nonce.to_string(),
        })),
    }))
}

fn header(input: &Value) -> Result<Value, Fault> {
    let encoded = bytes(input, "header")?;
    let header: BlockHeader = match decode(&encoded) {
        Ok(header) => header,
        Err(error) => return Ok(refused(&error)),
    };
    encodes_to(&header, &encoded)?;
    Ok(json!({ "fields": of_header(&header), "id": header.id().to_string() }))
}

fn target(input: &Value) -> Result<Value, Fault> {
    if input.get("target").is_some() {
        let target = Target::from_be_bytes(fixed(input, "target")?);
        return Ok(json!({ "bits": of_bits(target.to_compact()) }));
    }
    if input.get("bits").is_some() {
        let target = bits(input, "bits")?.to_target();
        return Ok(json!({ "target": hex::encode(target.to_be_bytes()), "work": of_work(target.work()) }));
    }
    let rules = Rules::from_bytes(&bytes(input, "rules")?)?;
    if input.get("parent_bits").is_some() {
        let context = RetargetContext {
            parent_bits: bits(input, "parent_bits")?,
            parent_time: Timestamp::from_millis(long(input, "parent_time")?),
            grandparent_time: Some(Timestamp::from_millis(long(input, "grandparent_time")?)),
        };
        return Ok(json!({ "bits": of_bits(next_bits(&rules, &context)) }));
    }
    let mut ancestors = Ancestors::of_genesis_child(&rules);
    let mut all = vec![of_bits(ancestors.next_bits(&rules))];
    for time in list(input, "times")? {
        let header = BlockHeader {
            previous: ancestors.parent_id,
            time: Timestamp::from_millis(time.as_str().ok_or("a time is no text")?.parse()?),
            bits: ancestors.next_bits(&rules),
            height: ancestors.parent.height.next(),
            ..ancestors.parent
        };
        ancestors = ancestors.of_child(&header, header.id());
        all.push(of_bits(ancestors.next_bits(&rules)));
    }
    Ok(json!({ "bits": all }))
}

fn tree(input: &Value) -> Result<Value, Fault> {
    if input.get("leaf_hash").is_some() {
        let path = hashes(input, "path")?;
        let (index, count) = (short(input, "index")?, short(input, "count")?);
        let root = merkle::root_from_path(fixed(input, "leaf_hash")?, index, count, &path);
        return Ok(json!({ "root": root.map(|root| root.to_string()) }));
    }
    let mut leaves = Vec::new();
    for leaf in list(input, "leaves")? {
        leaves.push(merkle::leaf(&hex::decode(leaf.as_str().ok_or("a leaf is no text")?)?));
    }
    let proofs: Vec<Vec<String>> = (0..leaves.len())
        .filter_map(|index| merkle::path(&leaves, index))
        .map(|path| of_hashes(&path))
        .collect();
    Ok(json!({
        "leaf_hashes": of_hashes(&leaves),
        "root": merkle::root(&leaves).to_string(),
        "paths": proofs,
    }))
}

fn rules(input: &Value) -> Result<Value, Fault> {
    let encoded = bytes(input, "rules")?;
    let rules = match Rules::from_bytes(&encoded) {
        Ok(rules) => rules,
        Err(DecodeRulesError::Decode(error)) => return Ok(refused(&error)),
        Err(DecodeRulesError::Rules(error @ RulesError::OutOfBounds { rule, .. })) => {
            return Ok(json!({ "error": name(&error), "rule": rule }));
        }
        Err(DecodeRulesError::Rules(error)) => return Ok(refused(&error)),
    };
    encodes_to(&rules, &encoded)?;
    let alloc: Vec<Value> = rules
        .alloc
        .iter()
        .map(|(address, amount)| json!([hex::encode(address.as_bytes()), amount.units().to_string()]))
        .collect();
    let addresses: Vec<String> =
        rules.authorities.iter().map(|address| hex::encode(address.as_bytes())).collect();
    Ok(json!({
        "fields": {
            "format": rules.format,
            "name": rules.name,
            "genesis_time": rules.genesis_time.millis().to_string(),
            "difficulty": rules.difficulty,
            "target_block_seconds": rules.target_block_seconds,
            "retarget_blocks": rules.retarget_blocks,
            "min_spacing_ms": rules.min_spacing_ms,
            "max_ahead_seconds": rules.max_ahead_seconds,
            "block_size": rules.block_size,
            "block_interval_seconds": rules.block_interval_seconds,
            "allow_empty": rules.allow_empty,
            "max_block_bytes": rules.max_block_bytes,
            "block_reward": rules.block_reward.units().to_string(),
            "min_fee": rules.min_fee.units().to_string(),
            "key_size": rules.key_size,
            "authorities": addresses,
            "authority_timeout_seconds": rules.authority_timeout_seconds,
            "alloc": alloc,
            "extensions": [],
        },
        "genesis": hex::encode(encode(&rules.genesis().header)),
        "network": rules.network_id().to_string(),
    }))
}

fn block(input: &Value) -> Result<Value, Fault> {
    let encoded = bytes(input, "block")?;
    let block: Block = match decode(&encoded) {
        Ok(block) => block,
        Err(error) => return Ok(refused(&error)),
    };
    encodes_to(&block, &encoded)?;
    Ok(json!({
        "fields": of_block(&block),
        "id": block.id().to_string(),
        "body_bytes": encode(&block.body).len(),
        "root_of_body": block.body.merkle_root().to_string(),
        "seal_message": hex::encode(seal_message(&block.id())),
    }))
}

fn chain(input: &Value) -> Result<Value, Fault> {
    if input.get("tip").is_some() {
        let tip = |work, tip| {
            Ok::<_, Fault>((
                Work::from_be_bytes(fixed(input, work)?),
                BlockId::from_bytes(fixed(input, tip)?),
            ))
        };
        let ((work, id), (other_work, other_id)) = (tip("work", "tip")?, tip("other_work", "other_tip")?);
        return Ok(json!({ "better": beats(work, &id, other_work, &other_id) }));
    }
    let rules = Rules::from_bytes(&bytes(input, "rules")?)?;
    let now = Timestamp::from_millis(long(input, "now")?);
    let mut state = State {
        network: rules.network_id(),
        ancestors: Ancestors::of_genesis_child(&rules),
        accounts: rules.alloc.iter().map(|(address, amount)| (*address, held(*amount))).collect(),
        work: Work::ZERO,
        rules,
    };
    let (mut valid, mut failed) = (0, None);
    for encoded in list(input, "blocks")? {
        let encoded = hex::decode(encoded.as_str().ok_or("a block is no text")?)?;
        match state.append(&encoded, now) {
            Ok(()) => valid += 1,
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        }
    }
    let accounts: Vec<Value> = state
        .accounts
        .iter()
        .map(|(address, account)| {
            json!([
                hex::encode(address.as_bytes()),
                account.balance.units().to_string(),
                account.nonce.to_string()
            ])
        })
        .collect();
    Ok(json!({
        "valid": valid,
        "error": failed.as_ref().map(|failure| failure.error.clone()),
        "condemned": failed.is_some_and(|failure| failure.condemned),
        "tip": state.ancestors.parent_id.to_string(),
        "work": of_work(state.work),
        "accounts": accounts,
    }))
}

/// A chain and its ledger, in memory.
struct State {
    rules: Rules,
    network: NetworkId,
    ancestors: Ancestors,
    accounts: Map,
    work: Work,
}

type Map = BTreeMap<Address, Account>;

/// Why a block does not belong on the chain, and whether that makes it invalid for ever.
struct Failure {
    error: String,
    condemned: bool,
}

impl State {
    /// Rules 1 to 13.
    fn append(&mut self, encoded: &[u8], now: Timestamp) -> Result<(), Failure> {
        let innocent = |error: String| Failure { error, condemned: false };
        let block: Block = decode(encoded).map_err(|error| innocent(name(&error)))?;
        let header = block.sealed_header();
        let id = check_header(&self.rules, &self.ancestors, &header, &RsaVerifier::default())
            .map_err(|error| innocent(name(&error)))?;
        not_ahead_of_clock(&self.rules, &header.header, now).map_err(|error| innocent(name(&error)))?;
        let parent_time = self.ancestors.parent.time;
        let block = check_body(
            &self.rules,
            &self.network,
            parent_time,
            block,
            &NothingKnown,
            &RsaVerifier::default(),
        )
        .map_err(|error| Failure {
            condemned: error.condemns_block(),
            error: match error {
                BodyError::Transaction { error, .. } => name(&error),
                other => name(&other),
            },
        })?;
        let mut accounts = Ledger(self.accounts.clone());
        ledger::apply(&mut accounts, &block).map_err(|error| match error {
            LedgerError::Transaction { error, .. } => Failure { error: name(&error), condemned: true },
            other => innocent(name(&other)),
        })?;
        self.accounts = accounts.0;
        self.work = self.work.plus(header.header.bits.to_target().work());
        self.ancestors = self.ancestors.of_child(&header.header, id);
        Ok(())
    }
}

struct Ledger(Map);

impl Accounts for Ledger {
    type Error = std::convert::Infallible;

    fn account(&self, address: &Address) -> Result<Account, Self::Error> {
        Ok(self.0.get(address).copied().unwrap_or_default())
    }

    fn set_account(&mut self, address: &Address, account: Account) -> Result<(), Self::Error> {
        self.0.insert(*address, account);
        Ok(())
    }
}

fn held(balance: Amount) -> Account {
    Account { balance, nonce: 0 }
}

fn message(input: &Value) -> Result<Value, Fault> {
    if input.get("datagram").is_some() {
        datagram(input)
    } else if input.get("hello").is_some() {
        hello(input)
    } else if input.get("request").is_some() {
        request(input)
    } else {
        response(input)
    }
}

fn datagram(input: &Value) -> Result<Value, Fault> {
    let network = NetworkId::from_bytes(fixed(input, "network")?);
    let bytes = bytes(input, "datagram")?;
    let announcement = match Datagram::announcement_of(&bytes, &network) {
        Ok(announcement) => announcement,
        Err(DatagramError::Decode(error)) => return Ok(refused(&error)),
        Err(error) => return Ok(refused(&error)),
    };
    let described = match &announcement {
        Announcement::Status(status) => json!({ "Status": of_status(status) }),
        Announcement::Transaction(transaction) => json!({ "Transaction": of_transaction(transaction) }),
    };
    encodes_to(&Datagram::new(&network, announcement), &bytes)?;
    Ok(described)
}

fn hello(input: &Value) -> Result<Value, Fault> {
    let network = NetworkId::from_bytes(fixed(input, "network")?);
    let frame = frame(input, "hello")?;
    let hello = match Hello::from_frame(&frame) {
        Ok(hello) => hello,
        Err(error) => return Ok(refused(&error)),
    };
    encodes_to(&hello, &frame)?;
    Ok(match hello.check(&network) {
        Ok(()) => json!({ "Hello": of_hello(&hello) }),
        Err(error) => refused(&error),
    })
}

fn request(input: &Value) -> Result<Value, Fault> {
    let frame = frame(input, "request")?;
    let request = match Incoming::decode(&frame) {
        Ok(Incoming::Known(request)) => request,
        Ok(Incoming::Unknown(number)) => return Ok(json!({ "Unknown": number })),
        Err(error) => return Ok(refused(&error)),
    };
    encodes_to(&request, &frame)?;
    Ok(match check_request(&request) {
        Ok(()) => of_request(&request),
        Err(error) => refused(&error),
    })
}

fn response(input: &Value) -> Result<Value, Fault> {
    let frame = frame(input, "response")?;
    let response: Response = match decode_frame(&frame) {
        Ok(response) => response,
        Err(FrameError::Decode(error)) => return Ok(refused(&error)),
        Err(error) => return Ok(refused(&error)),
    };
    encodes_to(&response, &frame)?;
    Ok(of_response(&response))
}

// ---- values as JSON

fn of_transaction(Transaction { payment, signature }: &Transaction) -> Value {
    let Payment { version: _, to, amount, fee, nonce, valid_until, data, public_key } = payment;
    json!({
        "to": hex::encode(to.as_bytes()),
        "amount": amount.units().to_string(),
        "fee": fee.units().to_string(),
        "nonce": nonce.to_string(),
        "valid_until": valid_until,
        "data": hex::encode(data),
        "public_key": hex::encode(public_key),
        "signature": hex::encode(signature),
    })
}

fn of_transactions(transactions: &[Transaction]) -> Value {
    transactions.iter().map(of_transaction).collect()
}

fn of_header(header: &BlockHeader) -> Value {
    json!({
        "version": header.version,
        "previous": header.previous.to_string(),
        "merkle_root": header.merkle_root.to_string(),
        "time": header.time.millis().to_string(),
        "bits": of_bits(header.bits),
        "height": header.height.get().to_string(),
        "nonce": header.nonce.to_string(),
    })
}

fn of_seal(seal: &Option<Seal>) -> Value {
    match seal {
        None => Value::Null,
        Some(Seal { public_key, signature }) => {
            json!({ "public_key": hex::encode(public_key), "signature": hex::encode(signature) })
        }
    }
}

fn of_sealed(SealedHeader { header, seal }: &SealedHeader) -> Value {
    json!({ "header": of_header(header), "seal": of_seal(seal) })
}

fn of_reward(Reward { to, amount, data }: &Reward) -> Value {
    json!({
        "to": hex::encode(to.as_bytes()),
        "amount": amount.units().to_string(),
        "data": hex::encode(data),
    })
}

fn of_block(Block { header, seal, body: Body { reward, transactions } }: &Block) -> Value {
    json!({
        "header": of_header(header),
        "seal": of_seal(seal),
        "reward": of_reward(reward),
        "transactions": of_transactions(transactions),
    })
}

fn of_status(status: &Status) -> Value {
    json!({
        "instance": status.instance.to_string(),
        "height": status.height.get().to_string(),
        "work": of_work(status.work),
        "tip": status.tip.to_string(),
        "block_server_port": status.block_server_port,
    })
}

fn of_hello(hello: &Hello) -> Value {
    json!({
        "version": hello.version,
        "min_version": hello.min_version,
        "network": hello.network.to_string(),
        "instance": hello.instance.to_string(),
        "time": hello.time.millis().to_string(),
        "block_server_port": hello.block_server_port,
        "features": hello.features.to_string(),
        "agent": hex::encode(&hello.agent),
    })
}

fn of_request(request: &Request) -> Value {
    match request {
        Request::GetHeaders { locator, limit } => {
            json!({ "GetHeaders": { "locator": of_ids(locator), "limit": limit } })
        }
        Request::GetBlocks { ids } => json!({ "GetBlocks": { "ids": of_ids(ids) } }),
        Request::GetCompact { id } => json!({ "GetCompact": { "id": id.to_string() } }),
        Request::GetBlockTransactions { id, indices } => {
            json!({ "GetBlockTransactions": { "id": id.to_string(), "indices": indices } })
        }
        Request::GetPoolIds { after } => {
            json!({ "GetPoolIds": { "after": after.map(|id| id.to_string()) } })
        }
        Request::GetTransactions { ids } => json!({ "GetTransactions": { "ids": of_ids(ids) } }),
        Request::SubmitTransactions(transactions) => {
            json!({ "SubmitTransactions": of_transactions(transactions) })
        }
        Request::SubmitBlocks(blocks) => {
            json!({ "SubmitBlocks": blocks.iter().map(of_block).collect::<Value>() })
        }
        Request::WaitStatus { tip } => json!({ "WaitStatus": { "tip": tip.to_string() } }),
        Request::GetProof { transaction } => {
            json!({ "GetProof": { "transaction": transaction.to_string() } })
        }
        Request::GetRules => json!({ "GetRules": {} }),
    }
}

fn of_response(response: &Response) -> Value {
    match response {
        Response::Headers(headers) => json!({ "Headers": headers.iter().map(of_sealed).collect::<Value>() }),
        Response::Block(block) => json!({ "Block": of_block(&block.to_block()) }),
        Response::NotFound(id) => json!({ "NotFound": hex::encode(id) }),
        Response::Compact(compact) => json!({ "Compact": {
            "header": of_sealed(&compact.header),
            "reward": of_reward(&compact.reward),
            "ids": of_ids(&compact.ids),
        } }),
        Response::Transactions(transactions) => json!({ "Transactions": of_transactions(transactions) }),
        Response::PoolIds(ids) => json!({ "PoolIds": of_ids(ids) }),
        Response::Results(results) => {
            json!({ "Results": results.iter().map(|SubmitResult(number)| *number).collect::<Vec<u32>>() })
        }
        Response::Status(status) => json!({ "Status": of_status(status) }),
        Response::Proof(Proof { header, index, count, path }) => json!({ "Proof": {
            "header": of_sealed(header),
            "index": index,
            "count": count,
            "path": of_hashes(path),
        } }),
        Response::Rules(rules) => json!({ "Rules": hex::encode(rules) }),
        Response::Unsupported(number) => json!({ "Unsupported": number }),
    }
}

fn of_ids<T: ToString>(ids: &[T]) -> Vec<String> {
    ids.iter().map(T::to_string).collect()
}

fn of_hashes(hashes: &[[u8; 32]]) -> Vec<String> {
    hashes.iter().map(hex::encode).collect()
}

fn of_work(work: Work) -> String {
    hex::encode(work.to_be_bytes())
}

fn of_bits(bits: CompactTarget) -> String {
    format!("{:#010x}", bits.to_bits())
}

/// The name of an error: its variant's.
fn name(error: &impl std::fmt::Debug) -> String {
    format!("{error:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}

fn refused(error: &impl std::fmt::Debug) -> Value {
    json!({ "error": name(error) })
}

/// Holds a value that was read against the bytes that it was read from: there is one encoding of it.
fn encodes_to<T: Encode>(value: &T, bytes: &[u8]) -> Result<(), Fault> {
    if encode(value) == bytes { Ok(()) } else { Err("a value has two encodings".into()) }
}

// ---- values from JSON

fn text<'a>(input: &'a Value, field: &str) -> Result<&'a str, Fault> {
    input[field].as_str().ok_or_else(|| format!("the field {field} is no text").into())
}

fn long(input: &Value, field: &str) -> Result<u64, Fault> {
    Ok(text(input, field)?.parse()?)
}

fn short(input: &Value, field: &str) -> Result<u32, Fault> {
    Ok(serde_json::from_value(input[field].clone())?)
}

fn bytes(input: &Value, field: &str) -> Result<Vec<u8>, Fault> {
    Ok(hex::decode(text(input, field)?)?)
}

fn fixed(input: &Value, field: &str) -> Result<[u8; 32], Fault> {
    Ok(bytes(input, field)?.try_into().map_err(|_| format!("the field {field} has not 32 bytes"))?)
}

fn bits(input: &Value, field: &str) -> Result<CompactTarget, Fault> {
    let digits = text(input, field)?.strip_prefix("0x").ok_or("bits begin with 0x")?;
    Ok(CompactTarget::from_bits(u32::from_str_radix(digits, 16)?))
}

fn list<'a>(input: &'a Value, field: &str) -> Result<&'a Vec<Value>, Fault> {
    input[field].as_array().ok_or_else(|| format!("the field {field} is no list").into())
}

fn hashes(input: &Value, field: &str) -> Result<Vec<[u8; 32]>, Fault> {
    let mut hashes = Vec::new();
    for hash in list(input, field)? {
        let bytes = hex::decode(hash.as_str().ok_or("a hash is no text")?)?;
        hashes.push(bytes.try_into().map_err(|_| "a hash has not 32 bytes")?);
    }
    Ok(hashes)
}

/// A frame's message, the length before it checked.
fn frame(input: &Value, field: &str) -> Result<Vec<u8>, Fault> {
    let bytes = bytes(input, field)?;
    let (length, message) = bytes.split_first_chunk::<4>().ok_or("a frame without a length")?;
    if u32::from_le_bytes(*length) as usize != message.len() {
        return Err("a frame of another length than it says".into());
    }
    Ok(message.to_vec())
}
