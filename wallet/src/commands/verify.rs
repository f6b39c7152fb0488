//! `wallet verify`: whether keys, payments and the copy of the chain are sound, and with `--repair` the copy rebuilt.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use common::address::Address;
use common::consensus::check_transaction;
use common::failure::{Failure, Part};
use common::files::Program;
use common::key_store::KeyStore;
use common::rules::Rules;
use common::settings::Loaded;
use common::signature::RsaVerifier;
use common::store::{LmdbStore, Read, Store};
use common::text::count;
use common::verification::{repair_chain, verify_chain};

use crate::error::WalletError;
use crate::outbox::{Outbox, PaymentFileError};
use crate::output::print_line;

/// Checks everything, and says what was checked. Damages are told of one by one.
pub fn verify(parameters: &Loaded, repair: bool) -> Result<String, WalletError> {
    let Loaded { settings, rules, .. } = parameters;
    let (data, network) = (&settings.data_dir, rules.network_id());
    let directory = data.program(Program::Wallet, &rules.name, &network);
    let keys = KeyStore::new(data.keys());
    let (sound_keys, unusable_keys) = keys.check()?;
    let outbox = data.outbox(&rules.name, &network);
    unusable_keys.iter().for_each(|reason| print_line(&format!("unusable: {reason}")));
    let rules = Arc::new(rules.clone());
    let terminal = || io::stderr().is_terminal().then(|| Box::new(io::stderr()) as Box<dyn Write>);
    let told = match verify_chain(&directory, &rules, &terminal, &mut print_line) {
        Err(Failure::Unsound { .. }) if repair => {
            let own: Vec<Address> = keys.list()?.into_iter().filter_map(|key| key.address.ok()).collect();
            repair_chain(Program::Wallet, &directory, &rules, &own, &terminal, &mut print_line)?
        }
        told => told?,
    };
    // With a chain that is sound now, of which those that are past are no concern any more.
    let store = LmdbStore::open_existing(&directory, &rules)?;
    let outbox_now = Outbox::new(&outbox);
    let (sound_payments, damaged_payments) = match &store {
        Some(store) => store.read(|ledger| payments(&outbox_now, &rules, Some(ledger)))?,
        None => payments(&outbox_now, &rules, None)?,
    };
    damaged_payments.iter().for_each(|damage| print_line(damage));
    if !(unusable_keys.is_empty() && damaged_payments.is_empty()) {
        told.lines().for_each(print_line);
    }
    if !unusable_keys.is_empty() {
        return Err(Failure::UnusableKeys { place: data.keys() }.into());
    }
    if !damaged_payments.is_empty() {
        return Err(Failure::Unsound { part: Part::Payment, place: outbox }.into());
    }
    Ok(format!(
        "{told}Keys       sound: {sound_keys}, in {}\nOutbox     sound: {}, in {}",
        data.keys().display(),
        count(sound_payments, "payment"),
        outbox.display()
    ))
}

/// How many payments of the outbox are past, or are what their names say and signed; and a sentence about each that is
/// not.
fn payments(
    outbox: &Outbox,
    rules: &Rules,
    ledger: Option<&dyn Read>,
) -> Result<(usize, Vec<String>), WalletError> {
    let survey = outbox.survey(ledger)?;
    let told = |error: &PaymentFileError| match error {
        PaymentFileError::Damaged { .. } => format!("damaged: {error}"),
        PaymentFileError::Unreadable { .. } => format!("unusable: {error}"),
    };
    let (mut sound, mut damages) = (survey.past.len(), survey.unusable.iter().map(told).collect::<Vec<_>>());
    let (network, verifier) = (rules.network_id(), RsaVerifier::default());
    for entry in survey.open {
        match check_transaction(rules, &network, entry.transaction, &verifier) {
            Ok(_) => sound += 1,
            Err(error) => damages.push(format!("damaged: the payment {}: {error}", entry.name.id)),
        }
    }
    Ok((sound, damages))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use common::files::names_in;

    use super::*;
    use crate::commands::testing::Scene;
    use crate::outbox::PaymentName;

    /// The first check renamed what it found, and the second said that all was sound.
    #[test]
    fn a_check_changes_nothing_and_says_the_same_each_time() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        let sent = [(); 3].map(|()| scene.send("alice", "1", "bob", "0"));
        let [_, damaged, set_aside] =
            sent.map(|sent| scene.wallet.outbox.path(&PaymentName::of(&sent.transaction)));
        fs::write(&damaged, "no payment").unwrap();
        fs::rename(&set_aside, set_aside.with_extension("damaged")).unwrap();
        let names = || names_in(damaged.parent().unwrap()).unwrap();
        let before = names();
        for _ in 0..3 {
            let (sound, damages) = payments(&scene.wallet.outbox, &scene.wallet.rules, None).unwrap();
            assert_eq!((sound, damages.len()), (1, 2), "{damages:?}");
            for path in [&damaged, &set_aside] {
                assert!(damages.iter().any(|told| told.contains(path.to_str().unwrap())), "{damages:?}");
            }
            assert_eq!(names(), before);
        }
    }
}
