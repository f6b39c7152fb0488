//! `miner verify`: whether the chain and the keys on the disk are sound, and with `--repair` the chain rebuilt.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use common::chain::{self, VerifyError};
use common::failure::Failure;
use common::files::Program;
use common::key_store::KeyStore;
use common::rules::Rules;
use common::settings::Loaded;
use common::signature::RsaVerifier;
use common::store::LmdbStore;

use crate::error::MinerError;
use crate::{complain, run};

/// How many blocks pass until a terminal is told of the next.
const TOLD_EVERY: u64 = 100;

/// Checks everything, and says what was checked. Damages are told of one by one.
pub fn verify(Loaded { settings, rules, .. }: &Loaded, repair: bool) -> Result<String, MinerError> {
    let directory = settings.data_dir.program(Program::Miner, &rules.name, &rules.network_id());
    let rules = Arc::new(rules.clone());
    let (keys, unusable_keys) = KeyStore::new(settings.data_dir.keys()).check()?;
    unusable_keys.iter().for_each(|reason| complain(&format!("unusable: {reason}")));
    let told = match store(&directory, &rules) {
        Err(MinerError::Failure(Failure::Unsound { .. })) if repair => {
            // No other miner works on it meanwhile.
            let _lock = run::lock(&directory, &rules.name)?;
            rebuild(&directory, &rules)?
        }
        told => told?,
    };
    if !unusable_keys.is_empty() {
        complain(told.trim_end());
        return Err(Failure::UnusableKeys { place: settings.data_dir.keys() }.into());
    }
    Ok(format!("{told}Keys       sound: {keys}, in {}", settings.data_dir.keys().display()))
}

fn store(directory: &Path, rules: &Arc<Rules>) -> Result<String, MinerError> {
    let verified = chain::verify(directory, rules, &RsaVerifier::default(), &mut progress());
    clear_progress();
    match verified {
        Ok(Some(verified)) => Ok(format!("The chain in {} is sound.\n{verified}\n", directory.display())),
        Ok(None) => Ok(format!("There is no chain in {} yet.\n", directory.display())),
        Err(VerifyError::Damaged(damages)) => {
            damages.iter().for_each(|damage| complain(&format!("damaged: {damage}")));
            Err(Failure::Unsound { what: "the chain", place: directory.to_owned() }.into())
        }
        Err(VerifyError::Store(error)) => Err(error.into()),
    }
}

fn rebuild(directory: &Path, rules: &Arc<Rules>) -> Result<String, MinerError> {
    if !LmdbStore::exists(directory) {
        return store(directory, rules);
    }
    let repaired = chain::repair(directory, rules, &[], &RsaVerifier::default(), &mut progress());
    clear_progress();
    let repaired = repaired?;
    let sound = store(directory, rules)?;
    Ok(format!(
        "Repaired: {} blocks are kept, up to height {}; {} could not be, and are fetched again from other miners.\n\
         The damaged database is now {}: delete it when you need the room.\n{sound}",
        repaired.blocks,
        repaired.tip.height,
        repaired.left_out,
        repaired.aside.display(),
    ))
}

/// Tells a terminal which block is looked at.
fn progress() -> impl FnMut(u64, u64) {
    let terminal = io::stderr().is_terminal();
    move |block, of| {
        if terminal && block % TOLD_EVERY == 0 {
            let _ = write!(io::stderr(), "\rblock {block} of {of} ");
        }
    }
}

fn clear_progress() {
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}
