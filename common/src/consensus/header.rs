//! The rules of a header and its seal: all that can be checked before a body is asked for (rules 2 to 8
//! of `PROTOCOL.md`, section 6).

use crate::address::Address;
use crate::block::{BlockHeader, Seal, SealedHeader, seal_message};
use crate::difficulty::{CompactTarget, RetargetContext, next_bits};
use crate::hash::BlockId;
use crate::rules::Rules;
use crate::signature::{SignatureVerifier, address_of, modulus_bits};
use crate::time::{Height, Timestamp};

/// Which rule a header breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum HeaderError {
    #[error("it does not follow its parent")]
    NotTheParent,
    #[error("it was found to be invalid before, or builds on such a block")]
    KnownInvalid,
    #[error("its version is {got}; 1 is the only one known")]
    Version { got: u32 },
    #[error("its height is {got}; {expected} follows its parent")]
    Height { got: Height, expected: Height },
    #[error("its bits are {got:#010x}; {expected:#010x} follows its ancestors")]
    Bits { got: u32, expected: u32 },
    #[error("its id is not below its target: the work was not done")]
    InsufficientWork,
    #[error("its time is less than {min_spacing_ms} ms after its parent's")]
    TooSoonAfterParent { min_spacing_ms: u32 },
    #[error("it has a seal, and this network has no authorities")]
    UnexpectedSeal,
    #[error("it has no seal, and this network's blocks are sealed by authorities")]
    MissingSeal,
    #[error("its seal's key is not an odd modulus of at least {least} bits")]
    SealKey { least: u32 },
    #[error("it is sealed by {address}, which is no authority of this network")]
    NotAnAuthority { address: Address },
    #[error("its seal's signature is not its authority's")]
    BadSeal,
    #[error("it was made {early_ms} ms before its authority's turn")]
    OutOfTurn { early_ms: u64 },
    #[error("its time is {ahead_ms} ms ahead of this machine's clock: it has to wait")]
    AheadOfClock { ahead_ms: u64 },
}

/// What of its ancestors decides whether a header is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestors {
    /// The parent's header.
    pub parent: BlockHeader,
    /// The parent's id.
    pub parent_id: BlockId,
    /// The time of the parent's own parent; `None` when the parent is genesis.
    pub grandparent_time: Option<Timestamp>,
}

impl Ancestors {
    /// Those of genesis' child.
    pub fn of_genesis_child(rules: &Rules) -> Self {
        let parent = rules.genesis().header;
        Self { parent, parent_id: parent.id(), grandparent_time: None }
    }

    /// Those of the child of a header that has these ancestors.
    pub fn of_child(&self, header: &BlockHeader, id: BlockId) -> Self {
        Self { parent: *header, parent_id: id, grandparent_time: Some(self.parent.time) }
    }

    /// The bits that a child must have.
    pub fn next_bits(&self, rules: &Rules) -> CompactTarget {
        // Block 2 keeps genesis' bits as well: the time since genesis measures no mining.
        let measured = self.parent.height.get() >= 2;
        next_bits(
            rules,
            &RetargetContext {
                parent_bits: self.parent.bits,
                parent_time: self.parent.time,
                grandparent_time: self.grandparent_time.filter(|_| measured),
            },
        )
    }
}

/// Checks rules 2 to 7: everything but the clock.
pub fn check_header(
    rules: &Rules,
    ancestors: &Ancestors,
    block: &SealedHeader,
    verifier: &dyn SignatureVerifier,
) -> Result<BlockId, HeaderError> {
    let (header, id) = (&block.header, block.header.id());
    follows_parent(ancestors, header)?;
    version_is_known(header)?;
    height_follows_parent(ancestors, header)?;
    bits_are_computed(rules, ancestors, header)?;
    work_is_done(header, &id)?;
    time_follows_parent(rules, ancestors, header)?;
    seal_is_right(rules, ancestors, block, &id, verifier)?;
    Ok(id)
}

/// Rule 8: a block from the future waits. Never asked again of a block once accepted.
pub fn not_ahead_of_clock(rules: &Rules, header: &BlockHeader, now: Timestamp) -> Result<(), HeaderError> {
    let latest = now.plus_millis(u64::from(rules.max_ahead_seconds) * 1000);
    if header.time <= latest {
        Ok(())
    } else {
        Err(HeaderError::AheadOfClock { ahead_ms: header.time.millis_since(now) })
    }
}

