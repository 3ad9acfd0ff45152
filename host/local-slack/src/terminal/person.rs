//! The commands of a person at the prompt: edits, reactions, clicks, shortcuts, dialogs.

use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::delivery::Delivery;
use crate::lock::lock;
use crate::speakers::control::{Control, ControlError, find_conversation, find_user};
use crate::state::ts::Ts;
use crate::state::views::{described, dressed, inputs};
use crate::state::workspace::Message;
use crate::terminal::element::{self, Element, option_of};
use crate::terminal::upload::{self, Place};

/// The user that lines are posted as, where they name no other.
pub(super) const SPEAKER: &str = "alice";

/// The person at the prompt, and the conversation of the last line, in which messages are edited, clicked and reacted
/// to.
pub(super) struct Person {
    user: String,
    channel: String,
}

/// The result of a command.
pub(super) enum CommandResult {
    /// There is nothing to show, because the effect is shown as an event.
    Silent,
    Shown(String),
    /// A dialog was submitted: the app's answer to this delivery concerns it.
    Submitted(u64),
}

impl Person {
    pub(super) fn new() -> Self {
        Self {
            user: SPEAKER.to_owned(),
            channel: "general".to_owned(),
        }
    }

    /// Posts.
    pub(super) fn say(
        &mut self,
        control: &Control,
        user: &str,
        channel: &str,
        text: &str,
    ) -> Result<CommandResult, String> {
        control.say(user, channel, text).map_err(in_words)?;
        (self.user, self.channel) = (user.to_owned(), channel.to_owned());
        Ok(CommandResult::Silent)
    }

    /// Types a slash command of the app.
    pub(super) fn command(
        &self,
        control: &Control,
        command: &str,
        text: &str,
    ) -> Result<CommandResult, String> {
        has_app(control, command)?;
        let done = control.slash(&self.user, &self.channel, command, text);
        done.map(|_| CommandResult::Silent).map_err(in_words)
    }

    /// Carries out a command of the prompt; `None` where there is no such command.
    pub(super) fn act(
        &mut self,
        control: &Control,
        command: &str,
        rest: &str,
    ) -> Option<Result<CommandResult, String>> {
        Some(match command {
            "/edit" => self.edit(control, rest),
            "/delete" => self.delete(control),
            "/file" => self.file(control, rest),
            "/react" => self.react(control, rest),
            "/click" => self.click(control, rest),
            "/shortcut" => self.shortcut(control, rest, false),
            "/menu" => self.shortcut(control, rest, true),
            "/submit" => self.submit(control, rest),
            "/close" => self.close(control),
            _ => return None,
        })
    }

    /// Finds the person and the conversation in the workspace.
    fn place(&self, core: &Core) -> Result<Place, ControlError> {
        let workspace = &mut *lock(&core.workspace);
        let user = find_user(workspace, &self.user)?;
        Ok(Place {
            user,
            conversation: find_conversation(workspace, user, &self.channel)?,
        })
    }

    /// The newest message there that is `wanted`.
    fn newest(
        &self,
        core: &Core,
        wanted: impl Fn(&Message) -> bool,
    ) -> Result<Option<(Ts, Message)>, String> {
        let place = self.place(core).map_err(in_words)?;
        let workspace = lock(&core.workspace);
        let conversation = &workspace.conversations[place.conversation];
        let mut messages = conversation.messages.iter().rev();
        let found = messages.find(|(_, message)| wanted(message));
        Ok(found.map(|(ts, message)| (*ts, message.clone())))
    }

    fn own(&self, core: &Core) -> Result<Ts, String> {
        let place = self.place(core).map_err(in_words)?;
        let id = lock(&core.workspace).users[place.user].id.clone();
        let own = self.newest(core, |message| message.get("user") == Some(&json!(id)))?;
        let own = own.ok_or_else(|| format!("{} has no message in {}", self.user, self.shown()))?;
        Ok(own.0)
    }

    fn edit(&self, control: &Control, text: &str) -> Result<CommandResult, String> {
        if text.is_empty() {
            return Err("the new text is missing: /edit TEXT".to_owned());
        }
        let core = &control.core;
        let (ts, place) = (self.own(core)?, self.place(core).map_err(in_words)?);
        let fields = Map::from_iter([("text".to_owned(), json!(text))]);
        let edited =
            core.change(|workspace| workspace.update(place.user, place.conversation, ts, fields));
        edited
            .map(|_| CommandResult::Silent)
            .map_err(|it| it.to_string())
    }

    fn delete(&self, control: &Control) -> Result<CommandResult, String> {
        let core = &control.core;
        let (ts, place) = (self.own(core)?, self.place(core).map_err(in_words)?);
        let deleted = core.change(|workspace| workspace.delete(place.user, place.conversation, ts));
        deleted
            .map(|()| CommandResult::Silent)
            .map_err(|it| it.to_string())
    }

