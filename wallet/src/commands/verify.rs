//! `wallet verify`: whether keys, payments and the copy of the chain are sound, and with `--repair` the copy rebuilt.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use common::address::Address;
use common::consensus::check_transaction;
use common::failure::{DISK, Failure, Part};
use common::files::Program;
use common::key_store::{KeyStore, KeyStoreError};
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
    let keys_of_disk = unusable_keys.iter().any(KeyStoreError::is_of_disk);
    let rules = Arc::new(rules.clone());
    let terminal = || io::stderr().is_terminal().then(|| Box::new(io::stderr()) as Box<dyn Write>);
    let told = match verify_chain(&directory, &rules, &terminal, &mut print_line) {
        Err(Failure::Unsound { part, .. }) if repair => {
            let own: Vec<Address> = keys.list()?.into_iter().filter_map(|key| key.address.ok()).collect();
            repair_chain(Program::Wallet, part, &directory, &rules, &own, &terminal, &mut print_line)
        }
        told => told,
    };
    let outbox_now = Outbox::new(&outbox);
    let told = match told {
        Ok(told) => told,
        Err(error) => {
            // Payments do not need the chain, and cannot be had again: whatever is wrong with it, they are looked at.
            let payments_of_disk = match payments(&outbox_now, &rules, None) {
                Ok(found) => {
                    found.damages.iter().for_each(|damage| print_line(damage));
                    print_line(&outbox_line(found.sound, &outbox));
                    found.of_disk
                }
                Err(also) => {
                    print_line(&format!("unusable: {also}"));
                    also.exit_code() == DISK
                }
            };
            return Err(error.or_of_disk(keys_of_disk || payments_of_disk).into());
        }
    };
    // With a chain that is sound now, of which those that are past are no concern any more.
    let store = LmdbStore::open_existing(&directory, &rules)?;
    let found = match &store {
        Some(store) => store.read(|ledger| payments(&outbox_now, &rules, Some(ledger)))?,
        None => payments(&outbox_now, &rules, None)?,
    };
    found.damages.iter().for_each(|damage| print_line(damage));
    if !(unusable_keys.is_empty() && found.damages.is_empty()) {
        told.lines().for_each(print_line);
    }
    let of_disk = found.of_disk || keys_of_disk;
    if !unusable_keys.is_empty() {
        return Err(Failure::UnusableKeys { place: data.keys(), of_disk }.into());
    }
    if !found.damages.is_empty() {
        return Err(Failure::Unsound { part: Part::Payment, place: outbox, of_disk }.into());
    }
    Ok(format!(
        "{told}Keys       sound: {sound_keys}, in {}\n{}",
        data.keys().display(),
        outbox_line(found.sound, &outbox)
    ))
}

fn outbox_line(sound: usize, outbox: &Path) -> String {
    format!("Outbox     sound: {}, in {}", count(sound, "payment"), outbox.display())
}

/// What the outbox holds.
#[derive(Debug)]
struct Payments {
    /// How many are past, or are what their names say and signed.
    sound: usize,
    /// A sentence about each that is not.
    damages: Vec<String>,
    /// Whether the disk kept one of them from being read.
    of_disk: bool,
}

fn payments(outbox: &Outbox, rules: &Rules, ledger: Option<&dyn Read>) -> Result<Payments, WalletError> {
    let survey = outbox.survey(ledger)?;
    let told = |error: &PaymentFileError| match error {
        PaymentFileError::Damaged { .. } => format!("damaged: {error}"),
        PaymentFileError::Unreadable { .. } => format!("unusable: {error}"),
    };
    let mut found = Payments {
        sound: survey.past.len(),
        damages: survey.unusable.iter().map(told).collect(),
        of_disk: survey.unusable.iter().any(PaymentFileError::is_of_disk),
    };
    let (network, verifier) = (rules.network_id(), RsaVerifier::default());
    for entry in survey.open {
        match check_transaction(rules, &network, entry.transaction, &verifier) {
            Ok(_) => found.sound += 1,
            Err(error) => found.damages.push(format!("damaged: the payment {}: {error}", entry.name.id)),
        }
    }
    Ok(found)
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
            let Payments { sound, damages, of_disk } =
                payments(&scene.wallet.outbox, &scene.wallet.rules, None).unwrap();
            assert_eq!((sound, damages.len(), of_disk), (1, 2, false), "{damages:?}");
            for path in [&damaged, &set_aside] {
                assert!(damages.iter().any(|told| told.contains(path.to_str().unwrap())), "{damages:?}");
            }
            assert_eq!(names(), before);
        }
    }
}