/// The earliest time that a child's header may have, made by this authority (or by anybody, on a network
/// without). `None` when the address is no authority.
pub fn earliest_time(rules: &Rules, parent: &BlockHeader, sealer: Option<&Address>) -> Option<Timestamp> {
    let spacing_ms = u64::from(rules.min_spacing_ms);
    let turn_ms =
        if rules.has_authorities() { turn_delay_ms(rules, parent.height.next(), sealer?)? } else { 0 };
    Some(parent.time.plus_millis(spacing_ms.max(turn_ms)))
}

/// How long after the parent an authority may make the block of this height: nothing for its leader, a
/// timeout more for each place after it. `None` for an address that is no authority.
fn turn_delay_ms(rules: &Rules, height: Height, sealer: &Address) -> Option<u64> {
    let count = rules.authorities.len() as u64;
    let place = rules.authorities.iter().position(|authority| authority == sealer)? as u64;
    let leader = height.get() % count;
    let distance = (place + count - leader) % count;
    Some(distance * u64::from(rules.authority_timeout_seconds) * 1000)
}

fn follows_parent(ancestors: &Ancestors, header: &BlockHeader) -> Result<(), HeaderError> {
    if header.previous == ancestors.parent_id { Ok(()) } else { Err(HeaderError::NotTheParent) }
}

fn version_is_known(header: &BlockHeader) -> Result<(), HeaderError> {
    if header.version == 1 { Ok(()) } else { Err(HeaderError::Version { got: header.version }) }
}

fn height_follows_parent(ancestors: &Ancestors, header: &BlockHeader) -> Result<(), HeaderError> {
    let expected = ancestors.parent.height.next();
    if header.height == expected && expected <= Height::MAX {
        Ok(())
    } else {
        Err(HeaderError::Height { got: header.height, expected })
    }
}

fn bits_are_computed(rules: &Rules, ancestors: &Ancestors, header: &BlockHeader) -> Result<(), HeaderError> {
    let expected = ancestors.next_bits(rules);
    if header.bits == expected {
        Ok(())
    } else {
        Err(HeaderError::Bits { got: header.bits.to_bits(), expected: expected.to_bits() })
    }
}

fn work_is_done(header: &BlockHeader, id: &BlockId) -> Result<(), HeaderError> {
    if header.bits.to_target().is_met_by(id) { Ok(()) } else { Err(HeaderError::InsufficientWork) }
}

fn time_follows_parent(
    rules: &Rules,
    ancestors: &Ancestors,
    header: &BlockHeader,
) -> Result<(), HeaderError> {
    let min_spacing_ms = rules.min_spacing_ms;
    if header.time >= ancestors.parent.time.plus_millis(min_spacing_ms.into()) {
        Ok(())
    } else {
        Err(HeaderError::TooSoonAfterParent { min_spacing_ms })
    }
}

fn seal_is_right(
    rules: &Rules,
    ancestors: &Ancestors,
    block: &SealedHeader,
    id: &BlockId,
    verifier: &dyn SignatureVerifier,
) -> Result<(), HeaderError> {
    match (&block.seal, rules.has_authorities()) {
        (None, false) => Ok(()),
        (Some(_), false) => Err(HeaderError::UnexpectedSeal),
        (None, true) => Err(HeaderError::MissingSeal),
        (Some(seal), true) => {
            let sealer = seal_key_is_large_enough(rules, seal)?;
            it_is_the_sealers_turn(rules, ancestors, &block.header, sealer)?;
            seal_is_the_authoritys(seal, id, verifier)
        }
    }
}

fn seal_key_is_large_enough(rules: &Rules, seal: &Seal) -> Result<Address, HeaderError> {
    let enough = modulus_bits(&seal.public_key).is_some_and(|bits| bits >= rules.key_size);
    if enough {
        Ok(address_of(&seal.public_key))
    } else {
        Err(HeaderError::SealKey { least: rules.key_size })
    }
}

fn it_is_the_sealers_turn(
    rules: &Rules,
    ancestors: &Ancestors,
    header: &BlockHeader,
    sealer: Address,
) -> Result<(), HeaderError> {
    let earliest = earliest_time(rules, &ancestors.parent, Some(&sealer))
        .ok_or(HeaderError::NotAnAuthority { address: sealer })?;
    if header.time >= earliest {
        Ok(())
    } else {
        Err(HeaderError::OutOfTurn { early_ms: earliest.millis_since(header.time) })
    }
}

fn seal_is_the_authoritys(
    seal: &Seal,
    id: &BlockId,
    verifier: &dyn SignatureVerifier,
) -> Result<(), HeaderError> {
    let right_length = seal.signature.len() == seal.public_key.len();
    if right_length && verifier.verify(&seal.public_key, &seal_message(id), &seal.signature) {
        Ok(())
    } else {
        Err(HeaderError::BadSeal)
    }
}
