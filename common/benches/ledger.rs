//! Applying and undoing a block of payments, with the accounts in memory.

use std::collections::HashMap;
use std::convert::Infallible;

use common::address::Address;
use common::ledger::{Account, Accounts, apply, undo};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

mod blocks;

use blocks::{Blocks, PAYMENTS};

#[derive(Clone, Default)]
struct InMemory(HashMap<Address, Account>);

impl Accounts for InMemory {
    type Error = Infallible;

    fn account(&self, address: &Address) -> Result<Account, Infallible> {
        Ok(self.0.get(address).copied().unwrap_or_default())
    }

    fn set_account(&mut self, address: &Address, account: Account) -> Result<(), Infallible> {
        self.0.insert(*address, account);
        Ok(())
    }
}

fn ledger(criterion: &mut Criterion) {
    let mut blocks = Blocks::new();
    let block = blocks.next();
    let accounts =
        blocks.rules.alloc.iter().map(|(to, balance)| (*to, Account { balance: *balance, nonce: 0 }));
    let before = InMemory(accounts.collect());
    let mut after = before.clone();
    apply(&mut after, &block).expect("the block is valid");

    let mut group = criterion.benchmark_group("ledger");
    group.throughput(Throughput::Elements(PAYMENTS));
    group.bench_function("apply a block", |bencher| {
        bencher.iter_batched_ref(
            || before.clone(),
            |accounts| apply(accounts, &block).expect("the block is valid"),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("undo a block", |bencher| {
        bencher.iter_batched_ref(
            || after.clone(),
            |accounts| undo(accounts, &block).expect("the block was applied"),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
