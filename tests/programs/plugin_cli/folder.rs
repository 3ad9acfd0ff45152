//! Plugins from their source: made by `plugin new`, built by the toolchain that is here, added, edited, broken.

use std::time::Duration;

use djangobot_tests::{Program, binary};

use super::*;

/// A first build compiles the standard library and the SDK, while other tests run.
const BUILD: Duration = Duration::from_secs(900);

/// Notes which of the host's variables it sees, and takes its time if there is a file `slow`.
const BUILD_SCRIPT: &str = r#"
fn main() {
    let seen: Vec<String> = std::env::vars()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("DJANGOBOT_"))
        .collect();
    std::fs::write("ran", seen.join(" ")).unwrap();
    if std::path::Path::new("slow").exists() {
        std::thread::sleep(std::time::Duration::from_secs(12));
    }
}
"#;

/// As [`Desk::run`], with the patience that a build needs.
pub(super) async fn run(desk: &Desk, arguments: &[&str]) -> ExitReport {
    run_command(building(desk.command(arguments))).await
}

/// `command`, which builds a plugin: what is built goes where the workspace's own things go.
pub(super) fn building(mut command: Command) -> Command {
    let target = binary("djangobot");
    command.env("CARGO_TARGET_DIR", target.ancestors().nth(2).unwrap());
    // Flags of an outer cargo, or of the user's own shell, are not meant for plugins.
    command.env("RUSTFLAGS", "--cfg=outer -Clink-arg=-nonsense");
    // A build must not see these.
    command.env("DJANGOBOT_TOKEN", "xoxb-1-secret");
    command.env("DJANGOBOT_SECRET_KEY", "secret");
    command
}

/// Runs it to its end, with that patience.
pub(super) async fn run_command(command: Command) -> ExitReport {
    let mut program = Program::start(command);
    program.close_stdin();
    let code = program.exit_within(BUILD).await.code();
    ExitReport {
        code,
        stdout: program.stdout(),
        stderr: program.stderr(),
    }
}

#[tokio::test]
async fn a_new_plugin_is_built_and_added_and_a_broken_one_is_not_taken() {
    let desk = Desk::new();
    let said = desk.does(&["new", "greeter"]).await;
    check_said(
        &said,
        &[
            "greeter/src/lib.rs",
            "cargo test",
            "djangobot plugin add greeter",
        ],
    );
    check_end(&desk.run(&["new", "greeter"]).await, 2, &["already exists"]);
    check_end(
        &desk.run(&["new", "Greeter"]).await,
        2,
        &["is not a plugin's name"],
    );

    // Its code runs when it is built: not before somebody agreed, and not with our secrets.
    desk.write("greeter/build.rs", BUILD_SCRIPT);
    let ended = run(&desk, &["add", "greeter"]).await;
    check_end(
        &ended,
        2,
        &[
            "building it runs its code on this machine",
            "djangobot plugin add greeter --build",
        ],
    );
    check_said(&ended.stdout, &["greeter 0.1.0", "from Slack: message"]);
    assert!(!desk.file("greeter/ran").exists());
    assert!(!desk.file("djangobot.toml").exists());

    // Without a terminal it says what it does, and goes on saying it.
    desk.write("greeter/slow", "");
    let ended = run(&desk, &["build", "greeter"]).await;
    check_end(
        &ended,
        0,
        &[
            "building the plugin in greeter; the first build takes minutes",
            "building the plugin; it has taken 10 s so far: ",
            "s so far: Compiling",
        ],
    );
    std::fs::remove_file(desk.file("greeter/slow")).unwrap();
    assert_eq!(desk.text("greeter/ran"), "");
    check_said(
        &ended.stdout,
        &[
            "greeter 0.1.0",
            "from Slack: message with /user",
            "greeter.wasm: ",
        ],
    );
    check_end(
        &desk
            .run(&["add", "greeter.wasm", "--name", "as-file"])
            .await,
        0,
        &[],
    );
    let ended = run(&desk, &["add", "greeter", "--build"]).await;
    check_end(&ended, 0, &[]);
    check_said(
        &desk.text("djangobot.toml"),
        &["source = \"folder:greeter\""],
    );

    let lock = desk.text("djangobot.lock");
    let code = desk.text("greeter/src/lib.rs");
    desk.write(
        "greeter/src/lib.rs",
        code.replace("Verdict::Keep", "Verdict::Kepp"),
    );
    let ended = run(&desk, &["update", "greeter"]).await;
    check_end(
        &ended,
        1,
        &["greeter does not build", "nothing was changed"],
    );
    // The compiler's own lines, as it wrote them.
    check_said(
        &ended.stderr,
        &["error[E0599]", "Kepp", "\n  --> src/lib.rs:"],
    );
    assert_eq!(desk.text("djangobot.lock"), lock);

    let manifest = desk.text("greeter/plugin.toml");
    desk.write("greeter/src/lib.rs", code);
    desk.write("greeter/plugin.toml", manifest.replace("0.1.0", "0.2.0"));
    let ended = run(&desk, &["update", "greeter"]).await;
    check_end(&ended, 0, &[]);
    check_said(&ended.stdout, &["to 0.2.0 ("]);
}

#[tokio::test]
async fn an_error_about_a_folder_that_can_not_be_built_says_what_is_missing() {
    let desk = Desk::new();
    std::fs::create_dir(desk.file("code")).unwrap();
    let check = async |expect: &[&str]| {
        check_end(&run(&desk, &["add", "code", "--build"]).await, 1, expect);
        assert!(!desk.file("djangobot.toml").exists());
    };
    check(&["no recipe", "a folder with a Cargo.toml"]).await;
    desk.write("code/package.json", "{}");
    check(&["seems to be JavaScript", "djangobot plugin build FILE.wasm"]).await;
    desk.write("code/Cargo.toml", "[package\n");
    check(&["there is no", "plugin.toml", "djangobot plugin new"]).await;
    desk.write("code/plugin.toml", "name = \"sample\"\nversion = \"1\"\n");
    check(&["plugin.toml line 2"]).await;
    desk.write("code/plugin.toml", MANIFEST);
    check(&["can't be read by cargo", "[package"]).await;
    std::fs::create_dir(desk.file("code/src")).unwrap();
    let package =
        "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    desk.write("code/Cargo.toml", package);
    desk.write("code/src/lib.rs", "");
    check(&[
        "does not build a library for WebAssembly",
        "crate-type = [\"cdylib\"]",
    ])
    .await;
    desk.write(
        "code/Cargo.toml",
        format!("{package}[lib]\ncrate-type = [\"cdylib\"]\n"),
    );
    check(&["is not a plugin", "handler@1.0.0"]).await;
}
