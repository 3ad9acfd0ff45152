//! `djangobot plugin` in a container, where config and lock are files that are mounted from elsewhere.

use super::*;

/// A command in a mount namespace of its own, in which `FILE` is `FILE.outside`, mounted over it; `None` where that is
/// not allowed here.
fn over_mounts(desk: &Desk, files: &[&str], command: &Command) -> Option<Command> {
    let mounts: Vec<_> = files
        .iter()
        .map(|file| format!("mount --bind {file}.outside {file}"))
        .collect();
    let within = |script: &str| {
        let mut shell = Command::new("unshare");
        shell.args([
            "-m",
            "sh",
            "-c",
            &format!("{} && {script}", mounts.join(" && ")),
            "sh",
        ]);
        shell.current_dir(desk.path());
        shell
    };
    if !within("true").status().is_ok_and(|it| it.success()) {
        eprintln!("nothing may be mounted here, so that mounted files are not tried");
        return None;
    }
    let mut shell = within("exec \"$@\"");
    shell.arg(command.get_program()).args(command.get_args());
    Some(shell)
}

#[tokio::test]
async fn config_and_lock_that_are_mounted_files_are_written_in_place() {
    let desk = Desk::new();
    desk.pack("sample.wasm", module(""), MANIFEST).await;
    for files in [
        &["djangobot.toml"][..],
        &["djangobot.toml", "djangobot.lock"],
    ] {
        for file in ["djangobot.toml", "djangobot.lock"] {
            let _ = std::fs::remove_file(desk.file(file));
        }
        for file in files {
            desk.write(file, "");
            let text = if *file == "djangobot.toml" {
                "# ours\n"
            } else {
                "version = 1\n"
            };
            desk.write(&format!("{file}.outside"), text);
        }
        let steps: [(&[&str], &str); 3] = [
            (&["add", "sample.wasm"], "name = \"sample\""),
            (&["disable", "sample"], "enabled = false"),
            (&["remove", "sample"], "# ours"),
        ];
        for (arguments, expect) in steps {
            let Some(command) = over_mounts(&desk, files, &desk.command(arguments)) else {
                return;
            };
            check_end(&Djangobot::run(command).await, 0, &[]);
            let written = desk.text("djangobot.toml.outside");
            assert!(
                written.starts_with("# ours\n") && written.contains(expect),
                "{written}"
            );
        }
        for file in files {
            assert_eq!(desk.text(file), "", "what was mounted over stays as it was");
            assert!(!desk.text(&format!("{file}.outside")).contains("sample"));
        }
    }
}
