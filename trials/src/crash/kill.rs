//! Programs that are killed (`kill -9`) at random moments of what they do, and what they leave.
//!
//! A *run* is some kills of one kind on a network of its own; all that is random in it follows from its seed, but
//! for what the system's scheduler decides. After every kill the promises are checked, and the next start of the
//! program works on what the kill left.

use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use common::files::Program;
use common::key_store::KeyStore;

use super::encryption::{self, Commands, Progress};
use super::older_format;
use super::promises::{Found, Told, check};
use super::scenes::{mine_chain, network, put_back};
use crate::ear::Ear;
use crate::program::{Ended, Home, Network, Running, eventually};
use crate::random::Random;

/// The number of the signal that nobody can catch.
const KILL: i32 = 9;

/// What a program is killed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A miner that finds blocks.
    Mining,
    /// A miner that fetches a chain.
    Syncing,
    /// A miner that leaves its branch for a better one.
    Reorganising,
    /// A wallet that pays.
    Sending,
    /// A wallet that makes a key.
    Keys,
    /// A wallet that puts a key under passphrases and takes it from under them.
    Encrypting,
    /// A program that opens a store of an older format.
    Opening,
}

/// What some kills came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// How often something was killed that ran.
    pub kills: u32,
    /// How often it had ended by itself by then; these are no kills.
    pub too_late: u32,
    /// Files under temporary names, at the end.
    pub leftovers: usize,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Mining,
        Self::Syncing,
        Self::Reorganising,
        Self::Sending,
        Self::Keys,
        Self::Encrypting,
        Self::Opening,
    ];

    /// Kills a program so often at this; panics where a promise is broken.
    pub fn run(self, kills: u32, seed: u64) -> Figures {
        let mut trial = Trial {
            random: Random::new(seed),
            figures: Figures::default(),
            command: Duration::from_millis(50),
        };
        match self {
            Self::Mining => mining(&mut trial, kills),
            Self::Syncing => syncing(&mut trial, kills),
            Self::Reorganising => reorganising(&mut trial, kills),
            Self::Sending => sending(&mut trial, kills),
            Self::Keys => keys(&mut trial, kills),
            Self::Encrypting => encrypting(&mut trial, kills),
            Self::Opening => opening(&mut trial, kills),
        }
        assert!(trial.figures.kills >= kills, "{:?} of {kills} kills", trial.figures);
        assert!(trial.figures.too_late <= kills, "most came too late: {:?}", trial.figures);
        // Each kill may leave one such file, and no more.
        assert!(
            trial.figures.leftovers <= trial.figures.kills as usize,
            "temporary files add up: {:?}",
            trial.figures
        );
        trial.figures
    }

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mining => "mining",
            Self::Syncing => "syncing",
            Self::Reorganising => "reorganising",
            Self::Sending => "sending",
            Self::Keys => "keys",
            Self::Encrypting => "encrypting",
            Self::Opening => "opening",
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, too_late, leftovers } = self;
        write!(f, "{kills} kills, and {too_late} that came too late; {leftovers} temporary files left")
    }
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.too_late += other.too_late;
        self.leftovers += other.leftovers;
    }
}

/// A run that is under way.
struct Trial {
    random: Random,
    figures: Figures,
    /// How long a command took that was not killed.
    command: Duration,
}

impl Trial {
    /// Whether this is to go on, for so many kills. What comes too late is none; it is tried again, but not for ever.
    fn goes_on(&self, kills: u32) -> bool {
        self.figures.kills < kills && self.figures.too_late <= kills
    }

    /// Kills a program that does not end by itself after a random time below this: that is what the trial is about.
    fn kill_within(&mut self, program: Running, longest: Duration) -> Ended {
        let ended = self.try_to_kill_within(program, longest);
        assert!(was_killed(&ended), "it ended by itself: {ended:?}");
        ended
    }

    /// Kills it now.
    fn kill(&mut self, program: Running) -> Ended {
        self.kill_within(program, Duration::ZERO)
    }

