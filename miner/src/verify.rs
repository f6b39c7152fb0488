//! `miner verify`: whether the chain and the keys on the disk are sound, and with `--repair` the chain rebuilt.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use common::failure::Failure;
use common::files::Program;
use common::key_store::{KeyStore, KeyStoreError};
use common::process::hide_memory;
use common::settings::Loaded;
use common::verification::{repair_chain, verify_chain};

use crate::error::MinerError;
use crate::{complain, run};

/// Checks everything, and says what was checked. Damages are told of one by one.
pub fn verify(Loaded { settings, rules, .. }: &Loaded, repair: bool) -> Result<String, MinerError> {
    let directory = settings.data_dir.program(Program::Miner, &rules.name, &rules.network_id());
    let rules = Arc::new(rules.clone());
    hide_memory();
    let (keys, unusable_keys) = KeyStore::new(settings.data_dir.keys()).check()?;
    unusable_keys.iter().for_each(|reason| complain(&format!("unusable: {reason}")));
    let of_disk = unusable_keys.iter().any(KeyStoreError::is_of_disk);
    let terminal = || io::stderr().is_terminal().then(|| Box::new(io::stderr()) as Box<dyn Write>);
    let told = match verify_chain(&directory, &rules, &terminal, &mut complain) {
        Err(Failure::Unsound { part, .. }) if repair => {
            // No other miner works on it meanwhile.
            let _lock = run::lock(&directory, &rules.name).map_err(|error| match error {
                MinerError::AlreadyRunning { directory, .. } => MinerError::InUse { directory },
                error => error,
            })?;
            repair_chain(Program::Miner, part, &directory, &rules, &[], &terminal, &mut complain)
                .map_err(|error| error.or_of_disk(of_disk))?
        }
        told => told.map_err(|error| error.or_of_disk(of_disk))?,
    };
    if !unusable_keys.is_empty() {
        told.lines().for_each(complain);
        return Err(Failure::UnusableKeys { place: settings.data_dir.keys(), of_disk }.into());
    }
    Ok(format!("{told}Keys       sound: {keys}, in {}", settings.data_dir.keys().display()))
}
