//! Texts that the operator granted by name. Needs the grant `secrets:NAME`.

use crate::host;

/// The secret of that name; nothing where it was not granted or the operator has not set it.
pub fn get(name: &str) -> Option<String> {
    host::secrets::get(name)
}
