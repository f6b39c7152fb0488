//! Accounts, and what a block does to them (`PROTOCOL.md`, sections 4 and 5).
//!
//! Applying a block is exact arithmetic, so undoing it needs no saved data: the same steps the other way
//! round, last transaction first, give the ledger from before. A property test holds the two together.

use bincode::{Decode, Encode};

use crate::address::Address;
use crate::amount::Amount;
use crate::block::Reward;
use crate::consensus::{CheckedBlock, LedgerEntry, TransactionError};

/// What an address holds. An address that never appeared holds the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Account {
    /// What it can spend.
    pub balance: Amount,
    /// How many transactions it has sent.
    pub nonce: u64,
}

/// Where accounts are kept: a store's transaction, or a map in tests.
pub trait Accounts {
    /// What reading or writing can fail with.
    type Error;

    /// The account of an address; the default when it never appeared.
    fn account(&self, address: &Address) -> Result<Account, Self::Error>;

    /// Replaces an account. The default account and an absent one are the same.
    fn set_account(&mut self, address: &Address, account: Account) -> Result<(), Self::Error>;
}

/// Why a block cannot be applied or undone.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError<E> {
    /// A transaction breaks a rule on this ledger.
    #[error("transaction {index}: {error}")]
    Transaction {
        /// Which transaction of the block, from 0.
        index: usize,
        /// The rule.
        error: TransactionError,
    },
    /// The ledger does not hold what the block must have left in it: it is damaged.
    #[error("the ledger of {address} is inconsistent with the blocks: the data is damaged")]
    Inconsistent {
        /// Whose account.
        address: Address,
    },
    /// The accounts could not be read or written.
    #[error(transparent)]
    Accounts(E),
}

/// Applies a block's transactions in order, then credits its reward. On an error the accounts are left
/// half changed: the caller discards them.
pub fn apply<A: Accounts>(accounts: &mut A, block: &CheckedBlock) -> Result<(), LedgerError<A::Error>> {
    for (index, entry) in block.entries().iter().enumerate() {
        apply_transaction(accounts, entry).map_err(|error| match error {
            LedgerError::Transaction { error, .. } => LedgerError::Transaction { index, error },
            other => other,
        })?;
    }
    credit(accounts, &block.reward().to, block.reward().amount)
}

/// Undoes [`apply`].
pub fn undo<A: Accounts>(accounts: &mut A, block: &CheckedBlock) -> Result<(), LedgerError<A::Error>> {
    let Reward { to, amount, .. } = block.reward();
    debit(accounts, to, *amount)?;
    for entry in block.entries().iter().rev() {
        undo_transaction(accounts, entry)?;
    }
    Ok(())
}

/// Whether a transaction is valid on this account of its sender, and the account after it.
pub fn charge(sender: Account, entry: &LedgerEntry) -> Result<Account, TransactionError> {
    if entry.nonce() < sender.nonce {
        return Err(TransactionError::NonceTooLow { got: entry.nonce(), next: sender.nonce });
    }
    if entry.nonce() > sender.nonce {
        return Err(TransactionError::NonceGap { got: entry.nonce(), next: sender.nonce });
    }
    let total = entry.total().ok_or(TransactionError::TotalOverflows)?;
    let balance = sender
        .balance
        .checked_sub(total)
        .ok_or(TransactionError::InsufficientFunds { balance: sender.balance, total })?;
    Ok(Account { balance, nonce: sender.nonce + 1 })
}

fn apply_transaction<A: Accounts>(
    accounts: &mut A,
    entry: &LedgerEntry,
) -> Result<(), LedgerError<A::Error>> {
    let sender = accounts.account(&entry.sender()).map_err(LedgerError::Accounts)?;
    let charged = charge(sender, entry).map_err(|error| LedgerError::Transaction { index: 0, error })?;
    accounts.set_account(&entry.sender(), charged).map_err(LedgerError::Accounts)?;
    credit(accounts, &entry.to(), entry.amount())
}

