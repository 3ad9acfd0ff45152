//! The book in `docs`, built by mdBook.

use std::path::PathBuf;
use std::process::Command;

use crate::step::{StepError, cargo, shown, workspace};

/// The version of mdBook. As a dependency of this crate, it would make every chore wait for it.
const VERSION: &str = "0.5.3";

/// Builds the book into target/docs; gets mdBook first, where it is missing.
pub(crate) fn docs() -> Result<(), StepError> {
    if !mdbook().exists() {
        println!(
            "==> mdBook {VERSION} is missing: it is built from crates.io into target/tools, once, which takes about 3 minutes on two cores"
        );
        let mut install = cargo(&["install", "--locked", "--quiet", "mdbook"]);
        install
            .args(["--version", VERSION])
            .args(["--no-default-features", "--features", "search"])
            .arg("--root")
            .arg(tools());
        shown("mdBook", &mut install)?;
    }
    build()?;
    println!("==> the book is in target/docs/index.html");
    Ok(())
}

/// Builds the book where mdBook is there, and says so where it is not.
pub(crate) fn check() -> Result<(), StepError> {
    if mdbook().exists() {
        return build();
    }
    println!("==> the book was not built: that takes mdBook, which `cargo xtask docs` gets");
    Ok(())
}

fn build() -> Result<(), StepError> {
    let mut build = Command::new(mdbook());
    build.args(["build", "docs"]).current_dir(workspace());
    shown("the book", &mut build)
}

/// The folder of this version.
fn tools() -> PathBuf {
    workspace().join(format!("target/tools/mdbook-{VERSION}"))
}

fn mdbook() -> PathBuf {
    tools().join("bin/mdbook")
}
