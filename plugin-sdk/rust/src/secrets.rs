//! The operator's secrets, which are granted by name. A secret needs the grant `secrets:NAME`.

use crate::host;

/// The secret of that name; `None` if it was not granted, or the operator has not set it.
pub fn get(name: &str) -> Option<String> {
    host::secrets::get(name)
}
