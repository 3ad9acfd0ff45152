//! Finding a Rust that builds for wasm32-unknown-unknown: one that has the target, one that gets it from rustup, or
//! Debian's packages, which build the target's standard library from its source.

use std::path::{Path, PathBuf};

use semver::Version;
use tokio::process::Command;

use crate::child::without_secrets;
use crate::install::recipe::command::run;
use crate::install::recipe::{BuildOutput, Installs, RecipeError};

pub(super) const TARGET: &str = "wasm32-unknown-unknown";
/// The oldest Rust that builds plugins: the one that the SDK needs.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");
/// Debian's packages: its compiler for the web, the cargo for that, and the source of the standard library.
const DEBIAN: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Rustup's linker, which makes components.
const LINKER: &str = "wasm-component-ld";
/// LLVM's linker, which makes core modules, and the Debian package with it.
const PLAIN_LINKER: &str = "wasm-ld";
const DEBIAN_LINKER: &str = "lld";

/// Variables of the environment that are removed for a build. Another cargo, or a person's habit, may have set them,
/// and they would make the build of a guest fail, or the standard library be built again.
const SCRUBBED: &[&str] = &[
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
    "CARGO_UNSTABLE_BUILD_STD",
    "MAKEFLAGS",
    "MFLAGS",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// A Rust that builds for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Toolchain {
    kind: Kind,
    linker: Linker,
}

/// The linker of a guest. It may make a core module, of which we make a component ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Linker {
    /// [`LINKER`], in this folder of rustup's toolchain.
    Component(PathBuf),
    /// [`PLAIN_LINKER`] at this path: Debian's compiler comes without a linker.
    Plain(PathBuf),
    /// The compiler's own.
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The one on PATH, which has the target.
    Installed,
    /// The one in `/usr/bin`, which builds the standard library too.
    Debian,
}

/// Debian's toolchain on this machine.
enum Debian {
    Usable(Toolchain),
    /// A clause that says so, and what to do.
    TooOld(String),
    Missing,
}

/// The properties of a `rustc`, as it prints them.
#[derive(Debug)]
struct Rustc {
    sysroot: PathBuf,
    host: String,
    release: Version,
}

impl Toolchain {
    /// Finds a toolchain, and installs missing parts if that is allowed and possible.
    ///
    /// # Errors
    /// [`RecipeError::NotInstalled`] with the parts that could be installed, or [`RecipeError::NoToolchain`] with all
    /// that was tried and what to do.
    pub(super) async fn find(
        folder: &Path,
        installs: Installs,
        told: &BuildOutput<'_>,
    ) -> Result<Self, RecipeError> {
        let mut tried = Vec::new();
        let active = Rustc::ask("rustc", folder).await;
        let old = active.as_ref().and_then(Rustc::too_old);
        let active = active.filter(|_| old.is_none());
        let component = active
            .as_ref()
            .and_then(Rustc::linker)
            .map(Linker::Component);
        let installed = Self {
            kind: Kind::Installed,
            linker: component.clone().unwrap_or(Linker::Own),
        };
        if active.as_ref().is_some_and(Rustc::has_target) {
            return Ok(installed);
        }
        if installs == Installs::Refused
            && let Some(what) = Self::lacks(folder).await
        {
            return Err(RecipeError::NotInstalled(what));
        }
        tried.push(match (&active, &old) {
            (Some(rustc), _) => format!("rustc has no {TARGET} in {}", rustc.sysroot.display()),
            (None, Some(old)) => old.clone(),
            (None, None) => {
                "there is no rustc on PATH; https://rustup.rs tells how to install Rust".into()
            }
        });
        // A toolchain that is here already is used before anything is installed.
        match Self::debian(component.clone()).await {
            Debian::Usable(debian) => return Ok(debian),
            Debian::TooOld(old) if !tried.contains(&old) => tried.push(old),
            Debian::TooOld(_) | Debian::Missing => {}
        }
        match add_target(folder, old.is_some(), told).await {
            // Checked, because another rustc may come before rustup's own on PATH.
            Ok(()) => match Rustc::ask("rustc", folder).await {
                Some(rustc) if rustc.has_target() => return Ok(installed),
                _ => tried.push(format!(
                    "rustup added {TARGET} to a toolchain that is not the one on PATH; put ~/.cargo/bin first in PATH"
                )),
            },
            Err(why) => tried.push(why),
        }
        match install_debian(component.is_none(), told).await {
            Ok(()) => match Self::debian(component).await {
                Debian::Usable(debian) => return Ok(debian),
                Debian::TooOld(old) => tried.push(old),
                Debian::Missing => tried.push(
                    "Debian's packages were installed, but their compiler or linker is not in /usr/bin or /usr/lib/llvm-*".into(),
                ),
            },
            Err(why) => tried.push(why),
        }
        Err(RecipeError::NoToolchain(tried))
    }

