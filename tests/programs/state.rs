//! The state folder: ours alone, whichever command opens it, and the errors about one that can't be used.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use crate::bridge::check_end;
use crate::deployment::Deployment;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o777
}

/// All that opens a state.
const COMMANDS: [&[&str]; 8] = [
    &["embedded://127.0.0.1:0"],
    &["dev"],
    &["check", "embedded://127.0.0.1:0"],
    &["dead-letters", "list"],
    &["dead-letters", "drop", "1"],
    &["plugin", "list"],
    &["plugin", "add", "sample.wasm", "--yes"],
    &["plugin", "test", "sample.wasm", "event.json"],
];

/// That each command is refused with these words: those of `check` are its findings.
async fn all_are_refused(deployment: &Deployment, parts: &[&str]) {
    for arguments in COMMANDS {
        let mut ended = deployment.run(arguments).await;
        if arguments[0] == "check" {
            ended.stderr.insert_str(0, &ended.stdout);
        }
        check_end(&ended, 1, parts);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!said.contains("move it away"), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn each_command_refuses_a_state_that_others_can_change_and_names_the_cure() {
    let deployment = Deployment::new().await;
    let state = deployment.path(".djangobot");
    std::fs::create_dir(&state).unwrap();
    set_mode(&state, 0o777);
    let open = [
        "everybody can write to the state folder",
        "chmod 700 .djangobot",
    ];
    all_are_refused(&deployment, &open).await;
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);

    set_mode(&state, 0o755);
    let target = deployment.path("target");
    std::fs::write(&target, "theirs").unwrap();
    for name in ["lock", "state.db", "control.sock"] {
        symlink(&target, state.join(name)).unwrap();
        let parts = [name, "is a link, and djangobot follows no links"];
        all_are_refused(&deployment, &parts).await;
        std::fs::remove_file(state.join(name)).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"theirs");
    }

    if rustix::process::geteuid().is_root() {
        chown(&state, Some(4711), None).unwrap();
        let parts = [
            "belongs to user 4711, and djangobot runs as root",
            "chown -R 0 .djangobot",
        ];
        all_are_refused(&deployment, &parts).await;
    }
}

#[tokio::test]
async fn the_state_is_for_its_owner_alone_and_git_does_not_see_it() {
    let deployment = Deployment::new().await;
    let git = |arguments: &[&str]| {
        let done = Command::new("git")
            .args(arguments)
            .current_dir(deployment.folder.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    git(&["init", "-q"]);
    std::fs::create_dir_all(deployment.path(".djangobot/cache")).unwrap();
    let mut bridge = deployment.bridge_with(&["embedded://127.0.0.1:0"]).await;
    let state = deployment.path(".djangobot");
    for (path, expected) in [
        ("", 0o700),
        ("cache", 0o700),
        ("lock", 0o600),
        ("state.db", 0o600),
        ("state.db-wal", 0o600),
        ("state.db-shm", 0o600),
        ("plugins.db", 0o600),
        ("control.sock", 0o600),
        ("outbox.complete", 0o600),
    ] {
        assert_eq!(mode(&state.join(path)), expected, "{path}");
    }
    assert_eq!(git(&["status", "--porcelain", "--untracked-files=all"]), "");
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_state_that_can_not_be_used_is_reported_with_what_waits_in_it() {
    let deployment = Deployment::new().await;
    check_end(
        &deployment.run(&["check", "embedded://127.0.0.1:0"]).await,
        0,
        &[],
    );
    let path = deployment.path(".djangobot/state.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    let spooled = "INSERT INTO spool (channel, id, wire, member) VALUES ('slack.message', 'a', 'msgpack', x'00')";
    database.execute(spooled, []).unwrap();
    database.pragma_update(None, "user_version", 9000).unwrap();
    drop(database);
    let newer = ["by a newer djangobot", "1 event for the app waits in it"];
    check_end(
        &deployment.run(&["embedded://127.0.0.1:0"]).await,
        1,
        &newer,
    );
    check_end(&deployment.run(&["dead-letters", "list"]).await, 1, &newer);
    std::fs::write(&path, [b'x'; 4096]).unwrap();
    let damaged = [
        "is damaged",
        "its content can't be read",
        "move the file away",
    ];
    check_end(
        &deployment.run(&["embedded://127.0.0.1:0"]).await,
        1,
        &damaged,
    );
}
