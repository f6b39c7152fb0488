//! Transactions, headers and blocks: read as values and as views, and checked by the rules.

use common::address::Address;
use common::block::{Block, BlockHeader, EncodedBlock, EncodedBody, SealedHeader};
use common::consensus::{
    Ancestors, NothingKnown, Parallelism, TransactionError, check_encoded_body, check_form, check_header,
    check_transaction, check_transactions, earliest_time, not_ahead_of_clock, not_expired,
};
use common::difficulty::Work;
use common::encoding::{decode, decode_start, encode};
use common::hash::{NetworkId, sha256};
use common::merkle;
use common::rules::Rules;
use common::signature::{RsaVerifier, SignatureVerifier, address_of, modulus_bits};
use common::transaction::{Transaction, TransactionRef, ids_of};

use crate::allocation::within;
use crate::{read, try_out};

/// What reading takes at most, however little is there.
pub const SLACK_BYTES: usize = 16 * 1024;

/// What reading these bytes may take: announced lengths count for a fixed multiple of what is there.
pub fn most_bytes(bytes: &[u8]) -> usize {
    SLACK_BYTES + 128 * bytes.len()
}

/// Takes half of all signatures for their sender's, so that the rest of the rules is reached.
pub struct EverySecond;

impl SignatureVerifier for EverySecond {
    fn signer(&self, modulus: &[u8], _: &[u8; 32], signature: &[u8]) -> Option<Address> {
        assert!(modulus_bits(modulus).is_some(), "only what has the form of a key comes here");
        (signature.first()? & 1 == 0).then(|| address_of(modulus))
    }
}

/// A payment with its signature.
pub fn transaction(bytes: &[u8]) {
    let whole = within(most_bytes(bytes), || decode::<Transaction>(bytes));
    let view = within(0, || TransactionRef::decode_start(bytes).ok());
    match (read(whole), view) {
        (Some(transaction), Some((view, used))) => {
            assert_eq!((view, used), (transaction.borrowed(), bytes.len()));
            agree_on_transaction(&transaction, bytes);
            check(transaction);
        }
        // A view may be followed by something.
        (None, view) => assert!(view.is_none_or(|(_, used)| used < bytes.len())),
        (whole, view) => panic!("{whole:?} {view:?}"),
    }
}

/// Everything that is said of a transaction in two places is the same, and these are its bytes.
pub fn agree_on_transaction(transaction: &Transaction, bytes: &[u8]) {
    let view = transaction.borrowed();
    assert_eq!(encode(transaction), bytes);
    assert_eq!(view.to_transaction(), *transaction);
    assert_eq!(transaction.encoded_bytes(), bytes.len());
    assert_eq!(encode(&transaction.payment), bytes[..view.payment_bytes()]);
    assert_eq!(transaction.payment.encoded_bytes(), view.payment_bytes());
    assert_eq!(transaction.payment.total(), view.total());
    let id = transaction.id();
    assert_eq!(*id.as_bytes(), sha256(&[&[0], bytes]));
    assert_eq!(id, Transaction::id_of_encoding(bytes));
    assert_eq!(ids_of(std::slice::from_ref(transaction)), [id]);
    let message = transaction.payment.signing_message(&NetworkId::ZERO);
    assert_eq!(message[53..], bytes[..view.payment_bytes()]);
}

/// One by one, together with another, and by the cheap rules alone: the same answer.
fn check(transaction: Transaction) {
    let (rules, network, id) = (Rules::default(), NetworkId::ZERO, transaction.id());
    let form = read(check_form(&rules, &transaction.borrowed()));
    let alone = check_transaction(&rules, &network, transaction.clone(), &EverySecond);
    assert!(form.is_some() || alone.is_err());
    let both = vec![(id, transaction.clone()), (id, transaction.clone())];
    for (same, result) in check_transactions(&rules, &network, both, &EverySecond) {
        assert_eq!(same, id);
        assert_eq!(
            result.map(|checked| checked.transaction().clone()),
            alone.clone().map(|_| transaction.clone())
        );
    }
    match &alone {
        Ok(checked) => {
            assert_eq!((checked.id(), checked.sender()), (id, address_of(&transaction.payment.public_key)));
            assert_eq!(checked.entry().total(), transaction.payment.total());
        }
        Err(error) => crate::show(error),
    }
    if form.is_some() {
        let message = transaction.payment.signing_message(&network);
        let valid =
            RsaVerifier::default().verify(&transaction.payment.public_key, &message, &transaction.signature);
        let checked = check_transaction(&rules, &network, transaction.clone(), &RsaVerifier::default());
        assert_eq!(checked.is_ok(), valid);
        assert!(valid || checked == Err(TransactionError::BadSignature));
    }
    let height = common::time::Height::new(transaction.payment.nonce);
    let in_time = not_expired(transaction.payment.valid_until, height).is_ok();
    assert_eq!(transaction.payment.may_be_in_block(height), in_time);
}