fn undo_transaction<A: Accounts>(accounts: &mut A, entry: &LedgerEntry) -> Result<(), LedgerError<A::Error>> {
    debit(accounts, &entry.to(), entry.amount())?;
    let address = entry.sender();
    let sender = accounts.account(&address).map_err(LedgerError::Accounts)?;
    let restored = entry
        .total()
        .and_then(|total| sender.balance.checked_add(total))
        .zip(sender.nonce.checked_sub(1).filter(|nonce| *nonce == entry.nonce()))
        .map(|(balance, nonce)| Account { balance, nonce })
        .ok_or(LedgerError::Inconsistent { address })?;
    accounts.set_account(&address, restored).map_err(LedgerError::Accounts)
}

fn credit<A: Accounts>(accounts: &mut A, to: &Address, amount: Amount) -> Result<(), LedgerError<A::Error>> {
    let account = accounts.account(to).map_err(LedgerError::Accounts)?;
    let balance = account.balance.checked_add(amount).ok_or(LedgerError::Inconsistent { address: *to })?;
    accounts.set_account(to, Account { balance, ..account }).map_err(LedgerError::Accounts)
}

fn debit<A: Accounts>(accounts: &mut A, from: &Address, amount: Amount) -> Result<(), LedgerError<A::Error>> {
    let account = accounts.account(from).map_err(LedgerError::Accounts)?;
    let balance = account.balance.checked_sub(amount).ok_or(LedgerError::Inconsistent { address: *from })?;
    accounts.set_account(from, Account { balance, ..account }).map_err(LedgerError::Accounts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::{Body, EncodedBody, SealedHeader};
    use crate::rules::Rules;
    use crate::testing::model::Model;
    use crate::testing::{Key, MapAccounts, easy_rules};
    use crate::transaction::{Payment, Transaction};

    /// Keys 0 to 2 hold 1000 coins each from the start.
    fn rules() -> Rules {
        easy_rules(&[&Key::new(0), &Key::new(1), &Key::new(2)])
    }

    /// A block that only the ledger will look at: it has no work and its signatures are empty.
    fn block(miner: &Key, payments: Vec<Payment>) -> CheckedBlock {
        let fees = payments.iter().map(|payment| payment.fee);
        // Fees beyond all bounds belong to payments that fail before their miner is paid.
        let amount = Amount::checked_sum(fees.chain([Amount::from_coins(10)])).unwrap_or_default();
        let reward = Reward { to: miner.address(), amount, data: Vec::new() };
        let unsigned = |payment| Transaction { payment, signature: Vec::new() };
        let transactions = payments.into_iter().map(unsigned).collect();
        let header = SealedHeader { header: rules().genesis().header, seal: None };
        CheckedBlock::from_store(header, EncodedBody::new(&Body { reward, transactions }))
    }

    fn rule_broken(payments: Vec<Payment>) -> (usize, TransactionError) {
        match apply(&mut MapAccounts::genesis(&rules()), &block(&Key::new(9), payments)) {
            Err(LedgerError::Transaction { index, error }) => (index, error),
            other => panic!("{other:?}"),
        }
    }

    fn pay(from: u64, to: u64, units: u64, nonce: u64) -> Payment {
        Key::new(from).payment(Key::new(to).address(), units, nonce)
    }

    const FUNDS: u64 = 1000 * Amount::UNITS_PER_COIN;

    #[test]
    fn a_payment_moves_its_amount_its_fee_and_a_nonce() {
        let mut accounts = MapAccounts::genesis(&rules());
        let payment = Payment { fee: Amount::from_units(3), ..pay(0, 5, 40, 0) };
        apply(&mut accounts, &block(&Key::new(9), vec![payment])).unwrap();
        let account = |seed, units, nonce| {
            (Key::new(seed).address(), Account { balance: Amount::from_units(units), nonce })
        };
        for (address, expected) in
            [account(0, FUNDS - 43, 1), account(5, 40, 0), account(9, 10_000_003, 0), account(1, FUNDS, 0)]
        {
            assert_eq!(accounts.get(&address), expected);
        }
    }

    #[test]
    fn a_nonce_that_was_used_is_too_low() {
        let result = rule_broken(vec![pay(0, 5, 1, 0), pay(0, 5, 1, 1), pay(0, 6, 1, 1)]);
        assert_eq!(result, (2, TransactionError::NonceTooLow { got: 1, next: 2 }));
    }

    #[test]
    fn a_nonce_beyond_the_next_is_a_gap() {
        let result = rule_broken(vec![pay(0, 5, 1, 1)]);
        assert_eq!(result, (0, TransactionError::NonceGap { got: 1, next: 0 }));
        let result = rule_broken(vec![pay(0, 5, 1, u64::MAX)]);
        assert_eq!(result, (0, TransactionError::NonceGap { got: u64::MAX, next: 0 }));
    }

    #[test]
    fn a_sender_can_pay_all_it_has_and_no_more() {
        let all = |units, fee| vec![Payment { fee: Amount::from_units(fee), ..pay(0, 5, units, 0) }];
        let mut accounts = MapAccounts::genesis(&rules());
        apply(&mut accounts, &block(&Key::new(9), all(FUNDS - 7, 7))).unwrap();
        assert_eq!(accounts.get(&Key::new(0).address()), Account { balance: Amount::ZERO, nonce: 1 });

        let (balance, total) = (Amount::from_units(FUNDS), Amount::from_units(FUNDS + 1));
        let refused = (0, TransactionError::InsufficientFunds { balance, total });
        assert_eq!(rule_broken(all(FUNDS - 7, 8)), refused);
        assert_eq!(rule_broken(all(FUNDS - 6, 7)), refused);
        assert_eq!(rule_broken(vec![pay(0, 0, FUNDS + 1, 0)]), refused, "paying oneself is no loan");
    }

    #[test]
    fn amount_and_fee_that_overflow_are_refused_here_too() {
        let payment = Payment { fee: Amount::from_units(u64::MAX), ..pay(0, 5, 1, 0) };
        assert_eq!(rule_broken(vec![payment]), (0, TransactionError::TotalOverflows));
    }

    #[test]
    fn a_nonce_is_reported_before_the_funds() {
        let result = rule_broken(vec![pay(0, 5, FUNDS + 1, 1)]);
        assert_eq!(result, (0, TransactionError::NonceGap { got: 1, next: 0 }));
    }

    #[test]
    fn the_reward_comes_after_the_payments() {
        let error = rule_broken(vec![pay(9, 5, 1, 0)]).1;
        let (balance, total) = (Amount::ZERO, Amount::from_units(1));
        assert_eq!(
            error,
            TransactionError::InsufficientFunds { balance, total },
            "the miner has nothing yet"
        );
    }

    #[test]
    fn what_is_received_can_be_paid_on_within_the_block() {
        let chain = vec![pay(0, 5, FUNDS, 0), pay(5, 6, FUNDS, 0), pay(6, 0, FUNDS, 0), pay(0, 5, 1, 1)];
        let mut accounts = MapAccounts::genesis(&rules());
        apply(&mut accounts, &block(&Key::new(9), chain.clone())).unwrap();
        assert_eq!(accounts.get(&Key::new(0).address()).balance, Amount::from_units(FUNDS - 1));
        let early = vec![chain[1].clone(), chain[0].clone()];
        assert!(matches!(rule_broken(early), (0, TransactionError::InsufficientFunds { .. })));
    }

    #[test]
    fn a_ledger_that_the_blocks_do_not_explain_is_damaged_not_wrapped() {
        let (miner, full) = (Key::new(9), Account { balance: Amount::from_units(u64::MAX), nonce: 0 });
        let mut accounts = MapAccounts::default();
        accounts.set_account(&miner.address(), full).unwrap();
        let result = apply(&mut accounts, &block(&miner, Vec::new()));
        assert!(matches!(result, Err(LedgerError::Inconsistent { address }) if address == miner.address()));

        let result = undo(&mut MapAccounts::default(), &block(&miner, Vec::new()));
        assert!(matches!(result, Err(LedgerError::Inconsistent { address }) if address == miner.address()));

        // The right money with the wrong nonce: this block was not the last to be applied.
        let block = block(&miner, vec![pay(0, 5, 1, 0)]);
        let mut accounts = MapAccounts::genesis(&rules());
        apply(&mut accounts, &block).unwrap();
        let sender = Key::new(0).address();
        accounts.set_account(&sender, Account { nonce: 2, ..accounts.get(&sender) }).unwrap();
        let result = undo(&mut accounts, &block);
        assert!(matches!(result, Err(LedgerError::Inconsistent { address }) if address == sender));
    }

    /// A payment as it is drawn: who, whom, how much, and how it may be wrong.
    #[derive(Clone, Debug)]
    struct Draft {
        from: u64,
        to: u64,
        amount: u64,
        fee: u64,
        nonce_off_by: i64,
    }

    fn draft() -> impl Strategy<Value = Draft> {
        let amount = prop_oneof![
            6 => 1..FUNDS / 4,
            1 => FUNDS / 2..FUNDS * 2,
            1 => Just(u64::MAX),
            1 => Just(i64::MAX as u64),
        ];
        let fee = prop_oneof![8 => 0..1000_u64, 1 => Just(u64::MAX), 1 => Just(FUNDS)];
        let nonce_off_by = prop_oneof![20 => Just(0_i64), 1 => Just(1), 1 => Just(-1)];
        // Few enough keys that they pay each other, themselves, and the miner, which is one of them.
        (0..5_u64, 0..5_u64, amount, fee, nonce_off_by)
            .prop_map(|(from, to, amount, fee, nonce_off_by)| Draft { from, to, amount, fee, nonce_off_by })
    }

    fn drafts() -> impl Strategy<Value = Vec<(u64, Vec<Draft>)>> {
        prop::collection::vec((0..5_u64, prop::collection::vec(draft(), 0..4)), 1..12)
    }

    /// Payments with the nonces that the sender will have at each, but for those that are to be wrong.
    fn payments(model: &Model, drafts: &[Draft]) -> Vec<Payment> {
        let mut payments = Vec::<Payment>::new();
        for draft in drafts {
            let key = Key::new(draft.from);
            let before = payments.iter().filter(|payment| payment.public_key == key.modulus()).count() as u64;
            let nonce = model.account(&key.address()).nonce + before;
            let nonce = nonce.checked_add_signed(draft.nonce_off_by).unwrap_or(7);
            let payment = pay(draft.from, draft.to, draft.amount, nonce);
            payments.push(Payment { fee: Amount::from_units(draft.fee), ..payment });
        }
        payments
    }

    proptest! {
        #[test]
        fn blocks_do_what_the_model_says_and_undoing_them_leaves_no_trace(drafts in drafts()) {
            let rules = rules();
            let (mut model, mut accounts) = (Model::genesis(&rules), MapAccounts::genesis(&rules));
            let mut applied = Vec::new();
            for (miner, drafts) in drafts {
                let block = block(&Key::new(miner), payments(&model, &drafts));
                let mut after = accounts.clone();
                match (apply(&mut after, &block), model.apply(&block.to_block().body)) {
                    (Ok(()), Ok(())) => {
                        let before = std::mem::replace(&mut accounts, after);
                        applied.push((block, before));
                    }
                    (Err(LedgerError::Transaction { index, error }), Err(expected)) => {
                        prop_assert_eq!((index, error), expected);
                    }
                    (real, expected) => prop_assert!(false, "{:?} where the model has {:?}", real, expected),
                }
                prop_assert_eq!(accounts.accounts(), model.accounts());
            }

            let minted = i128::from(rules.block_reward.units()) * applied.len() as i128;
            prop_assert_eq!(model.supply(), i128::from(3 * FUNDS) + minted, "fees are moved, never made");

            for (block, before) in applied.into_iter().rev() {
                undo(&mut accounts, &block).unwrap();
                prop_assert_eq!(&accounts, &before);
            }
        }
    }
}