    /// The parts that [`Toolchain::find`] would install, in words for people. `None` if it needs none, or can't install
    /// any.
    pub(super) async fn lacks(folder: &Path) -> Option<String> {
        let active = Rustc::ask("rustc", folder).await;
        let is_old = active.as_ref().and_then(Rustc::too_old).is_some();
        let active = active.filter(|_| !is_old);
        if active.as_ref().is_some_and(Rustc::has_target) {
            return None;
        }
        let component = active
            .as_ref()
            .and_then(Rustc::linker)
            .map(Linker::Component);
        if let Debian::Usable(_) = Self::debian(component.clone()).await {
            return None;
        }
        let mut ways = Vec::new();
        if is_on_path("rustup") && !is_old {
            ways.push(format!("`rustup target add {TARGET}`"));
        }
        if can_install_debian().is_ok() {
            let packages = debian_packages(component.is_none()).join(" ");
            ways.push(format!(
                "`apt-get install {packages}`, as root and from Debian's servers"
            ));
        }
        match ways.as_slice() {
            [] => None,
            ways => Some(format!(
                "Rust's WebAssembly target ({})",
                ways.join(", or where that can't be had ")
            )),
        }
    }

    /// Looks for Debian's toolchain: its compiler and cargo, the source of its standard library, and a linker.
    async fn debian(component: Option<Linker>) -> Debian {
        let Some(rustc) = Rustc::ask(DEBIAN_RUSTC, Path::new("/")).await else {
            return Debian::Missing;
        };
        let is_whole = Path::new(DEBIAN_CARGO).is_file()
            && rustc.rustlib().join("src/rust/library/std").is_dir();
        let linker = component.or_else(|| plain_linker().map(Linker::Plain));
        match (linker, rustc.too_old()) {
            (Some(_), Some(old)) if is_whole => Debian::TooOld(old),
            (Some(linker), None) if is_whole => Debian::Usable(Self {
                kind: Kind::Debian,
                linker,
            }),
            _ => Debian::Missing,
        }
    }

    /// The name of its cargo, for people.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Installed => "cargo",
            Kind::Debian => "Debian's cargo",
        }
    }

    /// The command that builds for [`TARGET`] in `folder`. Its flags are always the same, because with others the
    /// standard library would be built again.
    pub(super) fn cargo_build(&self, folder: &Path) -> Command {
        let mut cargo = match self.kind {
            Kind::Installed => plain("cargo", folder),
            Kind::Debian => plain(DEBIAN_CARGO, folder),
        };
        cargo
            .args(["build", "--release", "--target", TARGET])
            // An empty variable overrides the flags in config files, which are meant for programs of this machine.
            .env("CARGO_ENCODED_RUSTFLAGS", "");
        if self.kind == Kind::Debian {
            // If a cargo of rustup's started us, this variable leads to rustup's libraries, which Debian's compiler
            // must not load.
            cargo
                .args(["-Z", "build-std=std,panic_abort"])
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .env_remove("LD_LIBRARY_PATH");
        }
        const LINKED_BY: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER";
        match &self.linker {
            Linker::Own => {}
            Linker::Plain(file) => {
                cargo.env(LINKED_BY, file);
            }
            Linker::Component(folder) => {
                let own = std::env::var_os("PATH").unwrap_or_default();
                let paths = [folder.clone(), folder.join("gcc-ld")]
                    .into_iter()
                    .chain(std::env::split_paths(&own));
                if let Ok(path) = std::env::join_paths(paths) {
                    cargo.env(LINKED_BY, LINKER).env("PATH", path);
                }
            }
        }
        cargo
    }
}