/// A parent and its child, each a header with a seal, or the start of one.
pub fn header(bytes: &[u8]) {
    let started = within(most_bytes(bytes), || decode_start::<SealedHeader>(bytes));
    let Some((parent, used)) = read(started) else { return };
    assert_eq!(encode(&parent), bytes[..used]);
    assert_eq!(encode(&parent.header), bytes[..BlockHeader::ENCODED_BYTES]);
    assert_eq!(*parent.id().as_bytes(), sha256(&[&bytes[..BlockHeader::ENCODED_BYTES]]));
    let target = parent.header.bits.to_target();
    assert!(target.to_compact().to_target() <= target);
    assert!(target.work() > Work::ZERO || target.is_met_by(&parent.id()) || target.work() == Work::ZERO);

    let child = decode::<SealedHeader>(&bytes[used..]).unwrap_or_else(|_| parent.clone());
    let of_parent = Address::from_bytes(*parent.id().as_bytes());
    let sealer = child.seal.as_ref().filter(|seal| modulus_bits(&seal.public_key).is_some());
    let sealer = sealer.map_or(of_parent, |seal| address_of(&seal.public_key));
    let open = Rules::default();
    let sealed =
        Rules { authorities: vec![of_parent, sealer], authority_timeout_seconds: 1 << 31, ..open.clone() };
    for rules in [open, sealed] {
        let genesis = Ancestors::of_genesis_child(&rules);
        let ancestors = genesis.of_child(&parent.header, parent.id());
        for ancestors in [genesis, ancestors, ancestors.of_child(&child.header, child.id())] {
            // What the rules ask for, as far as no search for a nonce is needed.
            let mut header = child.header;
            try_out(check_header(&rules, &ancestors, &child, &EverySecond));
            header.bits = ancestors.next_bits(&rules);
            // Bits that were computed are in their one form; others are handed on, and were checked before.
            let canonical = header.bits.to_target().to_compact() == header.bits;
            assert!(canonical || header.bits == parent.header.bits || header.bits == child.header.bits);
            let child = SealedHeader { header, seal: child.seal.clone() };
            try_out(check_header(&rules, &ancestors, &child, &EverySecond));
        }
        let _ = earliest_time(&rules, &parent.header, Some(&sealer));
        try_out(not_ahead_of_clock(&rules, &child.header, parent.header.time));
    }
}

/// A block: owned, taken over whole, taken over after something else, and its body alone.
pub fn block(bytes: &[u8]) {
    let (taken, behind) = (bytes.to_vec(), [&[9, 9, 9], bytes].concat());
    let owned = within(most_bytes(bytes), || decode::<Block>(bytes));
    let viewed = within(most_bytes(bytes), || EncodedBlock::decode(taken, 0));
    match (read(owned), read(viewed)) {
        (Some(owned), Some(viewed)) => {
            let behind = EncodedBlock::decode(behind, 3).expect("the same bytes, elsewhere");
            assert_eq!(behind, viewed);
            agree_on_block(&owned, &viewed, bytes);
            check_body(&viewed);
        }
        (None, None) => assert!(EncodedBlock::decode(behind, 3).is_err()),
        (owned, viewed) => panic!("{owned:?} {viewed:?}"),
    }
    if let Some(body) = read(EncodedBody::decode(bytes.to_vec())) {
        assert_eq!(encode(&body.to_body()), bytes);
    }
}

fn agree_on_block(owned: &Block, viewed: &EncodedBlock, bytes: &[u8]) {
    assert_eq!(encode(owned), bytes);
    assert_eq!(encode(viewed), bytes);
    assert_eq!(decode::<EncodedBlock>(bytes).as_ref().ok(), Some(viewed));
    assert_eq!(viewed.to_block(), *owned);
    assert_eq!(EncodedBlock::from(owned), *viewed);
    assert_eq!((viewed.id(), &viewed.header), (owned.id(), &owned.sealed_header()));
    assert_eq!(viewed.header.encode_block(viewed.body.bytes()), bytes);

    let (body, transactions) = (&viewed.body, &owned.body.transactions);
    assert_eq!((body.len(), body.is_empty()), (transactions.len(), transactions.is_empty()));
    assert_eq!(encode(&owned.body), body.bytes());
    assert_eq!(body.reward(), &owned.body.reward);
    assert_eq!(encode(body.reward()).len(), body.reward().encoded_bytes());
    let mut leaves = vec![owned.body.reward.leaf()];
    for (index, ((transaction, encoding), view)) in
        transactions.iter().zip(body.encodings()).zip(body.transactions()).enumerate()
    {
        agree_on_transaction(transaction, encoding);
        assert_eq!(view, transaction.borrowed());
        assert_eq!(body.transaction(index), view);
        leaves.push(*transaction.id().as_bytes());
    }
    assert_eq!(body.leaves()[..], leaves);
    let root = merkle::root(&leaves);
    assert_eq!(owned.body.merkle_root(), root);
    let index = usize::from(bytes[0]) % leaves.len();
    let path = merkle::path(&leaves, index).expect("there is such a leaf");
    let (count, index) = (leaves.len() as u32, index as u32);
    assert_eq!(merkle::root_from_path(leaves[index as usize], index, count, &path), Some(root));
    assert!(path.len() <= merkle::MAX_PATH && merkle::path(&leaves, leaves.len()).is_none());
}

/// As it is, and with the root that it should have: on one thread or many, the first wrong thing counts.
fn check_body(block: &EncodedBlock) {
    let rules = Rules { target_block_seconds: 0, ..Rules::default() };
    let mut right = block.clone();
    right.header.header.merkle_root = merkle::root(&block.body.leaves());
    for block in [block.clone(), right] {
        let [alone, together] = [Parallelism::OneThread, Parallelism::AllCores].map(|cores| {
            let (network, parent_time) = (NetworkId::ZERO, block.header.header.time);
            check_encoded_body(
                &rules,
                &network,
                parent_time,
                block.clone(),
                &NothingKnown,
                &EverySecond,
                cores,
            )
        });
        assert_eq!(alone, together);
        if let Some(checked) = read(alone) {
            assert_eq!(checked.to_block(), block.to_block());
            assert_eq!(checked.entries().len(), block.body.len());
        }
    }
}
