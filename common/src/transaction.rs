//! Payments and their encoding (`PROTOCOL.md`, section 4). Data only: the rules are in
//! [`crate::consensus`].

use bincode::{BorrowDecode, Decode, Encode};

use crate::address::Address;
use crate::amount::Amount;
use crate::encoding::{DecodeError, borrow_decode_start, encode, encode_into};
use crate::hash::{NetworkId, TransactionId, sha256};
use crate::merkle;
use crate::time::Height;

/// What a signature on a payment begins with, so that no other signed message can pass for one.
const SIGNING_TAG: &[u8; 21] = b"farthing:transaction:";

/// The kinds of transaction. A kind that is not listed here does not decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum TransactionVersion {
    /// One amount from one account to another.
    #[default]
    V1,
}

/// What a sender signs. Who sends it is not named: it is the address of `public_key`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Payment {
    /// Which kind of transaction this is.
    pub version: TransactionVersion,
    /// The receiving address.
    pub to: Address,
    /// What the receiver gains; more than nothing.
    pub amount: Amount,
    /// What the miner gains.
    pub fee: Amount,
    /// How many transactions of the sender the chain held before this one.
    pub nonce: u64,
    /// The last block height that may hold it; 0: any.
    pub valid_until: u32,
    /// A note that everyone can read; at most 80 bytes.
    pub data: Vec<u8>,
    /// The sender's RSA modulus, big endian.
    pub public_key: Vec<u8>,
}

/// A payment and its sender's signature, unchecked: as it comes from a network, a disk or a user.
/// What has passed the checks is a [`crate::consensus::CheckedTransaction`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Transaction {
    /// What is signed.
    pub payment: Payment,
    /// RSASSA-PKCS1-v1_5 with SHA-256 over [`Payment::signing_message`].
    pub signature: Vec<u8>,
}

/// A [`Transaction`] that lies in somebody else's bytes: reading one copies and allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorrowDecode)]
#[expect(missing_docs, reason = "the fields are those of a payment, and the signature")]
pub struct TransactionRef<'a> {
    pub version: TransactionVersion,
    pub to: Address,
    pub amount: Amount,
    pub fee: Amount,
    pub nonce: u64,
    pub valid_until: u32,
    pub data: &'a [u8],
    pub public_key: &'a [u8],
    pub signature: &'a [u8],
}

impl<'a> TransactionRef<'a> {
    /// The transaction that the bytes begin with, and how many of them it takes.
    pub fn decode_start(bytes: &'a [u8]) -> Result<(Self, usize), DecodeError> {
        borrow_decode_start(bytes)
    }

    /// What the sender loses, or `None` when the sum overflows.
    pub fn total(&self) -> Option<Amount> {
        self.amount.checked_add(self.fee)
    }

    /// The length of the encoding of what is signed, with which that of the whole begins.
    pub fn payment_bytes(&self) -> usize {
        Payment::FIXED_BYTES + self.data.len() + self.public_key.len()
    }

    /// A transaction of its own.
    pub fn to_transaction(&self) -> Transaction {
        let Self { version, to, amount, fee, nonce, valid_until, .. } = *self;
        let (data, public_key) = (self.data.to_vec(), self.public_key.to_vec());
        let payment = Payment { version, to, amount, fee, nonce, valid_until, data, public_key };
        Transaction { payment, signature: self.signature.to_vec() }
    }
}

/// What stands before a payment's encoding in the message that is signed: worth nothing on any other
/// network.
pub fn signing_prefix(network: &NetworkId) -> [u8; 53] {
    let mut prefix = [0; 53];
    prefix[..21].copy_from_slice(SIGNING_TAG);
    prefix[21..].copy_from_slice(network.as_bytes());
    prefix
}

impl Payment {
    /// The length of an encoding without data and key.
    const FIXED_BYTES: usize = 80;

    /// The bytes that the sender signs.
    pub fn signing_message(&self, network: &NetworkId) -> Vec<u8> {
        let mut message = Vec::with_capacity(53 + self.encoded_bytes());
        message.extend_from_slice(&signing_prefix(network));
        encode_into(self, &mut message);
        message
    }

    /// The length of the encoding.
    pub fn encoded_bytes(&self) -> usize {
        Self::FIXED_BYTES + self.data.len() + self.public_key.len()
    }

    /// What the sender loses, or `None` when the sum overflows.
    pub fn total(&self) -> Option<Amount> {
        self.amount.checked_add(self.fee)
    }
}

impl Payment {
    /// Whether a block of this height may hold the payment.
    pub fn may_be_in_block(&self, height: Height) -> bool {
        self.valid_until == 0 || height.get() <= u64::from(self.valid_until)
    }
}

