//! The two signals by which the system says that a disk failed, each of which would end a program without a word.

use std::error::Error;
use std::path::Path;

#[cfg(doc)]
use crate::store::StoreError;
#[cfg(target_os = "linux")]
use crate::text::with_causes;

/// Lets a program meet what a disk does as it meets other failures of it. To be called once, before a store is opened.
/// Elsewhere than on Linux nothing is changed.
///
/// - A file that grows beyond what the system allows (`ulimit -f`, SIGXFSZ) is a write that fails.
/// - A page of a mapped store that cannot be read, for the disk fails or the file was cut short (SIGBUS), ends the
///   program with a sentence, this hint, and [`DISK`](crate::failure::DISK). Nothing is written then, and what is
///   left is what kill -9 leaves.
pub fn meet_disk_signals(hint: &'static str) {
    #[cfg(target_os = "linux")]
    linux::meet(hint);
    #[cfg(not(target_os = "linux"))]
    let _ = hint;
}

/// From now on this is said where a page cannot be read, once [`meet_disk_signals`] was called. Opening a store sets
/// both: the sentence of [`StoreError::failed_under_the_map`], and the hint that was given then.
pub fn say_when_the_map_fails(error: &dyn Error, hint: &str) {
    #[cfg(target_os = "linux")]
    linux::say(&with_causes(error), hint);
    #[cfg(not(target_os = "linux"))]
    let _ = (error, hint);
}

/// A store in this directory is mapped from now on.
pub(crate) fn is_mapped(directory: &Path) {
    #[cfg(target_os = "linux")]
    linux::is_mapped(directory);
    #[cfg(not(target_os = "linux"))]
    let _ = directory;
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, IsTerminal as _};
    use std::mem::MaybeUninit;
    use std::path::Path;
    use std::ptr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use crate::failure::DISK;
    use crate::store::StoreError;
    use crate::text::printable;

    /// How long it waits for whoever reads what it says.
    const LONGEST_WAIT_MS: libc::c_int = 500;

    /// What a program says last. Nothing can be put together inside of a signal's handler, so that it is beforehand.
    static LAST_WORDS: AtomicPtr<String> = AtomicPtr::new(ptr::null_mut());
    static HINT: OnceLock<&str> = OnceLock::new();

    pub(super) fn meet(hint: &'static str) {
        if HINT.set(hint).is_err() {
            return;
        }
        // SAFETY: to ignore a signal touches nothing of this program.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        // SAFETY: all of an action may be zero. The handler has the shape that SA_SIGINFO asks for, and only does what
        // `signal-safety(7)` allows; the action lives until the call is over.
        unsafe {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            action.sa_sigaction = on_bus_error as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &action, ptr::null_mut());
        }
    }

    pub(super) fn is_mapped(directory: &Path) {
        if let Some(hint) = HINT.get() {
            say(&StoreError::failed_under_the_map(directory).to_string(), hint);
        }
    }

    pub(super) fn say(sentence: &str, hint: &str) {
        // Whatever shows how far something has come stands on the line of the cursor.
        let line_start = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
        let words = format!("{line_start}error: {}\nhint: {hint}\n", printable(sentence));
        // Left as long as the program runs, for a handler may be reading it at any time; a program says so twice.
        LAST_WORDS.store(Box::into_raw(Box::new(words)), Ordering::Release);
    }

    extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel gives a handler of this shape what it knows of the signal.
        let of_a_file = unsafe { (*info).si_code } == libc::BUS_ADRERR;
        // SAFETY: what is stored there is whole, and never freed.
        let words = unsafe { LAST_WORDS.load(Ordering::Acquire).as_ref() };
        match words {
            // SAFETY: all are on the list of `signal-safety(7)`, the one descriptor lives until the call is over, and the
            // words have this length. That nobody can read them is no reason to go on, nor to wait.
            Some(words) if of_a_file => unsafe {
                let mut reader = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
                if libc::poll(&mut reader, 1, LONGEST_WAIT_MS) == 1 {
                    // A pipe that has room has room for so much.
                    let length = words.len().min(libc::PIPE_BUF);
                    libc::write(libc::STDERR_FILENO, words.as_ptr().cast(), length);
                }
                libc::_exit(DISK.into());
            },
            // Something else, or somebody sent it: the program ends by it when this returns, as it would without this.
            // SAFETY: both are on the same list.
            _ => unsafe {
                libc::signal(libc::SIGBUS, libc::SIG_DFL);
                libc::raise(libc::SIGBUS);
            },
        }
    }
}
