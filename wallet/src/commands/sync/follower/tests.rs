//! What is told, and what is not.

use std::path::Path;

use common::settings::CommonFlags;

use super::*;
use crate::commands::history::history;
use crate::commands::testing::{Scene, ignore};

/// The settings of a user without a configuration.
fn settings(root: &Path) -> Settings {
    let config = root.join("config.toml");
    std::fs::write(&config, "").unwrap();
    let mut flags = CommonFlags::default();
    flags.config = Some(config);
    flags.data_dir = root.join("data").to_str().map(str::to_owned);
    flags.load(std::iter::empty()).unwrap().settings
}

fn follower<'a>(scene: &Scene, until: Until, notes: &'a mut Notes<'a>) -> Follower<'a> {
    let root = tempfile::tempdir().unwrap();
    let (keys, outbox) = (scene.wallet.keys.clone(), scene.wallet.outbox.clone());
    let mut follower = Follower::new(&settings(root.path()), "class-7b", keys, outbox, until, notes);
    follower.watch_keys(scene.chain()).unwrap();
    follower
}

/// What is told of the chain and of the outbox since the last call.
fn news(follower: &mut Follower<'_>, scene: &Scene) -> Vec<String> {
    let changes = follower.changes(scene.chain()).unwrap();
    changes.into_iter().chain(follower.changed_fates(scene.chain()).unwrap().1).collect()
}

#[test]
fn receipts_and_confirmations_are_told_once_and_those_of_the_past_not_at_all() {
    let mut scene = Scene::new();
    scene.mine_for("alice");
    let mut ignore = ignore;
    let mut follower = follower(&scene, Until::Interrupted, &mut ignore);
    assert!(news(&mut follower, &scene).is_empty());
    scene.send("alice", "4", "bob", "0");
    assert!(news(&mut follower, &scene).is_empty());
    // The blocks come in without this follower's node: another process fetched them.
    scene.mine_for("bob");
    let mut told = news(&mut follower, &scene);
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "alice pays 4 to bob: confirmed in block 2.",
            "bob earned 10 for block 2.",
            "bob received 4 from alice in block 2."
        ]
    );
    assert!(news(&mut follower, &scene).is_empty());
}

#[test]
fn what_a_reorganisation_takes_is_told_whoever_found_it() {
    let mut scene = Scene::new();
    scene.mine_for("alice");
    let mut notes = Vec::new();
    let mut note = |note: Note| notes.push(note.to_string());
    let mut follower = follower(&scene, Until::Interrupted, &mut note);
    scene.send("alice", "4", "bob", "0");
    news(&mut follower, &scene);
    scene.mine_for("bob");
    news(&mut follower, &scene);
    scene.reorganise();
    let mut told = news(&mut follower, &scene);
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "alice pays 4 to bob: a reorganisation took it out of the chain; it is pending again and sent again.",
            "bob no longer has 10 for block 2: a reorganisation took the block out.",
            "bob no longer has 4: a reorganisation took its block out.",
        ]
    );
    assert!(news(&mut follower, &scene).is_empty());
    assert_eq!(notes, ["Reorganisation: 1 block left the chain, 2 joined it."]);
}

#[test]
fn a_conflict_is_told_once_and_so_is_its_end() {
    let mut scene = Scene::new();
    scene.mine_for("alice");
    scene.send("alice", "1", "bob", "0");
    let first = scene.forget_outbox();
    scene.send("alice", "2", "bob", "0");
    let mut ignore = ignore;
    let mut follower = follower(&scene, Until::Interrupted, &mut ignore);
    scene.mine_for("bob");
    news(&mut follower, &scene);
    scene.restore_outbox(&first);
    assert_eq!(
        news(&mut follower, &scene),
        ["alice pays 1 to bob: the chain now holds another payment in its place."]
    );
    assert!(news(&mut follower, &scene).is_empty());
    scene.reorganise();
    let told = news(&mut follower, &scene);
    assert!(told.iter().any(|line| line.contains("alice pays 1 to bob: a reorganisation freed")), "{told:?}");
}

