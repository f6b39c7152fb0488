//! The limit that everything else is measured by: how many signatures the library alone verifies on all
//! cores, with keys that are parsed already, and nothing else to do.

use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use common::transaction::Transaction;

use crate::Failure;
use crate::generate::{Draft, Party, People, on_all_cores};
use crate::process::cpu_seconds;

/// One look takes so long.
const LOOK: Duration = Duration::from_millis(700);
/// Signatures that are verified between two looks at the clock.
const AT_A_TIME: usize = 64;

/// Signatures of many keys.
pub struct RawVerify {
    signed: Vec<Signed>,
}

/// What was seen in one look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Signatures a second, on all cores.
    pub per_second: f64,
    /// Processor time for one of them. Unlike the rate, it hardly depends on what else the machine does.
    pub cpu_micros: f64,
}

impl Look {
    /// Between two looks.
    pub fn mean(self, other: Self) -> Self {
        Self {
            per_second: (self.per_second + other.per_second) / 2.0,
            cpu_micros: (self.cpu_micros + other.cpu_micros) / 2.0,
        }
    }
}

struct Signed {
    key: usize,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl RawVerify {
    /// With so many signatures of each of these people.
    pub fn new(people: &People, each: u64) -> Self {
        let payments = 0..people.senders.len() as u64 * each;
        let drafts: Vec<Draft> = payments
            .map(|number| Draft {
                from: Party::Sender((number / each) as usize),
                to: people.alice.address(),
                nonce: number % each,
            })
            .collect();
        let sign = people.sign(&drafts).into_iter().enumerate();
        let message = |transaction: &Transaction| transaction.payment.signing_message(&people.network);
        let signed = sign.map(|(number, transaction)| Signed {
            key: number / each as usize,
            message: message(&transaction),
            signature: transaction.signature,
        });
        Self { signed: signed.collect() }
    }

    /// Verifies for a moment.
    pub fn look(&self, people: &People) -> Result<Look, Failure> {
        let keys: Result<Vec<ParsedPublicKey>, _> =
            people.senders.iter().map(|key| parsed(key.modulus())).collect();
        let keys = keys?;
        let verify =
            |signed: &Signed| keys[signed.key].verify_sig(&signed.message, &signed.signature).is_ok();
        // Each core goes round its share until the time is over.
        let cores = std::thread::available_parallelism()?.get();
        let share = self.signed.len().div_ceil(cores).max(1);
        let shares: Vec<&[Signed]> = self.signed.chunks(share).collect();
        let (begin, cpu) = (Instant::now(), cpu_seconds(std::process::id()));
        let counts = on_all_cores(&shares, |share| {
            let mut verified = 0;
            for chunk in share.chunks(AT_A_TIME).cycle() {
                if begin.elapsed() >= LOOK {
                    break;
                }
                verified += chunk.iter().filter(|signed| verify(signed)).count();
            }
            verified as f64
        });
        let (verified, seconds): (f64, _) = (counts.iter().sum(), begin.elapsed().as_secs_f64());
        let busy = cpu_seconds(std::process::id()).zip(cpu).map_or(0.0, |(now, before)| now - before);
        Ok(Look { per_second: verified / seconds, cpu_micros: busy * 1e6 / verified })
    }
}

/// The key with this modulus of 2048 bits, as PKCS#1 has it.
fn parsed(modulus: &[u8]) -> Result<ParsedPublicKey, Failure> {
    let der = [&[0x30, 0x82, 1, 10, 2, 0x82, 1, 1, 0], modulus, &[2, 3, 1, 0, 1]].concat();
    ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der)
        .map_err(|error| format!("a key is not one: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_that_is_measured_is_right() {
        let people = People::new(3, 1, |_| ()).unwrap();
        let raw = RawVerify::new(&people, 4);
        assert_eq!(raw.signed.len(), 12);
        for Signed { key, message, signature } in &raw.signed {
            let key = parsed(people.senders[*key].modulus()).unwrap();
            assert!(key.verify_sig(message, signature).is_ok());
        }
    }
}