    fn file(&self, control: &Control, what: &str) -> Result<CommandResult, String> {
        let (path, comment) = what.split_once(char::is_whitespace).unwrap_or((what, ""));
        if path.is_empty() {
            return Err("the path is missing: /file PATH, and a comment if you want".to_owned());
        }
        let place = self.place(&control.core).map_err(in_words)?;
        upload::share(&control.core, place, path, comment.trim())?;
        Ok(CommandResult::Silent)
    }

    fn react(&self, control: &Control, name: &str) -> Result<CommandResult, String> {
        let (name, add) = match name.strip_prefix('-') {
            Some(name) => (name, false),
            None => (name, true),
        };
        let name = name.trim_matches(':');
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(
                "the reaction is missing: /react eyes, or /react -eyes to take it back".to_owned(),
            );
        }
        let core = &control.core;
        let (ts, _) = self
            .newest(core, |_| true)?
            .ok_or_else(|| format!("there is no message in {}", self.shown()))?;
        let place = self.place(core).map_err(in_words)?;
        let reacted =
            core.change(|workspace| workspace.react(place.user, place.conversation, ts, name, add));
        reacted
            .map(|()| CommandResult::Silent)
            .map_err(|it| it.to_string())
    }

    /// `/click`, `/click NAME`, `/click NAME=CHOICE`.
    fn click(&self, control: &Control, what: &str) -> Result<CommandResult, String> {
        let clickable = |message: &Message| !element::all_in(message).is_empty();
        let (ts, message) = self
            .newest(&control.core, clickable)?
            .ok_or_else(|| format!("no message in {} has anything to click", self.shown()))?;
        let (name, choice) = match what.split_once('=') {
            Some((name, choice)) => (name.trim(), Some(choice.trim())),
            None => (what, None),
        };
        let elements = element::all_in(&message);
        let named: Vec<_> = elements.iter().filter(|it| it.is_called(name)).collect();
        let element = match named.as_slice() {
            [one] => one,
            _ => {
                let names: Vec<_> = elements.iter().map(Element::shown).collect();
                return Err(format!(
                    "name one of these after /click: {}",
                    names.join(", ")
                ));
            }
        };
        let payload = element.clicked(ts, &message, choice)?;
        self.interact(control, &payload)
    }

    /// A shortcut from the menu of all of Slack, or from that of the newest message.
    fn shortcut(
        &self,
        control: &Control,
        id: &str,
        of_message: bool,
    ) -> Result<CommandResult, String> {
        if id.is_empty() {
            return Err("the callback_id of the shortcut is missing".to_owned());
        }
        if !of_message {
            let payload = json!({"type": "shortcut", "callback_id": id});
            return interact(control, &self.user, None, &payload);
        }
        let (ts, message) = self
            .newest(&control.core, |_| true)?
            .ok_or_else(|| format!("there is no message in {}", self.shown()))?;
        let payload = json!({"type": "message_action", "callback_id": id, "message_ts": ts.to_string(),
            "message": message});
        self.interact(control, &payload)
    }

    fn interact(&self, control: &Control, payload: &Value) -> Result<CommandResult, String> {
        interact(control, &self.user, Some(&self.channel), payload)
    }

    /// `/submit`, `/submit TEXT` where there is one field, `/submit NAME=TEXT; NAME=TEXT`.
    fn submit(&self, control: &Control, given: &str) -> Result<CommandResult, String> {
        let mut view = lock(&control.core.views).last().cloned().ok_or(NO_DIALOG)?;
        let fields: Vec<_> = inputs(&view).collect();
        let mut values: Vec<(&str, &str)> = Vec::new();
        for part in given.split(';').map(str::trim).filter(|it| !it.is_empty()) {
            match (part.split_once('='), fields.as_slice()) {
                (Some((name, text)), _) => values.push((name.trim(), text.trim())),
                (None, [(_, element)]) => {
                    values.push((element["action_id"].as_str().unwrap_or_default(), part));
                }
                (None, _) => {
                    return Err(format!("{part:?} has no field name. {}", described(&view)));
                }
            }
        }
        let mut state = json!({});
        let mut chosen = Vec::new();
        for (block, element) in fields {
            let (id, action) = (&block["block_id"], &element["action_id"]);
            let is_meant =
                |name: &str| id == name || action == name || block["label"]["text"] == name;
            let at = values.iter().position(|(name, _)| is_meant(name));
            let given = at.map(|at| values.swap_remove(at).1);
            if given.is_none() && block["optional"] != true && default_of(element).is_none() {
                return Err(format!("{} is missing. {}", action, described(&view)));
            }
            let value = self.value(control, element, given)?;
            if element["response_url_enabled"] == true
                && let Some(channel) = ["selected_conversation", "selected_channel"]
                    .iter()
                    .find_map(|key| value[*key].as_str())
            {
                chosen.push(json!({"block_id": id, "action_id": action, "channel_id": channel}));
            }
            if let (Some(id), Some(action)) = (id.as_str(), action.as_str()) {
                state[id] = json!({ action: value });
            }
        }
        if let [(name, _), ..] = values.as_slice() {
            return Err(format!("there is no field {name:?}. {}", described(&view)));
        }
        view["state"] = json!({ "values": state });
        let payload = json!({"type": "view_submission", "view": view, "response_urls": chosen});
        let number = control.interact(&self.user, None, &payload);
        number.map(CommandResult::Submitted).map_err(in_words)
    }

    /// The value of a field, in the shape of its kind.
    fn value(
        &self,
        control: &Control,
        element: &Value,
        given: Option<&str>,
    ) -> Result<Value, String> {
        let kind = element["type"].as_str().unwrap_or_default();
        let Some(given) = given else {
            let mut value = json!({ "type": kind });
            if let Some((key, default)) = default_of(element) {
                value[key] = default;
            }
            return Ok(value);
        };
        let workspace = &mut *lock(&control.core.workspace);
        let user = || find_user(workspace, given).map(|it| json!(workspace.users[it].id));
        let (key, value) = match kind {
            "users_select" => ("selected_user", user().map_err(in_words)?),
            "conversations_select" | "channels_select" => {
                let me = find_user(workspace, &self.user).map_err(in_words)?;
                let place = find_conversation(workspace, me, given).map_err(in_words)?;
                let key = match kind {
                    "channels_select" => "selected_channel",
                    _ => "selected_conversation",
                };
                (key, json!(workspace.conversations[place].id))
            }
            "datepicker" => ("selected_date", json!(given)),
            "timepicker" => ("selected_time", json!(given)),
            "static_select" | "radio_buttons" | "external_select" => {
                ("selected_option", option_of(element, given)?)
            }
            "checkboxes" | "multi_static_select" => {
                let options = given.split(',').map(|it| option_of(element, it.trim()));
                ("selected_options", options.collect::<Result<_, _>>()?)
            }
            _ => ("value", json!(given)),
        };
        Ok(json!({"type": kind, key: value}))
    }

    fn close(&self, control: &Control) -> Result<CommandResult, String> {
        let view = lock(&control.core.views).pop().ok_or(NO_DIALOG)?;
        if view["notify_on_close"] != true {
            return Ok(CommandResult::Shown(
                "closed; the app does not want to be notified".to_owned(),
            ));
        }
        let payload = json!({"type": "view_closed", "view": view, "is_cleared": false});
        interact(control, &self.user, None, &payload)
    }

    fn shown(&self) -> String {
        format!("#{}", self.channel.trim_start_matches('#'))
    }
}

