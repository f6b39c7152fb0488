//! Payments that cannot be.

use std::sync::Arc;

use crate::amount::Amount;
use crate::simulator::machine::{MachineId, ip};
use crate::simulator::signer::Signer;
use crate::simulator::world::World;
use crate::transaction::{Payment, Transaction, TransactionVersion};
use crate::wire::Announcement;

/// Payments that cannot be: of nobody's money, badly signed, far ahead of their turn, or all of it again.
pub(super) fn spam(world: &mut World, id: MachineId) {
    let stranger = stranger(world);
    let bad = {
        let mut payment = payment(world, &stranger, 5, 0);
        payment.signature[3] ^= 0x40;
        payment
    };
    let unfunded = payment(world, &stranger, 1_000, 0);
    let nonce = 1_000 + world.random.below(1_000_000);
    let ahead = payment(world, &stranger, 1, nonce);
    let stolen = payment_of_the_rich(world);
    for transaction in [bad, unfunded.clone(), ahead, stolen, unfunded] {
        world.counts.spam += 1;
        world.broadcast(id, ip(id), &Arc::new(Announcement::Transaction(transaction)));
    }
}

/// A payment in the name of somebody who has money, which he did not sign.
fn payment_of_the_rich(world: &mut World) -> Transaction {
    let victim = world.payers[world.random.index(world.payers.len())].key.clone();
    let nonce = world.random.below(4);
    let mut payment = payment(world, &victim, 1, nonce);
    payment.signature.reverse();
    payment
}

/// Somebody who has nothing.
pub(super) fn stranger(world: &mut World) -> Signer {
    Signer::stand_in(1_000_000 + world.random.below(1_000_000))
}

pub(super) fn payment(world: &World, from: &Signer, units: u64, nonce: u64) -> Transaction {
    let payment = Payment {
        version: TransactionVersion::V1,
        to: from.address(),
        amount: Amount::from_units(units),
        fee: world.rules.min_fee,
        nonce,
        valid_until: 0,
        data: Vec::new(),
        public_key: Vec::new(),
    };
    from.sign(&world.rules.network_id(), payment)
}
