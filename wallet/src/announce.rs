//! Making a new payment known, once: by broadcast, and to the peers that the user named, which no broadcast may
//! reach. It is in the outbox by then, so that a failure costs no more than time: `wallet sync` repeats it.

use std::time::Duration;

use common::hash::NetworkId;
use common::net::{AddressError, Addresses, BroadcastError, Broadcaster};
use common::net::{ClientDeadlines, ConnectError, SessionError, connect_to_any, resolve};
use common::settings::Settings;
use common::text::with_causes;
use common::time::Timestamp;
use common::transaction::Transaction;
use common::wire::{Announcement, Datagram, Hello, Request, Response, SubmitResult};

use crate::output::{Note, Notes};

/// How long a named peer may take: a user waits for it at the prompt.
const PEER_WITHIN: Duration = Duration::from_secs(4);

/// Why a payment was not announced.
#[derive(Debug, thiserror::Error)]
enum AnnounceError {
    #[error("cannot start to send: {0}")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Addresses(#[from] AddressError),
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the peer {peer} gave no answer: {source}")]
    Session { peer: String, source: SessionError },
    #[error("the peer {peer} was not done within {} s", PEER_WITHIN.as_secs())]
    Late { peer: String },
    #[error("the peer {peer} does not take the payment yet")]
    NotTaken { peer: String },
}

/// Sends a payment everywhere; says what did not work.
pub fn announce(settings: &Settings, network: &NetworkId, transaction: Transaction, notes: &mut Notes) {
    let mut failures = Vec::new();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(async {
                failures.extend(broadcast(settings, network, transaction.clone()).await.err());
                for peer in settings.peers.iter().map(ToString::to_string) {
                    let submitting = submit(&peer, network, transaction.clone());
                    let submitted = tokio::time::timeout(PEER_WITHIN, submitting).await;
                    failures.extend(submitted.unwrap_or(Err(AnnounceError::Late { peer })).err());
                }
            });
            // A look-up of a name may still be under way; nobody waits for it.
            runtime.shutdown_background();
        }
        Err(error) => failures.push(error.into()),
    }
    for error in failures {
        let error = with_causes(&error);
        notes(Note::warning(format!("{error}; `wallet sync` sends the payment again")));
    }
}

async fn broadcast(
    settings: &Settings,
    network: &NetworkId,
    transaction: Transaction,
) -> Result<(), AnnounceError> {
    let addresses = Addresses::new(settings.lan, settings.broadcast_addresses.clone())?;
    let datagram = Datagram::new(network, Announcement::Transaction(transaction)).to_bytes();
    let failures = Broadcaster::open(addresses)?.send(&datagram, settings.transaction_port).await;
    failures.into_iter().next().map_or(Ok(()), |failure| Err(failure.into()))
}

async fn submit(peer: &str, network: &NetworkId, transaction: Transaction) -> Result<(), AnnounceError> {
    let failed = |source| AnnounceError::Session { peer: peer.to_owned(), source };
    let addresses = resolve(peer, PEER_WITHIN).await?;
    let deadlines = ClientDeadlines { connect: PEER_WITHIN, ..ClientDeadlines::default() };
    let (mut session, _) = connect_to_any(&addresses, network, own_hello, deadlines).await?;
    session.send(&Request::SubmitTransactions(vec![transaction])).await.map_err(failed)?;
    match session.next().await.map_err(failed)? {
        Response::Results(results)
            if matches!(results[..], [SubmitResult::ACCEPTED | SubmitResult::KNOWN]) =>
        {
            Ok(())
        }
        _ => Err(AnnounceError::NotTaken { peer: peer.to_owned() }),
    }
}

/// What a wallet that serves nothing says of itself.
fn own_hello(theirs: &Hello) -> Hello {
    Hello::of_caller(theirs, crate::AGENT, Timestamp::from_system_clock())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_limits_has_the_time_of_a_peer() {
        let row = format!("| `PEER_WITHIN` | {} s | ", PEER_WITHIN.as_secs());
        assert!(include_str!("../../LIMITS.md").contains(&row));
    }
}
