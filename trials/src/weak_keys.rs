//! RSA keys that sign fast, and that anybody can break.
//!
//! A benchmark or a flood needs very many signed payments, and a real 2048-bit key takes 0.3 ms to sign one, on the
//! machine of `BENCHMARKS.md`. These keys take a fortieth of that: their modulus is the product of 32 primes of 64 bits instead of two of 1024, so a
//! signature is 32 powers in single machine words, put together by the Chinese remainder theorem.
//!
//! For both that is fair. Whoever verifies sees an odd modulus of 2048 bits with the exponent 65537 and
//! a signature that is right: the same bytes, the same arithmetic, the same time as with any other key. As a
//! key it is worthless: primes of 64 bits are found from the modulus within minutes on one core.

use common::hash::{NetworkId, sha256};
use common::transaction::{Payment, Transaction};

use crate::random::Random;

/// How many primes a modulus has: 32 of 64 bits make 2048.
const PRIMES: usize = 32;
/// The public exponent of every key.
const PUBLIC_EXPONENT: u64 = 65_537;
/// With these six bits set in each prime the product of all has its top bit set: (1 − 1/64)^32 > 1/2.
const TOP_BITS: u64 = 0b11_1111 << 58;
/// Bits of an exponent that are worked off at a time.
const WINDOW: u32 = 4;

/// DER of a `DigestInfo` for SHA-256, up to the hash (RFC 8017, section 9.2).
const DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];

/// One number for each of a key's primes.
type Residues = [u64; PRIMES];

/// A key as the module describes it.
pub struct WeakKey {
    modulus: [u8; 256],
    fields: [Field; PRIMES],
    /// The private exponent, modulo each prime less one.
    exponents: Residues,
    /// What every padded message has in common: it, with a hash of zeros.
    padding: Residues,
    /// `inverses[j][i]`: of prime `j` modulo prime `i`, in Montgomery form.
    inverses: [Residues; PRIMES],
}

impl WeakKey {
    /// A key that follows from the random numbers alone.
    pub fn generate(random: &mut Random) -> Self {
        let mut primes = Vec::with_capacity(PRIMES);
        while primes.len() < PRIMES {
            let candidate = random.next_u64() | TOP_BITS | 1;
            let has_inverse = !(candidate - 1).is_multiple_of(PUBLIC_EXPONENT);
            if has_inverse && is_prime(candidate) && !primes.contains(&candidate) {
                primes.push(candidate);
            }
        }
        let fields: [Field; PRIMES] = std::array::from_fn(|i| Field::new(primes[i]));
        let inverse = |j: usize, i: usize| if i == j { 0 } else { fields[i].inverse(primes[j]) };
        Self {
            modulus: product(&primes),
            exponents: fields.map(|field| private_exponent(field.prime)),
            padding: fields.map(|field| field.remainder(&padded([0; 32]))),
            inverses: std::array::from_fn(|j| std::array::from_fn(|i| inverse(j, i))),
            fields,
        }
    }

    /// The modulus, big endian.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 over a message.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let hash = sha256(&[message]);
        let padded = std::array::from_fn(|i| {
            let field = &self.fields[i];
            field.add(self.padding[i], field.remainder(&hash))
        });
        self.combine(self.powers(padded)).to_vec()
    }

    /// Signs a payment for one network. The payment's `public_key` is set to this key's.
    pub fn sign_payment(&self, payment: Payment, network: &NetworkId) -> Transaction {
        let payment = Payment { public_key: self.modulus.to_vec(), ..payment };
        let signature = self.sign(&payment.signing_message(network));
        Transaction { payment, signature }
    }

    /// Each number to the private exponent, modulo its prime. All primes go in step: their multiplications do
    /// not wait for each other's results.
    fn powers(&self, bases: Residues) -> Residues {
        let base: Residues = std::array::from_fn(|i| self.fields[i].enter(bases[i]));
        let one: Residues = std::array::from_fn(|i| self.fields[i].enter(1));
        let mut table = [one; 1 << WINDOW];
        for power in 1..table.len() {
            let before = table[power - 1];
            table[power] = std::array::from_fn(|i| self.fields[i].multiply(before[i], base[i]));
        }
        let mut result = one;
        for shift in (0..64).step_by(WINDOW as usize).rev() {
            for _ in 0..WINDOW {
                for (number, field) in result.iter_mut().zip(&self.fields) {
                    *number = field.multiply(*number, *number);
                }
            }
            for i in 0..PRIMES {
                let digit = (self.exponents[i] >> shift) as usize % (1 << WINDOW);
                result[i] = self.fields[i].multiply(result[i], table[digit][i]);
            }
        }
        std::array::from_fn(|i| self.fields[i].leave(result[i]))
    }

    /// The one number below the modulus that leaves these remainders, big endian: Garner's algorithm finds
    /// its digits in the mixed radix of the primes, which Horner's rule adds up.
    fn combine(&self, mut residues: Residues) -> [u8; 256] {
        for j in 0..PRIMES {
            let digit = residues[j];
            for (i, residue) in residues.iter_mut().enumerate().skip(j + 1) {
                let field = &self.fields[i];
                let rest = field.subtract(*residue, field.reduce(digit));
                *residue = field.multiply(rest, self.inverses[j][i]);
            }
        }
        let mut number = Number::default();
        for (field, digit) in self.fields.iter().zip(residues).rev() {
            number.multiply_and_add(field.prime, digit);
        }
        number.to_be_bytes()
    }
}

