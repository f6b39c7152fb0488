//! Merged parameters, read one by one into their types.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use config::{Config, Map, Value, ValueKind};

use super::SettingsError;
use super::layer::Layer;
use super::networks::DEFAULTS_PLACE;
use crate::address::Address;
use crate::amount::{Amount, ParseAmountError};

/// The places of a path that was typed on the command line.
const FLAGS: [&str; 2] = ["--data-dir", "--set"];
const AN_AMOUNT: &str = "coins in quotes, such as \"10\" or \"0.25\", with at most six decimals";

/// The parameters in force, each with the place it was written at.
#[derive(Debug)]
pub(super) struct Values {
    values: Map<String, Value>,
}

impl Values {
    /// Of these layers, the later beating the earlier.
    pub(super) fn merge<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> Result<Self, SettingsError> {
        let builder =
            layers.into_iter().fold(Config::builder(), |builder, layer| builder.add_source(layer.clone()));
        Ok(Self { values: builder.build()?.cache.into_table()? })
    }

    /// Where a parameter was written.
    pub(super) fn place(&self, key: &str) -> String {
        let place = self.values.get(key).and_then(|value| match &value.kind {
            // Merging takes a table apart: only its entries know where they are from.
            ValueKind::Table(table) => table.values().next().and_then(Value::origin),
            _ => value.origin(),
        });
        place.unwrap_or(DEFAULTS_PLACE).to_owned()
    }

    /// Where these parameters were written, but for the built-in defaults.
    pub(super) fn places_of_changes(&self, keys: &[&str]) -> Vec<String> {
        let places = keys.iter().map(|key| self.place(key));
        let mut places: Vec<_> = places.filter(|place| !place.starts_with(DEFAULTS_PLACE)).collect();
        places.dedup();
        places
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Result<String, SettingsError> {
        match self.kind(key) {
            ValueKind::String(text) => Ok(text.clone()),
            other => Err(self.malformed(key, other, "text in quotes")),
        }
    }

    /// A path; `None` when it is empty. Only one that was typed may be relative: it is of the directory in which it was
    /// typed.
    pub(super) fn path(&self, key: &str) -> Result<Option<PathBuf>, SettingsError> {
        let text = self.text(key)?;
        let path = PathBuf::from(&text);
        let problem = if text.starts_with('~') {
            "only a shell knows what ~ means"
        } else if path.is_relative() && !text.is_empty() && !FLAGS.contains(&self.place(key).as_str()) {
            "a relative one leads elsewhere from each directory that a program is started in"
        } else {
            return Ok((!text.is_empty()).then_some(path));
        };
        Err(self.malformed(key, &text.into(), format!("a path written out in full: {problem}")))
    }

    /// True or false; from variables and `--set` also in the other words that people use there.
    pub(super) fn switch(&self, key: &str) -> Result<bool, SettingsError> {
        let malformed = |kind| Err(self.malformed(key, kind, "true or false"));
        match self.kind(key) {
            ValueKind::Boolean(value) => Ok(*value),
            kind @ ValueKind::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => malformed(kind),
            },
            other => malformed(other),
        }
    }

    /// A whole number, with no bounds but its type's.
    pub(super) fn whole_number<N: TryFrom<u64>>(&self, key: &str) -> Result<N, SettingsError> {
        read_number(self.kind(key)).and_then(|number| N::try_from(number).ok()).ok_or_else(|| {
            self.malformed(key, self.kind(key), "a whole number (config/default.toml says which)")
        })
    }

    /// A whole number within bounds.
    pub(super) fn number<N: TryFrom<u64>>(
        &self,
        key: &str,
        allowed: RangeInclusive<u64>,
    ) -> Result<N, SettingsError> {
        let kind = self.kind(key);
        let number = read_number(kind).filter(|number| allowed.contains(number));
        number.and_then(|number| N::try_from(number).ok()).ok_or_else(|| {
            let expected = format!("a whole number from {} to {}", allowed.start(), allowed.end());
            self.malformed(key, kind, expected)
        })
    }