    fn try_to_kill_within(&mut self, mut program: Running, longest: Duration) -> Ended {
        let moment = Instant::now() + Duration::from_micros(self.random.below(longest.as_micros() as u64));
        while Instant::now() < moment && program.is_running() {
            std::thread::sleep(Duration::from_micros(200));
        }
        let ended = program.kill();
        *(if was_killed(&ended) { &mut self.figures.kills } else { &mut self.figures.too_late }) += 1;
        ended
    }

    /// The same for a command that ends by itself: the moment is one before that, or a little after.
    fn kill_command(&mut self, command: Running) -> Ended {
        let started = Instant::now();
        let ended = self.try_to_kill_within(command, self.command * 5 / 4);
        if ended.status.success() {
            self.command = started.elapsed();
        }
        ended
    }

    /// Runs a command to its end, to know how long one takes.
    fn time_command(&mut self, home: &Home<'_>, arguments: &[&str]) {
        let started = Instant::now();
        home.wallet(arguments);
        self.command = started.elapsed();
    }

    /// Checks the promises in a home.
    fn check(&mut self, home: &Home<'_>, program: Program, told: &Told, last: &Ended) -> Found {
        let found = check(&home.data(), program, &home.network().rules, told)
            .unwrap_or_else(|broken| panic!("{broken}\nafter {last:?}\nin {}", home.root.display()));
        self.figures.leftovers = self.figures.leftovers.max(found.leftovers);
        found
    }
}

/// Whether it did not end by itself.
fn was_killed(ended: &Ended) -> bool {
    ended.status.signal() == Some(KILL)
}

/// Adds to what was told what was heard.
fn hear(told: &mut Told, network: &Network, ear: &Ear) {
    for datagram in ear.take() {
        told.datagram(&network.rules.network_id(), &datagram).unwrap_or_else(|broken| panic!("{broken}"));
    }
}

fn mining(trial: &mut Trial, kills: u32) {
    let network = network();
    let (victim, ear) = (network.home("victim"), Ear::at(network.ports.status));
    let mut told = Told::default();
    while trial.goes_on(kills) {
        let mut miner = victim.start_miner(&[]);
        if trial.random.below(4) > 0 {
            miner.wait_for("mining");
        }
        let ended = trial.kill_within(miner, Duration::from_millis(700));
        told.log(&ended.stderr);
        hear(&mut told, &network, &ear);
        trial.check(&victim, Program::Miner, &told, &ended);
    }
    let height = victim.height(Program::Miner);
    let miner = victim.start_miner(&[]);
    victim.reach(Program::Miner, height + 1);
    miner.stop();
}

fn syncing(trial: &mut Trial, kills: u32) {
    let network = network();
    let (source, victim) = (network.home("source"), network.home("victim"));
    let best = mine_chain(&source, 60);
    let mut serving = source.start_miner(&["--no-mine"]);
    serving.wait_for("listening");
    let mut told = Told::default();
    while trial.goes_on(kills) {
        // A miner or a wallet; each has a store of its own.
        let program = if trial.random.below(2) == 0 { Program::Miner } else { Program::Wallet };
        if victim.tip(program) == Some(best) {
            fs::remove_dir_all(victim.store_directory(program)).expect("the store is there");
        }
        let running = match program {
            Program::Miner => victim.start_miner(&["--no-mine"]),
            Program::Wallet => victim.start_wallet(&["sync", "--verbose"]),
        };
        let ended = trial.kill_within(running, Duration::from_millis(700));
        let mut told = Told::default();
        told.log(&ended.stderr);
        told.result(&ended.stdout);
        trial.check(&victim, program, &told, &ended);
    }
    let ended = victim.try_wallet(&["sync", "--once"]);
    told.result(&ended.stdout);
    assert_eq!(victim.tip(Program::Wallet), Some(best), "{ended:?}");
    trial.check(&victim, Program::Wallet, &told, &ended);
}

