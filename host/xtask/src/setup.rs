//! Installs what the tests need, and does nothing if all of it is installed.
//!
//! Each folder of `target/test-env` has a stamp, which is written last and contains the list that the folder was made
//! from. A folder whose list has changed, or that was not finished, is made again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use djangobot_tests::environment::{
    self, PACKAGE_JSON, PACKAGE_LOCK, VIRTUALENVS, Virtualenv, directory, find, npm_directory,
    npm_is_ready, stamp_of,
};

use crate::step::{StepError, output, quiet, shown};

/// The oldest Python that the pinned Django runs on.
const PYTHON: (u32, u32) = (3, 10);
/// The oldest Node that Slack's packages run on.
const NODE: u32 = 18;

/// Installs all that is missing.
pub(crate) fn setup() -> Result<(), StepError> {
    let plan = SetupPlan::make()?;
    println!("==> {}", plan.describe());
    install(&plan.packages)?;
    for virtualenv in plan.virtualenvs {
        make_virtualenv(virtualenv, &find_python()?)?;
    }
    if plan.npm {
        install_npm()?;
    }
    Ok(())
}

/// The parts that are missing and have to be installed.
struct SetupPlan {
    /// Packages of the operating system, which are installed with apt if that is allowed.
    packages: Vec<&'static str>,
    virtualenvs: Vec<&'static Virtualenv>,
    /// Whether the npm packages are missing.
    npm: bool,
}

impl SetupPlan {
    fn make() -> Result<Self, StepError> {
        let mut packages = missing(&[
            ("redis-cli", "redis-tools"),
            ("openssl", "openssl"),
            ("node", "nodejs"),
            ("npm", "npm"),
        ]);
        match environment::named_redis_server() {
            None => packages.extend(missing(&[("redis-server", "redis-server")])),
            Some(server) if server.is_file() => {}
            Some(server) => {
                return Err(StepError::Missing(format!(
                    "{} names {}, but there is no such file",
                    environment::REDIS_SERVER,
                    server.display()
                )));
            }
        }
        if environment::clock_library().is_none() {
            packages.push("faketime");
        }
        match search_python() {
            PythonSearch::Found(_) => {}
            PythonSearch::Incomplete => packages.extend(["python3", "python3-venv"]),
            // apt would install the same one again.
            PythonSearch::TooOld(version) => return Err(no_python(&version)),
        }
        let unready = VIRTUALENVS
            .iter()
            .filter(|virtualenv| !virtualenv.is_ready());
        Ok(Self {
            packages,
            virtualenvs: unready.collect(),
            npm: !npm_is_ready(),
        })
    }

    /// Describes what is going to be installed, and where.
    fn describe(&self) -> String {
        let mut parts = Vec::new();
        if !self.packages.is_empty() {
            parts.push(format!(
                "these packages are installed with apt-get: {}",
                self.packages.join(", ")
            ));
        }
        let names = self.virtualenvs.iter().map(|virtualenv| virtualenv.name);
        let mut made: Vec<String> = names.map(|name| format!("virtualenv {name}")).collect();
        if self.npm {
            made.push("npm packages".to_owned());
        }
        if !made.is_empty() {
            parts.push(format!(
                "these are made in {}, from PyPI and npm: {}",
                directory().display(),
                made.join(", ")
            ));
        }
        match parts.is_empty() {
            true => "set-up: all that the tests need is installed".to_owned(),
            false => format!("set-up: {}", parts.join("; ")),
        }
    }
}

/// Installs the C++ compiler that builds libFuzzer, if there is none.
pub(crate) fn install_compiler() -> Result<(), StepError> {
    if std::env::var_os("CXX").is_some() {
        return Ok(());
    }
    install(&missing(&[("c++", "g++")]))
}

/// The packages of those programs that are not on `PATH`. Each entry has a program and its package.
fn missing(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    programs
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect()
}

fn install(packages: &[&str]) -> Result<(), StepError> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if find("apt-get").is_none() || !rustix::process::geteuid().is_root() {
        return Err(StepError::Missing(format!(
            "the tests need programs of these Debian or Ubuntu packages: install them with `sudo apt-get install {list}`"
        )));
    }
    // The output is shown, because this may take minutes.
    shown("apt-get update", apt(&["update"]).arg("-q"))?;
    shown(
        &format!("apt-get install {list}"),
        apt(&["install", "-q", "-y", "--no-install-recommends"]).args(packages),
    )
}

