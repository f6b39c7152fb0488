//! Which of the networks that were heard the user means. Whoever runs a network chooses its name, so that a name
//! may be made to look like another network's id: a word that can mean two networks is refused.

use common::hash::NetworkId;
use common::rules::{Rules, check_name};

use super::discovery::Network;
use super::error::NetworksError;

/// The fewest digits of an id that stand for it: fewer are more likely a name.
pub const LEAST_ID_DIGITS: usize = 4;
/// Digits of an id that datagrams carry, and that tables and logs show. So many or more mean an id, whatever is named
/// like that: the network that they are copied from may happen not to be heard.
const SHOWN_DIGITS: usize = 16;
/// Digits of a whole id. A name is shorter, so that these are never taken for one.
const ID_DIGITS: usize = 2 * size_of::<NetworkId>();

/// Whether this can be the name of a network or the beginning of an id.
pub fn check(wanted: &str) -> Result<(), NetworksError> {
    match check_name(wanted).is_ok() || id_digits(wanted).is_some() {
        true => Ok(()),
        false => Err(NetworksError::Malformed { text: wanted.to_owned() }),
    }
}

/// The one network that is wanted: by its name, or by the beginning of its id.
pub fn choose<'a>(
    wanted: &str,
    seconds: u64,
    port: u16,
    heard: &'a [Network],
) -> Result<&'a Rules, NetworksError> {
    let meant: Vec<&Network> = heard.iter().filter(|network| is_meant(network, wanted)).collect();
    match meant[..] {
        [one] => {
            one.rules.as_ref().ok_or_else(|| NetworksError::NoRules { id: one.known_id(), asked: one.asked })
        }
        [] => Err(NetworksError::NotHeard {
            wanted: wanted.to_owned(),
            seconds,
            port,
            heard: heard.iter().map(shown).collect(),
        }),
        _ => Err(NetworksError::Ambiguous {
            wanted: wanted.to_owned(),
            networks: meant.into_iter().map(shown).collect(),
        }),
    }
}

/// What `--join` takes for this network: its name, or what is known of its id where others have that name.
pub fn word_for(network: &Network, heard: &[Network]) -> Option<String> {
    let name = &network.rules.as_ref()?.name;
    let alone = heard.iter().all(|other| is_meant(other, name) == (other.prefix == network.prefix));
    Some(if alone { name.clone() } else { network.known_id() })
}

fn is_meant(network: &Network, wanted: &str) -> bool {
    let has_name = network.rules.as_ref().is_some_and(|rules| rules.name == wanted);
    match id_digits(wanted) {
        Some(digits) if digits.len() >= SHOWN_DIGITS => has_id(network, &digits),
        Some(digits) => has_name || has_id(network, &digits),
        None => has_name,
    }
}

/// Whether the id may begin like this, as far as it is known.
fn has_id(network: &Network, digits: &str) -> bool {
    let known = network.known_id();
    known.starts_with(digits) || digits.starts_with(&known)
}

