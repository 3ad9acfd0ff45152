//! Converts Markdown in messages to Slack into Slack's own format, mrkdwn.

mod inline;
mod markdown;

use djangobot_plugin::{Edits, Error, Event, Plugin, Verdict, pointer};
use serde::Deserialize;

use inline::Asterisk;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    asterisk: Asterisk,
    bullet: String,
    opt_out: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            asterisk: Asterisk::Italic,
            bullet: "•".into(),
            opt_out: "mrkdwn".into(),
        }
    }
}

struct Mrkdwn {
    config: Config,
    /// The pointer of the key by which a message opts out.
    opt_out: String,
}

impl Plugin for Mrkdwn {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        let opt_out = format!("/{}", pointer::escape(&config.opt_out));
        Ok(Mrkdwn { config, opt_out })
    }

    fn on_event(&mut self, event: &Event) -> Result<Verdict, Error> {
        let [text, opt_out] = event.select(["/text", &self.opt_out]);
        if opt_out.and_then(|value| value.as_bool()) == Some(false) {
            return Ok(Verdict::Keep);
        }
        let Some(text) = text.and_then(|value| value.into_text()) else {
            return Ok(Verdict::Keep);
        };
        let converted = markdown::convert(&text, self.config.asterisk, &self.config.bullet);
        let mut edits = Edits::new();
        if converted != text {
            edits.set("/text", converted);
        }
        Ok(edits.into())
    }
}

djangobot_plugin::export!(Mrkdwn);

#[cfg(test)]
mod tests {
    use djangobot_plugin::testing::{Host, TestPlugin};
    use serde_json::{Value, json};

    use super::Mrkdwn;

    fn load(config: Value) -> TestPlugin<Mrkdwn> {
        Host::new()
            .manifest(include_str!("../plugin.toml"))
            .load(config)
    }

    #[test]
    fn a_message_goes_out_in_slacks_format_unless_it_opts_out() {
        let check = |config: Value, event: Value, expect: &str| {
            let outcome = load(config).outbound("chat.postMessage", event);
            assert_eq!(outcome.event["text"], expect);
            assert_eq!(outcome.calls, ["event.select"]);
        };
        let text = "**hi** *you* & <@U1>";
        check(json!({}), json!({"text": text}), "*hi* _you_ &amp; <@U1>");
        check(
            json!({}),
            json!({"text": text, "mrkdwn": true}),
            "*hi* _you_ &amp; <@U1>",
        );
        check(json!({}), json!({"text": text, "mrkdwn": false}), text);
        check(
            json!({"opt-out": "a/b"}),
            json!({"text": text, "a/b": false}),
            text,
        );
        check(
            json!({"asterisk": "bold"}),
            json!({"text": text}),
            "*hi* *you* &amp; <@U1>",
        );
        check(json!({"bullet": "-"}), json!({"text": "* a"}), "- a");
    }

    #[test]
    fn only_texts_on_their_way_to_slack_are_converted() {
        let mut plugin = load(json!({}));
        let event = || json!({"text": "**hi**"});
        assert_eq!(
            plugin.outbound("chat.update", event()).event["text"],
            "*hi*"
        );
        assert!(!plugin.outbound("reactions.add", event()).called);
        assert!(!plugin.outbound("chat.delete", json!({"ts": "1.2"})).called);
        assert!(!plugin.inbound("message", event()).called);
        assert!(
            plugin
                .outbound("chat.postMessage", json!({"text": 5}))
                .kept()
        );
        assert!(
            plugin
                .outbound("chat.postMessage", json!({"text": "plain"}))
                .kept()
        );
    }
}
