//! While a program holds a key, no other program of the same user can look into it, and it leaves no core dump.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use common::files;
use common::keys::PrivateKey;
use common::passphrase::Passphrase;
use common::rules::Rules;
use trials::program::{Home, Network, Running};

const RIGHT: &str = "two words";

/// What starts a program with the rights that any user has: root may look into everything.
fn as_any_user() -> &'static [&'static str] {
    let is_root = fs::metadata("/proc/self").expect("there is /proc").uid() == 0;
    if is_root { &["setpriv", "--bounding-set=-all", "--inh-caps=-all"] } else { &["env"] }
}

fn command(program: &str) -> Command {
    let (launcher, arguments) = as_any_user().split_first().expect("it has a program");
    let mut command = Command::new(launcher);
    command.args(arguments).arg(program);
    command
}

/// Whether another program of the same user can read the memory of this one.
fn can_look_into(pid: u32) -> bool {
    let output = command("head").args(["-c", "1", &format!("/proc/{pid}/environ")]).output();
    output.expect("it starts").status.success()
}

/// Whether a program that hides nothing can be looked into here; if not, there is nothing to be shown.
fn usual_programs_can_be_looked_into() -> bool {
    let usual = command("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let can = usual.is_ok_and(|mut usual| {
        // When it answers, it is `cat`, and no longer what starts it.
        let asked = usual.stdin.as_mut().is_some_and(|stdin| stdin.write_all(b"x").is_ok());
        let answers = usual.stdout.as_mut().is_some_and(|stdout| stdout.read_exact(&mut [0]).is_ok());
        let can = asked && answers && can_look_into(usual.id());
        usual.kill().and_then(|()| usual.wait()).expect("it was started");
        can
    });
    if !can {
        let _ = writeln!(std::io::stderr(), "skipped: here no program can look into another");
    }
    can
}

/// A pipe for a passphrase, in the directory of the network.
fn pipe(network: &Network) -> String {
    let pipe = network.directory().join("passphrase");
    let made = Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status();
    assert!(made.expect("there is a `mkfifo`").success());
    pipe.to_str().expect("the path is text").to_owned()
}

/// Waits until a program takes its passphrase from a pipe, and looks at it then; whoever is given the result can
/// answer it.
fn hides(program: &Running, pipe: &str) -> File {
    let answer = OpenOptions::new().write(true).open(pipe).expect("it is there");
    assert!(!can_look_into(program.pid()));
    let limits = fs::read_to_string(format!("/proc/{}/limits", program.pid())).expect("it runs");
    let cores = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    let cores: Vec<&str> = cores.expect("there is such a limit").split_whitespace().take(2).collect();
    assert_eq!(cores, ["0", "0"], "the limit, and what it can be raised to");
    answer
}

fn answer(mut to: File) {
    writeln!(to, "{RIGHT}").expect("it is read");
}

fn home(network: &Network) -> Home<'_> {
    network.home("alice").started_by(as_any_user())
}

#[test]
fn a_wallet_hides_its_memory() {
    if !usual_programs_can_be_looked_into() {
        return;
    }
    let network = Network::new();
    let (home, pipe) = (home(&network), pipe(&network));
    home.wallet(&["new-address", "alice"]);
    let wallet = home.start_wallet(&["encrypt", "alice", "--passphrase-file", &pipe]);
    answer(hides(&wallet, &pipe));
    let ended = wallet.end();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn a_miner_that_seals_blocks_hides_its_memory() {
    if !usual_programs_can_be_looked_into() {
        return;
    }
    let key = PrivateKey::generate(2048).expect("a key can be made");
    let network = Network::with_rules(Rules {
        authorities: vec![key.address()],
        max_ahead_seconds: 10,
        authority_timeout_seconds: 15,
        ..Rules::default()
    });
    let (home, pipe) = (home(&network), pipe(&network));
    let passphrase = Passphrase::new(RIGHT.as_bytes().to_vec().into()).expect("it is neither empty nor long");
    files::create_private_directory(&home.data().keys()).expect("there is room");
    let text = key.to_encrypted_pem(&passphrase).expect("it can be encrypted");
    files::create_new(&home.data().keys().join("mining_rewards.pem"), text.as_bytes())
        .expect("there is room");
    let mut miner = home.start_miner(&["--passphrase-file", &pipe]);
    answer(hides(&miner, &pipe));
    miner.wait_for("mining");
    miner.stop();
}
