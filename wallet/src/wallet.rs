//! What every command works on: the user's keys, outbox, and copy of one network's chain.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use common::address::{Address, ParseAddressError};
use common::chain::Chain;
use common::files::{DataDirectory, Program};
use common::hash::NetworkId;
use common::key_store::{KeyName, KeyStore, KeyStoreError, ListedKey};
use common::rules::Rules;
use common::store::lmdb::LmdbStore;
use common::store::{Read, Store, StoreError, Tip};
use common::time::Timestamp;

use crate::error::WalletError;
use crate::outbox::{Outbox, Survey};
use crate::output::{Note, Notes, duration};

/// Keys, payments, and the chain of one network as far as it is known.
pub struct Wallet<S> {
    pub rules: Arc<Rules>,
    pub network: NetworkId,
    pub keys: KeyStore,
    pub outbox: Outbox,
    /// `None`: never synced.
    pub chain: Option<Chain<S>>,
}

impl Wallet<LmdbStore> {
    /// Opens what there is in a data directory; creates nothing.
    pub fn open(data: &DataDirectory, rules: Rules) -> Result<Self, WalletError> {
        let (network, rules) = (rules.network_id(), Arc::new(rules));
        Ok(Self {
            network,
            keys: KeyStore::new(data.keys()),
            outbox: Outbox::new(data.outbox(&rules.name, &network)),
            chain: open_chain(data, &rules)?,
            rules,
        })
    }
}

/// The wallet's chain in a data directory; `None`: never synced.
pub fn open_chain(data: &DataDirectory, rules: &Arc<Rules>) -> Result<Option<Chain<LmdbStore>>, StoreError> {
    let directory = data.program(Program::Wallet, &rules.name, &rules.network_id());
    let store = LmdbStore::open_existing(&directory, rules)?;
    Ok(store.map(|store| Chain::new(rules.clone(), store)))
}

impl<S: Store> Wallet<S> {
    /// The outbox, and what else a command looks up, in one state of the ledger; `None` for the ledger when
    /// there is none yet. Payments whose files are of no use are told of.
    pub fn survey<T>(
        &self,
        notes: &mut Notes,
        look: impl FnOnce(Option<&dyn Read>, &Survey) -> Result<T, StoreError>,
    ) -> Result<(Survey, T), WalletError> {
        let both = |ledger: Option<&dyn Read>| -> Result<_, WalletError> {
            let survey = self.outbox.survey(ledger)?;
            let found = look(ledger, &survey)?;
            Ok((survey, found))
        };
        let (survey, found) = match &self.chain {
            Some(chain) => chain.store().read(|ledger| both(Some(ledger)))?,
            None => both(None)?,
        };
        for error in &survey.unusable {
            notes(Note::warning(error));
        }
        Ok((survey, found))
    }

    /// Which state of the chain an answer is based on, as a sentence.
    pub fn based_on(&self, tip: Option<&Tip>, now: Timestamp) -> String {
        let name = &self.rules.name;
        match tip {
            None => format!("Network {name:?}, never synced: run `wallet sync` to learn the balances."),
            Some(tip) if tip.height.get() == 0 => {
                format!("Network {name:?}, at height 0: no block is known yet.")
            }
            Some(tip) => {
                let age = duration(now.millis_since(tip.time));
                format!("Network {name:?}, at height {}, whose block is {age} old.", tip.height)
            }
        }
    }
}

/// Somebody who pays or is paid, as the user writes it: the name of a key, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// A key of this wallet.
    Name(KeyName),
    /// Anybody.
    Address(Address),
}

