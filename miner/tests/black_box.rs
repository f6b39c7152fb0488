//! The built miner from outside: its flags, its log, its exit codes, and its block server.

#[allow(dead_code, reason = "not every test needs all of it")]
mod harness;

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::amount::Amount;
use common::difficulty::Work;
use common::key_store::KeyStore;
use common::keys::PrivateKey;
use common::transaction::Payment;
use common::wire::{Request, Response, Status, SubmitResult};

use harness::{Miner, Ports, ask, network_of, output, status, status_beyond, while_announcing};

/// Rules under which blocks are found in moments and nothing depends on how fast the machine is.
const EASY: &str = "difficulty = 16\n";

#[test]
fn the_rules_that_are_printed_are_a_file_of_the_same_network() {
    let directory = tempfile::tempdir().unwrap();
    let printed =
        output(&["rules", "--name", "lab-7", "--set", "difficulty=20", "--set", "block_reward=2.5"]);
    assert!(printed.status.success());
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.starts_with("# "), "{text}");
    for part in ["name = \"lab-7\"", "difficulty = 20", "block_reward = \"2.5\""] {
        assert!(text.contains(part), "{text}");
    }
    let file = directory.path().join("lab-7.toml");
    fs::write(&file, &text).unwrap();
    let again = output(&["rules", "--network", file.to_str().unwrap()]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
}

#[test]
fn a_benchmark_tells_every_kernel_and_the_time_to_a_block_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let rules = ["--name", "lab-7", "--set", "difficulty=20"];
    let told = output(&[&["bench", "--data-dir", data.to_str().unwrap()][..], &rules].concat());
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success() && told.stderr.is_empty(), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('│')).collect();
    assert!(rows[0].contains("MH/s") && rows.last().unwrap().contains("portable"), "{text}");
    assert_eq!(rows.iter().filter(|row| row.contains(" yes ")).count(), 1, "{text}");
    assert!(text.contains("lab-7, 20.0 bits, takes "), "{text}");
    assert!(!data.exists());
}

#[test]
fn what_is_unknown_or_malformed_gets_a_sentence_that_names_it_and_exit_code_2() {
    for (arguments, named) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["no-such-command"], "no-such-command"),
        (&["rules", "--network", "no-such-network"], "no-such-network"),
        (&["rules", "--set", "dificulty=20"], "dificulty"),
        (&["rules", "--set", "difficulty=many"], "difficulty"),
        (&["rules", "--set", "difficulty=0"], "difficulty"),
        (&["rules", "--name", "Not A Name"], "Not A Name"),
        (&["--threads", "-1"], "-1"),
        (&["--threads", "5000"], "--threads"),
        (&["--peer", "nowhere"], "nowhere"),
        (&["networks", "--join", "../evil"], "../evil"),
        (&["networks", "--seconds", "0"], "--seconds"),
    ] {
        let output = output(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.starts_with("error: ") && told.contains(named), "{arguments:?}: {told}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_port_that_another_program_keeps_for_itself_is_named_with_what_to_do() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let network = network_of(&directory, "ports", EASY);
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for setting in ["status_broadcast_port", "transaction_port"] {
        let mut flags = ports.flags();
        flags.extend(["--set".to_owned(), format!("{setting}={port}"), "--no-mine".to_owned()]);
        let paths = [directory.path(), &network].map(|path| path.to_str().unwrap());
        let mut arguments = vec!["--data-dir", paths[0], "--network", paths[1]];
        arguments.extend(flags.iter().map(String::as_str));
        let output = output(&arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.contains(&format!(":{port}: is a program there that does not share the port?")),
            "{told}"
        );
        assert!(told.contains("hint: other ports: --set status_broadcast_port"), "{told}");
    }
}

#[test]
fn a_second_miner_in_one_data_directory_is_refused_until_the_first_is_gone() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let network = network_of(&directory, "lock", EASY);
    let mut first = Miner::start(directory.path(), &network, &ports, &["--no-mine"]);
    first.block_server();
    let mut second = Miner::start(directory.path(), &network, &ports, &["--no-mine"]);
    let told = second.wait_for("error: ");
    assert!(told.contains("another miner is running"), "{told}");
    assert_eq!(second.exit_code(), Some(1));
    // Also kill -9 frees the directory.
    first.kill();
    let mut third = Miner::start(directory.path(), &network, &ports, &["--no-mine"]);
    third.block_server();
}

/// It promises to be gone within two seconds, on a machine that has time for it; what waits for something it should not
/// wait for takes ten.
const FAREWELL: Duration = Duration::from_secs(8);

#[test]
fn ctrl_c_and_sigterm_end_a_miner() {
    for signal in ["INT", "TERM"] {
        let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
        let network = network_of(&directory, "end", EASY);
        let mut miner = Miner::start(directory.path(), &network, &ports, &[]);
        miner.wait_for("found block");
        let asked = Instant::now();
        miner.signal(signal);
        assert_eq!(miner.exit_code(), Some(0), "after SIG{signal}");
        assert!(asked.elapsed() < FAREWELL, "it took {:?} after SIG{signal}", asked.elapsed());
        assert!(miner.wait_for("stopped at height").contains("found"));
    }
}

