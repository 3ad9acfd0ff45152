//! `djangobot licences`: the crates that the program contains, with their licences.

use std::io::Write;

use crate::failure::Failure;

/// `NAME VERSION LICENCE`, one crate a line. The build script writes it.
const CRATES: &str = include_str!(concat!(env!("OUT_DIR"), "/licences.txt"));

/// Prints the list.
pub(crate) fn licences() -> Result<(), Failure> {
    let mut text = format!(
        "djangobot {} is under the MIT licence. It contains SQLite {}, which is in the public domain, and these crates:\n\n",
        env!("CARGO_PKG_VERSION"),
        rusqlite::version(),
    );
    let rows = CRATES.lines().filter_map(|line| {
        let (name, rest) = line.split_once(' ')?;
        let (version, license) = rest.split_once(' ')?;
        Some((name, version, license))
    });
    if CRATES.is_empty() {
        text.push_str("(The list is missing: it could not be made when this program was built.)\n");
    }
    for (name, version, license) in rows {
        text.push_str(&format!("{name:<36} {version:<16} {license}\n"));
    }
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::plain)
}
