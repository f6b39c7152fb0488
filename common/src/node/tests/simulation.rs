//! Everything at once: miners, wallets and named peers that mine, pay and are cut off by chance. Whatever
//! happens, they agree soon after the network is whole again, no payment is lost, no money is made, nobody
//! is taken for a cheat, and nothing is left over.

use std::sync::Arc;

use super::super::*;
use super::harness::*;
use crate::store::Read;
use crate::testing::{Key, easy_rules};

/// How many things happen while the network is not whole.
const STEPS: usize = 80;
/// Who holds money at genesis.
const PAYERS: u64 = 3;

/// Runs one seed.
fn simulate(seed: u64) {
    let payers: Vec<Key> = (0..PAYERS).map(Key::new).collect();
    let rules = Arc::new(easy_rules(&payers.iter().collect::<Vec<_>>()));
    let mut network = Network::new(&rules, seed);
    network.weather.latency = millis(1)..millis(1 + 40 * (seed % 8));
    let mut miners: Vec<_> = (0..3).map(|i| network.add(Spec::default().mining_as(50 + i))).collect();
    // Neither of these is heard: one calls a miner, and is called by a wallet.
    let quiet = Spec { broadcast: false, named: vec![miners[0]], ..Spec::default() };
    miners.push(network.add(quiet.mining_as(53)));
    let wallets = [
        network.add(Spec::wallet()),
        network.add(Spec { broadcast: false, named: vec![miners[3]], ..Spec::wallet() }),
    ];
    let all: Vec<_> = miners.iter().chain(&wallets).copied().collect();
    let mut nonces = [0; PAYERS as usize];
    for _ in 0..STEPS {
        let pause = network.random.below(2_000);
        network.run_for(millis(pause));
        let job_time = millis(network.random.below(300));
        network.jobs_take(job_time);
        let (what, whom) = (network.random.below(10), network.random.number() as usize);
        match what {
            0..=4 => drop(network.mine(miners[whom % miners.len()])),
            5..=7 => {
                let payer = whom % payers.len();
                let to = payers[(whom + 1) % payers.len()].address();
                let payment = payers[payer].payment(to, 1 + whom as u64 % 1_000, nonces[payer]);
                nonces[payer] += 1;
                let signed = payers[payer].sign(&rules.network_id(), payment);
                network.say_payment(miners[whom / 7 % miners.len()], &signed);
            }
            8 => network.set_side(all[whom % all.len()], 1),
            _ => network.set_side(all[whom % all.len()], 0),
        }
    }
    all.iter().for_each(|id| network.set_side(*id, 0));
    network.jobs_take(millis(5));
    let took = network.run_until("all agree", |it| it.agree(&all));
    assert!(took < seconds(60), "seed {seed}: agreeing took {took:?}");

    // Every payment is in the chain a few exchanges of pools and blocks later.
    let paid = |network: &Network| {
        let account = |key: &Key| {
            let read = |reader: &dyn Read| reader.account(&key.address());
            network.node(miners[0]).chain().store().read::<_, StoreError>(read)
        };
        payers
            .iter()
            .map(|key| account(key).expect("a store in memory does not fail").nonce)
            .collect::<Vec<_>>()
    };
    for round in 0.. {
        if paid(&network) == nonces {
            break;
        }
        assert!(round < 20, "seed {seed}: {:?} of {nonces:?} were paid", paid(&network));
        network.run_for(seconds(15));
        network.mine(miners[round % miners.len()]);
        network.run_until("all agree", |it| it.agree(&all));
    }
    network.run_for(seconds(45));
    for id in &all {
        let cheat = |it: &Notice| matches!(it, Notice::PeerMisbehaved { .. } | Notice::InvalidBlock { .. });
        let notices = network.notices(*id).iter();
        let cheats: Vec<_> = notices.filter(|notice| cheat(notice)).collect();
        assert!(cheats.is_empty(), "seed {seed}: machine {id} says {cheats:?}");
        assert!(network.node(*id).is_caught_up(), "seed {seed}: machine {id}");
        let waiting = network.node(*id).pool().map_or(0, Mempool::len);
        assert_eq!(waiting, 0, "seed {seed}: machine {id}");
        let supply = u128::from(network.height(*id)) * u128::from(rules.block_reward.units())
            + u128::from(PAYERS) * 1_000_000_000;
        assert_eq!(money(&network, *id), supply, "seed {seed}: machine {id}");
    }
    // An exchange may begin at any moment; that none lasts is seen by looking often.
    for id in &all {
        let rests = (0..100).any(|_| {
            network.run_for(millis(50));
            network.node(*id).under_way() == 0
        });
        assert!(rests, "seed {seed}: machine {id} has {} under way", network.node(*id).under_way());
    }
}

fn money(network: &Network, id: MachineId) -> u128 {
    let mut sum = 0;
    let count = |reader: &dyn Read| {
        reader.for_each_account(&mut |_, account| sum += u128::from(account.balance.units()))
    };
    network.node(id).chain().store().read::<_, StoreError>(count).expect("a store in memory does not fail");
    sum
}

#[test]
fn chance_breaks_nothing() {
    (0..24).for_each(simulate);
}
