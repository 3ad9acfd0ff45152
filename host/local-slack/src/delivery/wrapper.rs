//! Slack's wrappers of events, commands and interactions (<https://docs.slack.dev/apis/events-api/#events-JSON>).

use serde_json::{Map, Value, json};

use crate::delivery::parcel::Parcel;
use crate::state::ts::now_micros;
use crate::state::workspace::{Audience, Event, Kind, Workspace};

/// The token that apps verified requests with before there were signatures.
pub(crate) const VERIFICATION_TOKEN: &str = "local-slack-verification";

/// Events that Slack sends through RTM only.
const ONLY_RTM: [&str; 3] = ["user_typing", "presence_change", "mpim_joined"];
/// Keys that messages have on RTM only.
const ONLY_RTM_KEYS: [&str; 3] = ["suppress_notification", "source_team", "user_team"];

/// The events that an app with these subscriptions gets of an event.
pub(crate) fn given(
    workspace: &Workspace,
    event: &Event,
    subscriptions: Option<&[String]>,
) -> Vec<Value> {
    let Some(value) = visible(workspace, event) else {
        return Vec::new();
    };
    let Some(subscriptions) = subscriptions else {
        return vec![value];
    };
    let is_wanted = |name: &str| subscriptions.iter().any(|it| it == name);
    let mut given = Vec::new();
    if is_wanted("app_mention")
        && let Some(mention) = mention(workspace, &value)
    {
        given.push(mention);
    }
    let name = match (&value["type"], &value["channel_type"]) {
        (Value::String(kind), Value::String(of)) if kind == "message" => match &**of {
            "im" | "mpim" => format!("message.{of}"),
            of => format!("message.{of}s"),
        },
        (kind, _) => kind.as_str().unwrap_or_default().to_owned(),
    };
    if is_wanted(&name) {
        given.push(value);
    }
    given
}

/// The `app_mention` of a message that mentions the bot; in a direct message there is none
/// (<https://docs.slack.dev/reference/events/app_mention>).
fn mention(workspace: &Workspace, message: &Value) -> Option<Value> {
    let bot = &workspace.users[workspace.bot].id;
    let mentions = message["text"].as_str()?.contains(&format!("<@{bot}>"));
    let is_said = message["type"] == "message" && message.get("subtype").is_none();
    if !mentions || !is_said || message["channel_type"] == "im" || message["user"] == **bot {
        return None;
    }
    let mut mention = message.clone();
    let fields = mention.as_object_mut()?;
    fields.remove("channel_type");
    fields.insert("type".to_owned(), json!("app_mention"));
    Some(mention)
}

/// The event as an app gets it that is subscribed to all that its bot may see; `None` where it does not get it.
fn visible(workspace: &Workspace, event: &Event) -> Option<Value> {
    let told = match event.audience {
        Audience::Members(_) | Audience::User(_) => workspace.sees(event.audience, workspace.bot),
        Audience::MembersBut(..) | Audience::Watchers(_) => false,
    };
    let kind = event.value["type"].as_str()?;
    if !told || ONLY_RTM.contains(&kind) || event.value["is_ephemeral"] == true {
        return None;
    }
    let mut value = event.value.clone();
    if kind == "message"
        && let Some(message) = value.as_object_mut()
    {
        message.retain(|key, _| !ONLY_RTM_KEYS.contains(&key.as_str()));
        let channel = message.get("channel").and_then(Value::as_str);
        let index = channel.and_then(|id| workspace.conversation(id))?;
        let kind = match workspace.conversations[index].kind {
            Kind::Public => "channel",
            Kind::Private => "group",
            Kind::Im => "im",
            Kind::Mpim => "mpim",
        };
        message.insert("channel_type".to_owned(), json!(kind));
    }
    Some(value)
}

/// An event in its wrapper.
pub(crate) fn event_callback(workspace: &mut Workspace, event: Value) -> Parcel {
    let event_id = workspace.next_event_id();
    let payload = event_callback_json(workspace, &event_id, event);
    Parcel::new("events_api", &payload).retried()
}

