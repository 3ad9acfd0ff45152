//! The chores that check the workspace: its tests, lints and documentation.

use std::process::Command;

use djangobot_tests::environment;

use crate::docs;
use crate::guests;
use crate::setup::setup;
use crate::step::{StepError, cargo, output, programs, shown};
use crate::supply;

/// Sets up, builds the programs that tests run, and runs all tests, even if some fail.
pub(crate) fn test(arguments: &[String]) -> Result<(), StepError> {
    let is_whole = arguments.is_empty();
    if is_whole {
        println!("==> {}", announcement());
    }
    setup()?;
    let server = output(Command::new(environment::redis_server()).arg("--version"))?;
    println!("==> the tests' Redis server: {server}");
    guests()?;
    let mut test = cargo(&["test", "--no-fail-fast"]);
    // The tests have Python projects of their own, and must not use the caller's.
    test.env_remove("DJANGO_SETTINGS_MODULE")
        .env_remove("VIRTUAL_ENV")
        .env_remove("PYTHONPATH");
    if !is_whole {
        return shown("run the tests", test.args(arguments));
    }
    let of_plugins = guests::test();
    // The workspace's tests come last, because cargo ends with the list of test programs that failed.
    let of_workspace = shown("run the tests", test.arg("--workspace"));
    match (of_plugins, of_workspace) {
        (Err(plugins), Err(workspace)) => Err(StepError::Both(plugins.into(), workspace.into())),
        (plugins, workspace) => plugins.and(workspace),
    }
}

/// Modules whose unit tests need a Redis, a Python or programs of a virtualenv. A quick run skips them.
const WITH_PROGRAMS: [&str; 4] = [
    "with_programs::",
    "probe::tests::",
    "scripts::tests::",
    "redis::server::tests::",
];

/// Runs the unit tests of all crates and the tests of the documents, without a Redis or a Python. It is quick enough to
/// run after each edit.
pub(crate) fn test_fast(arguments: &[String]) -> Result<(), StepError> {
    let mut test = cargo(&[
        "test",
        "--workspace",
        "--lib",
        "--test",
        "docs",
        "--no-fail-fast",
        "--",
    ]);
    for module in WITH_PROGRAMS {
        test.args(["--skip", module]);
    }
    shown("run the quick tests", test.args(arguments))
}

/// Describes what is about to happen, and how long it takes on two current cores.
fn announcement() -> String {
    let is_built = programs().join("djangobot").exists();
    let time = match is_built {
        true => "about 10 minutes on two cores where little has changed",
        false => "about 25 minutes on two cores, since nothing has been built yet",
    };
    format!(
        "this sets up what the tests need, builds the program and the plugins that ship, and runs all tests: {time}; \
         a test that fails stops no other"
    )
}

/// Runs the fault suite with `arguments`.
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

/// Builds the program, and the plugins that ship with it.
pub(crate) fn guests() -> Result<(), StepError> {
    shown(
        "build the programs",
        &mut cargo(&["build", "--package", "djangobot", "--bins"]),
    )?;
    guests::build()
}

/// Checks what no test covers: format, lints, documentation, dependencies.
pub(crate) fn lint() -> Result<(), StepError> {
    shown("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    supply::check()?;
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
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    shown("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    docs::check()
}
