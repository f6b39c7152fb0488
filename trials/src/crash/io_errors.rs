//! Disks that refuse at any call that would change a file: the program ends with a sentence and exit code 3, or has
//! really done what it says, and nothing is lost.
//!
//! A scene is played once to count the calls, and then again and again, another of them failing each time, once or
//! from then on. A call that fails once and never again is the hardest: a program that tried again would take for safe
//! what the system may have given up.

use std::fmt;
use std::fs;

use common::files::{Program, names_in};
use common::key_store::KeyStore;

use super::encryption::{Commands, KEY, Progress};
use super::faults::{Call, Fault, Plan, Refusal};
use super::promises::{Told, check};
use super::scenes::{mine_chain, network, put_back};
use crate::ear::Ear;
use crate::program::{Ended, Home, Network, Running, eventually};
use crate::random::Random;

/// The block at which mining ends.
const LAST_BLOCK: &str = "found block 4 (";

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// A miner starts in an empty directory, makes a key, and finds blocks.
    Mining,
    /// A wallet fetches a chain.
    Syncing,
    /// A wallet makes a key.
    Keys,
    /// A wallet pays.
    Sending,
    /// A wallet puts a key under a passphrase.
    Encrypting,
    /// A wallet puts a key under another passphrase.
    ChangingPassphrase,
    /// A wallet takes the passphrase off a key.
    Decrypting,
}

/// What some runs came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Calls of a run in which none fails.
    pub calls: u64,
    /// Runs of a program in which a call failed.
    pub runs: u32,
    /// How many of these ended with exit code 3.
    pub ended: u32,
    /// How many did what was asked all the same.
    pub tolerated: u32,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, runs, ended, tolerated } = self;
        write!(
            f,
            "{calls} calls; {runs} runs in which one failed, {ended} ended with exit code 3, {tolerated} did not need it"
        )
    }
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.runs += other.runs;
        self.ended += other.ended;
        self.tolerated += other.tolerated;
    }
}

impl Scene {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Mining,
        Self::Syncing,
        Self::Keys,
        Self::Sending,
        Self::Encrypting,
        Self::ChangingPassphrase,
        Self::Decrypting,
    ];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mining => "mining",
            Self::Syncing => "syncing",
            Self::Keys => "keys",
            Self::Sending => "sending",
            Self::Encrypting => "encrypting",
            Self::ChangingPassphrase => "changing-passphrase",
            Self::Decrypting => "decrypting",
        }
    }

    /// After which of the steps that [`Commands`] has a key is rewritten, if one is.
    fn rewrites_after(self) -> Option<usize> {
        match self {
            Self::Encrypting => Some(0),
            Self::ChangingPassphrase => Some(1),
            Self::Decrypting => Some(2),
            Self::Mining | Self::Syncing | Self::Keys | Self::Sending => None,
        }
    }

    /// Whose store it is about.
    fn program(self) -> Program {
        match self {
            Self::Mining => Program::Miner,
            _ => Program::Wallet,
        }
    }

    /// Lets so many calls fail, chosen by the seed and spread over the scene; each in every way, where no number is
    /// given. Panics where a promise is broken.
    pub fn run(self, times: Option<u32>, seed: u64) -> Figures {
        let network = network();
        let mut stage = Stage::new(self, &network);
        let calls = stage.count();
        match times {
            Some(times) => {
                for mut fault in some(calls, times, Random::new(seed)) {
                    // How many calls a miner makes is a matter of luck: where so late a one was not made, an earlier is.
                    while !stage.play(fault) && fault.first > 1 {
                        fault.first /= 2;
                    }
                }
            }
            None => {
                for first in 1..=calls {
                    for way in ways() {
                        stage.play(Fault { first, ..way });
                    }
                }
            }
        }
        stage.figures
    }

    /// Lets one fault happen.
    pub fn run_one(self, fault: Fault) -> Figures {
        let network = network();
        let mut stage = Stage::new(self, &network);
        stage.count();
        stage.play(fault);
        stage.figures
    }
}

/// Every way in which the first call may fail.
fn ways() -> impl Iterator<Item = Fault> {
    let both = |refusal| [false, true].map(|lasting| Fault { first: 1, lasting, refusal });
    Refusal::ALL.into_iter().flat_map(both)
}

/// So many faults: each in its part of the scene, the ways taking turns.
fn some(calls: u64, times: u32, mut random: Random) -> Vec<Fault> {
    let ways: Vec<Fault> = ways().collect();
    let begins = |number: u64| calls * number / u64::from(times);
    let fault = |number| {
        let (from, to) = (begins(number), begins(number + 1));
        let way = ways[(random.next_u64() % ways.len() as u64) as usize];
        Fault { first: 1 + from + random.below((to - from).max(1)), ..way }
    };
    (0..u64::from(times)).map(fault).collect()
}