#[test]
fn a_miner_with_peers_does_not_say_that_nothing_is_sent_to_other_machines() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let network = network_of(&directory, "reach", EASY);
    let mut alone = Miner::start(directory.path(), &network, &ports, &["--no-mine"]);
    assert!(alone.wait_for("this machine").contains("nothing is sent beyond it"));
    alone.kill();
    // Nobody is at this port.
    let mut miner = Miner::start(directory.path(), &network, &ports, &["--no-mine", "--peer", "127.0.0.1:1"]);
    let told = miner.wait_for("this machine");
    assert!(told.contains("nothing is broadcast") && told.contains("peers are called"), "{told}");
    miner.wait_for("keeping up a connection with 127.0.0.1:1");
}

#[test]
fn the_first_run_makes_the_reward_key_and_later_runs_use_it() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let network = network_of(&directory, "key", EASY);
    let mut first = Miner::start(directory.path(), &network, &ports, &[]);
    let address = first.wait_for("rewards go to").rsplit(' ').next().unwrap().to_owned();
    first.wait_for("found block");
    first.signal("TERM");
    assert_eq!(first.exit_code(), Some(0));
    let keys = KeyStore::new(directory.path().join("keys"));
    assert_eq!(keys.find(&"mining_rewards".parse().unwrap()).unwrap().to_string(), address);
    let mut second = Miner::start(directory.path(), &network, &ports, &[]);
    assert!(second.wait_for("rewards go to").ends_with(&address));
    assert!(!second.wait_for("the chain is").contains("empty"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_miner_that_makes_its_key_leaves_no_core_dump_also_where_it_seals_nothing() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let network = network_of(&directory, "hide", EASY);
    let mut miner = Miner::start(directory.path(), &network, &ports, &[]);
    miner.wait_for("made the key");
    let limits = fs::read_to_string(format!("/proc/{}/limits", miner.pid())).unwrap();
    let cores = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let cores: Vec<&str> = cores.split_whitespace().take(2).collect();
    assert_eq!(cores, ["0", "0"], "the limit, and what it can be raised to");
}

#[test]
fn miners_started_one_after_the_other_and_killed_meet_on_one_chain() {
    let (one, two, ports) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Ports::free());
    let network = network_of(&one, "meet", EASY);
    let mut first = Miner::start(one.path(), &network, &ports, &[]);
    let first_place = first.block_server();
    let mut seen = status(first_place);
    while seen.height.get() < 3 {
        seen = status_beyond(first_place, seen.tip);
    }
    let mut second = Miner::start(two.path(), &network, &ports, &[]);
    second.wait_for("found a peer");
    meet(&mut first, &mut second);
    second.kill();
    let before = status(first_place).height;
    let mut second = Miner::start(two.path(), &network, &ports, &["--no-mine"]);
    meet(&mut first, &mut second);
    assert!(status(second.block_server()).height >= before);
}

/// Waits until two miners have the same tip.
fn meet(one: &mut Miner, other: &mut Miner) {
    let (one, other) = (one.block_server(), other.block_server());
    let deadline = Instant::now() + harness::AT_MOST;
    loop {
        let (a, b) = (status(one), status(other));
        if a.tip == b.tip && a.height.get() > 0 {
            return;
        }
        assert!(Instant::now() < deadline, "the tips stay different: {a:?} and {b:?}");
        let (behind, tip) = if a.work < b.work { (one, a.tip) } else { (other, b.tip) };
        status_beyond(behind, tip);
    }
}

#[test]
fn a_payment_is_accepted_told_of_and_mined_and_a_bad_one_is_refused() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let key = PrivateKey::generate(2048).unwrap();
    let rules = format!("{EASY}min_fee = \"0.01\"\n[alloc]\n{} = \"100\"\n", key.address());
    let network = network_of(&directory, "pay", &rules);
    let mut miner = Miner::start(directory.path(), &network, &ports, &[]);
    let place = miner.block_server();
    let id = miner.network_id();
    let payment = |amount: u64, nonce| {
        let payment = Payment {
            version: Default::default(),
            to: common::address::Address::from_bytes([7; 32]),
            amount: Amount::from_coins(amount),
            fee: "0.5".parse().unwrap(),
            nonce,
            valid_until: Default::default(),
            data: b"\x1b[31mred".to_vec(),
            public_key: Vec::new(),
        };
        key.sign_payment(payment, &id)
    };
    let good = payment(10, 0);
    let submitted = ask(place, Request::SubmitTransactions(vec![good.clone(), payment(1_000, 1)]));
    let Response::Results(results) = submitted else { panic!("{submitted:?}") };
    assert_eq!(results, [SubmitResult::ACCEPTED, SubmitResult::FUNDS]);
    let told = miner.wait_for("accepted: 10 from");
    assert!(told.contains(&key.address().short()) && told.contains("fee 0.5"), "{told}");
    assert!(miner.wait_for("earned, 0.5 of it fees").contains("1 payment"));
    let proof = ask(place, Request::GetProof { transaction: good.id() });
    assert!(matches!(proof, Response::Proof(_)), "{proof:?}");
}

