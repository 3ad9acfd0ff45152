//! The benchmarks: installs the programs to compare with, builds for release, and starts the measurements.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use djangobot_tests::environment::{Virtualenv, directory, find};

use crate::setup::{make_virtualenv, setup};
use crate::step::{StepError, cargo, output, shown, workspace};

/// The virtualenv of djangobot 0.1. `djangobot-bench` finds it by this name.
const ORIGINAL: Virtualenv = Virtualenv {
    name: "original",
    requirements: include_str!("../../../tests/bench/peers/original/requirements.txt"),
    complete: true,
};
/// The versions of Python that run djangobot 0.1. Its Django, 1.11, does not work with newer ones.
const VERSIONS: [&str; 2] = ["3.8", "3.9"];

/// Measures the sections with these names, or all.
pub(crate) fn bench(names: &[String], write: bool) -> Result<(), StepError> {
    setup()?;
    if !ORIGINAL.is_ready() {
        match find_python() {
            Some(python) => make_virtualenv(&ORIGINAL, &python)?,
            None => println!(
                "==> there is no Python 3.8 or 3.9 on PATH or in pyenv, so djangobot 0.1 is not measured"
            ),
        }
    }
    shown(
        "build for release",
        &mut cargo(&[
            "build",
            "--release",
            "-p",
            "djangobot",
            "-p",
            "djangobot-bench",
        ]),
    )?;
    crate::checks::guests()?;
    // `cargo run` is not used, because for one package alone it may build with other features.
    let target = directory().parent().map(Path::to_owned).unwrap_or_default();
    let mut bench = Command::new(target.join("release/djangobot-bench"));
    bench.args(names);
    if write {
        let document = workspace().join("BENCHMARKS.md");
        bench.arg("--write").arg(document);
    }
    shown("measure", &mut bench)
}

/// Finds a Python that is old enough, on `PATH` or among pyenv's versions. pyenv's own commands on `PATH` run only the
/// version that its settings choose.
fn find_python() -> Option<PathBuf> {
    let on_path = VERSIONS
        .iter()
        .filter_map(|version| find(&format!("python{version}")));
    let root = env::var_os("PYENV_ROOT").map_or_else(
        || env::home_dir().unwrap_or_default().join(".pyenv"),
        PathBuf::from,
    );
    let installed = std::fs::read_dir(root.join("versions"))
        .into_iter()
        .flatten()
        .flatten();
    let of_pyenv = installed.map(|version| version.path().join("bin/python"));
    on_path.chain(of_pyenv).find(|python| is_old_enough(python))
}

fn is_old_enough(python: &Path) -> bool {
    let version = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])";
    output(Command::new(python).args(["-c", version]))
        .is_ok_and(|version| VERSIONS.contains(&version.as_str()))
}
