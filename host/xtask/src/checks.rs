//! The chores that judge the workspace: its tests, its lints, its documentation.

use crate::fuzz;
use crate::guests;
use crate::setup::setup;
use crate::step::{StepError, cargo, shown};

/// Sets up, builds the programs that tests run, and runs the tests.
pub(crate) fn test(arguments: &[String]) -> Result<(), StepError> {
    setup()?;
    guests()?;
    let mut test = cargo(&["test"]);
    // The tests bring Python projects of their own; the caller's must not shine through.
    test.env_remove("DJANGO_SETTINGS_MODULE")
        .env_remove("VIRTUAL_ENV")
        .env_remove("PYTHONPATH");
    if arguments.is_empty() {
        test.arg("--workspace");
    }
    shown("run the tests", test.args(arguments))?;
    match arguments.is_empty() {
        true => guests::test(),
        false => Ok(()),
    }
}

/// Runs the fault suite for as long as `arguments` say.
pub(crate) fn faults(arguments: &[String], release: bool) -> Result<(), StepError> {
    setup()?;
    let profile: &[&str] = if release { &["--release"] } else { &[] };
    shown(
        "build the program",
        cargo(&["build", "--package", "djangobot", "--bins"]).args(profile),
    )?;
    let mut test = cargo(&["test", "--package", "djangobot-tests", "--test", "faults"]);
    test.args(profile).arg("--").args(arguments);
    shown("run the fault suite", &mut test)
}

/// Builds the program, and with it the plugins that ship.
pub(crate) fn guests() -> Result<(), StepError> {
    shown(
        "build the programs",
        &mut cargo(&["build", "--package", "djangobot", "--bins"]),
    )?;
    guests::build()
}

/// All that a change must pass.
pub(crate) fn ci() -> Result<(), StepError> {
    shown("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    shown(
        "lints",
        &mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    guests::check()?;
    test(&[])?;
    fuzz::fuzz(&[], fuzz::SECONDS)?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    shown("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))
}
