//! Tests of state folders of all kinds: new, of older versions, on volumes, of other users, with links in them.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn who_owns_a_folder_and_who_may_write_to_it_decides() {
    let us = ProcessUser {
        uid: 1000,
        groups: vec![1000, 2000],
    };
    let verdict = |owner, group, mode| {
        let rights = Rights { owner, group, mode };
        match judge(Path::new("/state"), &rights, &us) {
            Ok(Ownership::Ours) => "ours".to_owned(),
            Ok(Ownership::Shared) => "shared".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(verdict(1000, 1000, 0o700), "ours");
    assert_eq!(verdict(1000, 1000, 0o755), "ours");
    assert_eq!(verdict(1000, 5, 0o775), "ours");
    assert!(verdict(1000, 1000, 0o777).contains("everybody can write"));
    assert!(verdict(1000, 1000, 0o702).contains("everybody can write"));
    assert_eq!(verdict(0, 2000, 0o775), "shared");
    assert!(verdict(0, 2000, 0o777).contains("everybody can write"));
    assert!(verdict(0, 0, 0o777).contains("everybody can write"));
    assert!(verdict(0, 3, 0o775).contains("belongs to root"));
    assert!(verdict(0, 2000, 0o755).contains("belongs to root"));
    assert!(verdict(1001, 2000, 0o770).contains("belongs to user 1001"));
    assert!(verdict(1001, 2000, 0o777).contains("belongs to user 1001"));
}

#[test]
fn a_folder_is_made_for_us_alone_and_git_does_not_see_it() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("deep/.djangobot");
    assert!(matches!(find(&path), Err(FolderError::Missing(_))));
    assert_eq!(open(&path).unwrap(), path);
    assert_eq!(
        (mode(&path), mode(&path.join(".gitignore"))),
        (0o700, 0o600)
    );
    assert_eq!(std::fs::read(path.join(".gitignore")).unwrap(), b"*\n");
    assert_eq!(find(&path).unwrap(), path);
}

#[test]
fn modes_that_an_older_version_left_open_are_closed() {
    let path = tempfile::tempdir().unwrap();
    let path = path.path();
    set_mode(path, 0o755);
    for folder in ["cache", "plugins", "dev"] {
        std::fs::create_dir(path.join(folder)).unwrap();
        set_mode(&path.join(folder), 0o755);
    }
    let files = [
        "state.db",
        "state.db-wal",
        "plugins.db",
        "lock",
        "cache/a.cwasm",
        "plugins/lock",
        "dev/state.db",
    ];
    for file in files {
        std::fs::write(path.join(file), "kept").unwrap();
        set_mode(&path.join(file), 0o644);
    }
    assert_eq!(open(path).unwrap(), path);
    for file in files {
        assert_eq!(
            (
                mode(&path.join(file)),
                std::fs::read(path.join(file)).unwrap()
            ),
            (0o600, b"kept".to_vec()),
            "{file}"
        );
    }
    for folder in ["", "cache", "plugins", "dev"] {
        assert_eq!(mode(&path.join(folder)), 0o700, "{folder}");
    }
}

#[test]
fn links_and_other_things_in_the_place_of_ours_are_refused_and_their_targets_stay() {
    for name in [
        "lock",
        "state.db",
        "state.db-wal",
        "plugins.db-shm",
        "cache",
        "dev",
        "control.sock",
        ".gitignore",
        "plugins/lock",
        "cache/x.cwasm",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        std::fs::write(&target, "theirs").unwrap();
        let path = folder.path().join("state");
        std::fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
        symlink(&target, path.join(name)).unwrap();
        assert!(matches!(open(&path), Err(FolderError::Link(_))), "{name}");
        assert_eq!(std::fs::read(&target).unwrap(), b"theirs", "{name}");
        std::fs::remove_file(path.join(name)).unwrap();
        symlink("nowhere", path.join(name)).unwrap();
        assert!(matches!(open(&path), Err(FolderError::Link(_))), "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("state.db")).unwrap();
    assert!(matches!(open(folder.path()), Err(FolderError::Odd { .. })));
    let folder = tempfile::tempdir().unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(folder.path().join("lock"))
            .status()
            .unwrap()
            .success()
    );
    assert!(matches!(open(folder.path()), Err(FolderError::Odd { .. })));
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(open(&file), Err(FolderError::Odd { .. })));
}