fn reorganising(trial: &mut Trial, kills: u32) {
    let network = network();
    let (majority, victim) = (network.home("majority"), network.home("victim"));
    let fork = mine_chain(&majority, 5);
    put_back(&majority.root, &victim.root);
    let branch = mine_chain(&victim.cut_off(), fork.height.get() + 12);
    let before = network.directory().join("before");
    put_back(&victim.root, &before);
    let best = mine_chain(&majority, branch.height.get() + 12);
    let mut serving = majority.start_miner(&["--no-mine"]);
    serving.wait_for("listening");
    // How long it takes to be through, so that kills come before, while and after it is.
    let through = format!(" {} (…", best.height);
    let started = Instant::now();
    let mut miner = victim.start_miner(&["--no-mine"]);
    miner.wait_for(&through);
    let longest = started.elapsed();
    miner.stop();
    let (mut at_first, mut at_last) = (0, 0);
    for number in 0..kills {
        put_back(&before, &victim.root);
        let mut miner = victim.start_miner(&["--no-mine"]);
        let ended = match number {
            0 => trial.kill(miner),
            last if last + 1 == kills => {
                miner.wait_for(&through);
                trial.kill(miner)
            }
            _ => trial.kill_within(miner, longest),
        };
        let mut told = Told { height: branch.height.get(), ..Told::default() };
        told.log(&ended.stderr);
        let tip = trial.check(&victim, Program::Miner, &told, &ended).tip.expect("there was a store");
        at_first += u32::from(tip == branch);
        at_last += u32::from(tip == best);
        if tip.id != branch.id {
            // Of the majority's branch, then.
            let chain = majority.chain(Program::Miner).expect("it has a store");
            let known = common::store::Store::read(chain.store(), |reader| reader.best_at(tip.height));
            assert_eq!(known.expect("its store is sound"), Some(tip.id), "after {ended:?}");
        }
    }
    let mut miner = victim.start_miner(&["--no-mine"]);
    miner.wait_for("listening");
    eventually("the reorganisation", || (victim.tip(Program::Miner) == Some(best)).then_some(()));
    miner.stop();
    assert!(at_first > 0, "no kill came before the reorganisation");
    assert!(kills < 2 || at_last > 0, "no kill came after the reorganisation");
}

fn sending(trial: &mut Trial, kills: u32) {
    let network = network();
    let (alice, ear) = (network.home("alice"), Ear::at(network.ports.transactions));
    mine_chain(&alice, 5);
    let bank = network.home("bank");
    put_back(&alice.store_directory(Program::Miner), &bank.store_directory(Program::Miner));
    let mut miner = bank.start_miner(&[]);
    miner.wait_for("mining");
    alice.wallet(&["sync", "--once"]);
    ear.take();
    let mut told = Told::default();
    for number in 0.. {
        if !trial.goes_on(kills) {
            break;
        }
        let amount = format!("0.{:04}", number % 9_999 + 1);
        let send = alice.start_wallet(&["send", "mining_rewards", &amount, "mining_rewards"]);
        let ended = trial.kill_command(send);
        told.result(&ended.stdout);
        hear(&mut told, &network, &ear);
        trial.check(&alice, Program::Wallet, &told, &ended);
        if trial.random.below(4) == 0 {
            let sync = alice.start_wallet(&["sync"]);
            let ended = trial.kill_within(sync, Duration::from_millis(500));
            hear(&mut told, &network, &ear);
            trial.check(&alice, Program::Wallet, &told, &ended);
        }
    }
    // All that was told of and all that was kept arrives.
    let sync = alice.start_wallet(&["sync"]);
    eventually("the payments", || {
        let history = alice.wallet(&["list-addresses"]);
        (!alice.wallet(&["history"]).contains("pending") && history.contains("mining_rewards")).then_some(())
    });
    // It may not even have begun: nobody waits for its farewell.
    sync.kill();
    let ended = alice.try_wallet(&["sync", "--once"]);
    hear(&mut told, &network, &ear);
    trial.check(&alice, Program::Wallet, &told, &ended);
}

