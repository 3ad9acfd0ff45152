//! Lists the crates that the program contains, with their versions and licences, for `djangobot licences`.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.toml");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    let variable = |name: &str| env::var_os(name).unwrap_or_default();
    let target = variable("TARGET");
    // Procedural macros run while the program is built and are not part of it.
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
        // The build goes on without the list, and `djangobot licences` says that it is missing.
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

/// Makes `NAME VERSION LICENCE` of a line of `cargo tree`. The folders of our own crates are left out: they name paths
/// of the machine that built the program.
fn line(of_cargo: &str) -> Option<String> {
    let (package, license) = of_cargo.split_once('\t')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.trim_start_matches('v'));
    let license = license.trim_end_matches("(*)").trim();
    Some(format!("{name} {version} {license}\n"))
}
