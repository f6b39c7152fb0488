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
    #[error("the peer {peer} does not take the payment yet: {why}")]
    NotYet { peer: String, why: &'static str },
    #[error("the peer {peer} refuses the payment: {why}")]
    Refused { peer: String, why: &'static str },
    #[error("the peer {peer} did not say what became of the payment")]
    NoResult { peer: String },
}

impl AnnounceError {
    /// What the user can expect, or do.
    fn next(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "`wallet sync --once` and then `wallet history` show what becomes of it",
            _ => "`wallet sync` sends the payment again",
        }
    }
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
        notes(Note::warning(format!("{}; {}", with_causes(&error), error.next())));
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
        Response::Results(results) if results.len() == 1 => became(peer, results[0]),
        _ => Err(AnnounceError::NoResult { peer: peer.to_owned() }),
    }
}

/// What a peer said of the payment (`PROTOCOL.md`, section 7).
fn became(peer: &str, result: SubmitResult) -> Result<(), AnnounceError> {
    let peer = || peer.to_owned();
    let not_yet = |why| Err(AnnounceError::NotYet { peer: peer(), why });
    let refused = |why| Err(AnnounceError::Refused { peer: peer(), why });
    match result {
        SubmitResult::ACCEPTED | SubmitResult::KNOWN => Ok(()),
        SubmitResult::NONCE_GAP => not_yet("it lacks an earlier payment of the sender"),
        SubmitResult::FUNDS => not_yet("on its chain the sender cannot pay so much"),
        SubmitResult::POOL_FULL => not_yet("it has no room, and others pay more"),
        SubmitResult::CONFLICT => not_yet("another payment of the sender waits there in its place"),
        SubmitResult::NONCE_TOO_LOW => refused("its chain holds the payment, or another in its place"),
        SubmitResult::EXPIRED => refused("its chain is past the last block that might have held it"),
        _ => refused("it breaks a rule there"),
    }
}

/// What a wallet that serves nothing says of itself.
fn own_hello(theirs: &Hello) -> Hello {
    Hello::of_caller(theirs, crate::AGENT, Timestamp::from_system_clock())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Once all of it was "not yet": whoever was told so waited for a payment that could never come.
    #[test]
    fn what_can_never_be_taken_is_not_called_a_matter_of_time() {
        let said = |result| became("host:1", result).map_err(|error| (error.to_string(), error.next()));
        assert_eq!(said(SubmitResult::ACCEPTED), Ok(()));
        assert_eq!(said(SubmitResult::KNOWN), Ok(()));
        for result in
            [SubmitResult::NONCE_GAP, SubmitResult::FUNDS, SubmitResult::POOL_FULL, SubmitResult::CONFLICT]
        {
            let (sentence, next) = said(result).unwrap_err();
            assert!(
                sentence.contains("yet: ") && next.contains("sends the payment again"),
                "{sentence}; {next}"
            );
        }
        for result in
            [SubmitResult::NONCE_TOO_LOW, SubmitResult::EXPIRED, SubmitResult::FORM, SubmitResult(999)]
        {
            let (sentence, next) = said(result).unwrap_err();
            assert!(sentence.contains("refuses") && !sentence.contains("yet"), "{sentence}");
            assert!(next.contains("wallet history"), "{next}");
        }
    }

    #[test]
    fn the_table_of_limits_has_the_time_of_a_peer() {
        let row = format!("| `PEER_WITHIN` | {} s | ", PEER_WITHIN.as_secs());
        assert!(include_str!("../../LIMITS.md").contains(&row));
    }
}
