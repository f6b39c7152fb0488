//! `wallet send FROM AMOUNT TO`: makes a payment that no crash can lose. Broadcasting it is up to the caller,
//! who gets it only once it is durable.

use common::amount::Amount;
use common::hash::TransactionId;
use common::passphrase::Passphrases;
use common::rules::{MAX_DATA_BYTES, Rules};
use common::store::{Store, Tip};
use common::time::Timestamp;
use common::transaction::{Payment, Transaction, TransactionVersion};

use crate::error::WalletError;
use crate::output::{Note, Notes, duration};
use crate::wallet::{Party, Wallet};

/// What the user asks for.
#[derive(Clone, Debug)]
pub struct Request {
    pub from: Party,
    pub amount: Amount,
    pub to: Party,
    /// `None`: the least that the network asks for.
    pub fee: Option<Amount>,
    pub data: Vec<u8>,
    /// For how many blocks after the present tip; `None`: for ever.
    pub valid_for: Option<u32>,
    /// Asked if the sender's key is encrypted.
    pub passphrases: Passphrases,
}

/// A payment that is in the outbox.
#[derive(Clone, Debug)]
pub struct Sent {
    pub id: TransactionId,
    pub transaction: Transaction,
}

/// Checks, signs and keeps a payment. When this fails nothing was changed.
pub fn send<S: Store>(wallet: &Wallet<S>, request: &Request, notes: &mut Notes) -> Result<Sent, WalletError> {
    let fee = request.fee.unwrap_or(wallet.rules.min_fee);
    let needed = check_request(wallet, request, fee)?;
    let to = request.to.payee(&wallet.keys, wallet.rules.key_size)?;
    let sender = request.from.key(&wallet.keys)?;
    if wallet.chain.is_none() {
        return Err(WalletError::NeverSynced { network: wallet.rules.name.clone() });
    }
    // Here, and not while others wait for the outbox, a user may be asked for a passphrase.
    let key = wallet.keys.load(&sender, wallet.rules.key_size, &request.passphrases)?;
    let from = key.address();

    // Whoever else is sending waits from here until the payment is in the outbox: no nonce is used twice, and
    // nothing is spent twice.
    let outbox = wallet.outbox.lock()?;
    let (mut survey, (tip, account, settled)) = wallet.survey(notes, |ledger, survey| match ledger {
        Some(ledger) => {
            Ok((Some(ledger.tip()?), ledger.account(&from)?, wallet.outbox.settled(survey, ledger)?))
        }
        None => Ok(Default::default()),
    })?;
    if let Some(source) = survey.take_unknown_from(&from) {
        return Err(WalletError::PaymentUnknown { sender, source: source.into() });
    }
    let pending = survey.outgoing(&from);
    let spendable = account.balance.saturating_sub(pending);
    if needed > spendable {
        return Err(WalletError::InsufficientFunds {
            sender,
            balance: account.balance,
            pending,
            payments: survey.pending_from(&from).count(),
            spendable,
            needed,
            missing: needed.saturating_sub(spendable),
        });
    }
    let payment = Payment {
        version: TransactionVersion::V1,
        to,
        amount: request.amount,
        fee,
        nonce: survey.next_nonce(&from, account.nonce),
        valid_until: valid_until(tip.as_ref(), request.valid_for)?,
        data: request.data.clone(),
        public_key: key.modulus().to_vec(),
    };
    let transaction = key.sign_payment(payment, &wallet.network);
    let id = outbox.add(&transaction)?;
    drop(outbox);
    // The payment is made: nothing from here on may look like a refusal, or the user would pay twice.
    if let Err(error) = wallet.outbox.remove(&settled) {
        notes(Note::warning(format!("a payment of long ago stays in the outbox: {error}")));
    }

    if let (Some(tip), Some(blocks)) = (&tip, request.valid_for)
        && let Some(doubt) = may_be_too_late(tip, blocks, &wallet.rules, Timestamp::from_system_clock())
    {
        notes(Note::warning(doubt));
    }
    let until = match transaction.payment.valid_until {
        0 => "until a block holds it".to_owned(),
        height => format!("until a block holds it, or block {height} is past"),
    };
    let (amount, to) = (request.amount, &request.to);
    notes(Note::info(format!("{sender} pays {amount} to {to}, fee {fee}. It is pending {until}.")));
    Ok(Sent { id, transaction })
}

