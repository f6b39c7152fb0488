//! Whether every key can be used, for `verify`.

use super::{KeyStore, KeyStoreError};

impl KeyStore {
    /// How many keys are whole and readable by their owner alone, and why each of the others cannot be used. Of one
    /// under a passphrase, that is what its checksum says.
    pub fn check(&self) -> Result<(usize, Vec<KeyStoreError>), KeyStoreError> {
        let (mut sound, mut unusable) = (0, Vec::new());
        for key in self.list()? {
            match key.address.and_then(|_| self.public_key(&key.name, 0)) {
                Ok(_) => sound += 1,
                Err(error) => unusable.push(error),
            }
        }
        Ok((sound, unusable))
    }
}
