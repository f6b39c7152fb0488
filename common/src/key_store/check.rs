//! Whether every key can be used, for `verify`.

use super::{KeyStore, KeyStoreError};

impl KeyStore {
    /// How many keys are whole and readable by their owner alone, and a sentence about each that is not. Of one under
    /// a passphrase, that is what its checksum says.
    pub fn check(&self) -> Result<(usize, Vec<String>), KeyStoreError> {
        let (mut sound, mut damages) = (0, Vec::new());
        for key in self.list()? {
            match key.address.and_then(|_| self.public_key(&key.name, 0)) {
                Ok(_) => sound += 1,
                Err(error) => damages.push(error.to_string()),
            }
        }
        Ok((sound, damages))
    }
}
