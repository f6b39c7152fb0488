//! The commands, one a file. Each takes a [`crate::wallet::Wallet`], or what it needs of one, and what the user asked,
//! and gives the text of its result; what else there is to say goes to its notes.

pub mod change_passphrase;
pub mod decrypt;
pub mod encrypt;
pub mod history;
pub mod key_change;
pub mod list_addresses;
pub mod new_address;
pub mod send;
pub mod sync;
#[cfg(test)]
pub mod testing;
pub mod verify;
