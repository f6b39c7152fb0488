//! The search for a nonce: threads of low priority that try nonces of one header after the other, and let go
//! of it at once when there is a better one to work on.
//!
//! A [`Kernel`] is the part that hashes. There is one for each kind of processor; all give the same answers.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use common::node::Template;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod instructions;
mod kernel;
mod lanes;
mod puzzle;
mod rate;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kernel::{Kernel, best_kernel, kernels};
pub use puzzle::Puzzle;
pub use rate::HashRate;

/// How much the system is to prefer other programs, and this one's own sockets and checks, to searching:
/// half of the scale.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Called on a search thread with the template whose nonce was found.
pub type Found = dyn Fn(Arc<Template>, u64) + Send + Sync;

/// The threads. Dropping it ends them.
pub struct Search {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Counts the changes of `task`; what a thread looks at while it searches.
    generation: AtomicU64,
    task: Mutex<Task>,
    changed: Condvar,
    hashes: AtomicU64,
}

/// What is worked on.
#[derive(Default)]
struct Task {
    work: Option<Arc<Work>>,
    ended: bool,
}

struct Work {
    template: Arc<Template>,
    puzzle: Puzzle,
}

impl Search {
    /// Starts so many threads, which wait for something to work on. Each starts at a random nonce.
    pub fn start(threads: usize, kernel: Kernel, found: Arc<Found>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(0),
            task: Mutex::default(),
            changed: Condvar::new(),
            hashes: AtomicU64::new(0),
        });
        let mut search = Self { shared, threads: Vec::with_capacity(threads) };
        for number in 0..threads {
            let first = getrandom::u64().map_err(io::Error::from)?;
            let (shared, found) = (search.shared.clone(), found.clone());
            let thread = thread::Builder::new().name(format!("search-{number}"));
            search.threads.push(thread.spawn(move || {
                give_way_to_others();
                shared.search(kernel, &*found, first);
            })?);
        }
        Ok(search)
    }

    /// Work on this from now on; on nothing.
    pub fn work_on(&self, template: Option<Arc<Template>>) {
        let work = template.map(|template| {
            let puzzle = Puzzle::new(&template.header);
            Arc::new(Work { template, puzzle })
        });
        self.shared.change(|task| task.work = work);
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Whether one of them has ended by a defect: nobody would notice that it searches no more.
    pub fn has_lost_a_thread(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// How many nonces were tried since the start.
    pub fn hashes(&self) -> u64 {
        self.shared.hashes.load(Ordering::Relaxed)
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.shared.change(|task| *task = Task { work: None, ended: true });
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Task)) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut task);
        self.generation.fetch_add(1, Ordering::Relaxed);
        drop(task);
        self.changed.notify_all();
    }

    /// What to work on, and its generation, as soon as there is something; `None`: the search is over.
    fn next(&self) -> Option<(Arc<Work>, u64)> {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if task.ended {
                return None;
            }
            if let Some(work) = &task.work {
                return Some((work.clone(), self.generation.load(Ordering::Relaxed)));
            }
            task = self.changed.wait(task).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Claims that this generation's nonce is found: true for the first only. Nobody works on it any longer.
    fn finish(&self, generation: u64) -> bool {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.generation.load(Ordering::Relaxed) == generation;
        if first {
            task.work = None;
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        first
    }

    fn search(&self, kernel: Kernel, found: &Found, mut nonce: u64) {
        while let Some((work, generation)) = self.next() {
            while self.generation.load(Ordering::Relaxed) == generation {
                let hit = kernel.search(&work.puzzle, nonce, kernel.batch);
                let tried = hit.map_or(u64::from(kernel.batch), |hit| hit.wrapping_sub(nonce) + 1);
                self.hashes.fetch_add(tried, Ordering::Relaxed);
                nonce = nonce.wrapping_add(tried);
                if let Some(hit) = hit
                    && self.finish(generation)
                {
                    found(work.template.clone(), hit);
                }
                // A scheduler may let even a thread of low priority go on for milliseconds while another waits:
                // whoever has a block to check or to pass on has it sooner.
                thread::yield_now();
            }
        }
    }
}

/// Lowers the priority of the calling thread, where the system has such a thing for threads.
fn give_way_to_others() {
    // On Linux it is the calling thread's own, whatever POSIX says of processes. Refused, it costs speed only.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}
