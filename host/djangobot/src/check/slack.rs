//! The part of `djangobot check` that asks Slack: tokens, scopes, and whether events can come.

use djangobot_slack::rotation::Pair;
use djangobot_slack::{
    ApiError, Class, Identity, RefreshToken, Token, TokenKind, WebApi, http_events,
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::bridge;
use crate::check::Findings;
use crate::check::scopes::{self, MissingScope};
use crate::config::{ConfigError, Setting, Settings, SlackSettings, Transport};
use crate::run::web_api;
use crate::state::State;
use crate::tokens;

const COPY_TOKEN: &str = "copy the Bot User OAuth Token (xoxb-...) again from the app's OAuth & Permissions page into DJANGOBOT_TOKEN";

/// Checks the token, its scopes, and whether events can come.
///
/// Sets `lease` to the name of the app's lease, by which the layer knows the host that serves the app.
pub(super) async fn look(settings: &Settings, findings: &mut Findings, lease: &mut Option<String>) {
    let slack = &settings.slack;
    let misplaced = slack.misplaced();
    for wrong in &misplaced {
        findings.diagnostic(check_of(wrong.setting), wrong);
    }
    if misplaced.is_empty()
        && let Some(lack) = slack.lack(settings.listen.is_some())
    {
        let check = match lack {
            ConfigError::NoToken => "token",
            _ => "transport",
        };
        findings.diagnostic(check, &lack);
    }
    let is_wrong = |setting| misplaced.iter().any(|wrong| wrong.setting == setting);
    if slack.token.is_none() || is_wrong(Setting::Token) {
        return;
    }
    let api = match web_api(settings) {
        Ok(api) => api,
        Err(failure) => {
            return findings.error("token", failure.report.to_string(), Some(COPY_TOKEN.into()));
        }
    };
    if let Some(pair) = stored_pair(settings) {
        api.set_token(pair.access);
    }
    let identity = match api.auth_test().await {
        Ok(identity) => identity,
        Err(error) if error.class() == Class::Refresh && slack.rotation.is_some() => {
            let detail = format!("{error}; djangobot refreshes it when it starts");
            let cure = "start djangobot, then check again: scopes and the default channel could not be checked";
            return findings.warning("token", detail, cure);
        }
        Err(error) => {
            return findings.error("token", error.to_string(), Some(cure(&error, settings)));
        }
    };
    if identity.user.is_empty() || identity.team_id.is_empty() {
        let detail = format!(
            "{} accepts the token, but names no user or no workspace that it belongs to",
            api.base()
        );
        return findings.error("token", detail, Some(COPY_TOKEN.into()));
    }
    findings.ok(
        "token",
        format!(
            "{} is {} in {} ({})",
            api.base(),
            identity.user,
            identity.team,
            identity.team_id
        ),
    );
    *lease = Some(bridge::name_of(&identity.team_id, &identity.user_id));
    look_at_scopes(slack, &identity, findings);
    if !is_wrong(Setting::RefreshToken) {
        look_at_rotation(slack, &api, findings);
    }
    match slack.transport {
        // The wrong secret has been reported above.
        Transport::SocketMode if is_wrong(Setting::AppToken) => {}
        Transport::Http if is_wrong(Setting::SigningSecret) => {}
        Transport::Rtm => match api.rtm_connect().await {
            Ok(_) => findings.ok("transport", "rtm: rtm.connect grants a connection"),
            Err(error) => {
                findings.error("transport", error.to_string(), Some(cure(&error, settings)))
            }
        },
        Transport::SocketMode => look_at_socket_mode(settings, findings).await,
        Transport::Http => look_at_http(settings, findings).await,
    }
    look_at_default_channel(&api, settings, findings).await;
}

/// The check that reports a wrong secret.
fn check_of(setting: Setting) -> &'static str {
    match setting {
        Setting::Token => "token",
        Setting::AppToken | Setting::SigningSecret => "transport",
        Setting::ClientSecret | Setting::RefreshToken => "rotation",
    }
}