    /// A time in milliseconds within bounds.
    pub(super) fn millis(&self, key: &str, allowed: RangeInclusive<u64>) -> Result<Duration, SettingsError> {
        self.number(key, allowed).map(Duration::from_millis)
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<T, SettingsError> {
        let kind = self.kind(key);
        let found = match kind {
            ValueKind::String(text) => words.iter().find(|(word, _)| word == text),
            _ => None,
        };
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.malformed(key, kind, format!("one of {}", words.join(", ")))
        })
    }

    /// A list: an array of texts, or one text with commas.
    pub(super) fn list<T: FromStr>(&self, key: &str, of_what: &str) -> Result<Vec<T>, SettingsError> {
        let read = |item: &str| {
            item.trim().parse().map_err(|_| {
                self.malformed(key, &item.into(), format!("a list in which each entry is {of_what}"))
            })
        };
        match self.kind(key) {
            ValueKind::String(text) => parts(text).map(read).collect(),
            ValueKind::Array(items) => items
                .iter()
                .map(|item| match &item.kind {
                    ValueKind::String(text) => read(text),
                    other => Err(self.malformed(
                        key,
                        other,
                        format!("a list in which each entry, in quotes, is {of_what}"),
                    )),
                })
                .collect(),
            other => Err(self.malformed(key, other, format!("a list in which each entry is {of_what}"))),
        }
    }

    /// An amount of coins: always text, for a binary fraction is not the decimal that was written.
    pub(super) fn amount(&self, key: &str) -> Result<Amount, SettingsError> {
        self.amount_of(key, self.kind(key))
    }

    /// An amount that others are measured by: it may be more than can exist.
    pub(super) fn amount_bound(&self, key: &str) -> Result<Amount, SettingsError> {
        self.read_amount(key, self.kind(key), Amount::parse_bound)
    }

    /// Amounts by address, ascending: a table, or one text such as `ADDRESS=10,ADDRESS=0.5`. An address that
    /// stands there twice, in other letter cases, is left to [`crate::rules::Rules::check`].
    pub(super) fn amounts_by_address(&self, key: &str) -> Result<Vec<(Address, Amount)>, SettingsError> {
        const EXPECTED: &str = "a line ADDRESS = \"COINS\" for each account, an address being 64 hexadecimal \
                                digits whose letter case matches; all else belongs above [alloc]";
        let read_address = |text: &str| {
            text.trim().parse::<Address>().map_err(|_| self.malformed(key, &text.into(), EXPECTED))
        };
        let mut amounts = match self.kind(key) {
            ValueKind::Table(table) => table
                .iter()
                .map(|(address, amount)| Ok((read_address(address)?, self.amount_of(key, &amount.kind)?)))
                .collect::<Result<Vec<_>, SettingsError>>()?,
            ValueKind::String(text) => parts(text)
                .map(|part| {
                    let (address, amount) =
                        part.split_once('=').ok_or_else(|| self.malformed(key, &part.into(), EXPECTED))?;
                    Ok((read_address(address)?, self.amount_of(key, &amount.trim().into())?))
                })
                .collect::<Result<Vec<_>, SettingsError>>()?,
            other => return Err(self.malformed(key, other, EXPECTED)),
        };
        amounts.sort_unstable();
        Ok(amounts)
    }

    fn amount_of(&self, key: &str, kind: &ValueKind) -> Result<Amount, SettingsError> {
        self.read_amount(key, kind, str::parse)
    }

    fn read_amount(
        &self,
        key: &str,
        kind: &ValueKind,
        parse: fn(&str) -> Result<Amount, ParseAmountError>,
    ) -> Result<Amount, SettingsError> {
        match kind {
            ValueKind::String(text) => {
                parse(text).map_err(|error| self.malformed(key, kind, format!("{AN_AMOUNT} ({error})")))
            }
            other => Err(self.malformed(key, other, AN_AMOUNT)),
        }
    }

    fn kind(&self, key: &str) -> &ValueKind {
        self.values.get(key).map_or(&ValueKind::Nil, |value| &value.kind)
    }

    fn malformed(&self, key: &str, value: &ValueKind, expected: impl Into<String>) -> SettingsError {
        SettingsError::Malformed {
            place: self.place(key),
            key: key.to_owned(),
            value: Shown(value).to_string(),
            expected: expected.into(),
        }
    }
}

fn read_number(kind: &ValueKind) -> Option<u64> {
    match kind {
        ValueKind::I64(number) => u64::try_from(*number).ok(),
        // Only digits: `parse` alone would take "+1" too.
        ValueKind::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// The parts of a list that was written as one text.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.trim().is_empty())
}

/// A value as an error shows it.
struct Shown<'a>(&'a ValueKind);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ValueKind::Nil => f.write_str("not set"),
            ValueKind::String(text) => write!(f, "{text:?}"),
            ValueKind::Table(_) => f.write_str("a table"),
            ValueKind::Array(_) => f.write_str("a list"),
            other => other.fmt(f),
        }
    }
}