/// A network, and a home whose disk fails.
struct Stage<'n> {
    scene: Scene,
    network: &'n Network,
    /// As its programs find it.
    home: Home<'n>,
    /// The same, on a disk that is sound.
    sound: Home<'n>,
    plan: Plan,
    /// What rewrites a key.
    commands: Commands,
    /// How far that has come when it begins.
    encryption: Option<Progress>,
    /// What somebody else serves.
    _peer: Option<Running>,
    ear: Ear,
    figures: Figures,
}

impl<'n> Stage<'n> {
    fn new(scene: Scene, network: &'n Network) -> Self {
        let directory = network.directory();
        assert_eq!(directory.canonicalize().ok().as_deref(), Some(directory), "a link leads to it");
        let (sound, other) = (network.home("home"), network.home("other"));
        fs::create_dir(&sound.root).expect("there is room");
        let commands = Commands::with_files_in(directory);
        let (mut peer, mut encryption) = (None, None);
        if let Some(steps) = scene.rewrites_after() {
            sound.wallet(&["new-address", KEY]);
            let keys = KeyStore::new(sound.data().keys());
            let mut progress = Progress::new(&keys, 1);
            for step in 0..steps {
                sound.wallet(&commands.after(step));
                progress = progress.next(&keys).expect("nothing failed");
            }
            encryption = Some(progress);
        } else if scene != Scene::Mining {
            mine_chain(&other, 30);
            put_back(&other.data().keys(), &sound.data().keys());
            let mut miner = other.start_miner(&["--no-mine"]);
            miner.wait_for("listening");
            if scene != Scene::Syncing {
                // With a key and a chain, and nobody else there from now on.
                sound.wallet(&["sync", "--once"]);
                miner.stop();
            } else {
                peer = Some(miner);
            }
        }
        put_back(&sound.root, &directory.join("before"));
        let plan = Plan::new(directory.join("plan"));
        let home = plan.given_to(network.home("home"), &sound.root);
        let ear = Ear::at(network.ports.transactions);
        let figures = Figures::default();
        Self { scene, network, home, sound, plan, commands, encryption, _peer: peer, ear, figures }
    }

    /// How many calls there are.
    fn count(&mut self) -> u64 {
        let ended = self.perform(None);
        assert!(ended.status.success(), "{ended:?}");
        self.told(&ended).expect("nothing failed");
        self.figures.calls = self.plan.calls();
        self.figures.calls
    }

    /// Plays the scene on a disk with a fault; how the program ended.
    fn perform(&mut self, fault: Option<Fault>) -> Ended {
        put_back(&self.network.directory().join("before"), &self.sound.root);
        self.plan.set(fault);
        match self.scene {
            Scene::Mining => {
                let mut miner = self.home.start_miner(&[]);
                eventually("the miner to end, or to mine", || {
                    (!miner.is_running() || miner.said().contains(LAST_BLOCK)).then_some(())
                });
                if miner.is_running() {
                    miner.signal("INT");
                }
                miner.end()
            }
            Scene::Syncing => self.home.try_wallet(&["sync", "--once"]),
            Scene::Keys => self.home.try_wallet(&["new-address", "bob"]),
            Scene::Sending => self.home.try_wallet(&["send", "mining_rewards", "1", "mining_rewards"]),
            Scene::Encrypting => self.home.try_wallet(&self.commands.after(0)),
            Scene::ChangingPassphrase => self.home.try_wallet(&self.commands.after(1)),
            Scene::Decrypting => self.home.try_wallet(&self.commands.after(2)),
        }
    }

    /// Plays the scene with a fault, and looks at what the program says and leaves. Says whether it came to the fault.
    fn play(&mut self, fault: Fault) -> bool {
        let ended = self.perform(Some(fault));
        let failed = self.plan.failed();
        let again = if fault.lasting { " --lasting" } else { "" };
        let judged = self.judge(&ended, fault, failed);
        judged.unwrap_or_else(|broken| {
            panic!(
                "{broken}\nafter {fault} ({failed:?}), which left {}: {ended:?}\nagain: io-errors --scene {} --at {} \
                 --error {}{again}",
                self.sound.root.display(),
                self.scene.name(),
                fault.first,
                fault.refusal.name(),
            )
        });
        failed.is_some()
    }

