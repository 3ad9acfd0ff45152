//! The built program: the list of its crates, and no paths of the machine in it.

use std::path::Path;
use std::process::Command;

use crate::bridge::{Djangobot, djangobot};

#[tokio::test]
async fn licences_lists_what_the_program_is_made_of_and_no_path() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Djangobot::run(djangobot(folder.path(), &["licences"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let crates: Vec<Vec<&str>> = ended
        .stdout
        .lines()
        .skip(2)
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert!(crates.len() > 200, "{}", ended.stdout);
    for row in &crates {
        assert!(row.len() >= 3 && row[1].contains('.'), "{row:?}");
    }
    let has = |name: &str| crates.iter().any(|row| row[0] == name);
    assert!(has("hyper") && has("wasmtime") && has("djangobot-plugins"));
    // Of tests and of the build alone.
    assert!(!has("proptest") && !has("cc") && !has("serde_derive"));
    assert!(!ended.stdout.contains("(/"), "{}", ended.stdout);
    assert!(ended.stdout.contains("SQLite 3."));
}

/// A program that shows where its source is, built as for release by `compiler`, and what is in it.
fn built(folder: &Path, compiler: &mut Command) -> Vec<u8> {
    let (source, program) = (folder.join("shows.rs"), folder.join("shows"));
    std::fs::write(&source, "fn main() { panic!(\"{}\", file!()) }").unwrap();
    let done = compiler
        .args([
            "--edition",
            "2024",
            "-C",
            "opt-level=3",
            "-C",
            "debuginfo=1",
        ])
        .args([&source, Path::new("-o"), &program])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    std::fs::read(program).unwrap()
}

#[test]
fn a_release_build_has_no_path_of_the_machine_in_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let home = tempfile::tempdir().unwrap();
    let here = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let crates = home.path().join("cargo-home");
    std::fs::create_dir(&crates).unwrap();
    let has = |program: &[u8], path: &Path| {
        memchr::memmem::find(program, path.to_str().unwrap().as_bytes()).is_some()
    };
    for folder in [here.path(), home.path(), &crates] {
        let mut wrapped = Command::new(root.join(".cargo/rustc"));
        wrapped.arg("rustc");
        for compiler in [&mut wrapped, &mut Command::new("rustc")] {
            // rustup finds the compiler by the real home.
            let compiler_home = std::env::var_os("RUSTUP_HOME").unwrap_or_else(|| {
                Path::new(&std::env::var_os("HOME").unwrap())
                    .join(".rustup")
                    .into()
            });
            compiler
                .env("RUSTUP_HOME", compiler_home)
                .env("HOME", home.path())
                .env("CARGO_HOME", &crates);
            let is_wrapped = compiler.get_program() != "rustc";
            let program = built(folder, compiler);
            assert_eq!(
                has(&program, folder),
                !is_wrapped,
                "{} {is_wrapped}",
                folder.display()
            );
        }
    }
}
