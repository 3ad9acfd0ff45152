//! The environment that `cargo xtask setup` makes: where it lies, what is in it, and whether it is up to date.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The virtualenvs that tests use.
pub static VIRTUALENVS: [Virtualenv; 3] = [CURRENT, REDIS7, CHANNELS1];

const CURRENT: Virtualenv = Virtualenv {
    name: "current",
    requirements: include_str!("../env/current.txt"),
    complete: false,
};
const REDIS7: Virtualenv = Virtualenv {
    name: "redis7",
    requirements: include_str!("../env/redis7.txt"),
    complete: false,
};
const CHANNELS1: Virtualenv = Virtualenv {
    name: "channels1",
    requirements: include_str!("../env/channels1.txt"),
    complete: true,
};

/// The npm packages that tests use: `package.json`.
pub const PACKAGE_JSON: &str = include_str!("../env/package.json");
/// The npm packages that tests use: `package-lock.json`.
pub const PACKAGE_LOCK: &str = include_str!("../env/package-lock.json");

/// A Python virtualenv of the tests.
#[derive(Debug, Clone, Copy)]
pub struct Virtualenv {
    /// Its name, which is its folder's.
    pub name: &'static str,
    /// Its packages, as a pip requirements file.
    pub requirements: &'static str,
    /// Whether the file lists all, so that pip is not to add dependencies.
    pub complete: bool,
}

impl Virtualenv {
    /// Its folder.
    pub fn directory(&self) -> PathBuf {
        directory().join(self.name)
    }

    /// Its interpreter, whether it is there or not.
    pub fn interpreter(&self) -> PathBuf {
        self.directory().join("bin/python")
    }

    /// Whether it is there and has what the requirements say.
    pub fn is_ready(&self) -> bool {
        self.interpreter().exists() && stamp(&self.directory()) == Some(self.requirements.into())
    }

    fn python(&self) -> PathBuf {
        let (name, directory) = (self.name, self.directory());
        assert!(
            self.is_ready(),
            "the virtualenv {name:?} in {} is missing or out of date: run `cargo xtask setup`",
            directory.display()
        );
        self.interpreter()
    }
}

/// A Python with current Django, channels, channels_redis and redis-py; also slack_sdk, slack_bolt and aiohttp.
///
/// # Panics
/// When `cargo xtask setup` has not made it.
pub fn python() -> PathBuf {
    CURRENT.python()
}

/// As [`python`], with redis-py 7, the last before the default `socket_timeout`.
///
/// # Panics
/// When `cargo xtask setup` has not made it.
pub fn python_redis7() -> PathBuf {
    REDIS7.python()
}

/// A Python with Channels 1.1.8 and asgi_redis 1.4.3.
///
/// # Panics
/// When `cargo xtask setup` has not made it.
pub fn python_channels1() -> PathBuf {
    CHANNELS1.python()
}

/// The folder to give Node as `NODE_PATH`, with `@slack/rtm-api`, `@slack/socket-mode` and `@slack/web-api` in it.
///
/// # Panics
/// When `cargo xtask setup` has not made it.
pub fn node_modules() -> PathBuf {
    assert!(
        npm_is_ready(),
        "the npm packages in {} are missing or out of date: run `cargo xtask setup`",
        npm_directory().display()
    );
    npm_directory().join("node_modules")
}

/// Node's interpreter.
///
/// # Panics
/// When there is none.
pub fn node() -> PathBuf {
    program("node", "nodejs")
}

/// The variable that names another Redis server than the `redis-server` on `PATH`.
pub const REDIS_SERVER: &str = "DJANGOBOT_TEST_REDIS_SERVER";

/// The Redis server that tests start: what [`REDIS_SERVER`] names, or else `redis-server` on `PATH`.
///
/// # Panics
/// When there is none.
pub fn redis_server() -> PathBuf {
    let Some(named) = named_redis_server() else {
        return program("redis-server", "redis-server");
    };
    assert!(
        named.is_file(),
        "{REDIS_SERVER} names {}, and no such file is there",
        named.display()
    );
    named
}

/// The Redis server that [`REDIS_SERVER`] names, if it does, whether it is there or not. A name without a slash is
/// looked up on `PATH`.
pub fn named_redis_server() -> Option<PathBuf> {
    let named = env::var_os(REDIS_SERVER).filter(|named| !named.is_empty())?;
    let on_path = named.to_str().and_then(find);
    Some(on_path.unwrap_or_else(|| named.into()))
}

/// A program of this workspace, as the test's own profile builds it.
///
/// # Panics
/// When it has not been built.
pub fn binary(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("a test lies in target/PROFILE/deps");
    let binary = profile.join(name);
    assert!(
        binary.exists(),
        "{} has not been built: run `cargo build --bin {name}`, or `cargo xtask test`, which does",
        binary.display()
    );
    binary
}

/// The folder of all that `cargo xtask setup` makes.
pub fn directory() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace");
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |target| workspace.join(target));
    target.join("test-env")
}

/// The folder that npm installs into.
pub fn npm_directory() -> PathBuf {
    directory().join("npm")
}

/// Whether the npm packages are there, in the versions that the lock file says.
pub fn npm_is_ready() -> bool {
    npm_directory().join("node_modules").exists()
        && stamp(&npm_directory()) == Some(PACKAGE_LOCK.into())
}

/// The requirements that the folder was last made from. They are written last, so a half-made folder has none.
fn stamp(directory: &Path) -> Option<String> {
    fs::read_to_string(stamp_of(directory)).ok()
}

/// The file that says what `directory` was made from.
pub fn stamp_of(directory: &Path) -> PathBuf {
    directory.join("made-from")
}

/// Finds a program on `PATH`, if it is there.
pub fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The library by which a process sees another time, if it is there: Debian's package `faketime`.
pub fn clock_library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.is_file())
}

/// A program on `PATH`, of a Debian package.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("there is no {name} on PATH: run `cargo xtask setup`, or install it (Debian's package {package})"))
}
