//! Lists what the program is made of, for `djangobot licences`: each crate with its version and licence, as cargo has them.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.toml");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    let variable = |name: &str| env::var_os(name).unwrap_or_default();
    let target = variable("TARGET");
    // What only runs while building, as macros do, is not in the program.
    let listed = Command::new(variable("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "djangobot"])
        .args(["--edges", "normal,no-proc-macro", "--prefix", "none"])
        .args(["--format", "{p}\t{l}", "--target"])
        .arg(target)
        .current_dir(variable("CARGO_MANIFEST_DIR"))
        .output();
    let mut lines: Vec<String> = match &listed {
        Ok(listed) if listed.status.success() => String::from_utf8_lossy(&listed.stdout)
            .lines()
            .filter_map(line)
            .collect(),
        // The program is as good without it, and says that it has none.
        Ok(listed) => {
            let why = String::from_utf8_lossy(&listed.stderr).replace('\n', " ");
            println!("cargo:warning=djangobot licences will have no list: {why}");
            Vec::new()
        }
        Err(error) => {
            println!("cargo:warning=djangobot licences will have no list: {error}");
            Vec::new()
        }
    };
    lines.sort();
    lines.dedup();
    let path = PathBuf::from(variable("OUT_DIR")).join("licences.txt");
    if let Err(error) = std::fs::write(&path, lines.concat()) {
        println!("cargo:warning={} can't be written: {error}", path.display());
    }
}

/// `NAME VERSION LICENCE`, of what `cargo tree` says; without the folders of our own crates, which are this machine's.
fn line(said: &str) -> Option<String> {
    let (package, license) = said.split_once('\t')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.trim_start_matches('v'));
    let license = license.trim_end_matches("(*)").trim();
    Some(format!("{name} {version} {license}\n"))
}
