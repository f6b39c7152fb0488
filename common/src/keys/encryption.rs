//! Private keys under a passphrase: PBES2 of RFC 8018, as OpenSSL writes and reads it. Called by
//! [`super::file`].
//!
//! Written is scrypt and AES-256 in CBC mode. Read are also PBKDF2, with whatever hash OpenSSL may have chosen,
//! and the shorter AES keys.
//!
//! CBC has nothing that proves that the passphrase was right. What was decrypted does: a PKCS#8 key begins with
//! bytes that are known, and ends with a padding that is. A wrong passphrase gives random bytes, which pass for
//! such a beginning once in 2³⁹ times.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptionContext, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{Decode, Encode};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{
    EncryptionScheme as Cipher, Kdf, Parameters, Pbkdf2Params, Pbkdf2Prf, Salt, ScryptParams,
};
use zeroize::Zeroizing;

use super::KeyError;
use crate::passphrase::Passphrase;

/// The most memory that opening a key may take. OpenSSL writes keys that take 16 MiB, and common libraries up to
/// 128; a file that asks for more was made to exhaust this machine.
const MAX_KDF_BYTES: u64 = 256 << 20;
/// The most work of scrypt that opening a key may take, as N·r·p: some two seconds.
const MAX_SCRYPT_WORK: u64 = 1 << 22;
/// The most rounds of PBKDF2 that opening a key may take: some seconds. OpenSSL writes 2,048.
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;
/// Bytes of salt: no two files will ever have the same.
const SALT_BYTES: usize = 16;
/// The block of AES.
const BLOCK_BYTES: usize = 16;

/// What trying one passphrase costs, the user once and a thief each time.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    log_n: u8,
    block_size: u16,
    parallelization: u16,
}

impl Cost {
    /// 16 MiB and five passes over them: what OWASP holds to be as strong as 128 MiB and one pass, and the most
    /// memory that `openssl pkey` grants. Some 0.15 s.
    pub const USUAL: Self = Self { log_n: 14, block_size: 8, parallelization: 5 };
    /// Next to nothing.
    const LEAST: Self = Self { log_n: 4, block_size: 8, parallelization: 1 };
    /// What keys are encrypted at: the usual, but for this crate's own tests, which encrypt many.
    pub const IN_USE: Self = if cfg!(test) { Self::LEAST } else { Self::USUAL };
}

/// Why decrypting gave no key.
#[derive(Debug)]
pub enum DecryptError {
    /// The form is not what is known, or costs too much.
    Form(KeyError),
    /// What came out is no key: the passphrase is another, or the bytes are.
    NoKey,
    /// The passphrase is right, for a key begins. What follows is damaged.
    Damaged,
}

/// Encrypts a key in PKCS#8 to an `EncryptedPrivateKeyInfo`.
pub fn encrypt(der: &[u8], passphrase: &Passphrase, cost: Cost) -> Result<Vec<u8>, KeyError> {
    let failed = |reason: &dyn std::fmt::Display| KeyError::Generate { reason: reason.to_string() };
    let (mut salt, mut iv) = ([0; SALT_BYTES], [0; BLOCK_BYTES]);
    getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut iv)).map_err(|error| failed(&error))?;
    let kdf = Kdf::Scrypt(ScryptParams {
        salt: Salt::new(salt).map_err(|error| failed(&error))?,
        cost_parameter: 1 << cost.log_n,
        block_size: cost.block_size,
        parallelization: cost.parallelization,
        key_length: None,
    });
    let parameters = Parameters { kdf, encryption: Cipher::Aes256Cbc { iv } };
    let key = derive(&parameters.kdf, 32, passphrase)?;
    let key = UnboundCipherKey::new(&AES_256, &key).map_err(|error| failed(&error))?;
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(|error| failed(&error))?;
    // The whole capacity at once, so that padding never leaves a copy of the key behind.
    let mut data = Zeroizing::new(Vec::with_capacity(der.len() + BLOCK_BYTES));
    data.extend_from_slice(der);
    key.less_safe_encrypt(&mut *data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .map_err(|error| failed(&error))?;
    let info = EncryptedPrivateKeyInfoRef {
        encryption_algorithm: EncryptionScheme::Pbes2(parameters),
        encrypted_data: OctetStringRef::new(&data).map_err(|error| failed(&error))?,
    };
    info.to_der().map_err(|error| failed(&error))
}

/// Decrypts an `EncryptedPrivateKeyInfo` to a key in PKCS#8.
pub fn decrypt(der: &[u8], passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    let (parameters, data) = parse(der).map_err(DecryptError::Form)?;
    let (algorithm, iv) = match parameters.encryption {
        Cipher::Aes128Cbc { iv } => (&AES_128, iv),
        Cipher::Aes192Cbc { iv } => (&AES_192, iv),
        Cipher::Aes256Cbc { iv } => (&AES_256, iv),
        _ => return Err(DecryptError::Form(unsupported("its cipher"))),
    };
    let key =
        derive(&parameters.kdf, parameters.encryption.key_size(), passphrase).map_err(DecryptError::Form)?;
    let mut data = Zeroizing::new(data.to_vec());
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    // The padding is left in, so that a key can be recognised by its beginning even if its end is damaged.
    let decrypted = UnboundCipherKey::new(algorithm, &key)
        .and_then(DecryptingKey::cbc)
        .and_then(|key| key.decrypt(&mut data, context).map(|plain| plain.len()));
    if decrypted != Ok(data.len()) {
        return Err(DecryptError::Form(damaged("its length is not that of an encrypted key")));
    }
    match (unpadded_length(&data), begins_like_a_key(&data)) {
        (Some(length), true) => {
            data.truncate(length);
            Ok(data)
        }
        (None, true) => Err(DecryptError::Damaged),
        (_, false) => Err(DecryptError::NoKey),
    }
}

