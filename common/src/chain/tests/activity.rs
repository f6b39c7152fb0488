//! The history of watched addresses equals a search through the best chain, whatever happened to it.

use super::*;
use crate::address::Address;
use crate::amount::Amount;
use crate::store::{Activity, Direction};

/// Everything in the branch that concerns an address, the newest first: found by looking at all of it.
fn search(rules: &Rules, branch: &Branch, address: &Address) -> Vec<Activity> {
    let mut found = Vec::new();
    for (to, amount) in rules.alloc.iter().filter(|(to, _)| to == address) {
        found.push(Activity {
            height: Height::GENESIS,
            index: 0,
            time: rules.genesis_time,
            transaction: None,
            from: None,
            to: *to,
            amount: *amount,
            fee: Amount::ZERO,
            data: Vec::new(),
        });
    }
    for block in &branch.blocks {
        let (height, time) = (block.height(), block.header().header.time);
        for (index, transaction) in block.transactions().enumerate() {
            let (from, payment) = (transaction.sender(), transaction.payment());
            if from == *address || payment.to == *address {
                found.push(Activity {
                    height,
                    index: index as u32,
                    time,
                    transaction: Some(transaction.id()),
                    from: Some(from),
                    to: payment.to,
                    amount: payment.amount,
                    fee: payment.fee,
                    data: payment.data.clone(),
                });
            }
        }
        if block.reward().to == *address {
            found.push(Activity {
                height,
                index: block.entries().len() as u32,
                time,
                transaction: None,
                from: None,
                to: *address,
                amount: block.reward().amount,
                fee: Amount::ZERO,
                data: block.reward().data.clone(),
            });
        }
    }
    found.reverse();
    found
}

fn history<S: Store>(chain: &Chain<S>, address: &Address) -> Vec<Activity> {
    look(chain, |reader| reader.activity(address, usize::MAX))
}

fn everybody() -> [Address; 4] {
    [alice(), bob(), carol(), Key::new(4)].map(|key| key.address())
}

fn assert_history<S: Store>(chain: &Chain<S>, branch: &Branch) {
    for address in everybody() {
        assert_eq!(history(chain, &address), search(chain.rules(), branch, &address));
    }
}

/// Two branches with payments by everybody to everybody, themselves included.
fn rivals(rules: &Arc<Rules>) -> (Branch, Branch) {
    let mut shared = Branch::new(rules);
    grow_busy(&mut shared, &carol(), 2);
    let (mut a, mut b) = (shared.clone(), shared);
    for i in 0..4 {
        let payments =
            vec![a.pay(&alice(), alice().address(), 5 + i, 1), a.pay(&carol(), bob().address(), 2, 0)];
        a.grow(&alice(), payments);
        let payments =
            vec![b.pay(&carol(), Key::new(4).address(), 9, i), b.pay(&bob(), bob().address(), 1, 0)];
        b.grow(&bob(), payments);
    }
    grow_idle(&mut b, &carol(), 1);
    (a, b)
}

fn histories_follow_reorganisations<S: Store>(chain: &Chain<S>) {
    chain.watch(&everybody()).unwrap();
    let (mut a, b) = rivals(chain.rules());
    assert_history(chain, &Branch::new(chain.rules()));
    connect(chain, &a.blocks);
    assert_history(chain, &a);
    connect(chain, &b.blocks);
    assert_history(chain, &b);
    grow_busy(&mut a, &carol(), 2);
    connect(chain, &a.blocks);
    assert_history(chain, &a);
}

#[test]
fn histories_follow_reorganisations_there_and_back() {
    histories_follow_reorganisations(&chain(&rules()));
    let (chain, _directory) = durable_chain(&rules());
    histories_follow_reorganisations(&chain);
}

fn watching_late_is_watching_from_the_start<S: Store>(chain: &Chain<S>) {
    let (a, b) = rivals(chain.rules());
    connect(chain, &a.blocks);
    chain.watch(&everybody()[..2]).unwrap();
    connect(chain, &b.blocks);
    // Some are watched already: those keep what they have, once.
    chain.watch(&everybody()).unwrap();
    assert_history(chain, &b);
    chain.watch(&everybody()).unwrap();
    assert_history(chain, &b);
}

#[test]
fn an_address_watched_late_has_the_history_of_one_watched_from_the_start() {
    watching_late_is_watching_from_the_start(&chain(&rules()));
    let (chain, _directory) = durable_chain(&rules());
    watching_late_is_watching_from_the_start(&chain);
}

