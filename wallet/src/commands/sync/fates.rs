//! What becomes of the user's payments, as outbox and ledger show it, and what of that is worth telling.

use std::collections::HashMap;

use common::store::{Read, StoreError};
use common::time::Height;

use crate::outbox::{PaymentName, Survey};

/// What was last told of a payment of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pending,
    Expired,
    Confirmed(Height),
    /// Another payment of the sender took its place.
    Conflicting,
}

/// What the outbox and the ledger say of each payment. Every one that is past is looked up: a reorganisation
/// of any depth may have moved it, or put another in its place.
pub fn fates(survey: &Survey, ledger: &dyn Read) -> Result<HashMap<PaymentName, Fate>, StoreError> {
    let mut fates = HashMap::new();
    for name in &survey.past {
        let place = ledger.find_transaction(&name.id)?;
        fates.insert(*name, place.map_or(Fate::Conflicting, |place| Fate::Confirmed(place.height)));
    }
    for entry in &survey.open {
        fates.insert(entry.name, if entry.expired { Fate::Expired } else { Fate::Pending });
    }
    Ok(fates)
}

/// What is worth telling when a payment's fate changes. `old` is `None` before the first look, and
/// `Some(None)` for a payment that is new since the last.
pub fn told(old: Option<Option<Fate>>, new: Fate) -> Option<String> {
    let old = old?;
    match new {
        _ if old == Some(new) => None,
        Fate::Confirmed(height) => Some(format!("confirmed in block {height}.")),
        Fate::Pending if matches!(old, Some(Fate::Confirmed(_))) => {
            Some("a reorganisation took it out of the chain; it is pending again and sent again.".to_owned())
        }
        Fate::Pending if old == Some(Fate::Conflicting) => {
            Some("a reorganisation freed its place; it is pending again and sent again.".to_owned())
        }
        Fate::Pending => None,
        Fate::Conflicting => {
            Some("it never will be confirmed, for another payment took its place.".to_owned())
        }
        Fate::Expired => {
            Some("it has expired: no block took it in time, and its money is free again.".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once_and_what_was_so_before_the_first_look_is_not() {
        let confirmed = |height| Fate::Confirmed(Height::new(height));
        let all = [Fate::Pending, Fate::Expired, Fate::Conflicting, confirmed(5)];
        for fate in all {
            assert_eq!(told(None, fate), None, "{fate:?} at the first look");
            assert_eq!(told(Some(Some(fate)), fate), None, "{fate:?} still");
        }
        assert_eq!(told(Some(None), Fate::Pending), None, "what was just sent is no news");
        for (old, new, part) in [
            (None, confirmed(5), "confirmed in block 5"),
            (Some(Fate::Pending), confirmed(5), "confirmed in block 5"),
            (Some(confirmed(5)), confirmed(6), "confirmed in block 6"),
            (Some(confirmed(5)), Fate::Pending, "took it out"),
            (Some(confirmed(5)), Fate::Conflicting, "another payment took its place"),
            (Some(Fate::Conflicting), Fate::Pending, "freed its place"),
            (Some(Fate::Pending), Fate::Expired, "expired"),
        ] {
            let text = told(Some(old), new).expect("it is worth telling");
            assert!(text.contains(part), "{old:?} to {new:?}: {text}");
        }
    }
}