fn apt(arguments: &[&str]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
    apt
}

/// The result of the search for a Python.
enum PythonSearch {
    /// This one is new enough, and can make virtualenvs.
    Found(PathBuf),
    /// The first one is too old; the text names it and its version.
    TooOld(String),
    /// There is none that can make virtualenvs.
    Incomplete,
}

/// Searches `PATH` for a Python that is new enough and can make virtualenvs.
fn search_python() -> PythonSearch {
    let probe = "import sys, venv, ensurepip; print('%d %d' % sys.version_info[:2])";
    let names = [
        "python3",
        "python3.14",
        "python3.13",
        "python3.12",
        "python3.11",
        "python3.10",
        "python",
    ];
    let mut old = None;
    for python in names.iter().filter_map(|name| find(name)) {
        let Ok(printed) = output(Command::new(&python).args(["-c", probe])) else {
            continue;
        };
        let version = printed
            .split_once(' ')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match version {
            Some(version) if version >= PYTHON => return PythonSearch::Found(python),
            _ => {
                old = old.or(Some(format!(
                    "{} is {}",
                    python.display(),
                    printed.replace(' ', ".")
                )))
            }
        }
    }
    old.map_or(PythonSearch::Incomplete, PythonSearch::TooOld)
}

/// Finds a Python for the virtualenvs.
fn find_python() -> Result<PathBuf, StepError> {
    match search_python() {
        PythonSearch::Found(python) => Ok(python),
        PythonSearch::TooOld(version) => Err(no_python(&version)),
        PythonSearch::Incomplete => Err(no_python(
            "there is none, or it lacks the module venv (Debian's package python3-venv)",
        )),
    }
}

fn no_python(seen: &str) -> StepError {
    let (major, minor) = PYTHON;
    StepError::Missing(format!(
        "current Django needs Python {major}.{minor} or newer: {seen}; install one and put it on PATH"
    ))
}

/// Makes `virtualenv` from nothing, with `python`.
pub(crate) fn make_virtualenv(virtualenv: &Virtualenv, python: &Path) -> Result<(), StepError> {
    let directory = virtualenv.directory();
    let title = format!("virtualenv {}", virtualenv.name);
    empty(&directory)?;
    quiet(
        &title,
        Command::new(python).args(["-m", "venv"]).arg(&directory),
    )?;
    let list = directory.join("requirements.txt");
    write(&list, virtualenv.requirements)?;
    let mut pip = Command::new(virtualenv.interpreter());
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    if virtualenv.complete {
        pip.arg("--no-deps");
    }
    quiet(&format!("{title}: packages"), pip.arg("-r").arg(&list))?;
    write(&stamp_of(&directory), virtualenv.requirements)
}

fn install_npm() -> Result<(), StepError> {
    let version = output(Command::new(environment::node()).arg("--version"))?;
    let major = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < NODE) {
        return Err(StepError::Missing(format!(
            "Slack's npm packages need Node {NODE} or newer, but this one is {version}: install a newer one"
        )));
    }
    let directory = npm_directory();
    empty(&directory)?;
    write(&directory.join("package.json"), PACKAGE_JSON)?;
    write(&directory.join("package-lock.json"), PACKAGE_LOCK)?;
    quiet(
        "npm packages",
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&directory),
    )?;
    write(&stamp_of(&directory), PACKAGE_LOCK)
}

/// Makes an empty directory, and deletes what was there before.
fn empty(directory: &Path) -> Result<(), StepError> {
    let remove = if directory.exists() {
        fs::remove_dir_all(directory)
    } else {
        Ok(())
    };
    remove
        .and_then(|()| fs::create_dir_all(directory))
        .map_err(|reason| StepError::Write {
            path: directory.display().to_string(),
            reason,
        })
}

fn write(path: &Path, text: &str) -> Result<(), StepError> {
    fs::write(path, text).map_err(|reason| StepError::Write {
        path: path.display().to_string(),
        reason,
    })
}
