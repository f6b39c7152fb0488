//! `wallet verify`: whether keys, payments and the copy of the chain are sound, and with `--repair` the copy rebuilt.

use std::path::Path;
use std::sync::Arc;

use common::address::Address;
use common::chain::{self, VerifyError};
use common::consensus::check_transaction;
use common::failure::Failure;
use common::files::Program;
use common::key_store::KeyStore;
use common::rules::Rules;
use common::settings::Loaded;
use common::signature::RsaVerifier;
use common::store::LmdbStore;

use crate::error::WalletError;
use crate::outbox::Outbox;
use crate::output::{Notes, progress_line};

/// Checks everything, and says what was checked. Damages are told of one by one.
pub fn verify(parameters: &Loaded, repair: bool, notes: &mut Notes) -> Result<String, WalletError> {
    let Loaded { settings, rules, .. } = parameters;
    let (data, network) = (&settings.data_dir, rules.network_id());
    let directory = data.program(Program::Wallet, &rules.name, &network);
    let keys = KeyStore::new(data.keys());
    let (sound_keys, unusable_keys) = keys.check()?;
    let outbox = data.outbox(&rules.name, &network);
    let (sound_payments, damaged_payments) = payments(&Outbox::new(&outbox), rules)?;
    unusable_keys.iter().for_each(|reason| notes(&format!("unusable: {reason}")));
    damaged_payments.iter().for_each(|damage| notes(&format!("damaged: {damage}")));
    let rules = Arc::new(rules.clone());
    let told = match store(&directory, &rules, notes) {
        Err(WalletError::Failure(Failure::Unsound { .. })) if repair => {
            let own: Vec<Address> = keys.list()?.into_iter().filter_map(|key| key.address.ok()).collect();
            rebuild(&directory, &rules, &own, notes)?
        }
        told => told?,
    };
    if !(unusable_keys.is_empty() && damaged_payments.is_empty()) {
        notes(told.trim_end());
    }
    if !unusable_keys.is_empty() {
        return Err(Failure::UnusableKeys { place: data.keys() }.into());
    }
    if !damaged_payments.is_empty() {
        return Err(Failure::Unsound { what: "a payment", place: outbox }.into());
    }
    Ok(format!(
        "{told}Keys       sound: {sound_keys}, in {}\nOutbox     sound: {sound_payments} payments, in {}",
        data.keys().display(),
        outbox.display()
    ))
}

/// How many payments of the outbox are what their names say and are signed, and a sentence about each that is not.
fn payments(outbox: &Outbox, rules: &Rules) -> Result<(usize, Vec<String>), WalletError> {
    let survey = outbox.survey(None)?;
    let (mut sound, mut damages) = (0, survey.problems);
    let (network, verifier) = (rules.network_id(), RsaVerifier::default());
    for entry in survey.open {
        match check_transaction(rules, &network, entry.transaction, &verifier) {
            Ok(_) => sound += 1,
            Err(error) => damages.push(format!("the payment {}: {error}", entry.name.id)),
        }
    }
    Ok((sound, damages))
}

fn store(directory: &Path, rules: &Arc<Rules>, notes: &mut Notes) -> Result<String, WalletError> {
    let mut progress = progress_line();
    match chain::verify(directory, rules, &RsaVerifier::default(), &mut progress) {
        Ok(Some(verified)) => Ok(format!("The chain in {} is sound.\n{verified}\n", directory.display())),
        Ok(None) => Ok(format!("There is no chain in {} yet.\n", directory.display())),
        Err(VerifyError::Damaged(damages)) => {
            damages.iter().for_each(|damage| notes(&format!("damaged: {damage}")));
            Err(Failure::Unsound { what: "the chain", place: directory.to_owned() }.into())
        }
        Err(VerifyError::Store(error)) => Err(error.into()),
    }
}

fn rebuild(
    directory: &Path,
    rules: &Arc<Rules>,
    own: &[Address],
    notes: &mut Notes,
) -> Result<String, WalletError> {
    if !LmdbStore::exists(directory) {
        return store(directory, rules, notes);
    }
    let mut progress = progress_line();
    let repaired = chain::repair(directory, rules, own, &RsaVerifier::default(), &mut progress)?;
    let sound = store(directory, rules, notes)?;
    Ok(format!(
        "Repaired: {} blocks are kept, up to height {}; {} could not be, and `wallet sync` fetches them again.\n\
         The damaged database is now {}: delete it when you need the room.\n{sound}",
        repaired.blocks,
        repaired.tip.height,
        repaired.left_out,
        repaired.aside.display(),
    ))
}
