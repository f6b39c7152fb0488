//! Why no network was joined, and what the user can do then.

use super::choice::LEAST_ID_DIGITS;

/// Why no network was joined.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    #[error(
        "{text:?} is neither the name of a network (1–32 of a–z 0–9 -) nor the beginning of an id \
         ({LEAST_ID_DIGITS}–64 hexadecimal digits)"
    )]
    Malformed { text: String },
    #[error("no network {wanted:?} was heard within {seconds} s at UDP port {port}{}", among(heard))]
    NotHeard { wanted: String, seconds: u64, port: u16, heard: Vec<String> },
    #[error("network {id} was heard, but none of its miners gave its rules ({asked} asked)")]
    NoRules { id: String, asked: usize },
    #[error("{wanted:?} may be any of {} networks: {}", networks.len(), networks.join(", "))]
    Ambiguous { wanted: String, networks: Vec<String> },
}

fn among(heard: &[String]) -> String {
    match heard {
        [] => ", nor any other".to_owned(),
        heard => format!("; there are {}", heard.join(", ")),
    }
}

/// What to look at when nothing is heard.
pub const HOW_TO_HEAR: &str = "a miner of it has to be running; --lan listens to other machines, --seconds N listens \
                               longer, and the status_broadcast_port has to be the same";

impl NetworksError {
    /// What the user can do now, where the sentence does not say it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Malformed { .. } => None,
            Self::NotHeard { .. } => Some(HOW_TO_HEAR),
            Self::NoRules { .. } => Some(
                "a firewall has to let others in at a miner's block_server_port (TCP); the next time other miners \
                 may be asked, for they are chosen at random",
            ),
            // Not the id of any of them: which is the right one is what nobody here knows.
            Self::Ambiguous { .. } => Some(
                "give all 64 digits of the right one, which `miner rules` tells whoever is on it: \
                 `miner networks --join ID`",
            ),
        }
    }
}
