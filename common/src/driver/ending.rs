//! How a program ends that a signal asks to: in order, and at once where that takes too long.

use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::thread;

use tokio::sync::watch;

use super::limits::{LONGEST_END, LONGEST_LAST_WORD};
use crate::failure::REFUSED;

/// Ctrl-C and, on Unix, SIGTERM end the loop from now on. A second one, or [`LONGEST_END`], ends the program: whoever
/// reads what it prints may have stopped reading, and it would wait for him. That holds also when the loop has ended,
/// for as long as the program runs.
pub(super) fn stop_on_signals(stop: watch::Sender<bool>) -> io::Result<()> {
    // The threads for sockets end before the program does: this is none of them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
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
    drop(guard);
    let listening = async move {
        next().await;
        let _ = stop.send(true);
        let _ = tokio::time::timeout(LONGEST_END, next()).await;
        end_at_once()
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(listening))?;
    Ok(())
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