#[test]
fn a_folder_that_everybody_can_write_to_is_refused_with_the_cure() {
    for mode in [0o777, 0o1777, 0o722, 0o707] {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), mode);
        let error = open(folder.path()).unwrap_err();
        assert!(
            error.help().unwrap().to_string().contains("chmod 700"),
            "{error}"
        );
    }
}

#[test]
fn a_folder_that_others_use_too_is_left_alone_and_gets_a_folder_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("manage.py"), "").unwrap();
    set_mode(path, 0o755);
    assert_eq!(open(path).unwrap(), path.join(".djangobot"));
    assert_eq!((mode(path), mode(&path.join(".djangobot"))), (0o755, 0o700));
    assert!(!path.join(".gitignore").exists());
    // The folder that a file system puts on a volume is not another program's.
    let volume = tempfile::tempdir().unwrap();
    std::fs::create_dir(volume.path().join("lost+found")).unwrap();
    set_mode(volume.path(), 0o755);
    assert_eq!(open(volume.path()).unwrap(), volume.path());
    assert_eq!(mode(volume.path()), 0o700);
    // A state that already lies among other files is found there.
    let mixed = tempfile::tempdir().unwrap();
    std::fs::write(mixed.path().join("notes"), "").unwrap();
    std::fs::write(mixed.path().join("state.db"), "").unwrap();
    set_mode(mixed.path(), 0o755);
    assert_eq!(open(mixed.path()).unwrap(), mixed.path());
    assert_eq!(
        (mode(mixed.path()), mode(&mixed.path().join("state.db"))),
        (0o755, 0o600)
    );
    assert!(!mixed.path().join(".gitignore").exists());
}

#[test]
fn a_folder_or_file_of_another_user_is_refused_with_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    if !geteuid().is_root() {
        // `/usr` belongs to root, and nobody else may write to it.
        let error = open(Path::new("/usr")).unwrap_err();
        assert!(error.to_string().contains("belongs to root"), "{error}");
        return;
    }
    open(&path).unwrap();
    for name in ["lock", ""] {
        let theirs = path.join(name);
        std::fs::write(path.join("lock"), "").unwrap();
        std::os::unix::fs::chown(&theirs, Some(4711), None).unwrap();
        let error = open(&path).unwrap_err();
        let help = error.help().unwrap().to_string();
        assert!(
            error
                .to_string()
                .contains("belongs to user 4711, and djangobot runs as root"),
            "{error}"
        );
        assert!(
            help.contains("chown -R 0") && !help.contains("move"),
            "{help}"
        );
        std::os::unix::fs::chown(&theirs, Some(0), None).unwrap();
    }
}

#[test]
fn the_umask_makes_no_difference() {
    // The test runs itself in a child, because the umask is the whole process's.
    let marker = "DJANGOBOT_TEST_UMASK_FOLDER";
    if let Some(folder) = std::env::var_os(marker) {
        crate::state::State::open(Path::new(&folder))
            .unwrap()
            .set_fact("k", b"v")
            .unwrap();
        return;
    }
    for umask in ["000", "022", "077", "0777"] {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("a/state");
        let name = "state::folder::tests::the_umask_makes_no_difference";
        let again = format!("umask {umask}; exec \"$0\" --exact {name}");
        let done = Command::new("sh")
            .arg("-c")
            .arg(again)
            .arg(std::env::current_exe().unwrap())
            .env(marker, &folder)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        assert_eq!(mode(&folder), 0o700);
        let entries = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let modes: Vec<_> = entries.map(|path| (mode(&path), path)).collect();
        assert!(
            modes.len() >= 3 && modes.iter().all(|(mode, _)| *mode == 0o600),
            "{umask}: {modes:?}"
        );
    }
}