fn keys(trial: &mut Trial, kills: u32) {
    let network = network();
    let victim = network.home("victim");
    let mut told = Told::default();
    trial.time_command(&victim, &["new-address", "undisturbed"]);
    for number in 0.. {
        if !trial.goes_on(kills) {
            break;
        }
        let name = format!("key-{number}");
        let ended = trial.kill_command(victim.start_wallet(&["new-address", &name]));
        told.result(&ended.stdout);
        trial.check(&victim, Program::Wallet, &told, &ended);
        // The name can be used, or is.
        let again = victim.try_wallet(&["new-address", &name]);
        assert!(
            again.status.success() || again.stderr.contains("exists already"),
            "{again:?} after {ended:?}"
        );
        told.result(&again.stdout);
    }
    let table = victim.wallet(&["list-addresses"]);
    assert!(told.keys.values().all(|address| table.contains(&address.to_string())), "{table}");
}

fn encrypting(trial: &mut Trial, kills: u32) {
    let network = network();
    let victim = network.home("victim");
    victim.wallet(&["new-address", encryption::KEY]);
    let keys = KeyStore::new(victim.data().keys());
    let commands = Commands::with_files_in(network.directory());
    let mut progress = Progress::new(&keys, 1);
    let next = |progress: &Progress| progress.next(&keys).unwrap_or_else(|broken| panic!("{broken}"));
    trial.time_command(&victim, &commands.after(0));
    while trial.goes_on(kills) {
        progress = next(&progress);
        let ended = trial.kill_command(victim.start_wallet(&commands.after(progress.done())));
        let mut told = Told { encryption: Some(progress), ..Told::default() };
        told.result(&ended.stdout);
        trial.check(&victim, Program::Wallet, &told, &ended);
        progress = told.encryption.expect("it is only added to");
    }
    // What nobody disturbs leaves nothing of what the killed ones left.
    for _ in 0..3 {
        progress = next(&progress);
        let ended = victim.try_wallet(&commands.after(progress.done()));
        let mut told = Told { encryption: Some(progress), ..Told::default() };
        told.result(&ended.stdout);
        assert_eq!(trial.check(&victim, Program::Wallet, &told, &ended).leftovers, 0, "{ended:?}");
        progress = told.encryption.expect("it is only added to");
    }
}

fn opening(trial: &mut Trial, kills: u32) {
    let network = network();
    let victim = network.home("victim");
    let tip = mine_chain(&victim, 30);
    let directory = victim.store_directory(Program::Miner);
    let sound = network.directory().join("sound");
    put_back(&victim.root, &sound);
    let older = [1, 2].map(|format| {
        put_back(&sound, &victim.root);
        older_format::downgrade(&directory, &network.rules, format);
        let older = network.directory().join(format!("format-{format}"));
        put_back(&victim.root, &older);
        older
    });
    let told = Told { height: tip.height.get(), tips: [tip.id].into(), ..Told::default() };
    // How long it takes to be sure of the store, so that kills come before, while and after it is converted.
    put_back(&older[0], &victim.root);
    let started = Instant::now();
    let mut miner = victim.start_miner(&["--no-mine"]);
    miner.wait_for("listening");
    let longest = started.elapsed();
    miner.stop();
    // Of each older format one kill comes before that, if there are so many kills, and one after it.
    let formats = older.len() as u32;
    let mut converted = 0;
    for (number, older) in (0..kills).zip(older.iter().cycle()) {
        put_back(older, &victim.root);
        let mut miner = victim.start_miner(&["--no-mine"]);
        let ended = match number {
            first if first < formats => trial.kill(miner),
            last if last + formats >= kills => {
                miner.wait_for("listening");
                trial.kill(miner)
            }
            _ => trial.kill_within(miner, longest),
        };
        converted += u32::from(older_format::format(&directory) == Some(older_format::PRESENT));
        let found = trial.check(&victim, Program::Miner, &told, &ended);
        assert_eq!(found.tip, Some(tip), "after {ended:?}");
    }
    let expected = kills.saturating_sub(formats).min(formats)..=kills.saturating_sub(formats);
    assert!(expected.contains(&converted), "{converted} of {kills} were converted before the kill");
}
