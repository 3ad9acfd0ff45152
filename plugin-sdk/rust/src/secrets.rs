//! The operator's secrets, which are granted by name. A secret needs the grant `secrets:NAME`.

use crate::imports;

pub use crate::bindings::djangobot::plugin::secrets::SecretError;

/// The secret of that name; `None` if the operator has not set it.
///
/// # Errors
/// It was not granted.
pub fn get(name: &str) -> Result<Option<String>, SecretError> {
    imports::secrets::get(name)
}