/// What can be said of a request without the ledger; gives amount and fee together.
fn check_request<S: Store>(
    wallet: &Wallet<S>,
    request: &Request,
    fee: Amount,
) -> Result<Amount, WalletError> {
    if request.amount.is_zero() {
        return Err(WalletError::ZeroAmount);
    }
    if fee < wallet.rules.min_fee {
        return Err(WalletError::FeeTooLow { got: fee, least: wallet.rules.min_fee });
    }
    if request.data.len() > MAX_DATA_BYTES {
        return Err(WalletError::DataTooLong { got: request.data.len() });
    }
    let total = request.amount.checked_add(fee).filter(|total| *total <= Amount::MAX);
    total.ok_or(WalletError::TotalOverflows)
}

/// The last block that may hold a payment made now; 0: any.
fn valid_until(tip: Option<&Tip>, valid_for: Option<u32>) -> Result<u32, WalletError> {
    let Some(blocks) = valid_for else { return Ok(0) };
    let last = tip.map_or(0, |tip| tip.height.get()).saturating_add(blocks.into());
    u32::try_from(last).map_err(|_| WalletError::ValidTooLong { last })
}

/// What is to be said where the chain here is so old that the network may be past the blocks that might hold a payment.
/// A network without a target spacing may make no blocks for as long as nobody pays, so that nothing follows there.
fn may_be_too_late(tip: &Tip, valid_for: u32, rules: &Rules, now: Timestamp) -> Option<String> {
    let age = now.millis_since(tip.time);
    let usual = 1_000 * u64::from(valid_for) * u64::from(rules.target_block_seconds);
    (usual > 0 && age > usual).then(|| {
        format!(
            "the chain here is {} old, in which the network usually makes more than {valid_for} blocks: the payment may \
             have expired already. `wallet sync --once` shows it",
            duration(age)
        )
    })
}

#[cfg(test)]
mod tests {
    use common::consensus::check_transaction;
    use common::failure::Failure;
    use common::key_store::{KeyName, KeyStoreError};
    use common::rules::Rules;
    use common::signature::RsaVerifier;
    use common::store::StoreError;

    use super::*;
    use crate::commands::list_addresses::list_addresses;
    use crate::commands::testing::{Scene, ignore, passphrase};
    use crate::outbox::{KEEP_BLOCKS, PaymentName};

    fn refusal(scene: &Scene, request: &Request) -> WalletError {
        let error = send(&scene.wallet, request, &mut ignore).expect_err("the request is refused");
        assert!(scene.wallet.outbox.survey(None).unwrap().open.is_empty());
        error
    }