/// Whether an `EncryptedPrivateKeyInfo` can be decrypted here, given the passphrase.
pub fn check(der: &[u8]) -> Result<(), KeyError> {
    parse(der).map(|_| ())
}

/// How it is encrypted, and what; in bounds.
fn parse(der: &[u8]) -> Result<(Parameters, &[u8]), KeyError> {
    use pkcs8::der::ErrorKind;
    let info = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|error| match error.kind() {
        ErrorKind::OidUnknown { oid } => unsupported(&format!("algorithm {oid}")),
        _ => damaged(&error.to_string()),
    })?;
    let EncryptionScheme::Pbes2(parameters) = info.encryption_algorithm else {
        return Err(unsupported("PBES1"));
    };
    let data = info.encrypted_data.as_bytes();
    if data.is_empty() || data.len() % BLOCK_BYTES != 0 {
        return Err(damaged("its length is not that of an encrypted key"));
    }
    let key_bytes = parameters.encryption.key_size();
    if parameters.kdf.key_length().is_some_and(|length| usize::from(length) != key_bytes) {
        return Err(damaged("it derives a key of another length than its cipher has"));
    }
    match &parameters.kdf {
        Kdf::Scrypt(params) => scrypt_parameters(params).map(|_| ()),
        Kdf::Pbkdf2(params) => pbkdf2_parameters(params).map(|_| ()),
        _ => Err(unsupported("its derivation of a key")),
    }?;
    Ok((parameters, data))
}

/// The key that a passphrase stands for.
fn derive(kdf: &Kdf, key_bytes: usize, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut key = Zeroizing::new(vec![0; key_bytes]);
    match kdf {
        Kdf::Scrypt(params) => {
            let parameters = scrypt_parameters(params)?;
            scrypt::scrypt(passphrase.as_bytes(), params.salt.as_bytes(), &parameters, &mut key)
                .map_err(|error| damaged(&error.to_string()))?;
        }
        Kdf::Pbkdf2(params) => {
            let (algorithm, rounds) = pbkdf2_parameters(params)?;
            pbkdf2::derive(algorithm, rounds, params.salt.as_bytes(), passphrase.as_bytes(), &mut key);
        }
        _ => return Err(unsupported("its derivation of a key")),
    }
    Ok(key)
}

fn scrypt_parameters(params: &ScryptParams) -> Result<scrypt::Params, KeyError> {
    let (n, r, p) = (params.cost_parameter, params.block_size.into(), params.parallelization.into());
    let malformed = || damaged(&format!("scrypt has no parameters N={n}, r={r}, p={p}"));
    if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
        return Err(malformed());
    }
    let blocks = n.saturating_add(u64::from(p)).saturating_mul(u64::from(r));
    if blocks.saturating_mul(128) > MAX_KDF_BYTES {
        return Err(KeyError::TooCostly {
            asks_for: format!("{} MiB of memory", blocks.saturating_mul(128) >> 20),
        });
    }
    if n.saturating_mul(u64::from(r)).saturating_mul(u64::from(p)) > MAX_SCRYPT_WORK {
        return Err(KeyError::TooCostly { asks_for: format!("{p} passes of scrypt") });
    }
    scrypt::Params::new(n.ilog2() as u8, r, p).map_err(|_| malformed())
}

fn pbkdf2_parameters(params: &Pbkdf2Params) -> Result<(pbkdf2::Algorithm, NonZeroU32), KeyError> {
    let algorithm = match params.prf {
        Pbkdf2Prf::HmacWithSha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        Pbkdf2Prf::HmacWithSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        Pbkdf2Prf::HmacWithSha384 => pbkdf2::PBKDF2_HMAC_SHA384,
        Pbkdf2Prf::HmacWithSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        other => return Err(unsupported(&format!("algorithm {}", other.oid()))),
    };
    let rounds =
        NonZeroU32::new(params.iteration_count).ok_or_else(|| damaged("PBKDF2 has at least one round"))?;
    if rounds.get() > MAX_PBKDF2_ROUNDS {
        return Err(KeyError::TooCostly { asks_for: format!("{rounds} rounds of PBKDF2") });
    }
    Ok((algorithm, rounds))
}

/// The length without the padding of PKCS#7; `None` if there is no such padding.
fn unpadded_length(data: &[u8]) -> Option<usize> {
    let padding = usize::from(*data.last()?);
    let length = data.len().checked_sub(padding).filter(|_| (1..=BLOCK_BYTES).contains(&padding))?;
    data[length..].iter().all(|byte| usize::from(*byte) == padding).then_some(length)
}

/// A SEQUENCE of the INTEGER 0 or 1, the version, and another SEQUENCE, the algorithm: so every PKCS#8 key begins.
fn begins_like_a_key(data: &[u8]) -> bool {
    let [0x30, inside @ ..] = data else { return false };
    let length_bytes = match inside.first() {
        Some(0x82) => 3,
        Some(0x81) => 2,
        _ => 1,
    };
    let inside = inside.get(length_bytes..).unwrap_or_default();
    matches!(inside, [2, 1, 0 | 1, 0x30, ..])
}

fn damaged(reason: &str) -> KeyError {
    KeyError::Damaged { reason: reason.to_owned() }
}

fn unsupported(what: &str) -> KeyError {
    KeyError::UnknownEncryption { what: what.to_owned() }
}
