//! The ledger again, slow and obvious: a list that is searched from the front, integers too wide to
//! overflow, and the rules written out one after the other. What [`crate::ledger`] and [`crate::chain`] do
//! is held against it.

use crate::address::Address;
use crate::amount::Amount;
use crate::block::Body;
use crate::consensus::TransactionError;
use crate::ledger::Account;
use crate::rules::Rules;
use crate::signature::address_of;

/// Every account that was ever touched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    accounts: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    address: Address,
    balance: i128,
    nonce: u64,
}

impl Model {
    /// What genesis allocates.
    pub(crate) fn genesis(rules: &Rules) -> Self {
        let mut model = Self::default();
        for (address, amount) in &rules.alloc {
            model.entry(*address).balance = units(*amount);
        }
        model
    }

    /// Applies a block, or says which transaction breaks which rule and changes nothing.
    pub(crate) fn apply(&mut self, body: &Body) -> Result<(), (usize, TransactionError)> {
        let mut after = self.clone();
        for (index, transaction) in body.transactions.iter().enumerate() {
            let payment = &transaction.payment;
            let cost = units(payment.amount) + units(payment.fee);
            let sender = after.entry(address_of(&payment.public_key));
            if payment.nonce < sender.nonce {
                return Err((
                    index,
                    TransactionError::NonceTooLow { got: payment.nonce, next: sender.nonce },
                ));
            }
            if payment.nonce > sender.nonce {
                return Err((index, TransactionError::NonceGap { got: payment.nonce, next: sender.nonce }));
            }
            if cost > i128::from(u64::MAX) {
                return Err((index, TransactionError::TotalOverflows));
            }
            if cost > sender.balance {
                let (balance, total) = (amount(sender.balance), amount(cost));
                return Err((index, TransactionError::InsufficientFunds { balance, total }));
            }
            sender.nonce += 1;
            sender.balance -= cost;
            after.entry(payment.to).balance += units(payment.amount);
        }
        after.entry(body.reward.to).balance += units(body.reward.amount);
        *self = after;
        Ok(())
    }

    /// What an address holds.
    pub(crate) fn account(&self, address: &Address) -> Account {
        let entry = self.accounts.iter().find(|entry| entry.address == *address);
        entry.map(Entry::account).unwrap_or_default()
    }

    /// Every account that holds anything, or ever paid, addresses ascending.
    pub(crate) fn accounts(&self) -> Vec<(Address, Account)> {
        let mut accounts: Vec<_> =
            self.accounts.iter().map(|entry| (entry.address, entry.account())).collect();
        accounts.retain(|(_, account)| *account != Account::default());
        accounts.sort_unstable_by_key(|(address, _)| *address);
        accounts
    }

    /// All the money there is.
    pub(crate) fn supply(&self) -> i128 {
        self.accounts.iter().map(|entry| entry.balance).sum()
    }

    fn entry(&mut self, address: Address) -> &mut Entry {
        let place = self.accounts.iter().position(|entry| entry.address == address);
        let place = place.unwrap_or_else(|| {
            self.accounts.push(Entry { address, balance: 0, nonce: 0 });
            self.accounts.len() - 1
        });
        &mut self.accounts[place]
    }
}

impl Entry {
    fn account(&self) -> Account {
        Account { balance: amount(self.balance), nonce: self.nonce }
    }
}

fn units(amount: Amount) -> i128 {
    amount.units().into()
}

fn amount(units: i128) -> Amount {
    Amount::from_units(units.try_into().expect("the model's balances are never negative, nor beyond u64"))
}