impl Party {
    /// The address that the user means to pay. If it is that of a key here, the key is known to be able to spend on a
    /// network that asks for so many bits, as far as that can be known without its passphrase.
    pub fn payee(&self, keys: &KeyStore, least_bits: u32) -> Result<Address, WalletError> {
        let pay = |name: &KeyName| match keys.public_key(name, least_bits) {
            Ok(key) => Ok(key.address()),
            Err(KeyStoreError::Key { path, error }) => {
                Err(WalletError::NotPaid { to: name.clone(), path, error })
            }
            Err(error) => Err(error.into()),
        };
        let address = match self {
            Self::Name(name) => return pay(name),
            Self::Address(address) => *address,
        };
        // Of a key that is here twice, one copy that can spend is enough.
        let mut refused = None;
        for key in keys.list()?.iter().filter(|key| has_address(key, &address)) {
            match pay(&key.name) {
                Ok(address) => return Ok(address),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.map_or(Ok(address), Err)
    }

    /// The key that the user means.
    pub fn key(&self, keys: &KeyStore) -> Result<KeyName, WalletError> {
        let address = match self {
            Self::Name(name) => return Ok(name.clone()),
            Self::Address(address) => *address,
        };
        let directory = || keys.directory().to_owned();
        let found = keys.list()?.into_iter().find(|key| has_address(key, &address)).map(|key| key.name);
        found.ok_or_else(|| WalletError::UnknownAddress { address, directory: directory() })
    }
}

fn has_address(key: &ListedKey, address: &Address) -> bool {
    key.address.as_ref().is_ok_and(|known| known == address)
}

/// Why a text is neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePartyError {
    /// An address with a typing error.
    #[error(transparent)]
    Address(ParseAddressError),
    /// Nothing of the kind.
    #[error(
        "{text:?} is neither an address (64 hexadecimal digits) nor the name of a key (1–32 of A–Z a–z 0–9 . _ -, not starting with a dot)"
    )]
    Neither {
        /// What was given.
        text: String,
    },
}

impl FromStr for Party {
    type Err = ParsePartyError;

    fn from_str(text: &str) -> Result<Self, ParsePartyError> {
        match (text.parse(), text.parse()) {
            // No name is as long as an address, so nothing is both.
            (Ok(address), _) => Ok(Self::Address(address)),
            (Err(error @ ParseAddressError::Checksum { .. }), _) => Err(ParsePartyError::Address(error)),
            (Err(_), Ok(name)) => Ok(Self::Name(name)),
            (Err(_), Err(_)) => Err(ParsePartyError::Neither { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::amount::Amount;
    use common::keys::PrivateKey;

    use super::*;
    use crate::commands::list_addresses::list_addresses;
    use crate::commands::send::{Request, send};
    use crate::commands::testing::{ignore, no_passphrase};

    #[test]
    fn a_wallet_opens_what_its_data_directory_holds_and_creates_nothing() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDirectory::new(root.path().join("data"));
        let (alice, _): (PrivateKey, _) =
            KeyStore::new(data.keys()).create(&"alice".parse().unwrap(), 2048).unwrap();
        let alloc = vec![(alice.address(), Amount::from_coins(7))];
        let rules = Rules { name: "test".to_owned(), alloc, ..Rules::default() };
        let wallet = Wallet::open(&data, rules.clone()).unwrap();
        assert!(wallet.chain.is_none());
        list_addresses(&wallet, rules.genesis_time, &mut ignore).unwrap();
        assert_eq!(common::files::names_in(data.root()).unwrap(), ["keys"]);

        let directory = data.program(Program::Wallet, &rules.name, &rules.network_id());
        drop(LmdbStore::open(&directory, &rules).unwrap());
        let wallet = Wallet::open(&data, rules.clone()).unwrap();
        let request = Request {
            from: "alice".parse().unwrap(),
            amount: Amount::from_coins(2),
            to: "11".repeat(32).parse().unwrap(),
            fee: None,
            data: Vec::new(),
            valid_for: None,
            passphrases: no_passphrase(),
        };
        let sent = send(&wallet, &request, &mut ignore).unwrap();
        let kept = common::files::names_in(&data.outbox("test", &rules.network_id())).unwrap();
        assert!(kept.iter().any(|file| file.ends_with(&sent.id.to_string())), "{kept:?}");
        let shown = list_addresses(&wallet, rules.genesis_time, &mut ignore).unwrap();
        assert!(shown.contains("│ 7       │ -2      │"), "{shown}");
    }

    #[test]
    fn a_party_is_a_name_or_an_address() {
        let address = Address::from_bytes([0xab; 32]);
        assert_eq!(address.to_string().parse(), Ok(Party::Address(address)));
        assert_eq!("alice".parse::<Party>().map(|party| party.to_string()), Ok("alice".to_owned()));
        for text in ["", "../x", "ab12", &"a".repeat(63)] {
            let neither = matches!(text.parse::<Party>(), Err(ParsePartyError::Neither { .. }));
            assert_eq!(neither, text != "ab12", "{text}");
        }
    }
}
