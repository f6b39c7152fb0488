//! What `miner verify` and `wallet verify` have in common: a chain on the disk checked or rebuilt, in sentences.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::address::Address;
use crate::chain::{self, VerifyError};
use crate::failure::{Failure, Part};
use crate::files::Program;
use crate::rules::Rules;
use crate::signature::RsaVerifier;
use crate::store::LmdbStore;
use crate::text::{ProgressLine, count};

/// Where sentences go as they are found.
pub type Tell<'a> = dyn FnMut(&str) + 'a;
/// The terminal that shows progress; `None` where nobody is watching.
pub type Terminal<'a> = dyn Fn() -> Option<Box<dyn Write>> + 'a;

/// Checks the chain in a directory ([`chain::verify`]), and says what is sound. What is damaged is told of, a sentence
/// each; then the error is [`Failure::Unsound`]. Progress is shown on the terminal.
pub fn verify_chain(
    directory: &Path,
    rules: &Arc<Rules>,
    terminal: &Terminal,
    tell: &mut Tell,
) -> Result<String, Failure> {
    let mut line = ProgressLine::on(terminal());
    let verified =
        chain::verify(directory, rules, &RsaVerifier::default(), &mut |block, of| line.show(block, of));
    drop(line);
    match verified {
        Ok(Some(verified)) => Ok(format!("The chain in {} is sound.\n{verified}\n", directory.display())),
        Ok(None) => Ok(format!("There is no chain in {} yet.\n", directory.display())),
        Err(VerifyError::Damaged(damages)) => {
            damages.iter().for_each(|damage| tell(&format!("damaged: {damage}")));
            Err(Failure::Unsound { part: Part::Chain, place: directory.to_owned() })
        }
        Err(VerifyError::Store(error)) => Err(error.into()),
    }
}

/// Rebuilds the chain in a directory ([`chain::repair`]), which nobody may have open, and checks what came of it; says
/// both. What concerns the addresses in `watched` is kept in the history.
pub fn repair_chain(
    program: Program,
    directory: &Path,
    rules: &Arc<Rules>,
    watched: &[Address],
    terminal: &Terminal,
    tell: &mut Tell,
) -> Result<String, Failure> {
    if !LmdbStore::exists(directory)? {
        return verify_chain(directory, rules, terminal, tell);
    }
    let mut line = ProgressLine::on(terminal());
    let repaired = chain::repair(directory, rules, watched, &RsaVerifier::default(), &mut |block, of| {
        line.show(block, of);
    });
    drop(line);
    let repaired = repaired?;
    let sound = verify_chain(directory, rules, terminal, tell)?;
    let lost = match (repaired.left_out, program) {
        (0, _) => "nothing is lost".to_owned(),
        (lost, Program::Miner) => format!("{} lost, which other miners have", count(lost, "block")),
        (lost, Program::Wallet) => {
            format!("{} lost, which `wallet sync` fetches again", count(lost, "block"))
        }
    };
    Ok(format!(
        "Repaired: {} kept, up to height {}; {lost}.\n\
         The damaged database is now {}: delete it when you need the room.\n{sound}",
        count(repaired.blocks, "block"),
        repaired.tip.height,
        repaired.aside.display(),
    ))
}