/// A command for `program` in `folder`, without the variables that an outer cargo may have set, and without our
/// secrets.
pub(super) fn plain(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for name in SCRUBBED {
        command.env_remove(name);
    }
    without_secrets(&mut command);
    command
}

impl Rustc {
    /// Asks a `rustc` for its properties. `None` if it can't be started, or answers otherwise than any rustc.
    async fn ask(program: &str, folder: &Path) -> Option<Self> {
        let say = async |arguments: &[&str]| {
            let mut rustc = plain(program, folder);
            rustc.args(arguments);
            let ended = run(rustc, &|_| {}).await.ok()?;
            ended.status.success().then_some(ended.stdout)
        };
        let sysroot = PathBuf::from(say(&["--print", "sysroot"]).await?.trim());
        let version = say(&["-vV"]).await?;
        Self::read(sysroot, &version)
    }

    /// Reads the output of `rustc -vV`.
    fn read(sysroot: PathBuf, version: &str) -> Option<Self> {
        let said = |key: &str| {
            let mut lines = version.lines();
            lines.find_map(|line| Some(line.strip_prefix(key)?.trim()))
        };
        Some(Self {
            sysroot,
            host: said("host: ")?.to_owned(),
            release: said("release: ")?.parse().ok()?,
        })
    }

    /// If it is too old for plugins, a clause that says so and what to do.
    fn too_old(&self) -> Option<String> {
        let (release, sysroot) = (&self.release, self.sysroot.display());
        is_too_old(release).then(|| {
            format!(
                "the Rust {release} in {sysroot} is too old: plugins need {OLDEST} or later; run `rustup update`, or install \
                 rustup from https://rustup.rs"
            )
        })
    }

    fn rustlib(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib")
    }

    fn has_target(&self) -> bool {
        self.rustlib().join(TARGET).join("lib").is_dir()
    }

    /// The folder with the linker that makes components.
    fn linker(&self) -> Option<PathBuf> {
        let folder = self.rustlib().join(&self.host).join("bin");
        folder.join(LINKER).is_file().then_some(folder)
    }
}

/// Whether a release is older than [`OLDEST`]. A nightly of that version counts as that version.
fn is_too_old(release: &Version) -> bool {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    let mut parts = OLDEST.split('.');
    let oldest = (number(parts.next()), number(parts.next()));
    (Some(release.major), Some(release.minor)) < oldest
}

/// Installs the target by rustup. The error is a clause.
async fn add_target(folder: &Path, is_old: bool, told: &BuildOutput<'_>) -> Result<(), String> {
    if is_old {
        return Err(format!(
            "rustup was not asked for {TARGET}, since its Rust is too old"
        ));
    }
    let mut rustup = plain("rustup", folder);
    rustup.args(["target", "add", TARGET]);
    told("rustup target add wasm32-unknown-unknown");
    match run(rustup, told).await {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => {
            let said = ended
                .stderr
                .lines()
                .rfind(|line| line.contains("error"))
                .unwrap_or("it failed");
            Err(format!("rustup target add {TARGET}: {}", said.trim()))
        }
        Err(error) => Err(format!("rustup can't be started: {error}")),
    }
}

/// LLVM's linker, on PATH or in the folder of some version of Debian's LLVM packages.
fn plain_linker() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = std::env::split_paths(&path).collect();
    let of_llvm = std::fs::read_dir("/usr/lib").into_iter().flatten();
    let of_llvm = of_llvm
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("llvm-")
        })
        .map(|folder| folder.join("bin"));
    on_path
        .into_iter()
        .chain(of_llvm)
        .map(|folder| folder.join(PLAIN_LINKER))
        .find(|file| file.is_file())
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn debian_packages(linker: bool) -> Vec<&'static str> {
    let mut packages = DEBIAN.to_vec();
    packages.extend(linker.then_some(DEBIAN_LINKER));
    packages
}

/// Whether this process may install Debian's packages. The error is a clause.
pub(super) fn can_install_debian() -> Result<(), &'static str> {
    if !Path::new("/usr/bin/apt-get").is_file() {
        return Err("this system has no apt-get; on Debian its packages would do");
    }
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => Err("Debian's packages would do, and root can install them"),
    }
}

