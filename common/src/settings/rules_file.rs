//! Rules as text: from merged parameters, and to a TOML file that gives the same network again.

use std::fmt::Write;

use super::SettingsError;
use super::layer::Layer;
use super::networks::defaults;
use super::parameters::RULES;
use super::values::Values;
use crate::rules::{Rules, RulesError};
use crate::time::Timestamp;

/// Rules in TOML, every one of them, so that they stay the same network whatever the defaults become.
pub fn rules_to_toml(rules: &Rules) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let authorities: Vec<_> =
        rules.authorities.iter().map(|address| format!("\n    \"{address}\",")).collect();
    let authorities = if authorities.is_empty() { String::new() } else { authorities.concat() + "\n" };
    let values: [String; RULES.len() - 1] = [
        quoted(&rules.name),
        rules.genesis_time.millis().to_string(),
        rules.difficulty.to_string(),
        rules.target_block_seconds.to_string(),
        rules.retarget_blocks.to_string(),
        rules.min_spacing_ms.to_string(),
        rules.max_ahead_seconds.to_string(),
        rules.block_size.to_string(),
        rules.block_interval_seconds.to_string(),
        rules.allow_empty.to_string(),
        rules.max_block_bytes.to_string(),
        quoted(&rules.block_reward.to_string()),
        quoted(&rules.min_fee.to_string()),
        rules.key_size.to_string(),
        format!("[{authorities}]"),
        rules.authority_timeout_seconds.to_string(),
    ];
    let mut text = String::new();
    for (name, value) in RULES.into_iter().zip(values) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = {value}");
    }
    text.push_str("\n[alloc]\n");
    for (address, amount) in &rules.alloc {
        let _ = writeln!(text, "{address} = \"{amount}\"");
    }
    text
}

/// The rules of a network from the text of its file, in TOML; `place` is what errors call it.
pub fn rules_from_toml(text: &str, place: &str) -> Result<Rules, SettingsError> {
    let layer = Layer::from_toml(text, place)?.only_rules()?;
    rules_from_values(&Values::merge([&defaults()?, &layer])?)
}

/// The rules among the merged parameters, checked against every bound.
pub(super) fn rules_from_values(values: &Values) -> Result<Rules, SettingsError> {
    // Of bounds only Rules::check knows.
    let number = |key| values.whole_number::<u32>(key);
    let rules = Rules {
        format: 1,
        name: values.text("name")?,
        genesis_time: Timestamp::from_millis(values.whole_number("genesis_time")?),
        difficulty: number("difficulty")?,
        target_block_seconds: number("target_block_seconds")?,
        retarget_blocks: number("retarget_blocks")?,
        min_spacing_ms: number("min_spacing_ms")?,
        max_ahead_seconds: number("max_ahead_seconds")?,
        block_size: number("block_size")?,
        block_interval_seconds: number("block_interval_seconds")?,
        allow_empty: values.switch("allow_empty")?,
        max_block_bytes: number("max_block_bytes")?,
        block_reward: values.amount("block_reward")?,
        min_fee: values.amount_bound("min_fee")?,
        key_size: number("key_size")?,
        authorities: values
            .list("authorities", "an address: 64 hexadecimal digits whose letter case matches")?,
        authority_timeout_seconds: number("authority_timeout_seconds")?,
        alloc: values.amounts_by_address("alloc")?,
        extensions: Vec::new(),
    };
    match rules.check() {
        Ok(()) => Ok(rules),
        Err(error) => Err(SettingsError::Rules { places: places(values, &error), error }),
    }
}

/// Where the rules that break a bound were written.
fn places(values: &Values, error: &RulesError) -> Vec<String> {
    let concerned: &[&str] = match error {
        RulesError::Format { .. } | RulesError::UnknownExtension { .. } => &[],
        RulesError::Name { .. } => &["name"],
        RulesError::OutOfBounds { rule, .. } => &[rule],
        RulesError::RetargetNeedsEmptyBlocks => &["target_block_seconds", "block_size", "allow_empty"],
        RulesError::AheadOfTurn { .. } => &["max_ahead_seconds", "authority_timeout_seconds"],
        RulesError::RepeatedAuthority { .. } => &["authorities"],
        RulesError::AllocOrder { .. } => &["alloc"],
        RulesError::Supply => &["alloc", "block_reward"],
    };
    values.places_of_changes(concerned)
}
