//! The end of a history: what must be so once nothing breaks any more.

use std::collections::BTreeSet;
use std::time::Duration;

use super::payments::pay;
use crate::simulator::machine::{Machine, MachineId};
use crate::simulator::world::World;
use crate::simulator::{Verdict, Violation};
use crate::store::{Store, StoreError, Tip};

/// How long it may take, once nothing breaks any more, until everybody agrees and every payment is confirmed.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// How long everybody agrees, with nobody mining, before a history is over.
const REST: Duration = Duration::from_secs(120);
/// How often it is looked whether everybody agrees.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Nothing breaks any more: everybody must come to agree, and stay so.
pub(super) fn settle(world: &mut World) -> Verdict {
    world.weather.loss = world.weather.loss.min(100);
    for id in 0..world.machines.len() {
        world.machines[id].side = 0;
        world.machines[id].disk.mend();
        world.machines[id].killed_in_next_write = false;
        world.start(id)?;
        if skewed(world, id) {
            // Its blocks would lie in the future for hours.
            world.machines[id].role.hash_rate = 0.0;
            world.machines[id].searching = false;
        }
    }
    let end = world.now + PATIENCE;
    loop {
        world.mining = true;
        while let Some(what) = disagreement(world).or_else(|| unconfirmed(world)) {
            go_on(world, end, &what)?;
            if is_kept_back(world) {
                pay(world, 0);
            }
        }
        // Somebody may still have kept a better chain to himself: then payments may have to be confirmed again.
        world.mining = false;
        let mut agreed_since = world.now;
        while world.now < agreed_since + REST {
            if let Some(what) = disagreement(world) {
                // A rival that its finder gave only to some who serve no blocks: the next block settles it.
                if is_kept_back(world) {
                    pay(world, 0);
                    break;
                }
                agreed_since = world.now + LOOK_EVERY;
                go_on(world, end, &what)?;
            } else {
                world.run_for(LOOK_EVERY)?;
            }
        }
        if disagreement(world).is_none() && unconfirmed(world).is_none() {
            return same_ledgers(world);
        }
    }
}

/// Lets everything go on for a moment, unless it has gone on for too long.
fn go_on(world: &mut World, end: Duration, what: &str) -> Verdict {
    if world.now > end {
        return Err(Violation(format!("{} s after the last fault: {what}", PATIENCE.as_secs())));
    }
    world.note(|| format!("not yet: {what}"));
    world.run_for(LOOK_EVERY)
}

/// Whether a machine's clock is so wrong that nothing is promised to it.
fn skewed(world: &World, id: MachineId) -> bool {
    let most_ms = u64::from(world.rules.max_ahead_seconds) * 1_000;
    world.machines[id].role.clock_offset_ms.unsigned_abs() >= most_ms
}

/// The honest machines that are promised to agree.
pub(super) fn promised(world: &World) -> Vec<MachineId> {
    (0..world.machines.len())
        .filter(|id| world.machines[*id].is_honest() && !skewed(world, *id) && reachable(world, *id))
        .collect()
}

/// Whether a machine can know of the others: it hears them, or calls somebody who can, who is honest and passes on
/// at once what he hears.
fn reachable(world: &World, id: MachineId) -> bool {
    let role = &world.machines[id].role;
    // Machines call only those that are there before them: this ends.
    let passes_on =
        |it: &MachineId| world.machines[*it].is_honest() && !skewed(world, *it) && reachable(world, *it);
    role.broadcast || role.named.iter().any(|it| *it < id && passes_on(it))
}

/// Whether nobody honest who has the best tip can give it to others.
fn is_kept_back(world: &World) -> bool {
    let best = world.best_tip(promised(world));
    let gives = |machine: &Machine| {
        let has = machine.node.as_ref().is_some_and(|node| Some(*node.tip()) == best);
        machine.is_honest() && machine.role.serves_blocks && has
    };
    !world.machines.iter().any(gives)
}

/// Who does not have the tip of the others, if anybody.
fn disagreement(world: &World) -> Option<String> {
    let tip_of = |id: &MachineId| world.machines[*id].node.as_ref().map(|node| *node.tip());
    let promised = promised(world);
    let tips: Vec<(MachineId, Option<Tip>)> = promised.iter().map(|id| (*id, tip_of(id))).collect();
    let (first, other) = (tips.first()?, tips.iter().find(|(_, tip)| tip.is_none() || *tip != tips[0].1)?);
    Some(format!("machines {} and {} do not agree: {:?} and {:?}", first.0, other.0, first.1, other.1))
}

/// An honest payment that is not in the chain and has no reason not to be.
fn unconfirmed(world: &World) -> Option<String> {
    let tip = world.best_tip(promised(world))?;
    let ledger = world.oracle.ledger(&tip.id)?;
    for payer in world.payers.iter().filter(|payer| !payer.cheats) {
        let account = ledger.account(&payer.key.address());
        let Some(next) = payer.issued.iter().find(|it| it.payment.nonce == account.nonce) else { continue };
        let payment = &next.payment;
        let expired = payment.valid_until != 0 && u64::from(payment.valid_until) <= tip.height.get();
        let cost = u128::from(payment.amount.units()) + u128::from(payment.fee.units());
        // Those after it wait for it: one reason is enough for all.
        if !expired && cost <= u128::from(account.balance.units()) {
            let (nonce, from) = (payment.nonce, payer.key.address());
            return Some(format!("payment {nonce} of {from} is not confirmed at height {}", tip.height));
        }
    }
    None
}

/// Everybody who agrees on the tip has the same ledger, and what it confirms is what was signed.
fn same_ledgers(world: &mut World) -> Verdict {
    let mut ledgers = BTreeSet::new();
    for id in promised(world) {
        let mut ledger = Vec::new();
        let read = world.machines[id].disk.read::<_, StoreError>(|reader| {
            reader.for_each_account(&mut |address, account| {
                ledger.push((address, account.balance, account.nonce));
            })
        });
        read.map_err(|error| Violation(format!("machine {id}: {error}")))?;
        ledgers.insert(ledger);
    }
    if ledgers.len() > 1 {
        return Err(Violation("two machines with the same tip have different ledgers".to_owned()));
    }
    world.counts.agreed += promised(world).len() as u64;
    Ok(())
}
