//! Networks, chains and directories that trials begin with.

use std::fs;
use std::io;
use std::path::Path;

use common::files::Program;
use common::rules::Rules;
use common::store::Tip;

use crate::program::{Home, Network};

/// Blocks take 256 hashes, so that a second has room for many.
pub fn network() -> Network {
    Network::with_blocks(8, 10, Rules::default())
}

/// A chain of so many blocks in the miner's store of a home.
pub fn mine_chain(home: &Home<'_>, blocks: u64) -> Tip {
    let miner = home.start_miner(&[]);
    home.reach(Program::Miner, blocks);
    miner.stop();
    home.tip(Program::Miner).expect("it has just mined")
}

/// Copies what is in a directory to another, which is made if need be.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Puts a copy of a directory in the place of another.
pub fn put_back(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("it can be removed");
    }
    copy(from, to).expect("there is room");
}
