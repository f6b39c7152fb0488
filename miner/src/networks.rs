//! stub
use crate::error::MinerError;
use common::settings::Settings;
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    #[error("none")]
    None,
}
impl NetworksError {
    pub fn hint(&self) -> Option<String> {
        None
    }
}
pub fn list(_: &Settings, _: u64) -> Result<String, MinerError> {
    Err(NetworksError::None.into())
}
pub fn join(_: &Settings, _: u64, _: &str) -> Result<String, MinerError> {
    Err(NetworksError::None.into())
}