const NO_DIALOG: &str = "no dialog is open: the app opens one with views.open";

/// Applies the app's answer to a submission to the open dialog; returns the text to show.
pub(super) fn answered(core: &Core, delivery: &Delivery) -> Option<String> {
    let answer = delivery.attempts.iter().find_map(|it| it.response.clone());
    let answer = answer.unwrap_or(Value::Null);
    let mut views = lock(&core.views);
    match answer["response_action"].as_str() {
        Some("errors") => {
            let errors = answer["errors"].as_object().into_iter().flatten();
            let errors: Vec<_> = errors
                .map(|(block, error)| format!("{block}: {}", error.as_str().unwrap_or_default()))
                .collect();
            Some(format!("The dialog stays open: {}\n", errors.join("; ")))
        }
        Some("update" | "push") => {
            let old = match answer["response_action"] == "update" {
                true => views.pop(),
                false => None,
            };
            let id = old.as_ref().map(|view| &view["id"]);
            let view = dressed(&mut lock(&core.workspace), answer["view"].clone(), id);
            let shown = described(&view);
            views.push(view);
            Some(shown)
        }
        Some("clear") => {
            views.clear();
            Some("The dialog is closed, and all below it.\n".to_owned())
        }
        _ => {
            views.pop();
            Some("The dialog is closed.\n".to_owned())
        }
    }
}

/// Commands and interactions need an app.
fn has_app(control: &Control, what: &str) -> Result<(), String> {
    match control.core.deliveries.has_app() {
        true => Ok(()),
        false => Err(format!(
            "{what} can't be delivered: there is no app, neither in Socket Mode nor at a URL for events; start the bot, or give its URL"
        )),
    }
}

fn interact(
    control: &Control,
    user: &str,
    channel: Option<&str>,
    payload: &Value,
) -> Result<CommandResult, String> {
    has_app(control, payload["type"].as_str().unwrap_or_default())?;
    let done = control.interact(user, channel, payload);
    done.map(|_| CommandResult::Silent).map_err(in_words)
}

/// The initial value of a field.
fn default_of(element: &Value) -> Option<(&'static str, Value)> {
    const DEFAULTS: &[(&str, &str)] = &[
        ("initial_value", "value"),
        ("initial_option", "selected_option"),
        ("initial_options", "selected_options"),
        ("initial_conversation", "selected_conversation"),
        ("initial_channel", "selected_channel"),
        ("initial_user", "selected_user"),
        ("initial_date", "selected_date"),
        ("initial_time", "selected_time"),
    ];
    let default = |(from, to): &(&str, &'static str)| Some((*to, element.get(*from)?.clone()));
    DEFAULTS.iter().find_map(default)
}

fn in_words(error: ControlError) -> String {
    error.to_string()
}
