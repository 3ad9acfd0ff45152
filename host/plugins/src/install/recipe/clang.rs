//! Finding a clang that compiles C for WebAssembly, which the engines of script languages need.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::install::recipe::command::run;
use crate::install::recipe::toolchain::{apt_install, can_install_debian, plain};
use crate::install::recipe::{BuildOutput, Installs, RecipeError};

/// The names that clang has on PATH; a distribution may have versions with their number alone.
const NAMES: &[&str] = &[
    "clang", "clang-22", "clang-21", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16",
    "clang-15", "clang-14",
];
/// Places that are often not on PATH.
const PLACES: &[&str] = &[
    "/usr/local/opt/llvm/bin/clang",
    "/opt/homebrew/opt/llvm/bin/clang",
];
/// Debian's package.
const DEBIAN: &str = "clang";
/// The variable in which a person names the compiler, for the `cc` crate.
const CC: &str = "CC_wasm32_unknown_unknown";
const AR: &str = "AR_wasm32_unknown_unknown";

/// A clang that compiles for wasm32.
#[derive(Debug)]
pub(super) struct Clang {
    /// `None` if the environment names one.
    program: Option<PathBuf>,
}

impl Clang {
    /// Finds a clang, and installs Debian's if that is allowed and possible.
    pub(super) async fn find(
        installs: Installs,
        told: &BuildOutput<'_>,
    ) -> Result<Self, RecipeError> {
        if let Some(found) = Self::on_this_machine().await {
            return Ok(found);
        }
        if installs == Installs::Refused && can_install_debian().is_ok() {
            return Err(RecipeError::NotInstalled(missing()));
        }
        apt_install(&[DEBIAN], told).await.map_err(|why| {
            RecipeError::NoClang(format!("{why}; on macOS, `brew install llvm` brings one"))
        })?;
        let found = Self::on_this_machine().await;
        found.ok_or_else(|| {
            RecipeError::NoClang(format!(
                "Debian's package {DEBIAN} was installed, and is not on PATH"
            ))
        })
    }

    /// What [`Clang::find`] would install, in words for people.
    pub(super) async fn lacks() -> Option<String> {
        let is_here = Self::on_this_machine().await.is_some();
        (!is_here && can_install_debian().is_ok()).then(missing)
    }

    async fn on_this_machine() -> Option<Self> {
        if std::env::var_os(CC).is_some() {
            return Some(Self { program: None });
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<_> = std::env::split_paths(&path).collect();
        // Collected, because an iterator with closures can't be held while the programs are asked.
        let mut programs: Vec<PathBuf> = Vec::new();
        for name in NAMES {
            programs.extend(folders.iter().map(|folder| folder.join(name)));
        }
        programs.extend(PLACES.iter().map(PathBuf::from));
        for program in programs {
            if program.is_file() && compiles_for_wasm(&program).await {
                return Some(Self {
                    program: Some(program),
                });
            }
        }
        None
    }

    /// Lets the build scripts that `cargo` runs compile C with it.
    pub(super) fn compile_with(&self, cargo: &mut Command) {
        let Some(program) = &self.program else { return };
        cargo.env(CC, program);
        if std::env::var_os(AR).is_none() {
            // The archives are only read by rustc, which writes its own index of them, so that any ar will do.
            let beside = program
                .canonicalize()
                .ok()
                .map(|real| real.with_file_name("llvm-ar"));
            let ar = beside
                .filter(|beside| beside.is_file())
                .unwrap_or_else(|| "ar".into());
            cargo.env(AR, ar);
        }
    }
}

fn missing() -> String {
    format!(
        "a C compiler for WebAssembly (`apt-get install {DEBIAN}`, as root and from Debian's servers)"
    )
}

/// Whether it is a clang with the target: Apple's has none.
async fn compiles_for_wasm(program: &Path) -> bool {
    let mut clang = plain(&program.to_string_lossy(), Path::new("/"));
    clang.arg("--print-targets");
    let said = run(clang, &|_| {}).await;
    said.is_ok_and(|said| said.status.success() && said.stdout.contains("wasm32"))
}