/// The tokens in use if they rotate: those of the config were good for one refresh.
fn stored_pair(settings: &Settings) -> Option<Pair> {
    let rotation = settings.slack.rotation.as_ref()?;
    let state = State::open_shared(&settings.state_dir).ok()?;
    tokens::stored_pair(rotation, &state).ok().flatten()
}

/// Checks the app-level token by asking for a connection. The URL in the answer is not used, so no connection is
/// opened.
async fn look_at_socket_mode(settings: &Settings, findings: &mut Findings) {
    const CHECK: &str = "transport";
    let Some(token) = &settings.slack.app_token else {
        return;
    };
    let app = Token::new(token.expose_secret())
        .map_err(|error| error.to_string())
        .and_then(|token| {
            WebApi::new(settings.slack.api_url.clone(), token).map_err(|error| error.to_string())
        });
    let cure_of_token = "give DJANGOBOT_APP_TOKEN the token that begins with xapp-, from the app's page Basic Information, App-Level Tokens, with the scope connections:write";
    let app = match app {
        Ok(app) => app,
        Err(why) => return findings.error(CHECK, why, Some(cure_of_token.into())),
    };
    match app.call("apps.connections.open", &Map::new()).await {
        Ok(_) => findings.ok(
            CHECK,
            format!(
                "socket-mode: apps.connections.open grants a connection; djangobot keeps {} open",
                settings.slack.connections
            ),
        ),
        Err(error) => {
            let cure = match error.code() {
                "not_allowed_token_type" | "invalid_auth" | "missing_scope" | "not_authed" => {
                    cure_of_token.into()
                }
                _ => cure(&error, settings),
            };
            findings.error(CHECK, error.to_string(), Some(cure));
        }
    }
}

/// Checks whether a bridge could accept Slack's requests here. Whether they reach this machine, only Slack can know.
async fn look_at_http(settings: &Settings, findings: &mut Findings) {
    const CHECK: &str = "transport";
    let (Some(address), Some(secret)) = (settings.listen, &settings.slack.signing_secret) else {
        return;
    };
    let is_hex =
        |secret: &str| secret.len() == 32 && secret.bytes().all(|it| it.is_ascii_hexdigit());
    if !is_hex(secret.expose_secret()) {
        findings.warning(
            CHECK,
            "the signing secret does not look like one of Slack's, which have 32 digits and letters from a to f",
            "copy it again from the app's page Basic Information, App Credentials",
        );
    }
    match tokio::net::TcpListener::bind(address).await {
        Ok(_) => findings.ok(
            CHECK,
            format!(
                "http: Slack's requests can be accepted at {address}{}; the app's request URLs are https://YOUR-HOST and one of these paths",
                http_events::PATHS.join(", ")
            ),
        ),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => findings.ok(
            CHECK,
            format!("http: another program, perhaps a running djangobot, listens at {address} already"),
        ),
        Err(error) => findings.error(
            CHECK,
            format!("nothing can listen on {address}: {error}"),
            Some("choose another address with --listen".into()),
        ),
    }
}

/// Checks the rotation of tokens without using the refresh token, which is good for one refresh.
fn look_at_rotation(slack: &SlackSettings, api: &WebApi, findings: &mut Findings) {
    let is_rotating = api.token_kind() == TokenKind::Rotating;
    match (&slack.rotation, is_rotating) {
        (None, false) => {}
        (None, true) => findings.warning(
            "rotation",
            "the token lasts for 12 hours at most, and the settings for getting the next one are missing",
            "write client-id, client-secret and refresh-token below [slack], or turn token rotation off for the app",
        ),
        (Some(rotation), _) => match RefreshToken::new(rotation.refresh_token.expose_secret()) {
            Ok(_) => findings.ok("rotation", "the token is refreshed before its 12 hours are over"),
            Err(error) => findings.error(
                "rotation",
                error.to_string(),
                Some("set refresh-token below [slack] to the token that begins with xoxe-, of the app's page \"OAuth & Permissions\"".into()),
            ),
        },
    }
}

