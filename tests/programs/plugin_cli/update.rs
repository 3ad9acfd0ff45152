//! `djangobot plugin update` of plugins that are files.

use super::*;

#[tokio::test]
async fn an_update_takes_the_present_file_and_asks_for_new_capabilities() {
    let desk = Desk::new();
    desk.pack("sample.wasm", module(""), MANIFEST).await;
    desk.does(&["add", "sample.wasm"]).await;
    let first = desk.text("djangobot.lock");
    check_said(
        &desk.does(&["update"]).await,
        &["sample 1.2.0 is up to date"],
    );

    desk.write("sample.wasm", "no wasm");
    check_end(
        &desk.run(&["update", "sample"]).await,
        1,
        &["not a plugin: it is not WebAssembly"],
    );
    desk.pack("sample.wasm", module("other"), ASKING).await;
    let ended = desk.run(&["update"]).await;
    check_end(
        &ended,
        2,
        &[
            "the plugin needs the grants store, slack",
            "plugin update --grant store --grant slack",
        ],
    );
    assert_eq!(desk.text("djangobot.lock"), first);

    let said = desk.does(&["update", "--yes"]).await;
    check_said(&said, &["sample was updated from 1.2.0 (", ") to 1.3.0 ("]);
    check_said(
        &desk.text("djangobot.toml"),
        &["grants = [\"store\", \"slack\"]"],
    );
    check_said(
        &desk.text("djangobot.lock"),
        &["version = \"1.3.0\"", "grants = [\"store\", \"slack\"]"],
    );
    // The one before, too, until the new one has served for a while.
    assert_eq!(desk.kept(), 2);

    // A version that asks for less keeps the grants, and the command says so.
    desk.pack("sample.wasm", module("third"), MANIFEST).await;
    check_said(
        &desk.does(&["update"]).await,
        &["no longer asks for store, slack"],
    );
    // A fresh checkout has config and lock, and no state.
    std::fs::remove_dir_all(desk.file(".djangobot")).unwrap();
    check_said(&desk.does(&["update", "sample"]).await, &["up to date"]);
    assert_eq!(desk.kept(), 1);

    // A plugin that someone wrote into the config comes into the lock.
    let mut config = desk.text("djangobot.toml");
    config.push_str("\n[[plugin]]\nname = \"by-hand\"\nsource = \"file:sample.wasm\"\n");
    desk.write("djangobot.toml", &config);
    check_said(
        &desk.does(&["list"]).await,
        &["not locked", "djangobot plugin update by-hand"],
    );
    check_said(
        &desk.does(&["update", "by-hand"]).await,
        &["by-hand 1.2.0 was added to the lock"],
    );
    assert_eq!(desk.text("djangobot.toml"), config);

    // One that fails holds up no other.
    desk.write(
        "gone.wasm",
        std::fs::read(desk.file("sample.wasm")).unwrap(),
    );
    desk.does(&["update", "by-hand", "--source", "gone.wasm"])
        .await;
    check_said(
        &desk.text("djangobot.toml"),
        &["source = \"file:gone.wasm\""],
    );
    std::fs::remove_file(desk.file("gone.wasm")).unwrap();
    desk.pack("sample.wasm", module("fourth"), MANIFEST).await;
    let ended = desk.run(&["update"]).await;
    check_end(
        &ended,
        1,
        &[
            "by-hand stays as it was",
            "gone.wasm can't be read",
            "1 of 2 plugins",
        ],
    );
    check_said(&ended.stdout, &["sample was updated from 1.2.0 ("]);
}