/// Installs Debian's packages. The error is a clause with the commands to run.
async fn install_debian(linker: bool, told: &BuildOutput<'_>) -> Result<(), String> {
    let packages = debian_packages(linker);
    may_install(&packages)?;
    apt_get(&["update"], told).await?;
    // Checked after `update`, when the lists are new, and before `install`, which would download half a gigabyte for
    // nothing.
    if let Some(release) = debians_release().await.filter(is_too_old) {
        return Err(format!(
            "Debian's {} is {release} here, and plugins need Rust {OLDEST} or later; install it from https://rustup.rs",
            DEBIAN[0]
        ));
    }
    apt_get(&install(&packages), told).await
}

/// Installs packages of Debian. The error is a clause with the commands to run.
pub(super) async fn apt_install(packages: &[&str], told: &BuildOutput<'_>) -> Result<(), String> {
    may_install(packages)?;
    apt_get(&["update"], told).await?;
    apt_get(&install(packages), told).await
}

fn install<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["install", "-y", "--no-install-recommends"];
    words.extend(packages);
    words
}

fn may_install(packages: &[&str]) -> Result<(), String> {
    can_install_debian().map_err(|why| {
        format!(
            "{why}: apt-get update && apt-get {}",
            install(packages).join(" ")
        )
    })
}

async fn apt_get(arguments: &[&str], told: &BuildOutput<'_>) -> Result<(), String> {
    told(&format!("apt-get {}", arguments.join(" ")));
    let mut apt = Command::new("/usr/bin/apt-get");
    apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    without_secrets(&mut apt);
    let ended = run(apt, told)
        .await
        .map_err(|error| format!("apt-get can't be started: {error}"))?;
    match ended.status.success() {
        true => Ok(()),
        false => {
            let said = ended.stderr.lines().last().unwrap_or("it failed");
            Err(format!("apt-get {}: {said}", arguments.join(" ")))
        }
    }
}

/// The version of Rust that Debian's packages would install.
async fn debians_release() -> Option<Version> {
    let mut apt = Command::new("/usr/bin/apt-cache");
    apt.args(["policy", DEBIAN[0]]).env("LC_ALL", "C");
    without_secrets(&mut apt);
    candidate(&run(apt, &|_| {}).await.ok()?.stdout)
}

/// The version in the output of `apt-cache policy`: `1.85.0` of `Candidate: 1.85.0+dfsg3-1~deb12u2`.
fn candidate(said: &str) -> Option<Version> {
    let mut lines = said.lines();
    let version = lines.find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.');
    version[..end.unwrap_or(version.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rust_that_is_too_old_is_named_with_the_cure() {
        let check = |release: &str, is_old: bool| {
            let said = format!(
                "rustc {release} (2026)\nhost: x86_64-unknown-linux-gnu\nrelease: {release}\n"
            );
            let rustc = Rustc::read("/usr".into(), &said).unwrap();
            let old = rustc.too_old();
            assert_eq!(old.is_some(), is_old, "{old:?}");
            let part =
                format!("the Rust {release} in /usr is too old: plugins need {OLDEST} or later");
            assert!(old.is_none_or(|old| old.contains(&part) && old.contains("rustup")));
        };
        check("1.85.0", true);
        check("1.63.0", true);
        check("0.9.0", true);
        check(&format!("{OLDEST}.0"), false);
        check(&format!("{OLDEST}.0-nightly"), false);
        check("2.0.0", false);
    }

    #[test]
    fn the_version_that_debian_would_install_is_read() {
        let check = |said: &str, expect: Option<&str>| {
            let release = candidate(said).map(|release| release.to_string());
            assert_eq!(release.as_deref(), expect, "{said}");
        };
        check(
            "rustc-web:\n  Installed: (none)\n  Candidate: 1.85.0+dfsg3-1~deb12u2\n",
            Some("1.85.0"),
        );
        check("rustc-web:\n  Candidate: 1.96.0\n", Some("1.96.0"));
        check("rustc-web:\n  Candidate: (none)\n", None);
        check("", None);
    }
}
