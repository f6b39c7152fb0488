//! Who pays, and sends again what is not confirmed.

use std::sync::Arc;
use std::time::Duration;

use super::settle::promised;
use crate::amount::Amount;
use crate::simulator::machine::{MachineId, ip};
use crate::simulator::signer::Signer;
use crate::simulator::world::{Event, World};
use crate::transaction::{Payment, Transaction, TransactionVersion};
use crate::wire::Announcement;

/// How often whoever pays sends again what is not confirmed.
pub(super) const SEND_AGAIN: Duration = Duration::from_secs(10);

/// Somebody with money.
pub(crate) struct Payer {
    pub(crate) key: Signer,
    /// From where the payments are sent.
    pub(super) home: MachineId,
    /// Whether two payments are made where only one can be.
    pub(super) cheats: bool,
    pub(super) issued: Vec<Transaction>,
}

/// Somebody makes a payment, which is in his outbox from then on.
pub(super) fn pay(world: &mut World, payer: usize) {
    let to = world.payers[world.random.index(world.payers.len())].key.address();
    let (amount, fee) = (1 + world.random.below(40_000_000), world.random.below(5_000));
    let expires = world.random.happens(100).then(|| {
        world.best_tip(promised(world)).map_or(0, |tip| tip.height.get()) as u32
            + 1
            + world.random.below(8) as u32
    });
    let (network, min_fee) = (world.rules.network_id(), world.rules.min_fee);
    let payer = &mut world.payers[payer];
    let nonce = payer.issued.last().map_or(0, |last| last.payment.nonce + 1);
    let payment = Payment {
        version: TransactionVersion::V1,
        to,
        amount: Amount::from_units(amount),
        fee: Amount::from_units(min_fee.units() + fee),
        nonce,
        valid_until: expires.unwrap_or(0),
        data: Vec::new(),
        public_key: Vec::new(),
    };
    let transaction = payer.key.sign(&network, payment.clone());
    payer.issued.push(transaction.clone());
    let (home, key) = (payer.home, payer.cheats.then(|| payer.key.clone()));
    world.counts.payments += 1;
    announce(world, home, &transaction);
    if let Some(key) = key {
        // The same money to somebody else, told to others.
        let payment = Payment { to: key.address(), ..payment };
        let other = Arc::new(Announcement::Transaction(key.sign(&network, payment)));
        world.counts.double_spends += 1;
        for to in 0..world.machines.len() {
            if world.random.happens(500) {
                world.datagram(home, to, ip(home), &other);
            }
        }
    }
}

/// A payment is broadcast by a wallet on this machine, which hears it too.
fn announce(world: &mut World, home: MachineId, transaction: &Transaction) {
    let announcement = Arc::new(Announcement::Transaction(transaction.clone()));
    for to in 0..world.machines.len() {
        if to == home {
            world.schedule(world.now, Event::Datagram(home, ip(home), announcement.clone()));
        } else {
            world.datagram(home, to, ip(home), &announcement);
        }
    }
}

pub(super) fn send_again(world: &mut World, payer: usize) {
    let Some(ledger) = world.best_tip(promised(world)).and_then(|tip| world.oracle.ledger(&tip.id)) else {
        return;
    };
    let payer = &world.payers[payer];
    let confirmed = ledger.account(&payer.key.address()).nonce;
    let pending: Vec<_> = payer.issued.iter().filter(|it| it.payment.nonce >= confirmed).cloned().collect();
    let home = payer.home;
    pending.iter().for_each(|transaction| announce(world, home, transaction));
}