impl Transaction {
    /// The same, without its bytes.
    pub fn borrowed(&self) -> TransactionRef<'_> {
        let Payment { version, to, amount, fee, nonce, valid_until, ref data, ref public_key } = self.payment;
        let signature = &self.signature;
        TransactionRef { version, to, amount, fee, nonce, valid_until, data, public_key, signature }
    }

    /// The length of the encoding, which begins with that of the payment.
    pub fn encoded_bytes(&self) -> usize {
        self.payment.encoded_bytes() + 8 + self.signature.len()
    }

    /// SHA-256(0x00 ‖ encoding): id, Merkle leaf and cache key in one.
    pub fn id(&self) -> TransactionId {
        Self::id_of_encoding(&encode(self))
    }

    /// The id of a transaction whose encoding is at hand.
    pub fn id_of_encoding(encoding: &[u8]) -> TransactionId {
        TransactionId::from_bytes(sha256(&[&[0], encoding]))
    }
}

/// The encodings of transactions, one after the other.
pub struct Encodings {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Encodes each of these transactions.
pub fn encode_each<'a>(transactions: impl IntoIterator<Item = &'a Transaction>) -> Encodings {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for transaction in transactions {
        encode_into(transaction, &mut bytes);
        ends.push(bytes.len());
    }
    Encodings { bytes, ends }
}

impl Encodings {
    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

/// The ids of many transactions, hashed together.
pub fn ids_of(transactions: &[Transaction]) -> Vec<TransactionId> {
    let encodings = encode_each(transactions);
    let leaves = merkle::leaves(&encodings.iter().collect::<Vec<_>>());
    leaves.into_iter().map(TransactionId::from_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::decode;
    use crate::testing::Key;

    fn payment() -> Payment {
        Payment {
            fee: Amount::from_units(2),
            nonce: 3,
            valid_until: 4,
            data: b"tea".to_vec(),
            ..Key::new(1).payment(Address::from_bytes([9; 32]), 1, 0)
        }
    }

    /// The fields one after the other, as section 4 of the protocol lists them.
    fn by_hand(payment: &Payment) -> Vec<u8> {
        [
            &0_u32.to_le_bytes()[..],
            payment.to.as_bytes(),
            &1_u64.to_le_bytes(),
            &2_u64.to_le_bytes(),
            &3_u64.to_le_bytes(),
            &4_u32.to_le_bytes(),
            &3_u64.to_le_bytes(),
            b"tea",
            &256_u64.to_le_bytes(),
            &payment.public_key,
        ]
        .concat()
    }

    #[test]
    fn what_is_signed_is_the_tag_the_network_and_every_field() {
        let network = NetworkId::from_bytes([5; 32]);
        let expected = [&b"farthing:transaction:"[..], &[5; 32], &by_hand(&payment())].concat();
        assert_eq!(payment().signing_message(&network), expected);
    }

    #[test]
    fn an_id_covers_the_signature_and_is_the_merkle_leaf() {
        let transaction = Key::new(1).sign(&NetworkId::ZERO, payment());
        let encoding = [&by_hand(&payment())[..], &256_u64.to_le_bytes(), &transaction.signature].concat();
        assert_eq!(encode(&transaction), encoding);
        assert_eq!(transaction.encoded_bytes(), encoding.len());
        assert_eq!(encode(&transaction.payment), encoding[..transaction.payment.encoded_bytes()]);
        assert_eq!(decode::<Transaction>(&encoding).unwrap(), transaction);
        let read = TransactionRef::decode_start(&encoding).unwrap();
        assert_eq!(read, (transaction.borrowed(), encoding.len()));
        assert_eq!(read.0.to_transaction(), transaction);
        assert_eq!(read.0.payment_bytes(), transaction.payment.encoded_bytes());
        let leaf = crate::merkle::leaf(&encoding);
        assert_eq!(transaction.id(), TransactionId::from_bytes(leaf));
        assert_eq!(Transaction::id_of_encoding(&encoding), transaction.id());
    }

    #[test]
    fn an_unknown_kind_of_transaction_does_not_decode() {
        let mut encoding = encode(&Key::new(1).sign(&NetworkId::ZERO, payment()));
        encoding[0] = 1;
        assert!(decode::<Transaction>(&encoding).is_err());
    }

    #[test]
    fn a_total_is_amount_and_fee_or_too_much() {
        assert_eq!(payment().total(), Some(Amount::from_units(3)));
        assert_eq!(Payment { fee: Amount::from_units(u64::MAX), ..payment() }.total(), None);
    }
}