    fn judge(&mut self, ended: &Ended, fault: Fault, failed: Option<Call>) -> Result<(), String> {
        let ensure = |holds: bool, broken: &str| if holds { Ok(()) } else { Err(broken.to_owned()) };
        ensure(!ended.stderr.contains("panicked"), "it panicked")?;
        let done = ended.status.success();
        ensure(done || ended.status.code() == Some(3), "its exit code is neither 0 nor 3")?;
        ensure(done || failed.is_some(), "it failed, but nothing else did")?;
        if !done {
            self.says_what_failed(&ended.stderr, fault)?;
            ensure(self.scene == Scene::Syncing || ended.stdout.is_empty(), "it acknowledged what failed")?;
        } else if let Some(failed) = failed {
            // A file that is of no more use may stay, and one may have a name from the beginning; that a key is not
            // yet watched is said.
            let harmless = matches!(failed, Call::Remove | Call::Nameless)
                || (self.scene == Scene::Keys
                    && ended.stderr.contains("warning: the history of bob is not kept yet"));
            ensure(harmless, "it passed over what failed")?;
        }
        if failed.is_some() {
            self.figures.runs += 1;
            *(if done { &mut self.figures.tolerated } else { &mut self.figures.ended }) += 1;
        }

        let (program, rules) = (self.scene.program(), &self.network.rules);
        let verified = match program {
            Program::Miner => self.sound.start_miner(&["verify"]).end(),
            Program::Wallet => self.sound.try_wallet(&["verify"]),
        };
        ensure(verified.status.success(), &format!("what it left is not sound: {verified:?}"))?;
        let told = self.told(ended)?;
        check(&self.sound.data(), program, rules, &told)?;
        self.nothing_is_half_done(ended, &told)?;
        self.goes_on(&told)
    }

    /// What a program said and sent.
    fn told(&self, ended: &Ended) -> Result<Told, String> {
        let mut told = Told { encryption: self.encryption.clone(), ..Told::default() };
        told.log(&ended.stderr);
        told.result(&ended.stdout);
        let sent = usize::from(self.scene == Scene::Sending && ended.status.success());
        // What was sent is under way for a moment: it must not come when the next one is listened for.
        eventually("the payment to be heard", || {
            let heard = self.ear.take();
            let network = self.network.rules.network_id();
            let kept = heard.iter().try_for_each(|datagram| told.datagram(&network, datagram));
            (kept.is_err() || told.broadcast.len() >= sent).then_some(kept)
        })?;
        Ok(told)
    }

    /// One sentence says what failed and where, and another what can be done.
    fn says_what_failed(&self, said: &str, fault: Fault) -> Result<(), String> {
        let begins = |word: &str| said.lines().filter(|line| line.contains(word)).collect::<Vec<_>>();
        let ([error], [_hint]) = (&begins("error: ")[..], &begins("hint: ")[..]) else {
            return Err("it says not one error and one hint".to_owned());
        };
        let root = self.sound.root.to_string_lossy();
        let room = !fault.refusal.is_about_room() || error.contains(" are free");
        if error.contains(&*root) && error.contains(fault.refusal.sentence()) && room {
            Ok(())
        } else {
            Err("its sentence does not say where, what, and how much room there is".to_owned())
        }
    }

    /// A payment that was refused is not kept, nor sent, a key that was refused is not there, and one that was not
    /// rewritten is what it was, unless that is said.
    fn nothing_is_half_done(&self, ended: &Ended, told: &Told) -> Result<(), String> {
        let uncertain = ended.stderr.contains("it is not certain that");
        if let (Some(progress), Some(before)) = (&told.encryption, self.scene.rewrites_after()) {
            let is_rewritten = progress.check(&KeyStore::new(self.sound.data().keys()))? > before;
            return match is_rewritten == ended.status.success() || uncertain {
                true => Ok(()),
                false => Err("its exit code does not say whether the key is rewritten".to_owned()),
            };
        }
        let key_is_there =
            names_in(&self.sound.data().keys()).is_ok_and(|names| names.iter().any(|it| it == "bob.pem"));
        if self.scene == Scene::Keys && key_is_there != ended.status.success() && !uncertain {
            return Err("its exit code does not say whether the key is there".to_owned());
        }
        let outbox = self.sound.data().outbox(&self.network.rules.name, &self.network.rules.network_id());
        let names = names_in(&outbox).map_err(|error| error.to_string())?;
        let payments = names.iter().filter(|name| !name.starts_with('.')).count();
        let expected = usize::from(self.scene == Scene::Sending && ended.status.success());
        if payments == expected || (payments == 1 && uncertain) {
            Ok(())
        } else {
            Err(format!("{payments} payments are in the outbox"))
        }
    }

    /// On a disk that is sound again, what was asked for can be done.
    fn goes_on(&self, told: &Told) -> Result<(), String> {
        let again: &[&str] = match self.scene {
            // The promises were checked by writing to its store.
            Scene::Mining => return Ok(()),
            Scene::Syncing => &["sync", "--once"],
            Scene::Keys => &["new-address", "carol"],
            Scene::Sending => &["send", "mining_rewards", "2", "mining_rewards"],
            Scene::Encrypting | Scene::ChangingPassphrase | Scene::Decrypting => {
                let Some(progress) = &told.encryption else { return Ok(()) };
                &self.commands.after(progress.check(&KeyStore::new(self.sound.data().keys()))?)
            }
        };
        let ended = match self.scene {
            // Nobody is to listen.
            Scene::Sending => self.sound.cut_off().try_wallet(again),
            _ => self.sound.try_wallet(again),
        };
        if ended.status.success() { Ok(()) } else { Err(format!("nor can it go on: {ended:?}")) }
    }
}