/// A hash after PKCS#1's padding, big endian.
fn padded(hash: [u8; 32]) -> [u8; 256] {
    let mut bytes = [0xff; 256];
    bytes[..2].copy_from_slice(&[0, 1]);
    let start = bytes.len() - DIGEST_INFO.len() - hash.len();
    bytes[start - 1] = 0;
    bytes[start..start + DIGEST_INFO.len()].copy_from_slice(&DIGEST_INFO);
    bytes[start + DIGEST_INFO.len()..].copy_from_slice(&hash);
    bytes
}

fn product(primes: &[u64]) -> [u8; 256] {
    let mut number = Number::default();
    number.multiply_and_add(0, 1);
    for prime in primes {
        number.multiply_and_add(*prime, 0);
    }
    number.to_be_bytes()
}

/// The inverse of the public exponent e modulo p − 1: with k·(p − 1) ≡ −1 modulo e, k·(p − 1) + 1 is a
/// multiple of e.
fn private_exponent(prime: u64) -> u64 {
    let (order, field) = (prime - 1, Field::new(PUBLIC_EXPONENT));
    let minus_k = field.leave(field.inverse(order % PUBLIC_EXPONENT));
    let multiple = u128::from(PUBLIC_EXPONENT - minus_k) * u128::from(order) + 1;
    (multiple / u128::from(PUBLIC_EXPONENT)) as u64
}

/// Whether a number is prime. These bases decide it for every number of 64 bits.
fn is_prime(number: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if BASES.contains(&number) || number < 2 || BASES.iter().any(|base| number.is_multiple_of(*base)) {
        return BASES.contains(&number);
    }
    let field = Field::new(number);
    let twos = (number - 1).trailing_zeros();
    let (one, minus_one) = (field.enter(1), field.enter(number - 1));
    BASES.iter().all(|base| {
        let mut power = field.power(*base, (number - 1) >> twos);
        if power == one || power == minus_one {
            return true;
        }
        (1..twos).any(|_| {
            power = field.multiply(power, power);
            power == minus_one
        })
    })
}

/// Arithmetic modulo an odd number, in Montgomery's form: a number x stands for x·2^-64.
#[derive(Clone, Copy, Debug)]
struct Field {
    prime: u64,
    /// Of the prime, modulo 2^64.
    inverse: u64,
    /// 2^128 modulo the prime.
    square: u64,
}

impl Field {
    fn new(prime: u64) -> Self {
        // Newton's iteration doubles the bits that are right; an odd number is its own inverse in three.
        let inverse = (0..5)
            .fold(prime, |inverse, _| inverse.wrapping_mul(2_u64.wrapping_sub(prime.wrapping_mul(inverse))));
        let square = (u128::MAX % u128::from(prime) + 1) % u128::from(prime);
        Self { prime, inverse, square: square as u64 }
    }

    /// The product of two numbers in Montgomery's form; of one in it and one outside, a number outside. One of
    /// the two may be as large as 2^64 − 1, the other is below the prime.
    fn multiply(&self, a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        let quotient = (product as u64).wrapping_mul(self.inverse);
        let multiple = (u128::from(quotient) * u128::from(self.prime)) >> 64;
        let (result, below) = ((product >> 64) as u64).overflowing_sub(multiple as u64);
        if below { result.wrapping_add(self.prime) } else { result }
    }

    fn enter(&self, number: u64) -> u64 {
        self.multiply(number, self.square)
    }

    fn leave(&self, number: u64) -> u64 {
        self.multiply(number, 1)
    }

    fn add(&self, a: u64, b: u64) -> u64 {
        let (sum, carry) = a.overflowing_add(b);
        if carry || sum >= self.prime { sum.wrapping_sub(self.prime) } else { sum }
    }

    fn subtract(&self, a: u64, b: u64) -> u64 {
        let (difference, below) = a.overflowing_sub(b);
        if below { difference.wrapping_add(self.prime) } else { difference }
    }

