//! Layers of parameters: each from one source, its names checked, its values with the place they came from.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use config::{ConfigError, Map, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::SettingsError;
use super::parameters::{Kind, VARIABLE_PREFIX, kind_of, nearest_to, variable_of};

/// The longest file that is read, in bytes. Rules with the most accounts at genesis take 6 MB; without a
/// limit `--config /dev/zero` would fill the memory.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Parameters from one source. All names in it are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    values: Map<String, Value>,
}

impl Layer {
    /// From the text of a TOML file; `place` is what errors call it.
    pub(super) fn from_toml(text: &str, place: &str) -> Result<Self, SettingsError> {
        let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(span.start));
            SettingsError::NotToml {
                place: format!("{place}, line {line}"),
                message: error.message().replace('\n', "; "),
            }
        })?;
        let mut layer = Self::default();
        for (key, value) in table.into_inner() {
            let place = format!("{place}, line {}", line_of(key.span().start));
            layer.insert(
                key.into_inner().into_owned(),
                from_toml_value(value.into_inner(), &place),
                place,
            )?;
        }
        Ok(layer)
    }

    /// From a TOML file.
    pub(super) fn from_file(path: &Path) -> Result<Self, SettingsError> {
        let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(SettingsError::TooLong { path: path.to_owned(), max: MAX_FILE_BYTES });
        }
        Self::from_toml(&text, &path.display().to_string())
    }

    /// From environment variables with the prefix; the others are left alone, and so are empty ones.
    pub(super) fn from_environment<'a>(
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, SettingsError> {
        let mut layer = Self::default();
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix(VARIABLE_PREFIX) else { continue };
            let name = name.to_ascii_lowercase();
            // An unknown name is an error even when it is empty, and so is one in the wrong case.
            if kind_of(&name).is_none() || variable_of(&name) != variable {
                return Err(SettingsError::UnknownKey {
                    place: "the environment".to_owned(),
                    key: variable.to_owned(),
                    nearest: nearest_to(&name).map(variable_of),
                });
            }
            if !value.is_empty() {
                layer.insert(name, value.into(), variable.to_owned())?;
            }
        }
        Ok(layer)
    }

    /// Adds what `--set KEY=VALUE` says; a later one beats an earlier one.
    pub(super) fn set(&mut self, text: &str) -> Result<(), SettingsError> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| SettingsError::NotKeyValue { text: text.to_owned() })?;
        self.insert(key.trim().to_owned(), value.trim().into(), "--set".to_owned())
    }

    /// Adds one value, written at `place`.
    pub(super) fn insert(
        &mut self,
        key: String,
        kind: ValueKind,
        place: String,
    ) -> Result<(), SettingsError> {
        if kind_of(&key).is_none() {
            return Err(SettingsError::UnknownKey {
                place,
                nearest: nearest_to(&key).map(str::to_owned),
                key,
            });
        }
        self.values.insert(key, Value::new(Some(&place), kind));
        Ok(())
    }

    /// Whether it says anything of this parameter.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// What it says of this parameter, as text.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.values.get(key).and_then(|value| value.clone().into_string().ok())
    }

    /// As if it said nothing of this parameter.
    pub(super) fn forget(&mut self, key: &str) {
        self.values.remove(key);
    }

    /// This layer, if it holds rules only.
    pub(super) fn only_rules(self) -> Result<Self, SettingsError> {
        let setting = self.values.iter().find(|(key, _)| kind_of(key) == Some(Kind::Setting));
        match setting {
            Some((key, value)) => Err(SettingsError::SettingInNetworkFile {
                place: value.origin().unwrap_or_default().to_owned(),
                key: key.clone(),
            }),
            None => Ok(self),
        }
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.values.clone())
    }

    /// Replaces each parameter as a whole. The trait's own way would add one layer's `alloc` to another's.
    fn collect_to(&self, merged: &mut Value) -> Result<(), ConfigError> {
        if let ValueKind::Table(merged) = &mut merged.kind {
            merged.extend(self.values.clone());
        }
        Ok(())
    }
}

/// As `config` has values. An integer beyond 64 bits and a date stay text, which reading refuses by name.
fn from_toml_value(value: DeValue<'_>, place: &str) -> ValueKind {
    let place_owned = place.to_owned();
    let inner = |value: DeValue<'_>| Value::new(Some(&place_owned), from_toml_value(value, place));
    match value {
        DeValue::String(text) => text.into_owned().into(),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.into(),
            Err(_) => number.to_string().into(),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) => number.into(),
            Err(_) => number.to_string().into(),
        },
        DeValue::Boolean(value) => value.into(),
        DeValue::Datetime(moment) => moment.to_string().into(),
        DeValue::Array(array) => {
            ValueKind::Array(array.into_iter().map(|item| inner(item.into_inner())).collect())
        }
        DeValue::Table(table) => ValueKind::Table(
            table
                .into_iter()
                .map(|(key, item)| (key.into_inner().into_owned(), inner(item.into_inner())))
                .collect(),
        ),
    }
}