    #[test]
    fn two_payments_in_a_row_both_go_through() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        let first = scene.send("alice", "4", "bob", "0");
        let second = scene.send("alice", "6", "bob", "0");
        assert_eq!((first.transaction.payment.nonce, second.transaction.payment.nonce), (0, 1));
        let (rules, network) = (&scene.wallet.rules, scene.wallet.network);
        assert!(
            check_transaction(rules, &network, first.transaction.clone(), &RsaVerifier::default()).is_ok()
        );
        scene.mine_for("bob");
        assert_eq!(scene.balance("bob"), Amount::from_coins(20));
        assert_eq!(
            scene.wallet.keys.public_key(&"alice".parse().unwrap(), 2048).unwrap().address(),
            scene.address("alice")
        );
    }

    #[test]
    fn what_is_missing_is_said_exactly_and_pending_payments_count_as_spent() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        scene.send("alice", "4", "bob", "0.5");
        let error =
            send(&scene.wallet, &scene.request("alice", "6", "bob", "0.25"), &mut ignore).unwrap_err();
        assert_eq!(
            error.to_string(),
            "alice can spend 5.5 and this payment takes 6.25: 0.75 are missing \
             (4.5 of its balance of 10 is taken up by 1 pending payment)"
        );
        assert_eq!(error.exit_code(), 1);
        // Others never expire.
        assert!(error.hint().is_some_and(|hint| hint.contains("those made with --valid-for")));
        scene.send("alice", "5", "bob", "0.5");
        assert_eq!(scene.pending(), 2);
    }

    /// It looked as good as any, and no miner could ever take it.
    #[test]
    fn whoever_pays_by_an_old_chain_hears_that_the_payment_may_have_expired_already() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        let tip = scene.chain().store().read::<_, StoreError>(|reader| reader.tip()).unwrap();
        let rules = &Rules { target_block_seconds: 5, ..(*scene.wallet.rules).clone() };
        let later = |blocks: u64| {
            Timestamp::from_millis(tip.time.millis() + 1_000 * blocks * u64::from(rules.target_block_seconds))
        };
        assert_eq!(may_be_too_late(&tip, 100, rules, later(100)), None);
        let doubt = may_be_too_late(&tip, 100, rules, later(101)).unwrap();
        assert!(doubt.contains("more than 100 blocks") && doubt.contains("wallet sync --once"), "{doubt}");
        assert_eq!(
            may_be_too_late(&tip, 100, &scene.wallet.rules, later(1_000)),
            None,
            "no spacing is aimed at"
        );
        // Of a clock that is behind nothing follows.
        assert_eq!(may_be_too_late(&tip, 1, rules, Timestamp::from_millis(0)), None);
    }

    #[test]
    fn parties_may_be_addresses_and_a_sender_needs_its_key_here() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        let (alice, stranger) = (scene.address("alice").to_string(), "11".repeat(32));
        let sent = scene.send(&alice, "1", &stranger, "0");
        assert_eq!(sent.transaction.payment.to, stranger.parse().unwrap());

        let scene = Scene::new();
        let error = refusal(&scene, &scene.request(&stranger, "1", "bob", "0"));
        assert!(matches!(error, WalletError::UnknownAddress { .. }));
        assert_eq!(error.exit_code(), 2);
        for (from, to) in [("nobody", "bob"), ("alice", "nobody")] {
            let error = refusal(&scene, &scene.request(from, "1", to, "0"));
            assert!(matches!(error, WalletError::Failure(Failure::Keys(KeyStoreError::Unknown { .. }))));
            assert_eq!(error.exit_code(), 2);
        }
    }

    /// Keys belong to all networks. What such a key was paid was lost.
    #[test]
    fn nobody_pays_a_key_of_his_own_that_cannot_spend_on_this_network() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        let bob = scene.address("bob").to_string();
        let is_refused = |scene: &Scene, why: &str| {
            for to in ["bob", &bob] {
                let error = refusal(scene, &scene.request("alice", "1", to, "0"));
                assert!(matches!(error, WalletError::NotPaid { .. }), "{error}");
                let told = error.to_string();
                assert!(told.starts_with("bob is not paid: ") && told.contains(why), "{told}");
                assert_eq!(error.exit_code(), 1);
                assert!(error.hint().is_some_and(|hint| hint.starts_with("nobody could spend ")));
            }
        };
        let sound = scene.wallet.rules.clone();
        scene.wallet.rules = Rules { key_size: 3072, ..(*sound).clone() }.into();
        is_refused(&scene, "bob.pem has 2048 bits, and this network asks for 3072");
        let mut notes = Vec::new();
        let mut note = |note: Note| notes.push(note.to_string());
        let listed = list_addresses(&scene.wallet, scene.now(), &mut note).unwrap();
        assert!(listed.contains("not for this network, see above") && !listed.contains(&bob), "{listed}");
        assert!(notes[1].starts_with("warning: the key bob has 2048 bits, and "), "{notes:?}");

        scene.wallet.rules = sound;
        let path = scene.wallet.keys.path(&"bob".parse().unwrap());
        let whole = std::fs::read_to_string(&path).unwrap();
        // In the middle of the private numbers; the public key is as it was.
        let (start, end) = whole.split_at(whole.len() - 700);
        let other = if end.starts_with('A') { 'B' } else { 'A' };
        std::fs::write(&path, format!("{start}{other}{}", &end[1..])).unwrap();
        is_refused(&scene, "bob.pem is damaged");
        let copy: KeyName = "copy_of_bob".parse().unwrap();
        common::files::create_new(&scene.wallet.keys.path(&copy), whole.as_bytes()).unwrap();
        scene.send("alice", "1", &bob, "0");

        // Whether a key under a passphrase is whole is not known without it, and need not be.
        std::fs::write(&path, whole).unwrap();
        scene.wallet.keys.encrypt(&"bob".parse().unwrap(), &passphrase("two words")).unwrap();
        scene.send("alice", "1", "bob", "0");
        assert_eq!(scene.pending(), 2);
    }

    #[test]
    fn a_request_that_no_network_could_hold_is_refused_before_anything_is_locked() {
        let scene = Scene::new();
        let request = scene.request("alice", "1", "bob", "0");
        let zero = Request { amount: Amount::ZERO, ..request.clone() };
        assert!(matches!(refusal(&scene, &zero), WalletError::ZeroAmount));
        let long = Request { data: vec![0; MAX_DATA_BYTES + 1], ..request.clone() };
        assert!(matches!(refusal(&scene, &long), WalletError::DataTooLong { got: 81 }));
        let huge = Request { amount: Amount::MAX, fee: Some(Amount::from_units(1)), ..request };
        assert!(matches!(refusal(&scene, &huge), WalletError::TotalOverflows));
        assert!(!scene.outbox_directory().exists(), "the lock lies in it");
    }

    #[test]
    fn a_wallet_that_never_synced_cannot_send() {
        let mut scene = Scene::new();
        scene.wallet.chain = None;
        let error = refusal(&scene, &scene.request("alice", "1", "bob", "0"));
        assert!(matches!(error, WalletError::NeverSynced { .. }));
        assert!(error.hint().is_some_and(|hint| hint.contains("wallet sync")));
    }

    #[test]
    fn a_payment_that_a_reorganisation_takes_out_is_pending_again() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        scene.send("alice", "4", "bob", "0");
        scene.mine_for("bob");
        assert_eq!((scene.pending(), scene.balance("alice")), (0, Amount::from_coins(6)));
        scene.reorganise();
        assert_eq!((scene.pending(), scene.balance("alice")), (1, Amount::from_coins(10)));
        assert_eq!(scene.send("alice", "6", "bob", "0").transaction.payment.nonce, 1);
        scene.mine_for("bob");
        assert_eq!((scene.pending(), scene.balance("alice")), (0, Amount::ZERO));
    }

    #[test]
    fn an_expired_payment_frees_its_money_and_its_nonce() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        let request = Request { valid_for: Some(1), ..scene.request("alice", "10", "bob", "0") };
        let sent = send(&scene.wallet, &request, &mut ignore).unwrap();
        assert_eq!(sent.transaction.payment.valid_until, 2);
        scene.mine_empty();
        assert_eq!(scene.pending(), 0);
        assert_eq!(scene.send("alice", "10", "bob", "0").transaction.payment.nonce, 0);
    }

    #[test]
    fn payments_whose_fate_is_sealed_leave_the_outbox() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        let confirmed = scene.send("alice", "1", "bob", "0");
        scene.mine_for("bob");
        let request = Request { valid_for: Some(1), ..scene.request("bob", "1", "alice", "0") };
        let expired = send(&scene.wallet, &request, &mut ignore).unwrap();
        for _ in 0..KEEP_BLOCKS {
            scene.mine_empty();
        }
        let kept = |scene: &Scene| {
            let survey = scene.wallet.survey(&mut ignore, |_, _| Ok(())).unwrap().0;
            let open = survey.open.into_iter().map(|entry| entry.name.id);
            survey.past.iter().map(|name| name.id).chain(open).collect::<Vec<_>>()
        };
        // The confirmed one is deep enough, the other, which block 3 might have held, is one block short.
        let second = scene.send("alice", "1", "bob", "0");
        assert!(!kept(&scene).contains(&confirmed.id) && kept(&scene).contains(&expired.id));
        scene.mine_empty();
        let third = scene.send("alice", "1", "bob", "0");
        let mut both = [second.id, third.id];
        both.sort_unstable();
        let mut left = kept(&scene);
        left.sort_unstable();
        assert_eq!(left, both);
    }

    /// They stayed for ever, and so did what came after them, for each was looked up.
    #[test]
    fn payments_that_others_took_the_place_of_keep_none_from_leaving_the_outbox() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        scene.send("alice", "1", "bob", "0");
        let confirmed = scene.send("alice", "1", "bob", "0");
        scene.mine_for("bob");
        let for_ever: Vec<_> = (1..=70).map(|units| scene.keep("alice", 0, units, 0)).collect();
        let expired = scene.keep("alice", 0, 71, 2);
        for _ in 0..KEEP_BLOCKS {
            scene.mine_empty();
        }
        scene.send("alice", "1", "bob", "0");
        let kept = scene.wallet.survey(&mut ignore, |_, _| Ok(())).unwrap().0.past;
        assert!(!kept.contains(&PaymentName::of(&confirmed.transaction)) && !kept.contains(&expired));
        assert!(for_ever.iter().all(|name| kept.contains(name)) && kept.len() == for_ever.len());
    }

    #[test]
    fn a_payment_that_is_made_is_never_called_refused() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        let old = scene.send("alice", "1", "bob", "0");
        scene.mine_for("bob");
        for _ in 0..KEEP_BLOCKS {
            scene.mine_empty();
        }
        // What cannot be removed: a directory in the place of the old payment's file.
        let path = scene.wallet.outbox.path(&PaymentName::of(&old.transaction));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let mut notes = Vec::new();
        let request = scene.request("alice", "1", "bob", "0");
        let sent = send(&scene.wallet, &request, &mut |note| notes.push(note.to_string()));
        assert_eq!(sent.unwrap().transaction.payment.nonce, 1);
        assert_eq!(scene.pending(), 1);
        assert!(notes[0].starts_with("warning: a payment of long ago stays"), "{notes:?}");
    }

    /// Its nonce and its money were taken for free, and given to a second payment.
    #[test]
    #[cfg(unix)]
    fn a_sender_with_a_payment_that_cannot_be_read_pays_nothing_until_that_is_settled() {
        type Spoil = fn(&std::path::Path);
        let spoils: [Spoil; 4] = [
            |path| std::fs::write(path, "no payment").unwrap(),
            |path| std::fs::rename(path, path.with_extension("damaged")).unwrap(),
            // What cannot be read, also by root.
            |path| {
                std::fs::remove_file(path).unwrap();
                std::fs::create_dir(path).unwrap();
            },
            |path| {
                std::fs::remove_file(path).unwrap();
                std::os::unix::fs::symlink("/nonexistent/payment", path).unwrap();
            },
        ];
        for spoil in spoils {
            let mut scene = Scene::new();
            scene.mine_for("alice");
            scene.mine_for("bob");
            let sent = scene.send("alice", "4", "bob", "0");
            let name = PaymentName::of(&sent.transaction);
            let path = scene.wallet.outbox.path(&name);
            spoil(&path);
            for _ in 0..2 {
                let request = scene.request("alice", "1", "bob", "0");
                let error = send(&scene.wallet, &request, &mut ignore).unwrap_err();
                assert!(matches!(&error, WalletError::PaymentUnknown { .. }), "{error}");
                assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
                assert_eq!(error.exit_code(), 1);
            }
            assert_eq!(
                scene.send("bob", "1", "alice", "0").transaction.payment.nonce,
                0,
                "bob has no part in it"
            );
            // A block takes the payment: it was on its way.
            scene.mine_with(vec![sent.transaction]);
            assert_eq!(scene.send("alice", "1", "bob", "0").transaction.payment.nonce, 1);
        }
    }

    #[test]
    fn of_many_that_send_at_once_each_gets_its_own_nonce() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| scene.send("alice", "2", "bob", "0"));
            }
        });
        scene.mine_for("bob");
        assert_eq!(
            (scene.balance("alice"), scene.balance("bob")),
            (Amount::from_coins(2), Amount::from_coins(18))
        );
    }
}
