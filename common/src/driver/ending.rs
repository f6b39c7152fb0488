//! How a program ends that a signal asks to: in order, and at once where that takes too long.

use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::thread;

use tokio::sync::watch;

use super::limits::{LONGEST_END, LONGEST_LAST_WORD};
use crate::failure::REFUSED;

/// Ctrl-C and, on Unix, SIGTERM end the loop from now on. A second one, or [`LONGEST_END`], ends the program: whoever
/// reads what it prints may have stopped reading, and it would wait for him.
pub(super) fn stop_on_signals(stop: watch::Sender<bool>) -> io::Result<()> {
    #[cfg(unix)]
    let mut next = {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        async move || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
    };
    #[cfg(not(unix))]
    let mut next = async || {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::spawn(async move {
        next().await;
        let _ = stop.send(true);
        // The threads for sockets, on which this runs, may end before the program does.
        let last = thread::Builder::new().name("last resort".to_owned()).spawn(|| {
            thread::sleep(LONGEST_END);
            end_at_once();
        });
        drop(last);
        next().await;
        end_at_once();
    });
    Ok(())
}

/// When nothing runs any more that hears signals: they end the program as they end any other.
pub(super) fn let_signals_end() {
    #[cfg(unix)]
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: no code of this program runs at the default action.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// As by kill -9, but for a word about it to whoever may still read.
fn end_at_once() -> ! {
    let (said, heard) = sync_channel(1);
    let word = thread::Builder::new().spawn(move || {
        let _ = writeln!(io::stderr(), "error: ended before all was done; what is stored is intact");
        let _ = said.send(());
    });
    if word.is_ok() {
        let _ = heard.recv_timeout(LONGEST_LAST_WORD);
    }
    std::process::exit(REFUSED.into())
}
