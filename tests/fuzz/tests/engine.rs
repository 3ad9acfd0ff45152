//! The program that libFuzzer drives. `FUZZ_TARGET` says which target, `FUZZ_FOLDER` where its seeds and words are put;
//! without a target it prints all their names, each with the
//! length of its longest input.
//!
//! libFuzzer has the `main`, and its own options go to it as they are.
#![no_main]
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    reason = "a program for developers"
)]

use std::path::Path;
use std::sync::OnceLock;
use std::{env, fs, io, process};

use djangobot_fuzz::{TARGETS, Target, target};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let _ = TARGET.set(chosen());
    },
    |input: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.check)(input);
        }
    }
);

/// The target that was asked for, its seeds and words in place.
fn chosen() -> &'static Target {
    let Some(name) = env::var("FUZZ_TARGET").ok() else {
        for target in TARGETS {
            println!("{} {}", target.name, target.longest);
        }
        process::exit(0);
    };
    let Some(target) = target(&name) else {
        eprintln!("there is no target {name:?}");
        process::exit(2);
    };
    if let Some(folder) = env::var_os("FUZZ_FOLDER")
        && let Err(error) = put(target, Path::new(&folder))
    {
        eprintln!("the seeds can't be written: {error}");
        process::exit(2);
    }
    target
}

/// Writes the seeds to `seeds`, the words to `words`, in the form that libFuzzer reads.
fn put(target: &Target, folder: &Path) -> io::Result<()> {
    let seeds = folder.join("seeds");
    fs::create_dir_all(&seeds)?;
    for (at, seed) in (target.seeds)().iter().enumerate() {
        fs::write(seeds.join(format!("{at:03}")), seed)?;
    }
    let words = target.words.iter().map(|word| {
        let hex: String = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("\"{hex}\"\n")
    });
    fs::write(folder.join("words"), words.collect::<String>())
}
