//! A source that somebody edited in `djangobot.toml`: nothing of it is loaded, built or lost until `plugin update`.

use djangobot_plugins::services::store::Store;

use super::*;
use crate::bridge::{Bridge, slack};

const QUOTA: u64 = 1 << 20;

/// Two versions of a plugin in two files, of which the first is added.
async fn desk() -> Desk {
    let desk = Desk::new();
    desk.pack(
        "new.wasm",
        module("new"),
        &MANIFEST.replace("1.2.0", "2.0.0"),
    )
    .await;
    desk.pack("old.wasm", module(""), MANIFEST).await;
    desk.does(&["add", "old.wasm"]).await;
    desk
}

/// Edits the source in the config.
fn edit(desk: &Desk, from: &str, to: &str) {
    let config = desk.text("djangobot.toml");
    assert!(config.contains(from), "{config}");
    desk.write("djangobot.toml", config.replace(from, to));
}

/// The value in the plugin's store while its source is `source`.
fn stored(stores: &Store, source: &str) -> Option<Vec<u8>> {
    let store = stores.of(&format!("sample {source}"), QUOTA).unwrap();
    store.get("k").unwrap()
}

fn store(stores: &Store, source: &str) {
    let store = stores.of(&format!("sample {source}"), QUOTA).unwrap();
    store.set("k", b"v", None).unwrap();
}

#[tokio::test]
async fn a_running_host_serves_the_pinned_version_until_an_update_takes_the_new_source() {
    let (desk, slack) = (desk().await, slack().await);
    let mut bridge = Bridge::connected(desk.path(), &slack, &["embedded://127.0.0.1:0"]).await;
    let stores = Store::open(&desk.file(".djangobot/plugins.db")).unwrap();
    store(&stores, "file:old.wasm");
    let lock = desk.text("djangobot.lock");

    edit(&desk, "file:old.wasm", "file:new.wasm");
    bridge
        .line("the plugin's change is refused, and version 1.2.0 goes on serving")
        .await;
    let sample = &desk.list().await[0];
    assert_eq!(
        (&sample["state"], &sample["version"]),
        (&"running".into(), &"1.2.0".into())
    );
    check_said(
        sample["why"].as_str().unwrap(),
        &[
            "its source is file:new.wasm, and djangobot.lock pins file:old.wasm",
            "djangobot plugin update sample",
        ],
    );
    let refused = desk.run(&["update", "--locked"]).await;
    let why = "its source is file:new.wasm, and the lock has file:old.wasm";
    check_end(&refused, 1, &[why]);
    assert_eq!(desk.text("djangobot.lock"), lock);
    assert_eq!(stored(&stores, "file:new.wasm"), None);

    check_said(
        &desk.does(&["update"]).await,
        &[
            "sample was updated from 1.2.0 (",
            ") to 2.0.0 (",
            "sample 2.0.0 is running",
        ],
    );
    check_said(
        &desk.text("djangobot.lock"),
        &["source = \"file:new.wasm\""],
    );
    assert_eq!(desk.list().await[0]["why"], Value::Null);
    // The store goes with the plugin, as it does with `update --source`.
    assert_eq!(stored(&stores, "file:new.wasm").as_deref(), Some(&b"v"[..]));
    assert_eq!(stored(&stores, "file:old.wasm"), None);
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn without_a_host_the_list_says_that_the_lock_pins_another_source() {
    let desk = desk().await;
    let copy = std::fs::read(desk.file("old.wasm")).unwrap();
    desk.write("copy.wasm", copy);
    edit(&desk, "file:old.wasm", "file:copy.wasm");
    let sample = &desk.list().await[0];
    assert_eq!(sample["state"], "not locked");
    check_said(
        sample["why"].as_str().unwrap(),
        &["its source is file:copy.wasm, and djangobot.lock pins file:old.wasm"],
    );
    // The component is the same one, and the lock has another source all the same.
    check_said(&desk.does(&["update"]).await, &["sample 1.2.0"]);
    check_said(
        &desk.text("djangobot.lock"),
        &["source = \"file:copy.wasm\""],
    );
    assert_eq!(desk.list().await[0]["state"], "not running");
}

#[tokio::test]
async fn a_folder_that_became_the_source_is_not_built_before_somebody_agrees() {
    let desk = desk().await;
    std::fs::create_dir(desk.file("code")).unwrap();
    desk.write("code/Cargo.toml", "[package]\nname = \"sample\"\n");
    desk.write("code/plugin.toml", MANIFEST);
    edit(&desk, "file:old.wasm", "folder:code");
    let (config, lock) = (desk.text("djangobot.toml"), desk.text("djangobot.lock"));
    let ended = desk.run(&["update"]).await;
    check_end(&ended, 2, &["there is no terminal to ask on", "--build"]);
    assert_eq!(desk.text("djangobot.toml"), config);
    assert_eq!(desk.text("djangobot.lock"), lock);
}

#[tokio::test]
async fn a_plugin_that_is_removed_leaves_no_store_under_the_source_that_it_had() {
    let desk = desk().await;
    let stores = Store::open(&desk.file(".djangobot/plugins.db")).unwrap();
    store(&stores, "file:old.wasm");
    edit(&desk, "file:old.wasm", "file:new.wasm");
    desk.does(&["remove", "sample"]).await;
    assert_eq!(stored(&stores, "file:old.wasm"), None);
}