#[test]
fn authorities_mine_in_turns_with_any_of_their_keys_and_others_follow_without_mining() {
    let data = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let ports = Ports::free();
    let make = |index: usize, name: &str| {
        let keys = KeyStore::new(data[index].path().join("keys"));
        keys.create(&name.parse().unwrap(), 2048).unwrap().0.address()
    };
    let authorities = [make(0, "mining_rewards"), make(1, "school")];
    let rules = format!(
        "difficulty = 8\ntarget_block_seconds = 0\nmin_spacing_ms = 200\nmax_ahead_seconds = 10\n\
         authority_timeout_seconds = 15\nauthorities = [\"{}\", \"{}\"]\n",
        authorities[0], authorities[1],
    );
    let network = network_of(&data[0], "turns", &rules);
    let mut miners = [0, 1, 2].map(|index| Miner::start(data[index].path(), &network, &ports, &[]));
    assert!(miners[1].wait_for("rewards go to").ends_with(&authorities[1].to_string()));
    miners[2].wait_for("follows the chain without mining");
    for miner in &mut miners[..2] {
        for _ in 0..2 {
            miner.wait_for("found block");
        }
    }
    let [one, other, follower] = &mut miners;
    meet(one, follower);
    meet(other, follower);
}

#[test]
fn networks_are_listed_joined_and_told_apart_by_their_ids() {
    let data = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let ports = Ports::free();
    let flags = ports.flags();
    let networks = |extra: &[&str]| {
        let mut arguments =
            vec!["networks", "--seconds", "1", "--data-dir", data[2].path().to_str().unwrap()];
        arguments.extend(flags.iter().map(String::as_str));
        arguments.extend(extra);
        let output = output(&arguments);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, listed, told) = networks(&[]);
    assert_eq!((code, listed.trim()), (Some(0), ""));
    assert!(told.contains("no network was heard"), "{told}");
    let (code, _, told) = networks(&["--join", "lab"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("error: no network \"lab\" was heard"), "{told}");

    let file = network_of(&data[0], "lab", EASY);
    let mut one = Miner::start(data[0].path(), &file, &ports, &["--no-mine"]);
    let id = one.network_id().to_string();
    one.block_server();
    let (code, listed, _) = networks(&[]);
    assert_eq!(code, Some(0));
    assert!(listed.contains("lab") && listed.contains(&id[..16]), "{listed}");

    let file = network_of(&data[1], "lab", "difficulty = 17\n");
    let mut two = Miner::start(data[1].path(), &file, &ports, &["--no-mine"]);
    let other = two.network_id().to_string();
    let told = two.wait_for("another network");
    assert!(told.contains(&format!("`miner networks --join {}`", &id[..16])), "{told}");
    let (code, _, told) = networks(&["--join", "lab"]);
    assert_eq!(code, Some(1));
    assert!(told.contains(&id[..16]) && told.contains(&other[..16]), "{told}");
    let (code, joined, told) = networks(&["--join", &other[..16]]);
    assert_eq!(code, Some(0), "{told}");
    assert!(joined.contains("--network lab"), "{joined}");
    let (_, listed, _) = networks(&[]);
    assert!(listed.contains("--network lab"), "{listed}");
    let rules = output(&["rules", "--network", "lab", "--data-dir", data[2].path().to_str().unwrap()]);
    assert!(String::from_utf8(rules.stdout).unwrap().contains(&other));
}

#[test]
fn liars_who_claim_the_most_work_keep_no_honest_miner_from_being_asked_for_the_rules() {
    let data = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let ports = Ports::free();
    let file = network_of(&data[0], "lab", EASY);
    let mut honest = Miner::start(data[0].path(), &file, &ports, &["--no-mine"]);
    let (network, status) = (honest.network_id(), status(honest.block_server()));
    // Nobody serves blocks at these: whoever calls is refused.
    let lies = [1, 2, 3, 4, 5].map(|block_server_port| Status {
        instance: u64::from(block_server_port),
        work: Work::from_be_bytes([0xff; 32]),
        block_server_port,
        ..status
    });
    let join = |flags: &[String]| {
        let directory = data[1].path().to_str().unwrap();
        let id = network.to_string();
        let mut arguments = vec!["networks", "--seconds", "1", "--data-dir", directory, "--join", &id];
        arguments.extend(flags.iter().map(String::as_str));
        let told = while_announcing(&network, &lies, &ports, || output(&arguments));
        (told.status.code(), String::from_utf8([told.stdout, told.stderr].concat()).unwrap())
    };
    let (code, told) = join(&ports.flags());
    assert!(code == Some(0) && told.contains("the rules of lab"), "{told}");

    // And when only liars are left, it is not said that the network is not there.
    honest.kill();
    let (code, told) = join(&ports.flags());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(&format!("error: network {} was heard, but none", &network.to_string()[..16])));
    assert!(told.contains("(5 asked)") && told.contains("hint: a firewall"), "{told}");
}