    /// Any 64-bit number modulo a prime with its top bit set.
    fn reduce(&self, number: u64) -> u64 {
        if number >= self.prime { number - self.prime } else { number }
    }

    /// A long number, big endian, modulo a prime with its top bit set.
    fn remainder(&self, bytes: &[u8]) -> u64 {
        bytes.chunks_exact(8).fold(0, |remainder, chunk| {
            let word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.add(self.enter(remainder), self.reduce(word))
        })
    }

    /// A power, in Montgomery's form, of a number outside of it.
    fn power(&self, base: u64, exponent: u64) -> u64 {
        let base = self.enter(base);
        (0..64 - exponent.leading_zeros()).rev().fold(self.enter(1), |power, bit| {
            let square = self.multiply(power, power);
            if exponent >> bit & 1 == 1 { self.multiply(square, base) } else { square }
        })
    }

    /// The inverse of a number, in Montgomery's form, by Fermat's little theorem.
    fn inverse(&self, number: u64) -> u64 {
        self.power(number, self.prime - 2)
    }
}

/// A number of 2048 bits, its lowest word first.
struct Number([u64; PRIMES]);

impl Default for Number {
    fn default() -> Self {
        Self([0; PRIMES])
    }
}

impl Number {
    fn multiply_and_add(&mut self, factor: u64, summand: u64) {
        let mut carry = u128::from(summand);
        for word in &mut self.0 {
            carry += u128::from(*word) * u128::from(factor);
            *word = carry as u64;
            carry >>= 64;
        }
    }

    fn to_be_bytes(&self) -> [u8; 256] {
        let mut bytes = [0; 256];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.0.iter().rev()) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use common::signature::{RsaVerifier, SignatureVerifier, modulus_bits};
    use proptest::prelude::*;

    use super::*;

    fn verifier() -> RsaVerifier {
        Default::default()
    }

    static KEY: LazyLock<WeakKey> = LazyLock::new(|| WeakKey::generate(&mut Random::new(1)));

    #[test]
    fn a_seed_always_makes_the_same_key_and_another_seed_another() {
        let modulus = |seed| WeakKey::generate(&mut Random::new(seed)).modulus;
        assert_eq!(modulus(1), KEY.modulus);
        assert_ne!(modulus(2), KEY.modulus);
    }

    #[test]
    fn keys_have_the_form_that_the_protocol_asks_for() {
        for seed in 0..20 {
            let key = WeakKey::generate(&mut Random::new(seed));
            assert_eq!(modulus_bits(key.modulus()), Some(2048));
            assert!(verifier().verify(key.modulus(), b"message", &key.sign(b"message")), "seed {seed}");
        }
    }

    #[test]
    fn primes_are_told_from_other_numbers() {
        let by_division = |number: u64| number > 1 && (2..number).all(|it| !number.is_multiple_of(it));
        for number in 0..2_000 {
            assert_eq!(is_prime(number), by_division(number), "{number}");
        }
        // The largest prime of 64 bits; products of two primes; a number that is prime to nine of the bases.
        assert!(is_prime(u64::MAX - 58));
        for composite in [u64::MAX, 4_294_967_291 * 4_294_967_279, 3_825_123_056_546_413_051] {
            assert!(!is_prime(composite), "{composite}");
        }
    }

    proptest! {
        #[test]
        fn signatures_verify_and_are_the_messages_alone(message: Vec<u8>, other: Vec<u8>) {
            let signature = KEY.sign(&message);
            prop_assert!(verifier().verify(KEY.modulus(), &message, &signature));
            prop_assert_eq!(message == other, verifier().verify(KEY.modulus(), &other, &signature));
        }

        #[test]
        fn a_field_does_what_division_does(modulus: u64, a: u64, b: u64) {
            let modulus = modulus | 1 << 63 | 1;
            let field = Field::new(modulus);
            let (a, b) = (field.reduce(a), field.reduce(b));
            let wide = |number: u64| u128::from(number);
            let expected = |number: u128| (number % wide(modulus)) as u64;
            prop_assert_eq!(field.leave(field.enter(a)), a);
            prop_assert_eq!(field.multiply(field.enter(a), b), expected(wide(a) * wide(b)));
            prop_assert_eq!(field.add(a, b), expected(wide(a) + wide(b)));
            prop_assert_eq!(field.subtract(a, b), expected(wide(a) + wide(modulus) - wide(b)));
            let long = [a.to_be_bytes(), b.to_be_bytes()].concat();
            prop_assert_eq!(field.remainder(&long), expected(wide(a) << 64 | wide(b)));
        }
    }
}
