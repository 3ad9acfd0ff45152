//! `djangobot.lock`, which is read as it was written, or not at all.

use std::path::Path;

use djangobot_plugins::Lock;
use djangobot_plugins::install::lock::LockError;

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "lock",
    check,
    seeds,
    words: &[
        "version = 1\n",
        "[[plugin]]\n",
        "name = \"a\"\n",
        "source = \"file:a\"\n",
        "sha256 = \"",
        "grants = [\"store\"]\n",
        "sources = \"",
        "version = \"1.0.0\"\n",
        "http:*.a.com:1",
    ],
    longest: 1024,
};

fn seeds() -> Vec<Vec<u8>> {
    let entry = "[[plugin]]\nname = \"a\"\nsource = \"https://a.org/a.wasm\"\nversion = \"1.2.3-rc.1\"\n\
        sha256 = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\ngrants = [\"store\", \"http:*.a.com\"]\n";
    let other = entry.replace("\"a\"", "\"b\"");
    pieces::texts([
        "version = 1\n",
        &format!("version = 1\n\n{entry}\n{other}"),
        &format!("version = 1\n{entry}{entry}"),
        "version = 2\nanything = 1\n",
        "version = 1\n[[plugin]\n",
    ])
}

fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let path = Path::new("djangobot.lock");
    match proportion::bounded_by(1 << 20, || Lock::parse(path, text)) {
        Ok(lock) => {
            let written = lock.text().expect("what was read can be written");
            let again = Lock::parse(path, &written).expect("what was written can be read");
            assert_eq!(again, lock);
            assert!(lock.digests().len() <= lock.plugins.len());
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            if let LockError::Wrong { line, .. } = error {
                assert!(
                    (1..=text.matches('\n').count() + 1).contains(&line),
                    "{error}"
                );
            }
        }
    }
}
