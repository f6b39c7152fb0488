//! The threads that check signatures, one a core.

use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use super::{DriverError, Event};
use crate::node::{Checker, Input, Job};

/// Hands jobs to whichever thread is free. The node bounds how many there are at a time.
pub(super) struct Workers {
    jobs: mpsc::Sender<Job>,
}

impl Workers {
    /// Starts the threads. They end when this is dropped.
    pub(super) fn start(checker: Checker, results: tokio::sync::mpsc::Sender<Event>) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let count = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        for number in 0..count {
            let (checker, results, waiting) = (checker.clone(), results.clone(), waiting.clone());
            thread::Builder::new().name(format!("checks-{number}")).spawn(move || {
                work(&checker, &results, &waiting);
            })?;
        }
        Ok(Self { jobs })
    }

    pub(super) fn check(&self, job: Job) {
        // The threads end only after this sender is dropped.
        let _ = self.jobs.send(job);
    }
}

fn work(checker: &Checker, results: &tokio::sync::mpsc::Sender<Event>, waiting: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // The lock is held while waiting for a job, not while doing it.
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The node waits for every answer, and a check that did not end well says nothing of what it checked: a defect
        // must end the loop with an error. Nothing that the check shares is used after that.
        let result = catch_unwind(AssertUnwindSafe(|| job.run(checker)));
        let event = match result {
            Ok(checked) => Event::Input(Input::Checked(checked)),
            Err(_) => Event::Failed(DriverError::Panicked { part: "a check of signatures" }),
        };
        if results.blocking_send(event).is_err() {
            return;
        }
    }
}
