//! Texts from plugins: whatever their length and content, people see one short line.

use djangobot_plugins::State;

use crate::guest::{Guest, Put};
use crate::stage::{Role, Stage, only};

const EVIL: &str =
    "a\n2026-11-28 ERROR forged\r\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}1m\u{202e}\u{2028}\u{0}b";

fn is_one_line(text: &str) {
    assert!(text.len() < 3_000, "{} bytes", text.len());
    let odd = |c: char| c.is_control() || "\u{202e}\u{2028}\u{feff}".contains(c);
    assert!(!text.chars().any(odd), "{text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_failure_is_one_short_clean_line() {
    let long = format!("/{}", "x".repeat(600_000));
    let forged = format!("/{EVIL}/b");
    let lines = "it is line after line\n".repeat(5_000);
    let cases: Vec<(&str, Guest)> = vec![
        (
            "pointer",
            Guest::new().answers(|data| data.edits(&[(&forged, Put::Remove)])),
        ),
        (
            "long-pointer",
            Guest::new().answers(|data| data.edits(&[(&long, Put::Remove)])),
        ),
        (
            "no-pointer",
            Guest::new().answers(|data| data.edits(&[(&format!("~{long}"), Put::Remove)])),
        ),
        (
            "error",
            Guest::new().answers(|data| data.error(EVIL.as_bytes())),
        ),
        (
            "long-error",
            Guest::new().answers(|data| data.error(lines.as_bytes())),
        ),
        (
            "kind",
            Guest::new().answers(|data| data.replaces(&[(EVIL, "{}")])),
        ),
    ];
    for (name, guest) in cases {
        let stage = Stage::with(&[Role::new(name, &guest)]).await;
        for _ in 0..3 {
            only(&stage.message("hi").await);
        }
        let status = stage.status(name);
        assert_eq!(status.state, State::Quarantined, "{name}: {status:?}");
        is_one_line(&status.why.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_error_of_init_is_shown_in_one_line() {
    for text in ["it is line after line\n".repeat(2_000), EVIL.repeat(100)] {
        let mut guest = Guest::new();
        let at = guest.data.error(text.as_bytes());
        let guest = guest.init(&format!("(i32.const {at})"));
        let stage = Stage::with(&[Role::new("talks", &guest)]).await;
        let status = stage.status("talks");
        assert_eq!(status.state, State::Refused, "{status:?}");
        is_one_line(&status.why.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_drop_is_one_line() {
    let guest = Guest::new().answers(|data| data.drops(EVIL.repeat(200).as_bytes()));
    let stage = Stage::with(&[Role::new("drops", &guest)]).await;
    let dropped = stage.message("hi").await.dropped.unwrap();
    is_one_line(&dropped.reason);
    assert!(
        dropped.reason.starts_with("a\\n2026-11-28 ERROR forged"),
        "{dropped:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_a_manifest_is_shown_in_one_line() {
    let escapes = r"a\nb\u001b[2J\u202e";
    for manifest in [
        format!("\"{escapes}\" = 1\n"),
        format!("emits = [\"{escapes}\"]\n"),
        format!("capabilities = [\"{escapes}\"]\n"),
        format!("summary = \"{escapes}\"\n"),
        format!("config-schema = {{ required = [\"{escapes}\"] }}\n"),
        format!(
            "config-schema = {{ enum = [\"{}\"] }}\n",
            "x".repeat(100_000)
        ),
    ] {
        let stage = Stage::with(&[Role::new("a", &Guest::new()).manifest(&manifest)]).await;
        let status = stage.status("a");
        assert_eq!(status.state, State::Refused, "{status:?}");
        is_one_line(&status.why.unwrap());
    }
}
