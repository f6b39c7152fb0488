//! What every measurement needs: where made chains lie, how much to do, and somebody to tell about it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use crate::Failure;
use crate::generate::{Made, Spec, keep_chain};

/// See the module.
pub struct Context {
    /// Less of everything: to see whether it works.
    pub quick: bool,
    /// Where made chains, and what the measured programs write, lie.
    pub directory: PathBuf,
    /// Since when.
    pub started: Instant,
}

impl Context {
    /// How often to measure something that is usually measured so often.
    pub fn repeat(&self, usual: usize) -> usize {
        if self.quick { 1 } else { usual }
    }

    /// A line about what is going on.
    pub fn progress(&self, line: &str) {
        // That nobody can read it is no reason to fail.
        let _ = writeln!(io::stderr(), "{:5.0} s  {line}", self.started.elapsed().as_secs_f64());
    }

    /// A chain, made now or in an earlier run.
    pub fn chain(&self, spec: &Spec) -> Result<Made, Failure> {
        let begin = Instant::now();
        let mut told = begin;
        let made = keep_chain(&self.directory.join("chains"), spec, &mut |line| {
            if told.elapsed().as_secs() >= 5 {
                told = Instant::now();
                self.progress(&format!("making a chain: {line}"));
            }
        })?;
        self.progress(&format!(
            "a chain of {} payments in {} blocks is there after {:.1} s",
            spec.payments,
            spec.blocks(),
            begin.elapsed().as_secs_f64()
        ));
        Ok(made)
    }
}
