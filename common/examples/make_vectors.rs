//! Writes `tests/vectors/*.json`: `cargo run -p common --example make_vectors`.
//!
//! The inputs are made here; the outputs are what the code makes of them. So a changed file means a changed
//! protocol, and the reference implementation in `tests/reference/` has to agree before it is committed.

#[path = "make_vectors/chains.rs"]
mod chains;
#[path = "../tests/vectors/evaluate.rs"]
mod evaluate;
#[path = "make_vectors/messages.rs"]
mod messages;
#[path = "make_vectors/values.rs"]
mod values;

use common::address::Address;
use common::amount::Amount;
use common::hash::NetworkId;
use common::rules::Rules;
use common::signature::address_of;
use common::transaction::{Payment, Transaction, TransactionVersion};
use evaluate::{Fault, evaluate, folder, modulus_of, sign, test_key};
use rsa::RsaPrivateKey;
use serde_json::{Value, json};

fn main() -> Result<(), Fault> {
    let small = Key::load("test-2048")?;
    let middle = Key::load("test-3072")?;
    let large = Key::load("test-4096")?;
    let keys = Keys { small, middle, large };
    for file in evaluate::FILES {
        let cases = match file {
            "amounts" => values::amounts(),
            "addresses" => values::addresses(&keys),
            "signatures" => values::signatures(&keys)?,
            "transactions" => values::transactions(&keys)?,
            "headers" => values::headers(),
            "targets" => values::targets(),
            "merkle" => values::merkle(),
            "rules" => values::rules(&keys),
            "blocks" => chains::blocks(&keys)?,
            "chains" => chains::chains(&keys)?,
            _ => messages::messages(&keys)?,
        };
        let mut written = Vec::with_capacity(cases.len());
        for Case { name, input } in cases {
            let output = evaluate(file, &input)?;
            written.push(json!({ "name": name, "input": input, "output": output }));
        }
        let text = serde_json::to_string_pretty(&json!({ "cases": written }))? + "\n";
        std::fs::write(folder().join(format!("{file}.json")), text)?;
    }
    Ok(())
}

/// A vector before its output is known.
pub struct Case {
    name: String,
    input: Value,
}

/// A case of this name.
pub fn case(name: impl Into<String>, input: Value) -> Case {
    Case { name: name.into(), input }
}

/// One of the keys in `tests/vectors/keys/`.
pub struct Key {
    name: &'static str,
    private: RsaPrivateKey,
    modulus: Vec<u8>,
    address: Address,
}

impl Key {
    fn load(name: &'static str) -> Result<Self, Fault> {
        let private = test_key(name)?;
        let modulus = modulus_of(&private);
        Ok(Self { name, private, address: address_of(&modulus), modulus })
    }

    /// A payment of this key: whole coins, no fee, no data.
    pub fn payment(&self, to: Address, coins: u64, nonce: u64) -> Payment {
        Payment {
            version: TransactionVersion::V1,
            to,
            amount: Amount::from_coins(coins),
            fee: Amount::ZERO,
            nonce,
            valid_until: 0,
            data: Vec::new(),
            public_key: self.modulus.clone(),
        }
    }

    /// The payment, signed by this key for a network.
    pub fn signed(&self, network: &NetworkId, payment: Payment) -> Result<Transaction, Fault> {
        let signature = sign(&self.private, &payment.signing_message(network))?;
        Ok(Transaction { payment, signature })
    }
}

/// The keys, by size.
pub struct Keys {
    small: Key,
    middle: Key,
    large: Key,
}

/// Rules of a network on which little work is needed; the key of 2048 bits holds 1,000 coins at genesis.
pub fn play_rules(keys: &Keys) -> Rules {
    Rules {
        name: "vectors".to_owned(),
        difficulty: 4,
        retarget_blocks: 5,
        alloc: vec![(keys.small.address, Amount::from_coins(1000))],
        ..Rules::default()
    }
}
