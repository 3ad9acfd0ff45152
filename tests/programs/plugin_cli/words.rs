//! The log lines of a plugin, and the filters that choose among them.

use super::{Desk, check_end, check_said};

/// A core module that writes a line of each level for each event: `L0` is a trace and `L4` an error, and each tries to
/// forge a second line.
fn talkative() -> Vec<u8> {
    let writes: String = (0..5)
        .map(|level| {
            let at = 4096 + 32 * level;
            format!("(call $write (i32.const {level}) (i32.const {at}) (i32.const 12))")
        })
        .collect();
    let lines: String = (0..5)
        .map(|level| {
            format!(
                "(data (i32.const {}) \"L{level} says\\0aFORG\")",
                4096 + 32 * level
            )
        })
        .collect();
    wat::parse_str(format!(
        r#"(module
          (import "djangobot:plugin/log@1.0.0" "write" (func $write (param i32 i32 i32)))
          (memory (export "memory") 1)
          {lines}
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
          (func (export "djangobot:plugin/handler@1.0.0#init") (param i32 i32) (result i32) i32.const 16)
          (func (export "djangobot:plugin/handler@1.0.0#on-event") (result i32)
            {writes}
            i32.const 16))"#
    ))
    .unwrap()
}

#[tokio::test]
async fn log_lines_of_a_plugin_keep_their_level_and_are_filtered_by_its_name() {
    let desk = Desk::new();
    let manifest = "name = \"sample\"\nversion = \"1.0.0\"\n[subscribe]\ninbound = [\"message\"]\n";
    desk.pack("talks.wasm", talkative(), manifest).await;
    desk.write("event.json", r#"{"type": "message", "text": "hi"}"#);
    let check = async |filter: &str, seen: &[&str]| {
        for format in ["human", "json"] {
            let arguments = [
                "test",
                "talks.wasm",
                "event.json",
                "--log",
                filter,
                "--log-format",
                format,
            ];
            let ended = desk.run(&arguments).await;
            check_end(&ended, 0, &[]);
            let lines: Vec<_> = ["L0", "L1", "L2", "L3", "L4"]
                .into_iter()
                .filter(|line| ended.stderr.contains(&format!("{line} says")))
                .collect();
            assert_eq!(lines, seen, "{filter} {format}: {}", ended.stderr);
            if !seen.is_empty() {
                check_said(&ended.stderr, &["sample"]);
            }
            assert!(
                !ended.stderr.lines().any(|line| line.starts_with("FORG")),
                "{}",
                ended.stderr
            );
        }
    };
    check("info", &["L2", "L3", "L4"]).await;
    check("debug", &["L1", "L2", "L3", "L4"]).await;
    check("warn,plugin=debug", &["L1", "L2", "L3", "L4"]).await;
    check("warn,sample=info", &["L2", "L3", "L4"]).await;
    check("info,other=debug", &["L2", "L3", "L4"]).await;
    check("info,plugin=off", &[]).await;
    check("info,plugin=off,sample=error", &["L4"]).await;
}
