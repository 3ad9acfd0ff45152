//! Adds names to the ids in an event, and replaces the mentions in its texts by names.
//!
//! One `select` reads all fields that may hold an id, and one `get-users` gets all users. An id that the roster does
//! not know stays as it is.

mod blocks;
mod fields;
mod names;

use djangobot_plugin::mrkdwn::{self, Part};
use djangobot_plugin::{Edits, Error, Event, Plugin, Value, Verdict};
use serde::Deserialize;

use fields::{Field, Mode};
use names::{Names, Style};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    style: Style,
    fields: Option<Vec<String>>,
    mode: Mode,
    suffix: String,
    texts: Vec<String>,
    blocks: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            style: Style::Name,
            fields: None,
            mode: Mode::Beside,
            suffix: "_name".into(),
            texts: fields::TEXTS.map(str::to_owned).to_vec(),
            blocks: false,
        }
    }
}

struct ResolveNames {
    style: Style,
    messages: Plan,
    others: Plan,
}

/// The pointers that are read of an event, and the places of the names.
///
/// `pointers` has those of the fields first, as many as `fields`, then `texts` pointers to texts, then those to blocks.
struct Plan {
    fields: Vec<Field>,
    /// The number of texts.
    texts: usize,
    pointers: Vec<String>,
}

impl Plugin for ResolveNames {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        Ok(ResolveNames {
            style: config.style,
            messages: Plan::new(&config, &fields::OF_MESSAGES)?,
            others: Plan::new(&config, &fields::OF_OTHERS)?,
        })
    }

    fn on_event(&mut self, event: &Event) -> Result<Verdict, Error> {
        let plan = match event.kind() {
            "message" | "app_mention" => &self.messages,
            _ => &self.others,
        };
        let values = event.select_all(&plan.pointers);
        let (ids, rest) = values.split_at(plan.fields.len());
        let (texts, blocks) = rest.split_at(plan.texts);

        let mut names = Names::new(self.style);
        for value in ids.iter().flatten() {
            fields::each_id(value, |id| names.want(id));
        }
        let texts: Vec<Option<&str>> = texts
            .iter()
            .map(|value| value.as_ref().and_then(Value::as_text))
            .map(|text| text.filter(|text| text.contains('<')))
            .collect();
        for text in texts.iter().flatten() {
            want_mentioned(text, &mut names);
        }
        let mut blocks: Vec<Option<serde_json::Value>> = blocks
            .iter()
            .map(|value| value.as_ref().and_then(|value| value.parse().ok()))
            .collect();
        for blocks in blocks.iter().flatten() {
            blocks::want(blocks, &mut names);
        }
        names.ask();

        let mut edits = Edits::new();
        for (field, value) in plan.fields.iter().zip(ids) {
            if let Some(name) = value
                .as_ref()
                .and_then(|value| fields::named(value, &names))
            {
                edits.set(field.target.as_str(), name);
            }
        }
        let text_pointers = &plan.pointers[plan.fields.len()..];
        for (pointer, text) in text_pointers.iter().zip(&texts) {
            if let Some(text) = text
                && let std::borrow::Cow::Owned(text) = with_names(text, &names)
            {
                edits.set(pointer.as_str(), text);
            }
        }
        for (pointer, blocks) in text_pointers[plan.texts..].iter().zip(&mut blocks) {
            if let Some(blocks) = blocks
                && blocks::name(blocks, &names)
            {
                edits.set(pointer.as_str(), &*blocks);
            }
        }
        Ok(edits.into())
    }
}

impl Plan {
    fn new(config: &Config, defaults: &[&str]) -> Result<Self, Error> {
        let pointers: Vec<String> = match &config.fields {
            Some(pointers) => pointers.clone(),
            None => defaults.iter().map(|&pointer| pointer.to_owned()).collect(),
        };
        let fields = pointers
            .iter()
            .map(|pointer| Field::new(pointer, config.mode, &config.suffix))
            .collect::<Result<_, _>>()?;
        let blocks = fields::BLOCKS.map(str::to_owned);
        let blocks = blocks.into_iter().filter(|_| config.blocks);
        Ok(Plan {
            fields,
            texts: config.texts.len(),
            pointers: pointers
                .into_iter()
                .chain(config.texts.iter().cloned())
                .chain(blocks)
                .collect(),
        })
    }
}

/// Notes the ids that a text mentions.
fn want_mentioned(text: &str, names: &mut Names) {
    for (_, part) in mrkdwn::parts(text) {
        if let Part::User { id, .. } | Part::Channel { id, .. } | Part::Usergroup { id, .. } = part
        {
            names.want(id);
        }
    }
}

/// A text in which names replace the ids that it mentions. Names are escaped, as the whole text is.
fn with_names<'a>(text: &'a str, names: &Names) -> std::borrow::Cow<'a, str> {
    mrkdwn::replace(text, |part| {
        let (sign, id) = match part {
            Part::User { id, .. } | Part::Usergroup { id, .. } => ('@', id),
            Part::Channel { id, .. } => ('#', id),
            _ => return None,
        };
        let name = names.get(id)?;
        Some(format!("{sign}{}", mrkdwn::escape(name)))
    })
}

djangobot_plugin::export!(ResolveNames);

#[cfg(test)]
mod tests;
