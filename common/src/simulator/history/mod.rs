//! One history: what a seed says there is, what goes wrong when, and what must be so in the end.
//!
//! | file | what it is |
//! | --- | --- |
//! | `plan` | what a seed says: machines, rules, weather, how much goes wrong |
//! | `payments` | who pays, and sends again what is not confirmed |
//! | `settle` | the end, when nothing breaks any more: all must agree, and every payment be confirmed |

use std::sync::Arc;
use std::time::Duration;

use super::disk::Disk;
use super::machine::MachineId;
use super::random::Random;
use super::world::{Event, World};
use super::{Summary, Violation, byzantine};
use crate::rules::Rules;

mod payments;
mod plan;
mod settle;

pub(crate) use payments::Payer;
use payments::{SEND_AGAIN, pay, send_again};
use plan::{Plan, some_offset};
use settle::{promised, settle};

/// How often a machine that breaks the rules does something about it.
const STRIKE_EVERY: Duration = Duration::from_secs(4);

/// How large histories are. The same seed is another history at another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As the seed has it: mostly a few machines, sometimes dozens, and rarely a thousand.
    Chance,
    /// So many machines.
    Machines(usize),
}

/// Something that a history has in store.
#[derive(Clone, Debug)]
pub(crate) enum Planned {
    /// A program is killed in the middle of its next write, and started again some time later.
    KillInWrite(MachineId),
    /// A write soon fails, after so many changes.
    FailDisk(MachineId, u64),
    /// From now on a machine is on this side of a wall.
    Side(MachineId, u8),
    /// A clock is set, by so many milliseconds.
    Clock(MachineId, i64),
    /// A connection breaks.
    Cut(MachineId),
    /// A machine that breaks the rules does something.
    Strike(MachineId),
    /// Somebody pays.
    Pay(usize),
    /// Somebody sends again what is not confirmed.
    SendAgain(usize),
}

/// Lives through the history of a seed. `disk` makes the disks.
pub(super) fn live(
    seed: u64,
    size: Size,
    tell: Option<fn(Duration, &str)>,
    disk: impl Fn(&Rules) -> Disk,
) -> Result<Summary, (Violation, Duration)> {
    let mut random = Random::new(seed);
    let plan = Plan::new(seed, size, &mut random);
    let rules = Arc::new(plan.rules.clone());
    let mut world = World::new(rules, plan.verifier.clone(), plan.weather.clone(), random);
    world.tell = tell;
    world.status_interval = plan.status_interval;
    world.pool_interval = plan.status_interval * 5;
    for role in &plan.machines {
        world.add(role.clone(), disk(&plan.rules));
    }
    world.payers = plan.payers;
    let machines = world.machines.len();
    prepare(&mut world, plan.time, plan.faults, plan.payments);
    let lived = world.run_for(plan.time).and_then(|()| settle(&mut world));
    match lived {
        Ok(()) => {
            let height = world.best_tip(promised(&world)).map_or(0, |tip| tip.height.get());
            Ok(Summary { machines, height, trace: world.trace, time: world.now, counts: world.counts })
        }
        Err(violation) => Err((violation, world.now)),
    }
}

/// Starts everything, and decides what goes wrong when.
fn prepare(world: &mut World, time: Duration, faults: u64, payments: u64) {
    let count = world.machines.len();
    for id in 0..count {
        // Not all at once: some join later.
        let late = world.random.happens(200);
        let at =
            world.random.between(&(Duration::ZERO..if late { time / 2 } else { Duration::from_secs(1) }));
        world.schedule(at, Event::Start(id));
        if world.machines[id].is_honest() {
            count_clock(world, world.machines[id].role.clock_offset_ms);
        } else {
            world.schedule(at + Duration::from_secs(1), Event::Planned(Planned::Strike(id)));
        }
    }
    for _ in 0..faults {
        let at = world.random.between(&(Duration::ZERO..time));
        // Everything has happened when the history settles.
        let over = (at + world.random.between(&(Duration::from_millis(100)..time / 3))).min(time);
        let id = world.random.index(count);
        let fault = match world.random.below(10) {
            0..4 => {
                world.schedule(over, Event::Start(id));
                if world.random.happens(600) {
                    Event::Planned(Planned::KillInWrite(id))
                } else {
                    Event::Kill(id)
                }
            }
            4..6 => {
                // A wall around some, for a while.
                let side = 1 + world.random.below(2) as u8;
                for _ in 0..1 + world.random.index(count) {
                    let other = world.random.index(count);
                    world.schedule(at, Event::Planned(Planned::Side(other, side)));
                    world.schedule(over, Event::Planned(Planned::Side(other, 0)));
                }
                Event::Planned(Planned::Side(id, side))
            }
            6 => {
                let offset = some_offset(&mut world.random, &world.rules.clone());
                // Set right by NTP some time later, more or less.
                let right = world.random.below(200) as i64;
                world.schedule(over, Event::Planned(Planned::Clock(id, right)));
                Event::Planned(Planned::Clock(id, offset))
            }
            7 => Event::Planned(Planned::FailDisk(id, world.random.below(20))),
            _ => Event::Planned(Planned::Cut(id)),
        };
        world.schedule(at, fault);
    }
    for _ in 0..payments {
        let at = world.random.between(&(Duration::ZERO..time));
        let payer = world.random.index(world.payers.len());
        world.schedule(at, Event::Planned(Planned::Pay(payer)));
    }
    for payer in 0..world.payers.len() {
        world.schedule(SEND_AGAIN, Event::Planned(Planned::SendAgain(payer)));
    }
}

/// Counts by how much an honest machine's clock is wrong from now on.
fn count_clock(world: &mut World, offset_ms: i64) {
    const HOUR_MS: u64 = 3_600_000;
    match offset_ms.unsigned_abs() {
        0..60_000 => {}
        60_000..HOUR_MS => world.counts.clocks_off_by_minutes += 1,
        HOUR_MS => world.counts.clocks_off_by_an_hour += 1,
        _ => world.counts.clocks_in_1970 += 1,
    }
}

/// What was planned happens.
pub(super) fn happens(world: &mut World, planned: Planned) {
    match planned {
        Planned::KillInWrite(id) => world.machines[id].killed_in_next_write = true,
        Planned::FailDisk(id, changes) => world.machines[id].disk.fail_after(changes),
        Planned::Side(id, side) => {
            world.counts.moved += 1;
            world.note(|| format!("machine {id} is on side {side}"));
            world.machines[id].side = side;
        }
        Planned::Clock(id, offset_ms) => {
            if id > 0 && world.machines[id].is_honest() {
                world.counts.clocks_set += 1;
                world.note(|| format!("the clock of machine {id} is {offset_ms} ms ahead"));
                let before = std::mem::replace(&mut world.machines[id].role.clock_offset_ms, offset_ms);
                let was_wrong = before.unsigned_abs() > 1_000 && world.machines[id].node.is_some();
                world.counts.clocks_put_right += u64::from(was_wrong && offset_ms.unsigned_abs() <= 1_000);
                count_clock(world, offset_ms);
            }
        }
        Planned::Cut(id) => world.cut(id),
        Planned::Strike(id) => {
            byzantine::strikes(world, id);
            let next = world.now + world.random.between(&(STRIKE_EVERY / 2..STRIKE_EVERY * 2));
            world.schedule(next, Event::Planned(Planned::Strike(id)));
        }
        Planned::Pay(payer) => pay(world, payer),
        Planned::SendAgain(payer) => {
            send_again(world, payer);
            world.schedule(world.now + SEND_AGAIN, Event::Planned(Planned::SendAgain(payer)));
        }
    }
}
