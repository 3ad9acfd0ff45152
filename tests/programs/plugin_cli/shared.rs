//! A folder's plugin that others build: the lock pins its sources, and who has the same ones has the same plugin.

use super::folder::{building, run, run_command};
use super::*;
use crate::bridge::{Bridge, TOKEN, slack};

/// The files that version control brings to another machine.
const SHARED: &[&str] = &[
    "djangobot.toml",
    "djangobot.lock",
    "greeter/Cargo.toml",
    "greeter/Cargo.lock",
    "greeter/plugin.toml",
    "greeter/src/lib.rs",
];

/// Builds as on another machine: with names in the component, so that it has other bytes.
async fn run_elsewhere(desk: &Desk, arguments: &[&str]) -> ExitReport {
    let mut command = building(desk.command(arguments));
    command.env("CARGO_PROFILE_RELEASE_STRIP", "none");
    run_command(command).await
}

/// The value of a key of the lock's first plugin.
pub(super) fn pinned(desk: &Desk, key: &str) -> String {
    let lock = desk.text("djangobot.lock");
    let start = format!("{key} = \"");
    let value = lock.lines().find_map(|line| line.strip_prefix(&start));
    value.unwrap().trim_end_matches('"').to_owned()
}

#[tokio::test]
async fn a_build_of_the_same_sources_elsewhere_is_taken_and_other_sources_are_refused() {
    let (ours, theirs) = (Desk::new(), Desk::new());
    ours.does(&["new", "greeter"]).await;
    check_end(&run(&ours, &["add", "greeter", "--build"]).await, 0, &[]);
    std::fs::create_dir_all(theirs.file("greeter/src")).unwrap();
    for name in SHARED {
        theirs.write(name, ours.text(name));
    }
    let lock = ours.text("djangobot.lock");
    let (sha256, sources) = (pinned(&ours, "sha256"), pinned(&ours, "sources"));

    // A start runs nobody's build.
    let slack = slack().await;
    let arguments = ["embedded://127.0.0.1:0"];
    let mut bridge = Bridge::connected(theirs.path(), &slack, &arguments).await;
    let greeter = &theirs.list().await[0];
    assert_eq!(greeter["state"], "refused");
    let why = greeter["why"].as_str().unwrap();
    check_said(
        why,
        &["djangobot plugin update --locked greeter", "its sources"],
    );

    let ended = run_elsewhere(&theirs, &["update", "--locked"]).await;
    check_end(
        &ended,
        2,
        &[
            "building it runs its code on this machine",
            "djangobot plugin update --locked --build",
        ],
    );
    let ended = run_elsewhere(&theirs, &["update", "--locked", "--build"]).await;
    check_end(&ended, 0, &[]);
    check_said(
        &ended.stdout,
        &[
            "greeter 0.1.0 is up to date: it has the sources that djangobot.lock pins",
            "greeter 0.1.0 is running",
        ],
    );
    assert_eq!(theirs.text("djangobot.lock"), lock);
    let running = theirs.list().await[0]["sha256"].clone();
    assert_ne!(running, sha256.as_str(), "it was to be built otherwise");
    assert_eq!(bridge.terminate().await.code(), Some(0));
    // And so it is from then on, also after another plugin's command has tidied.
    theirs.pack("sample.wasm", module(""), MANIFEST).await;
    theirs.does(&["add", "sample.wasm"]).await;
    theirs.does(&["remove", "sample"]).await;
    let mut bridge = Bridge::connected(theirs.path(), &slack, &arguments).await;
    let greeter = &theirs.list().await[0];
    assert_eq!(
        (&greeter["state"], &greeter["sha256"]),
        (&"running".into(), &running)
    );
    assert_eq!(bridge.terminate().await.code(), Some(0));
    // Where it was built first, another build of the same sources is the same plugin, too.
    let ended = run_elsewhere(&ours, &["update"]).await;
    check_end(&ended, 0, &[]);
    check_said(&ended.stdout, &["is up to date"]);
    assert_eq!(ours.text("djangobot.lock"), lock);

    let code = theirs.text("greeter/src/lib.rs");
    theirs.write("greeter/src/lib.rs", format!("{code}\n// Other sources.\n"));
    let ended = run(&theirs, &["update", "--locked", "greeter"]).await;
    check_end(
        &ended,
        1,
        &[
            "greeter is not the version that djangobot.lock pins: its sources have the sha256",
            &sources[..12],
        ],
    );
    assert_eq!(theirs.text("djangobot.lock"), lock);
    check_end(&run(&theirs, &["update", "greeter"]).await, 0, &[]);
    assert_ne!(pinned(&theirs, "sources"), sources);

    let ended = theirs
        .run(&["update", "--locked", "--source", "greeter"])
        .await;
    check_end(&ended, 2, &["cannot be used with"]);
    assert!(!ended.stderr.contains(TOKEN));
}
