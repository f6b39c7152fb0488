//! What people write, and what strangers have shown to them: amounts, addresses, hashes, names and hosts.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::str::FromStr;

use common::address::Address;
use common::amount::Amount;
use common::hash::TransactionId;
use common::key_store::KeyName;
use common::rules::check_name;
use common::settings::HostPort;
use common::text::printable;

use crate::allocation::within;
use crate::{read, show};

/// Any bytes, as a text is read that may not be one.
pub fn text(bytes: &[u8]) {
    let text = &String::from_utf8_lossy(bytes);
    if let Some(amount) = reads_as_shown::<Amount>(text) {
        assert!(amount <= Amount::MAX);
    }
    if let Some(address) = reads_as_shown::<Address>(text) {
        assert_eq!(text.to_ascii_lowercase().parse(), Ok(address));
        assert_eq!(text.to_ascii_uppercase().parse(), Ok(address));
    }
    if let Some(id) = reads_as_shown::<TransactionId>(text) {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
    if let Some(peer) = reads_as_shown::<HostPort>(text) {
        assert!(peer.port > 0 && !peer.host.is_empty());
    }
    if let Some(name) = reads_as_shown::<KeyName>(text) {
        assert!(name.to_string() == **text && is_one_plain_component(text), "{text:?}");
    }
    match check_name(text) {
        Ok(()) => assert!(is_one_plain_component(text), "{text:?}"),
        Err(error) => show(&error),
    }
    is_safe_to_show(text);
}

/// What is shown of a value reads as the value. It is shown in one way only.
fn reads_as_shown<T>(text: &str) -> Option<T>
where
    T: FromStr<Err: Error> + Display + Debug + PartialEq,
{
    let value: T = read(within(1024 + 4 * text.len(), || text.parse::<T>()))?;
    let shown = value.to_string();
    let again = shown.parse::<T>().unwrap_or_else(|error| panic!("{text:?} is shown as {shown:?}: {error}"));
    assert_eq!(again, value);
    assert_eq!(again.to_string(), shown);
    drop(format!("{value:>90}|{value:?}"));
    Some(value)
}

/// A file of this name lies where it should: it is no path.
fn is_one_plain_component(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', '\0', ':']) && name != "." && name != ".."
}

/// A terminal does nothing but show it.
fn is_safe_to_show(text: &str) {
    let shown = within(64 + 16 * text.len(), || printable(text));
    let turns = |character| {
        matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert!(!shown.chars().any(|character| character.is_control() || turns(character)), "{shown:?}");
    assert_eq!(printable(&shown), shown);
}
