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
        Err(VerifyError::Damaged(damages)) => Err(unsound(Part::Chain, &damages, directory, tell)),
        Err(VerifyError::Unreadable(damages)) => {
            Err(unsound(Part::UnreadableChain, &damages, directory, tell))
        }
        Err(VerifyError::Store(error)) => Err(error.into()),
    }
}

fn unsound(part: Part, damages: &[String], directory: &Path, tell: &mut Tell) -> Failure {
    damages.iter().for_each(|damage| tell(&format!("damaged: {damage}")));
    Failure::Unsound { part, place: directory.to_owned(), of_disk: part == Part::UnreadableChain }
}

/// Rebuilds the chain in a directory ([`chain::repair`]), which nobody may have open, and checks what came of it; says
/// both. What concerns the addresses in `watched` is kept in the history. `part` is what was found to be damaged of it.
pub fn repair_chain(
    program: Program,
    part: Part,
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
    // Of blocks whose headers are gone nobody can say how many there were.
    let left_out = match repaired.left_out {
        0 => String::new(),
        1 => "; 1 more is not whole, breaks a rule, or builds on one that does".to_owned(),
        more => format!("; {more} more are not whole, break a rule, or build on one that does"),
    };
    let rest = match program {
        Program::Miner => "What is missing comes from other miners.",
        Program::Wallet => "What is missing `wallet sync` fetches.",
    };
    let disk = match part {
        Part::UnreadableChain => "The disk fails: copy keys and payments to another, and go on there.\n",
        _ => "",
    };
    Ok(format!(
        "Repaired: {} kept, up to height {}{left_out}. {rest}\n{disk}\
         The damaged database is now {}: delete it when you need the room.\n{sound}",
        count(repaired.blocks, "block"),
        repaired.tip.height,
        repaired.aside.display(),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::chain::Chain;
    #[cfg(unix)]
    use crate::failure::DISK;
    #[cfg(unix)]
    use crate::store::lmdb::while_unreadable;
    use crate::testing::{Branch, Key, easy_rules};

    /// What the repair of a file with these bytes says.
    fn said(bytes: &[u8], rules: &Arc<Rules>, program: Program) -> String {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("data.mdb"), bytes).unwrap();
        repair_chain(program, Part::Chain, root.path(), rules, &[], &|| None, &mut |_| ()).unwrap()
    }

    /// Such a disk ended the check before it had looked, with the advice to make room and the word that all was intact.
    #[cfg(unix)]
    #[test]
    fn what_the_disk_cannot_read_is_damage_and_the_repair_saves_the_rest() {
        let rules = Arc::new(easy_rules(&[]));
        let mut branch = Branch::new(&rules);
        (0..6).for_each(|_| drop(branch.grow(&Key::new(1), Vec::new())));
        let root = tempfile::tempdir().unwrap();
        let chain = Chain::new(rules.clone(), LmdbStore::open(root.path(), &rules).unwrap());
        chain.connect(&branch.blocks).unwrap();
        drop(chain);
        let mut told = Vec::new();
        let pages = 0..2 * 4096;
        while_unreadable(&root.path().join("data.mdb"), vec![pages], || {
            let mut tell = |what: &str| told.push(what.to_owned());
            let unsound = verify_chain(root.path(), &rules, &|| None, &mut tell).unwrap_err();
            // What makes `--repair` repair.
            let Failure::Unsound { part, .. } = unsound else { panic!("{unsound}") };
            assert_eq!(unsound.exit_code(), DISK);
            assert!(unsound.hint(Program::Wallet).unwrap().contains("copy your keys"));
            let repaired = repair_chain(Program::Miner, part, root.path(), &rules, &[], &|| None, &mut tell);
            let repaired = repaired.unwrap();
            assert!(repaired.starts_with("Repaired: 6 blocks kept, up to height 6"), "{repaired}");
            assert!(repaired.contains("\nThe disk fails: copy keys and payments to another"), "{repaired}");
        });
        assert_eq!(told, ["damaged: the disk cannot read pages 0 to 1"]);
    }

    /// A repair cannot know of blocks of which it found nothing: once it said of them that nothing was lost.
    #[test]
    fn a_repair_claims_nothing_about_what_it_did_not_find() {
        let rules = Arc::new(easy_rules(&[]));
        let rubbish = said(&[0x5a; 30_000], &rules, Program::Miner);
        assert!(
            rubbish.starts_with("Repaired: no blocks kept, up to height 0. What is missing"),
            "{rubbish}"
        );
        assert!(
            rubbish.contains("comes from other miners") && !rubbish.contains("nothing is lost"),
            "{rubbish}"
        );

        let root = tempfile::tempdir().unwrap();
        let mut branch = Branch::new(&rules);
        (0..3).for_each(|_| drop(branch.grow(&Key::new(1), Vec::new())));
        let chain = Chain::new(rules.clone(), LmdbStore::open(root.path(), &rules).unwrap());
        chain.connect(&branch.blocks).unwrap();
        drop(chain);
        let mut file = fs::read(root.path().join("data.mdb")).unwrap();
        // All bodies begin with whom the reward goes to.
        let start = &branch.blocks[0].encoded_body()[..32];
        while let Some(place) = file.windows(32).position(|bytes| bytes == start) {
            file[place] ^= 1;
        }
        let told = said(&file, &rules, Program::Wallet);
        assert!(
            told.starts_with(
                "Repaired: no blocks kept, up to height 0; 3 more are not whole, break a rule, or build on one that \
                 does. What is missing `wallet sync` fetches.\n"
            ),
            "{told}"
        );
    }
}
