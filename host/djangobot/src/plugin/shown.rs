//! Texts about plugins, as people see them. They quote the plugin's author, so they are cleaned of anything that could
//! control a terminal.

use std::fmt::Write as _;
use std::io::Write as _;

use djangobot_event::CleanText;
use djangobot_plugins::Capability;
use djangobot_plugins::manifest::{Filter, Manifest};

use crate::plugin::error::PluginError;

/// The longest line that is shown of a plugin, in bytes.
const MAX_LINE: usize = 2_000;

/// Cleans `text` for a terminal; it keeps its lines.
pub(super) fn plain(text: &str) -> String {
    CleanText::lines(text)
}

/// Cleans `text` for a terminal, and makes one line of it.
pub(super) fn line(text: &str) -> String {
    CleanText::within(text, MAX_LINE).into()
}

/// Writes to stdout. It is not an error if the reader has ended, as with `| head`.
pub(super) fn print(text: &str) -> Result<(), PluginError> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(CleanText::json(text).as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(PluginError::Below(
            format!("stdout can't be written: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Describes a plugin: name, version and summary in a line, and below it its events, emitted kinds, capabilities and
/// config keys.
pub(super) fn description(manifest: &Manifest) -> String {
    let mut text = title(manifest);
    text.push('\n');
    let mut say = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    let subscribe = &manifest.subscribe;
    match (subscribe.inbound.is_empty(), subscribe.outbound.is_empty()) {
        (true, true) => say("sees", "nothing: its manifest subscribes to no event"),
        (inbound, outbound) => {
            if !inbound {
                say(
                    "sees",
                    &format!("from Slack: {}", filters(&subscribe.inbound)),
                );
            }
            if !outbound {
                say(
                    "sees",
                    &format!("to Slack: {}", filters(&subscribe.outbound)),
                );
            }
        }
    }
    if !manifest.emits.is_empty() {
        say("emits", &line(&manifest.emits.join(", ")));
    }
    for asked in &manifest.capabilities {
        say("asks for", &asks(asked));
    }
    for asked in &manifest.optional_capabilities {
        say("can use", &format!("{}; it works without", asks(asked)));
    }
    if manifest.capabilities.is_empty() {
        say("asks for", "nothing beyond the events");
    }
    let keys = config_keys(manifest);
    if !keys.is_empty() {
        say("config", &keys);
    }
    text
}

/// Writes name, version and summary: `resolve-names 1.2.0: Adds names`.
pub(super) fn title(manifest: &Manifest) -> String {
    let title = format!("{} {}", manifest.name, manifest.version);
    match manifest.summary.as_str() {
        "" => title,
        summary => format!("{title}: {}", line(summary)),
    }
}

/// Writes a capability with its meaning: `store, to keep data of its own on this machine`.
pub(super) fn asks(asked: &Capability) -> String {
    line(&format!("{asked}, to {}", asked.meaning()))
}

fn filters(filters: &[Filter]) -> String {
    let one = |filter: &Filter| {
        let mut text = filter.kind.clone();
        if !filter.has.is_empty() {
            let _ = write!(text, " with {}", filter.has.join(" and "));
        }
        if !filter.lacks.is_empty() {
            let _ = write!(text, " without {}", filter.lacks.join(" and "));
        }
        text
    };
    let all: Vec<_> = filters.iter().map(one).collect();
    line(&all.join(", "))
}

/// Lists the keys of the schema, and marks those that must be set.
fn config_keys(manifest: &Manifest) -> String {
    let Some(schema) = &manifest.config_schema else {
        return String::new();
    };
    let required: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|key| key.as_str())
        .collect();
    let Some(properties) = schema["properties"].as_object() else {
        return String::new();
    };
    let keys: Vec<_> = properties
        .keys()
        .map(|key| match required.contains(&key.as_str()) {
            true => format!("{key} (must be set)"),
            false => key.clone(),
        })
        .collect();
    line(&keys.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_described_for_the_person_who_is_asked() {
        let manifest = Manifest::parse(
            "name = \"a\"\nversion = \"1.0.0\"\nsummary = \"Sums\"\nemits = [\"standup\"]\n\
             capabilities = [\"store\", \"http:*.example.com\"]\n\
             optional-capabilities = [\"slack\"]\n\
             [subscribe]\ninbound = [\"reaction_*\", { kind = \"message\", has = [\"/text\"], lacks = [\"/bot_id\"] }]\n\
             outbound = [\"chat.\\u001bpost\"]\n\
             [config-schema]\nrequired = [\"key\"]\n[config-schema.properties]\nkey = {}\nstyle = {}\n",
        )
        .unwrap();
        assert_eq!(
            description(&manifest),
            "a 1.0.0: Sums\n\
             \x20 sees      from Slack: reaction_*, message with /text without /bot_id\n\
             \x20 sees      to Slack: chat.ost\n\
             \x20 emits     standup\n\
             \x20 asks for  store, to keep data of its own on this machine\n\
             \x20 asks for  http:*.example.com, to call *.example.com over HTTP\n\
             \x20 can use   slack, to send messages to Slack as your bot; it works without\n\
             \x20 config    key (must be set), style\n"
        );
    }
}