/// The beginning of an id, as ids are shown.
fn id_digits(text: &str) -> Option<String> {
    let digits = (LEAST_ID_DIGITS..=ID_DIGITS).contains(&text.len());
    (digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

/// A network in a list: its name and the whole id, as far as they are known.
fn shown(network: &Network) -> String {
    let name = network.rules.as_ref().map_or("of unknown rules", |rules| &rules.name);
    format!("{name} ({})", network.known_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, difficulty: u32) -> Network {
        let rules = Rules { name: name.to_owned(), difficulty, ..Rules::default() };
        Network { rules: Some(rules.clone()), ..Network::new(rules.network_id().prefix()) }
    }

    fn chosen<'a>(wanted: &str, heard: &'a [Network]) -> Result<&'a Rules, NetworksError> {
        choose(wanted, 1, 1, heard)
    }

    #[test]
    fn a_network_is_chosen_by_its_name_or_by_the_beginning_of_its_id_in_either_case() {
        let heard = [network("one", 20), network("two", 20)];
        assert_eq!(chosen("two", &heard).unwrap().name, "two");
        let id = heard[0].known_id();
        for digits in LEAST_ID_DIGITS..=ID_DIGITS {
            for wanted in [id[..digits].to_owned(), id[..digits].to_uppercase()] {
                check(&wanted).unwrap();
                assert_eq!(chosen(&wanted, &heard).unwrap().name, "one");
            }
        }
        for unknown in ["three", "o", &id[..LEAST_ID_DIGITS - 1]] {
            let refused = chosen(unknown, &heard).unwrap_err();
            assert!(matches!(refused, NetworksError::NotHeard { heard, .. } if heard.len() == 2));
        }
    }

    #[test]
    fn what_is_neither_a_name_nor_the_beginning_of_an_id_is_malformed() {
        for malformed in ["", "Lab", "../evil", "ABC", &"0".repeat(ID_DIGITS + 1), &"g".repeat(33)] {
            assert!(check(malformed).is_err(), "{malformed:?}");
        }
    }

    #[test]
    fn a_name_that_looks_like_another_networks_id_hijacks_nobody() {
        let right = network("class-7b", 20);
        // As many digits as are shown of an id are one, also while the right network is not heard.
        for digits in [SHOWN_DIGITS, SHOWN_DIGITS + 1, 32] {
            let typed = &right.known_id()[..digits];
            let heard = [network(typed, 20), network("class-7b", 20)];
            assert_eq!(chosen(typed, &heard).unwrap().name, "class-7b");
            assert!(matches!(chosen(typed, &heard[..1]), Err(NetworksError::NotHeard { .. })));
            let words = heard.each_ref().map(|network| word_for(network, &heard).unwrap());
            assert_eq!(words, [heard[0].known_id(), "class-7b".to_owned()]);
        }
        // Fewer may be either, and if they may be both they are neither.
        for digits in [LEAST_ID_DIGITS, SHOWN_DIGITS - 1] {
            let typed = &right.known_id()[..digits];
            let heard = [network(typed, 20), network("class-7b", 20)];
            let refused = chosen(typed, &heard).unwrap_err();
            let NetworksError::Ambiguous { networks, .. } = &refused else { panic!("{refused}") };
            for network in &heard {
                assert!(networks.iter().any(|shown| shown.contains(&network.known_id())), "{refused}");
                assert_eq!(chosen(&network.known_id(), &heard).unwrap(), network.rules.as_ref().unwrap());
            }
        }
        assert!(check_name(&right.known_id()).is_err(), "a whole id is never a name");
    }

    #[test]
    fn of_two_networks_with_one_name_neither_is_taken_but_by_its_id() {
        let heard = [network("lab", 20), network("lab", 21), network("other", 20)];
        let refused = chosen("lab", &heard).unwrap_err();
        let NetworksError::Ambiguous { networks, .. } = &refused else { panic!("{refused}") };
        assert!(networks.iter().zip(&heard).all(|(shown, network)| shown.contains(&network.known_id())));
        assert_eq!(word_for(&heard[2], &heard).unwrap(), "other");
        for network in &heard[..2] {
            let word = word_for(network, &heard).unwrap();
            assert_eq!(chosen(&word, &heard).unwrap(), network.rules.as_ref().unwrap());
        }
    }

    #[test]
    fn a_network_whose_rules_nobody_gives_is_not_said_to_be_unheard() {
        let known = network("lab", 20);
        let id = known.known_id();
        let heard = [Network { asked: 7, ..Network::new(known.prefix) }];
        for wanted in [&id[..4], &id[..16], &id] {
            let refused = chosen(wanted, &heard).unwrap_err();
            assert!(matches!(&refused, NetworksError::NoRules { asked: 7, .. }), "{refused}");
        }
        // Of a name nobody knows whether it is this network's; but that there is one is told.
        let refused = chosen("lab", &heard).unwrap_err().to_string();
        assert!(refused.contains("there are of unknown rules") && refused.contains(&id[..16]), "{refused}");
        // Nor does it stand in the way of a name that is known.
        let heard = [Network::new([7; 8]), known];
        assert_eq!(chosen("lab", &heard).unwrap().name, "lab");
    }
}
