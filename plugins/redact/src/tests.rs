//! Tests of the plugin with the SDK's test host.

use djangobot_plugin::Direction;
use djangobot_plugin::testing::{Host, TestPlugin};
use serde_json::{Value, json};

use super::Redact;

fn load(config: Value) -> TestPlugin<Redact> {
    Host::new()
        .manifest(include_str!("../plugin.toml"))
        .load(config)
}

/// What a text is after the default patterns.
fn check(text: &str, expect: &str) {
    let outcome = load(json!({})).inbound("message", json!({"text": text}));
    assert_eq!(outcome.event["text"], expect);
}

#[test]
fn secrets_are_taken_out() {
    // Put together here, so that no scanner takes them for real ones.
    let slack = format!("xox{}-123456789012-abcdefABCDEF", "b");
    check(&format!("token {slack}."), "token [redacted slack-token].");
    check(&format!("xoxe.{slack}"), "[redacted slack-token]");
    check(
        &format!(
            "<https://hooks.slack.com/{}/T000/B000/abcdefgh|hook>",
            "services"
        ),
        "[redacted slack-token]",
    );
    check(
        &format!("AKIA{} x", "ABCDEFGHIJKLMNOP"),
        "[redacted aws-key] x",
    );
    check(
        &format!("aws_secret_access_key = {}", "a/B+".repeat(10)),
        "[redacted aws-key]",
    );
    check(
        &format!("use ghp_{} please", "a1".repeat(18)),
        "use [redacted api-key] please",
    );
    check(
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY----- ok",
        "[redacted private-key] ok",
    );
    check(
        "see -----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl cut off",
        "see [redacted private-key]",
    );
}

#[test]
fn personal_data_is_taken_out() {
    check(
        "card 4111 1111 1111 1111, thanks",
        "card [redacted card], thanks",
    );
    check(
        "4111111111111111 5500005555555559",
        "[redacted card] [redacted card]",
    );
    check("mail a.b+c@mail.example.org!", "mail [redacted email]!");
    check(
        "<mailto:a@example.org|a@example.org> hi",
        "[redacted email] hi",
    );
    check(
        "AB12 word DE89 3704 0044 0532 0130 00",
        "AB12 word [redacted iban]",
    );
    check("jürgen@müller.de", "[redacted email]");
    check(
        "to DE89 3704 0044 0532 0130 00 please",
        "to [redacted iban] please",
    );
    check(
        "a@example.org and b@example.org",
        "[redacted email] and [redacted email]",
    );
}

#[test]
fn what_only_looks_like_it_stays() {
    for text in [
        "<@U1> see <#C1|general> <https://a.org/x?y=1|here>",
        "order 1234 5678 9012 3456",
        "at 1700000000.000100",
        "a @ b, a@b, @alice",
        "xox, AKIA, BEGIN PRIVATE KEY",
        "call +49 30 1234567",
    ] {
        check(text, text);
    }
}

#[test]
fn blocks_attachments_and_carried_messages_are_searched_and_ids_are_not() {
    let mail = "a@example.org";
    let gone = "[redacted email]";
    let message = |text: &str| {
        json!({"type": "message", "user": "U1", "ts": "1700000000.000100", "client_msg_id": "4111111111111111",
            "text": text,
            "blocks": [{"type": "rich_text", "block_id": "4111111111111111", "elements": [
                {"type": "rich_text_section", "elements": [{"type": "link", "url": text, "text": text}]}]}],
            "attachments": [{"fallback": text, "fields": [{"title": "x", "value": text}]}]})
    };
    let event = |text: &str| {
        let mut event = message(text);
        event["message"] = message(text);
        event["previous_message"] = message(text);
        event["channel"] = "C1".into();
        event
    };
    let outcome = load(json!({})).inbound("message", event(mail));
    assert_eq!(outcome.event, event(gone));
    assert_eq!(outcome.calls, ["event.select"]);
    let outcome = load(json!({})).outbound("chat.postMessage", event(mail));
    assert_eq!(outcome.event, event(gone));
    assert!(load(json!({})).inbound("message", event("hi")).kept());
}

#[test]
fn what_to_find_is_the_operator_s_choice() {
    let check = |config: Value, text: &str, expect: &str| {
        let outcome = load(config).outbound("chat.postMessage", json!({"text": text}));
        assert_eq!(outcome.event["text"], expect);
    };
    check(
        json!({"find": ["phone"]}),
        "+49 (30) 123-4567 a@b.org",
        "[redacted phone] a@b.org",
    );
    check(
        json!({"find": ["phone"]}),
        "(212) 555-0100",
        "[redacted phone]",
    );
    check(
        json!({"find": [], "custom": {"ticket": "T-[0-9]+"}}),
        "T-12 T-x",
        "[redacted ticket] T-x",
    );
    check(
        json!({"find": [], "custom": {"none": "x*"}}),
        "axxbé",
        "a[redacted none]bé",
    );
    check(json!({"replacement": "***"}), "a@b.org", "***");
    check(json!({"replacement": ""}), "x a@b.org", "x ");
    let host = Host::new().manifest(include_str!("../plugin.toml"));
    let error = host
        .try_load::<Redact>(json!({"custom": {"bad": "("}}))
        .unwrap_err();
    assert!(error.starts_with("custom.bad: "), "{error}");
    let host = Host::new().manifest(include_str!("../plugin.toml"));
    assert!(
        host.try_load::<Redact>(json!({"find": ["everything"]}))
            .is_err()
    );
}

#[test]
fn what_can_not_be_read_does_not_pass_and_nothing_found_is_logged() {
    let mut plugin = load(json!({}));
    let outcome = plugin.inbound("message", json!({"text": "a@b.org"}));
    assert!(outcome.logs.is_empty());
    // Half of a surrogate pair, which `serde_json` does not read.
    let text = r#"{"text":"a@b.org","blocks":[{"text":"\ud800 a@b.org"}]}"#;
    let outcome = plugin
        .try_call_text(Direction::Inbound, "message", text)
        .unwrap();
    assert_eq!(outcome.event, json!({"text": "[redacted email]"}));
    assert!(
        outcome
            .logs
            .iter()
            .all(|line| !line.message.contains("a@b.org"))
    );
}

#[test]
fn a_long_text_of_beginnings_takes_no_longer_than_its_length_is_worth() {
    let start = std::time::Instant::now();
    for beginning in [
        "1 ",
        "a@",
        "xoxb-1 ",
        "-----BEGIN PRIVATE KEY",
        "DE89 ",
        "4111 1111 1111 1111 ",
    ] {
        let text = beginning.repeat(40_000 / beginning.len());
        load(json!({})).inbound("message", json!({"text": text}));
    }
    // Where the time grew with the square of the length, an hour.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