/// A store in which something happens before each write, as if another process had been faster.
#[derive(Clone)]
struct Rushed<F> {
    store: MemoryStore,
    before_write: F,
}

impl<F: Fn(&MemoryStore) + Clone + Send + std::marker::Sync + 'static> Store for Rushed<F> {
    fn read<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&dyn crate::store::Read) -> Result<T, E>,
    ) -> Result<T, E> {
        self.store.read(look)
    }

    fn write<T, E: From<StoreError>>(
        &self,
        change: impl FnMut(&mut dyn crate::store::Write) -> Result<T, E>,
    ) -> Result<T, E> {
        (self.before_write)(&self.store);
        self.store.write(change)
    }
}

#[test]
fn a_chain_that_changes_while_it_is_searched_is_recorded_as_it_is_in_the_end() {
    let rules = rules();
    let (a, b) = rivals(&rules);
    let mut longer = a.clone();
    grow_busy(&mut longer, &carol(), 1);
    for (change, end) in [(longer.blocks.clone(), &longer), (b.blocks.clone(), &b)] {
        let chain = chain(&rules);
        connect(&chain, &a.blocks);
        let changing = {
            let rules = rules.clone();
            move |store: &MemoryStore| {
                // The second time, nothing is left to change.
                let _ = Chain::new(rules.clone(), store.clone()).connect(&change).unwrap();
            }
        };
        let rushed =
            Chain::new(rules.clone(), Rushed { store: chain.store().clone(), before_write: changing });
        rushed.watch(&everybody()).unwrap();
        assert_history(&chain, end);
    }
}

#[test]
fn a_fresh_address_has_a_history_from_now_on() {
    let rules = rules();
    let (chain, mut branch) = (chain(&rules), Branch::new(&rules));
    grow_busy(&mut branch, &carol(), 2);
    connect(&chain, &branch.blocks);
    let fresh = Key::new(4).address();
    chain.watch_fresh(&[fresh]).unwrap();
    assert_eq!(history(&chain, &fresh), []);
    let payment = branch.pay(&alice(), fresh, 5, 0);
    let block = branch.grow(&carol(), vec![payment]);
    connect(&chain, &[block]);
    assert_eq!(history(&chain, &fresh), search(&rules, &branch, &fresh));
    assert_eq!(history(&chain, &fresh).len(), 1);
}

#[test]
fn nobody_else_has_a_history() {
    let rules = rules();
    let (chain, mut branch) = (chain(&rules), Branch::new(&rules));
    chain.watch(&[alice().address()]).unwrap();
    grow_busy(&mut branch, &carol(), 2);
    connect(&chain, &branch.blocks);
    assert_eq!(history(&chain, &bob().address()), []);
    assert_eq!(look(&chain, |reader| reader.watched()), [alice().address()]);
}

#[test]
fn a_limit_keeps_the_newest() {
    let rules = rules();
    let (chain, mut branch) = (chain(&rules), Branch::new(&rules));
    chain.watch(&[alice().address()]).unwrap();
    grow_busy(&mut branch, &alice(), 5);
    connect(&chain, &branch.blocks);
    let whole = history(&chain, &alice().address());
    assert_eq!(whole.len(), 11, "one allocation, five payments, five rewards");
    for limit in [0, 1, 4, 11, 12] {
        let newest = look(&chain, |reader| reader.activity(&alice().address(), limit));
        assert_eq!(newest, whole[..limit.min(11)]);
    }
}

#[test]
fn a_history_says_which_way_money_went() {
    let rules = rules();
    let (chain, mut branch) = (chain(&rules), Branch::new(&rules));
    chain.watch(&everybody()).unwrap();
    let payments =
        vec![branch.pay(&alice(), alice().address(), 5, 0), branch.pay(&bob(), alice().address(), 5, 0)];
    branch.grow(&alice(), payments);
    let payment = branch.pay(&alice(), bob().address(), 5, 0);
    branch.grow(&carol(), vec![payment]);
    connect(&chain, &branch.blocks);
    let directions = |key: &Key| -> Vec<Direction> {
        history(&chain, &key.address()).iter().map(|entry| entry.direction(&key.address())).collect()
    };
    use Direction::{Allocated, Mined, Received, Sent, ToItself};
    assert_eq!(directions(&alice()), [Sent, Mined, Received, ToItself, Allocated]);
    assert_eq!(directions(&bob()), [Received, Sent, Allocated]);
    assert_eq!(directions(&carol()), [Mined]);
}