fn look_at_scopes(slack: &SlackSettings, identity: &Identity, findings: &mut Findings) {
    let has = |scope: &str| identity.scopes.iter().any(|given| given == scope);
    // A classic app's `bot` scope stands for all scopes.
    if identity.scopes.is_empty() || has("bot") {
        findings.ok(
            "scopes",
            "the token is a classic app's, which has all scopes",
        );
        return;
    }
    let missing = scopes::missing(slack, &identity.scopes);
    if missing.is_empty() {
        findings.ok("scopes", identity.scopes.join(", "));
    }
    for MissingScope {
        scopes,
        loss,
        is_fatal,
    } in missing
    {
        let scopes = scopes.join(" or ");
        let detail = format!("the token lacks {scopes}: {loss}");
        let cure = format!(
            "add {scopes} below OAuth & Permissions of the app, then install it to the workspace again"
        );
        match is_fatal {
            true => findings.error("scopes", detail, Some(cure)),
            false => findings.warning("scopes", detail, cure),
        }
    }
}

async fn look_at_default_channel(api: &WebApi, settings: &Settings, findings: &mut Findings) {
    const CHECK: &str = "default channel";
    let name = settings.slack.default_channel.trim_start_matches('#');
    // Slack allows up to 1,000 channels a page, and advises to ask for fewer.
    let mut arguments = Map::from_iter([
        ("limit".to_owned(), json!(999)),
        ("exclude_archived".to_owned(), json!(true)),
        ("types".to_owned(), json!("public_channel")),
    ]);
    // A few pages are enough for most workspaces; for a larger one, the finding says that not all channels were read.
    for _ in 0..5 {
        let page = match api.call("conversations.list", &arguments).await {
            Ok(page) => page,
            Err(error) => {
                return findings.warning(
                    CHECK,
                    format!("#{name} can't be looked up: {error}"),
                    cure(&error, settings),
                );
            }
        };
        let channels = page["channels"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if let Some(channel) = channels
            .iter()
            .find(|channel| channel["name"] == name || channel["id"] == name)
        {
            return match channel["is_member"].as_bool() {
                Some(false) => findings.warning(
                    CHECK,
                    format!("the bot is not in #{name}: it gets no messages from there, and may not be allowed to post"),
                    format!("invite the bot in #{name} with /invite, or name another channel with --default-channel"),
                ),
                _ => findings.ok(CHECK, format!("#{name}")),
            };
        }
        match page["response_metadata"]["next_cursor"].as_str() {
            Some(cursor) if !cursor.is_empty() => {
                arguments.insert("cursor".to_owned(), Value::from(cursor))
            }
            _ => {
                return findings.warning(
                    CHECK,
                    format!("there is no public channel #{name}"),
                    "messages without `channel` would fail; name an existing channel with --default-channel, or as default-channel below [slack]",
                );
            }
        };
    }
    findings.ok(
        CHECK,
        format!("#{name} is not among the first channels of the workspace, and not all of its channels were read"),
    );
}

/// The cure for an error of Slack's.
fn cure(error: &ApiError, settings: &Settings) -> String {
    match error.code() {
        "invalid_auth" | "not_authed" | "token_revoked" | "account_inactive" | "bad_token" => {
            COPY_TOKEN.into()
        }
        "not_allowed_token_type" => "use the token of a classic app, because RTM serves only those; or use Socket Mode".into(),
        "missing_scope" => "add the scope below OAuth & Permissions of the app, then install it to the workspace again".into(),
        "unreachable" | "interrupted" => {
            format!("check that this machine can reach {}; behind a proxy, set HTTPS_PROXY", settings.slack.api_url)
        }
        _ => format!("look up {} at https://docs.slack.dev/reference/methods/{}", error.code(), error.method),
    }
}
