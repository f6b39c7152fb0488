//! Who signs in a simulation: a cheap stand-in mostly, and in some histories real RSA keys.

use std::sync::Arc;

use crate::address::Address;
use crate::block::Seal;
use crate::hash::{BlockId, NetworkId};
use crate::keys::PrivateKey;
use crate::testing::Key;
use crate::transaction::{Payment, Transaction};

/// The keys of the test vectors: known to everybody.
const PUBLISHED: [&str; 3] = [
    include_str!("../../tests/vectors/keys/test-2048.pem"),
    include_str!("../../tests/vectors/keys/test-3072.pem"),
    include_str!("../../tests/vectors/keys/test-4096.pem"),
];

/// A key of either kind.
#[derive(Clone)]
pub(crate) enum Signer {
    StandIn(Key),
    Rsa(Arc<PrivateKey>),
}

impl Signer {
    /// The stand-in of this number.
    pub(crate) fn stand_in(number: u64) -> Self {
        Self::StandIn(Key::new(number))
    }

    /// All real keys that there are.
    pub(crate) fn published() -> Vec<Self> {
        let read = |pem| PrivateKey::from_pem(pem).expect("the keys of the test vectors are whole");
        PUBLISHED.into_iter().map(|pem| Self::Rsa(Arc::new(read(pem)))).collect()
    }

    pub(crate) fn address(&self) -> Address {
        match self {
            Self::StandIn(key) => key.address(),
            Self::Rsa(key) => key.address(),
        }
    }

    pub(crate) fn modulus(&self) -> &[u8] {
        match self {
            Self::StandIn(key) => key.modulus(),
            Self::Rsa(key) => key.modulus(),
        }
    }

    /// The payment, signed.
    pub(crate) fn sign(&self, network: &NetworkId, payment: Payment) -> Transaction {
        let payment = Payment { public_key: self.modulus().to_vec(), ..payment };
        match self {
            Self::StandIn(key) => key.sign(network, payment),
            Self::Rsa(key) => key.sign_payment(payment, network),
        }
    }

    /// The seal on the block with this id.
    pub(crate) fn seal(&self, id: &BlockId) -> Seal {
        match self {
            Self::StandIn(key) => key.seal(id),
            Self::Rsa(key) => key.seal(id),
        }
    }
}
