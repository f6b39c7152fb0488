//! What of the fates of the user's payments is worth telling.

use crate::outbox::Fate;

/// What is known of a payment before a look at outbox and ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It is the first look.
    Nothing,
    /// There was no such payment at the last look.
    New,
    /// What had become of it by the last look.
    Known(Fate),
}

/// What is worth telling of a payment that has this fate now.
pub fn told(before: Before, now: Fate) -> Option<String> {
    use Before::{Known, Nothing};
    match (before, now) {
        (Nothing, _) => None,
        (Known(before), now) if before == now => None,
        (_, Fate::Confirmed(height)) => Some(format!("confirmed in block {height}.")),
        (Known(Fate::Confirmed(_)), Fate::Pending) => {
            Some("a reorganisation took it out of the chain; it is pending again and sent again.".to_owned())
        }
        (Known(Fate::Conflicting), Fate::Pending) => {
            Some("a reorganisation freed its place; it is pending again and sent again.".to_owned())
        }
        (Known(Fate::Expired), Fate::Pending) => {
            Some("a reorganisation gave it time again; it is pending again and sent again.".to_owned())
        }
        (_, Fate::Pending) => None,
        // Whoever knows the one has nothing to do about the other.
        (Known(Fate::Expired), Fate::Conflicting) | (Known(Fate::Conflicting), Fate::Expired) => None,
        // Another reorganisation may change it back.
        (_, Fate::Conflicting) => Some("the chain now holds another payment in its place.".to_owned()),
        (Known(Fate::Confirmed(_)), Fate::Expired) => {
            Some("a reorganisation took it out of the chain, and now it has expired.".to_owned())
        }
        (_, Fate::Expired) => {
            Some("it has expired: no block took it in time, and its money is free again.".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use common::time::Height;

    use super::*;

    #[test]
    fn changes_are_told_once_and_what_was_so_before_the_first_look_is_not() {
        let confirmed = |height| Fate::Confirmed(Height::new(height));
        let all = [Fate::Pending, Fate::Expired, Fate::Conflicting, confirmed(5)];
        for fate in all {
            assert_eq!(told(Before::Nothing, fate), None, "{fate:?} at the first look");
            assert_eq!(told(Before::Known(fate), fate), None, "{fate:?} still");
        }
        assert_eq!(told(Before::New, Fate::Pending), None, "what was just sent is no news");
        let (expired, conflicting) = (Fate::Expired, Fate::Conflicting);
        assert_eq!(told(Before::Known(expired), conflicting), None, "its place was given away");
        assert_eq!(told(Before::Known(conflicting), expired), None, "its time came, too");
        for (old, new, part) in [
            (Before::New, confirmed(5), "confirmed in block 5"),
            (Before::Known(Fate::Pending), confirmed(5), "confirmed in block 5"),
            (Before::Known(confirmed(5)), confirmed(6), "confirmed in block 6"),
            (Before::Known(confirmed(5)), Fate::Pending, "took it out"),
            (Before::Known(confirmed(5)), Fate::Conflicting, "another payment in its place"),
            (Before::Known(Fate::Conflicting), Fate::Pending, "freed its place"),
            (Before::Known(Fate::Pending), Fate::Expired, "expired"),
            (Before::Known(Fate::Expired), Fate::Pending, "time again; it is pending again"),
            (Before::Known(confirmed(5)), Fate::Expired, "took it out of the chain, and now it has expired"),
        ] {
            let text = told(old, new).expect("it is worth telling");
            assert!(text.contains(part), "{old:?} to {new:?}: {text}");
        }
    }
}