/// The wrapper itself.
pub(crate) fn event_callback_json(workspace: &Workspace, event_id: &str, event: Value) -> Value {
    let team = &workspace.team.id;
    let kind = event["type"].as_str().unwrap_or_default();
    let channel = event["channel"].as_str().unwrap_or_default();
    let context = format!("4-{kind}-{team}-{}-{channel}", workspace.app_id());
    json!({
        "token": VERIFICATION_TOKEN, "team_id": team, "context_team_id": team, "context_enterprise_id": null,
        "api_app_id": workspace.app_id(), "event": event, "type": "event_callback", "event_id": event_id,
        "event_time": now_micros() / 1_000_000,
        "authorizations": [{"enterprise_id": null, "team_id": team, "user_id": workspace.users[workspace.bot].id,
            "is_bot": true, "is_enterprise_install": false}],
        "is_ext_shared_channel": false, "event_context": context,
    })
}

/// Slack's notice to an app that gets more than 30,000 events in an hour; it has no inner event.
pub(crate) fn app_rate_limited(workspace: &Workspace) -> Parcel {
    let minute = now_micros() / 1_000_000 / 60 * 60;
    let payload = json!({"token": VERIFICATION_TOKEN, "type": "app_rate_limited", "team_id": workspace.team.id,
        "minute_rate_limited": minute, "api_app_id": workspace.app_id()});
    Parcel::new("events_api", &payload).retried()
}

/// A slash command (<https://docs.slack.dev/interactivity/implementing-slash-commands>).
#[derive(Debug)]
pub(crate) struct SlashCommand<'a> {
    pub(crate) user: usize,
    pub(crate) conversation: usize,
    pub(crate) command: &'a str,
    pub(crate) text: &'a str,
    pub(crate) response_url: &'a str,
    pub(crate) trigger_id: &'a str,
}

/// The payload of a slash command.
pub(crate) fn slash_command(workspace: &Workspace, slash: &SlashCommand<'_>) -> Value {
    let SlashCommand {
        user,
        conversation,
        command,
        text,
        response_url,
        trigger_id,
    } = *slash;
    let conversation = &workspace.conversations[conversation];
    let channel_name = match (&conversation.name, conversation.kind) {
        (Some(name), Kind::Public) => name.as_str(),
        (_, Kind::Im) => "directmessage",
        _ => "privategroup",
    };
    let user = &workspace.users[user];
    json!({"token": VERIFICATION_TOKEN, "team_id": workspace.team.id, "team_domain": workspace.team.domain,
        "channel_id": conversation.id, "channel_name": channel_name, "user_id": user.id, "user_name": user.name,
        "command": command, "text": text, "api_app_id": workspace.app_id(), "is_enterprise_install": "false",
        "response_url": response_url, "trigger_id": trigger_id})
}

/// The circumstances of an interaction.
#[derive(Debug)]
pub(crate) struct Interaction<'a> {
    pub(crate) user: usize,
    pub(crate) conversation: Option<usize>,
    pub(crate) response_url: Option<&'a str>,
    pub(crate) trigger_id: &'a str,
}

/// Adds the fields that all interactions have, where the given one lacks them.
pub(crate) fn interaction(
    workspace: &Workspace,
    interaction: &Interaction<'_>,
    given: &Map<String, Value>,
) -> Value {
    let Interaction {
        user,
        conversation,
        response_url,
        trigger_id,
    } = *interaction;
    let (team, user) = (&workspace.team, &workspace.users[user]);
    let mut whole = json!({
        "token": VERIFICATION_TOKEN, "api_app_id": workspace.app_id(), "trigger_id": trigger_id,
        "team": {"id": team.id, "domain": team.domain}, "enterprise": null, "is_enterprise_install": false,
        "user": {"id": user.id, "username": user.name, "name": user.name, "team_id": team.id},
    });
    if let Some(conversation) = conversation {
        let conversation = &workspace.conversations[conversation];
        let name = conversation.name.as_deref().unwrap_or("directmessage");
        whole["channel"] = json!({"id": conversation.id, "name": name});
    }
    if let Some(response_url) = response_url {
        whole["response_url"] = json!(response_url);
    }
    for (key, value) in given {
        whole[key] = value.clone();
    }
    whole
}
