//! The values of the tables that are not just an id or a number: shortened, and sealed with a checksum.
//!
//! On a chain of small blocks every byte here counts. What may be short is therefore kept without its zeros;
//! with all of them it reads the same, as format 1 has it.

use super::super::{BlockRecord, StoreError};
use crate::address::Address;
use crate::difficulty::Work;
use crate::encoding::{decode, decode_start, encode};
use crate::ledger::Account;

/// The length of a [`checksum`].
pub(super) const CHECKSUM_BYTES: usize = 4;

/// The length of an account's encoding.
const ACCOUNT_BYTES: usize = 16;

/// A value with a checksum before it, over the value and what it belongs to: the id of a block, or else its key.
pub(super) fn seal(of: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(CHECKSUM_BYTES + value.len());
    sealed.extend_from_slice(&checksum(of, value));
    sealed.extend_from_slice(value);
    sealed
}

/// The value in what [`seal`] gave, or `None` when the checksum does not match.
pub(super) fn unseal<'a>(of: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, value) = sealed.split_first_chunk()?;
    (*sum == checksum(of, value)).then_some(value)
}

/// What stands before a value: over what it belongs to, and the value.
pub(super) fn checksum(of: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(of);
    hasher.update(value);
    hasher.finalize().to_be_bytes()
}

/// The sequence number of a block in the best chain, sealed with its height.
pub(super) fn seal_sequence(height: &[u8; 4], sequence: u32) -> [u8; CHECKSUM_BYTES + 4] {
    let value = sequence.to_be_bytes();
    let mut sealed = [0; CHECKSUM_BYTES + 4];
    sealed[..CHECKSUM_BYTES].copy_from_slice(&checksum(height, &value));
    sealed[CHECKSUM_BYTES..].copy_from_slice(&value);
    sealed
}

/// The encoded header and seal, then the work, big endian, without the zeros that it begins with.
pub(super) fn encode_record(record: &BlockRecord) -> Vec<u8> {
    let mut bytes = encode(&record.header);
    let work = record.work.to_be_bytes();
    let zeros = work.iter().take_while(|byte| **byte == 0).count();
    bytes.extend_from_slice(&work[zeros..]);
    bytes
}

/// What [`encode_record`] was given; `None` when the bytes are nothing that it gives.
pub(super) fn decode_record(bytes: &[u8]) -> Option<BlockRecord> {
    let (header, used) = decode_start(bytes).ok()?;
    let (end, mut work) = (bytes.get(used..)?, [0; 32]);
    let zeros = work.len().checked_sub(end.len())?;
    work[zeros..].copy_from_slice(end);
    Some(BlockRecord { header, work: Work::from_be_bytes(work) })
}

/// An account, sealed with its address: the encoding without the zeros that it ends with, for integers are little
/// endian, and who has sent nothing has a nonce of zero. There are many in a write, so it takes no memory of its own.
pub(super) struct SealedAccount {
    bytes: [u8; CHECKSUM_BYTES + ACCOUNT_BYTES],
    length: usize,
}

impl SealedAccount {
    pub(super) fn new(address: &Address, account: &Account) -> Self {
        let mut bytes = [0; CHECKSUM_BYTES + ACCOUNT_BYTES];
        let (sum, value) = bytes.split_at_mut(CHECKSUM_BYTES);
        value[..8].copy_from_slice(&account.balance.units().to_le_bytes());
        value[8..].copy_from_slice(&account.nonce.to_le_bytes());
        let end = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        sum.copy_from_slice(&checksum(address.as_bytes(), &value[..end]));
        Self { bytes, length: CHECKSUM_BYTES + end }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What [`SealedAccount::new`] was given, from what it sealed.
pub(super) fn decode_account(bytes: &[u8]) -> Result<Account, StoreError> {
    let mut whole = [0; ACCOUNT_BYTES];
    let too_long = || StoreError::damaged(format!("an account has {} bytes", bytes.len()));
    whole.get_mut(..bytes.len()).ok_or_else(too_long)?.copy_from_slice(bytes);
    Ok(decode(&whole)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::amount::Amount;
    use crate::testing::people::rules;

    /// Of any length: half of random numbers have no zero to leave out.
    fn number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..64_u32).prop_map(|(bits, shift)| bits >> shift)
    }

    proptest! {
        #[test]
        fn records_and_accounts_read_as_written_with_and_without_their_zeros(
            (low, high) in (number(), number()), balance in number(), nonce in number()
        ) {
            let mut work = [0; 32];
            work[8..16].copy_from_slice(&high.to_be_bytes());
            work[24..].copy_from_slice(&low.to_be_bytes());
            let header = BlockRecord::genesis(&rules()).header;
            let record = BlockRecord { header, work: Work::from_be_bytes(work) };
            let long = [encode(&record.header), work.to_vec()].concat();
            let short = encode_record(&record);
            prop_assert!(short.len() < long.len());
            prop_assert_eq!(decode_record(&short), Some(record.clone()));
            prop_assert_eq!(decode_record(&long), Some(record));

            let account = Account { balance: Amount::from_units(balance), nonce };
            let address = crate::testing::people::address(0);
            let sealed = SealedAccount::new(&address, &account);
            let short = unseal(address.as_bytes(), sealed.as_bytes()).unwrap();
            prop_assert_eq!(decode_account(short).unwrap(), account);
            prop_assert_eq!(decode_account(&encode(&account)).unwrap(), account);
            prop_assert_eq!(&seal(address.as_bytes(), short)[..], sealed.as_bytes());
        }
    }

    #[test]
    fn what_is_too_long_or_too_short_is_nothing_that_was_written() {
        let record = BlockRecord::genesis(&rules());
        let short = encode_record(&record);
        assert_eq!(short, encode(&record.header), "genesis has no work");
        assert_eq!(decode_record(&short[..short.len() - 1]), None);
        assert_eq!(decode_record(&[short, vec![0; 33]].concat()), None);
        let sealed = |units| {
            let account = Account { balance: Amount::from_units(units), nonce: 0 };
            SealedAccount::new(&crate::testing::people::address(0), &account)
        };
        assert_eq!(sealed(0).as_bytes()[CHECKSUM_BYTES..], []);
        assert_eq!(sealed(258).as_bytes()[CHECKSUM_BYTES..], [2, 1]);
        assert_eq!(seal_sequence(&[1; 4], 9)[..], seal(&[1; 4], &[0, 0, 0, 9]));
        assert_eq!(encode(&Account::default()).len(), ACCOUNT_BYTES);
        assert!(matches!(decode_account(&[0; ACCOUNT_BYTES + 1]), Err(StoreError::Damaged { .. })));
    }
}