/// Here it was in conflict, and in the history it had expired.
#[test]
fn a_payment_that_expired_and_then_lost_its_place_has_expired_wherever_it_is_shown() {
    let mut scene = Scene::new();
    scene.mine_for("alice");
    let mut ignore = ignore;
    let mut follower = follower(&scene, Until::Interrupted, &mut ignore);
    let name = scene.keep("alice", 0, 1, 2);
    news(&mut follower, &scene);
    scene.mine_empty();
    assert!(news(&mut follower, &scene)[0].contains("it has expired"));
    scene.send("alice", "1", "bob", "0");
    scene.mine_for("bob");
    let told = news(&mut follower, &scene);
    assert!(told.iter().all(|line| !line.contains("another payment in its place")), "{told:?}");
    assert_eq!(follower.fates.as_ref().and_then(|fates| fates.get(&name)), Some(&Fate::Expired));
    let shown = history(&scene.wallet, None, 100, &mut crate::commands::testing::ignore).unwrap();
    assert!(shown.contains("expired: no block up to 2 held it") && !shown.contains("conflicting"), "{shown}");
}

#[test]
fn an_unusable_file_of_the_outbox_is_told_of_once() {
    let mut scene = Scene::new();
    scene.mine_for("alice");
    let sent = scene.send("alice", "1", "bob", "0");
    let path = scene.wallet.outbox.path(&PaymentName::of(&sent.transaction));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let mut notes = Vec::new();
    let mut note = |note: Note| notes.push(note.to_string());
    let mut follower = follower(&scene, Until::Interrupted, &mut note);
    for _ in 0..3 {
        news(&mut follower, &scene);
    }
    assert_eq!(notes.len(), 1, "{notes:?}");
}

#[test]
fn catching_up_ends_also_when_nobody_is_heard_or_nobody_gives_his_chain() {
    let scene = Scene::new();
    let (seconds, tip) = (Duration::from_secs, BlockId::from_bytes([1; 32]));
    let over = |look: &mut dyn FnMut(&mut Follower<'_>) -> bool| {
        let mut ignore = ignore;
        let mut follower = follower(&scene, Until::CaughtUp, &mut ignore);
        assert!(look(&mut follower));
        follower.failed.map(|error| error.to_string())
    };
    let nobody = over(&mut |follower| {
        !follower.is_over(false, false, tip, seconds(1)) && follower.is_over(false, false, tip, seconds(100))
    });
    assert!(nobody.is_some_and(|error| error.contains(r#""class-7b" was heard within"#)));
    let none_gives = over(&mut |follower| {
        !follower.is_over(true, false, tip, seconds(1))
            && !follower.is_over(true, false, BlockId::from_bytes([2; 32]), seconds(60))
            && !follower.is_over(true, false, BlockId::from_bytes([2; 32]), seconds(119))
            && follower.is_over(true, false, BlockId::from_bytes([2; 32]), seconds(120))
    });
    assert!(none_gives.is_some_and(|error| error.contains("none gave its chain")));
    let done = over(&mut |follower| {
        !follower.is_over(true, true, tip, seconds(1)) && follower.is_over(true, true, tip, seconds(6))
    });
    assert_eq!(done, None);
}

#[test]
fn who_follows_a_silent_network_is_told_once_and_goes_on() {
    let scene = Scene::new();
    let mut notes = Vec::new();
    let mut note = |note: Note| notes.push(note.to_string());
    let mut follower = follower(&scene, Until::Confirmed(TransactionId::from_bytes([1; 32])), &mut note);
    for second in 0..100 {
        assert!(!follower.is_over(false, false, BlockId::ZERO, Duration::from_secs(second)));
    }
    assert!(
        notes.len() == 2 && notes[0].contains("still listening") && notes[1].starts_with("hint"),
        "{notes:?}"
    );
}

/// Whoever was told "never" paid again, and a reorganisation then brought both.
#[test]
fn a_payment_in_conflict_at_the_tip_is_not_given_up_for_good() {
    let scene = Scene::new();
    let id = TransactionId::from_bytes([1; 32]);
    for fate in [Fate::Conflicting, Fate::Expired] {
        let mut ignore = ignore;
        let mut follower = follower(&scene, Until::Confirmed(id), &mut ignore);
        follower.check_goal(&id, fate);
        let error = follower.end().unwrap_err();
        assert!(!error.to_string().contains("never") && error.exit_code() == 1, "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("reorganisation") && hint.contains("twice")));
    }
}
