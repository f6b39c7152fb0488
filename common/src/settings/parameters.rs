//! The names of all parameters.

/// What a parameter decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something that all nodes of a network agree on.
    Rule,
    /// Something that is this node's own business.
    Setting,
}

/// Every rule, in the order of the protocol: the fields of [`crate::rules::Rules`] but `format` and
/// `extensions`, which no user chooses.
pub(super) const RULES: [&str; 17] = [
    "name",
    "genesis_time",
    "difficulty",
    "target_block_seconds",
    "retarget_blocks",
    "min_spacing_ms",
    "max_ahead_seconds",
    "block_size",
    "block_interval_seconds",
    "allow_empty",
    "max_block_bytes",
    "block_reward",
    "min_fee",
    "key_size",
    "authorities",
    "authority_timeout_seconds",
    "alloc",
];

/// Every setting: the fields of [`super::Settings`], with their units.
pub(super) const SETTINGS: [&str; 16] = [
    "network",
    "data_dir",
    "lan",
    "broadcast_addresses",
    "peers",
    "status_broadcast_port",
    "block_server_port",
    "transaction_port",
    "status_broadcast_interval_ms",
    "transaction_broadcast_interval_ms",
    "mine",
    "threads",
    "max_connections",
    "mempool_max_transactions",
    "mempool_max_bytes",
    "log",
];

/// What starts the name of every environment variable.
pub(super) const VARIABLE_PREFIX: &str = "FARTHING_";

/// What the parameter `name` decides, or `None` if there is none of that name.
pub(super) fn kind_of(name: &str) -> Option<Kind> {
    if RULES.contains(&name) { Some(Kind::Rule) } else { SETTINGS.contains(&name).then_some(Kind::Setting) }
}

/// The environment variable of a parameter.
pub(super) fn variable_of(name: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", name.to_ascii_uppercase())
}

/// The parameter whose name is most like `name`, if one is like it at all.
pub(super) fn nearest_to(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let distance = |known: &str| strsim::damerau_levenshtein(&name, known);
    // A third of the letters may be wrong: more, and the proposal would puzzle rather than help.
    let close = |known: &str| distance(known) <= known.len().min(name.len()) / 3;
    RULES.into_iter().chain(SETTINGS).filter(|known| close(known)).min_by_key(|known| distance(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_leads_to_the_name_and_nonsense_to_none() {
        assert_eq!(nearest_to("dificulty"), Some("difficulty"));
        assert_eq!(nearest_to("block-szie"), Some("block_size"));
        assert_eq!(nearest_to("LAN"), Some("lan"));
        assert_eq!(nearest_to("xyz"), None);
        assert_eq!(nearest_to(""), None);
    }
}
