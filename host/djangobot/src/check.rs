//! `djangobot check`: what is wrong with a set-up, each line with its cure.

use std::io::Write;

use djangobot_channels::probe;
use djangobot_plugins::{Components, LoadError, Unready};
use djangobot_slack::WebApi;
use djangobot_slack::api::{ApiError, Identity};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cli::{CheckArgs, LogFormat};
use crate::config::{ConfigError, Settings};
use crate::failure::Failure;
use crate::plugins;
use crate::run::web_api;
use crate::state::{State, StateError};
use crate::target;
use crate::telemetry::Terminal;

/// A scope that the bridge uses, and what is missing without it.
const SCOPES: &[(&str, &str)] = &[
    ("chat:write", "nothing can be posted"),
    (
        "users:read",
        "@names can't be found, and events keep user ids only",
    ),
    (
        "channels:read",
        "channels can't be found by name, and events keep channel ids only",
    ),
    ("groups:read", "private channels can't be found by name"),
    ("im:read", "DMs that are open already are opened again"),
    ("im:write", "no DM can be opened for a message to a user"),
];

/// What one look found.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    status: Status,
    /// What was found.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    Error,
}

/// The findings so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.0.push(Finding {
            check,
            status: Status::Ok,
            detail: detail.into(),
            cure: None,
        });
    }

    fn warning(&mut self, check: &'static str, detail: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Finding {
            check,
            status: Status::Warning,
            detail: detail.into(),
            cure: Some(cure.into()),
        });
    }

    fn error(&mut self, check: &'static str, detail: impl Into<String>, cure: Option<String>) {
        self.0.push(Finding {
            check,
            status: Status::Error,
            detail: detail.into(),
            cure,
        });
    }

    /// A diagnostic's sentence and its help.
    fn diagnostic(&mut self, check: &'static str, error: &dyn miette::Diagnostic) {
        self.error(
            check,
            error.to_string(),
            error.help().map(|help| help.to_string()),
        );
    }
}

/// Looks at all there is to look at; fails where something would keep the bridge from its work.
pub(crate) async fn check(args: CheckArgs, terminal: Terminal) -> Result<(), Failure> {
    let run = &args.run;
    let settings = Settings::read(&run.target, &run.slack, &run.host).map_err(Failure::usage)?;
    // Findings are the output; logs are for whoever asks for them.
    let log = run.host.log.log.as_deref().unwrap_or("error");
    terminal
        .start_logs(log, settings.log_format.or(Some(LogFormat::Human)))
        .map_err(Failure::usage)?;

    let mut findings = Findings::default();
    match &settings.file {
        Some(file) => findings.ok("config", format!("{} was read", file.display())),
        None => findings.ok(
            "config",
            format!(
                "no {}; flags and environment only",
                crate::config::CONFIG_FILE
            ),
        ),
    }
    look_at_state(&settings, &mut findings);
    look_at_plugins(&settings, &mut findings).await;
    look_at_slack(&settings, &mut findings).await;
    look_at_layer(&settings, &mut findings).await;
    show(&findings.0, args.json)?;
    match findings
        .0
        .iter()
        .filter(|finding| finding.status == Status::Error)
        .count()
    {
        0 => Ok(()),
        errors => Err(Failure::plain(std::io::Error::other(format!(
            "{errors} of {} checks failed",
            findings.0.len()
        )))),
    }
}

fn look_at_state(settings: &Settings, findings: &mut Findings) {
    let folder = settings.state_dir.display();
    match State::open(&settings.state_dir) {
        Ok(state) => match state.dead_letter_count() {
            Ok(0) => findings.ok("state", format!("{folder} can be used")),
            Ok(letters) => findings.ok(
                "state",
                format!("{folder} can be used; it keeps {letters} messages that could not be sent"),
            ),
            Err(error) => findings.diagnostic("state", &error),
        },
        Err(StateError::InUse { .. }) => findings.ok(
            "state",
            format!("{folder} is in use by a running djangobot"),
        ),
        Err(error) => findings.diagnostic("state", &error),
    }
}

/// Whether each plugin can be loaded, as far as can be told without running it.
async fn look_at_plugins(settings: &Settings, findings: &mut Findings) {
    const CHECK: &str = "plugins";
    let components = Components::of(&settings.plugin_host.kept);
    let wanted =
        match plugins::resolve(settings.config_file(), &components, &settings.plugins).await {
            Ok(wanted) => wanted,
            Err(why) => return findings.error(CHECK, why, None),
        };
    for wanted in wanted {
        match wanted {
            Ok(wanted) => match LoadError::not_granted(&wanted.config, &wanted.manifest) {
                None => findings.ok(
                    CHECK,
                    format!(
                        "{} {} can be loaded",
                        wanted.config.name, wanted.manifest.version
                    ),
                ),
                Some(error) => {
                    findings.error(CHECK, format!("{}: {error}", wanted.config.name), None)
                }
            },
            Err(Unready { config, .. }) if !config.enabled => {
                findings.ok(CHECK, format!("{} is disabled", config.name));
            }
            Err(Unready { config, why }) => {
                findings.error(CHECK, format!("{}: {why}", config.name), None)
            }
        }
    }
}

async fn look_at_slack(settings: &Settings, findings: &mut Findings) {
    if settings.slack.token.is_none() {
        return findings.diagnostic("token", &ConfigError::NoToken);
    }
    let api = match web_api(settings) {
        Ok(api) => api,
        Err(failure) => {
            let cure = "give DJANGOBOT_TOKEN the Bot User OAuth Token (xoxb-...) of the app's OAuth & Permissions page";
            return findings.error("token", failure.report.to_string(), Some(cure.into()));
        }
    };
    let identity = match api.auth_test().await {
        Ok(identity) => identity,
        Err(error) => {
            return findings.error("token", error.to_string(), Some(cure(&error, settings)));
        }
    };
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
    look_at_scopes(&identity, findings);
    match api.rtm_connect().await {
        Ok(_) => findings.ok("transport", "rtm.connect gives a connection"),
        Err(error) => findings.error("transport", error.to_string(), Some(cure(&error, settings))),
    }
    look_at_default_channel(&api, settings, findings).await;
}

fn look_at_scopes(identity: &Identity, findings: &mut Findings) {
    let has = |scope: &str| identity.scopes.iter().any(|given| given == scope);
    // A classic app's `bot` scope holds all of them.
    if identity.scopes.is_empty() || has("bot") {
        findings.ok(
            "scopes",
            "the token names no scopes one by one, as a classic app's",
        );
        return;
    }
    let missing: Vec<_> = SCOPES.iter().filter(|(scope, _)| !has(scope)).collect();
    if missing.is_empty() {
        findings.ok("scopes", identity.scopes.join(", "));
    }
    for (scope, loss) in missing {
        let cure = format!(
            "add {scope} below OAuth & Permissions of the app, then install it to the workspace again"
        );
        match *scope {
            "chat:write" => findings.error(
                "scopes",
                format!("the token lacks {scope}: {loss}"),
                Some(cure),
            ),
            _ => findings.warning("scopes", format!("the token lacks {scope}: {loss}"), cure),
        }
    }
}

async fn look_at_default_channel(api: &WebApi, settings: &Settings, findings: &mut Findings) {
    const CHECK: &str = "default channel";
    let name = settings.slack.default_channel.trim_start_matches('#');
    let mut arguments = Map::from_iter([
        ("limit".to_owned(), json!(999)),
        ("exclude_archived".to_owned(), json!(true)),
        ("types".to_owned(), json!("public_channel")),
    ]);
    // A few pages are enough for most workspaces; a larger one is told that the look was short.
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
                    format!("the bot is not in #{name}: it gets no messages from there, and may not post"),
                    format!("/invite the bot in #{name}, or name another channel with --default-channel"),
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
                    "messages without `channel` would fail; name one with --default-channel or default-channel below [slack]",
                );
            }
        };
    }
    findings.ok(
        CHECK,
        format!("#{name} was not among the first channels; the workspace has many"),
    );
}

async fn look_at_layer(settings: &Settings, findings: &mut Findings) {
    let Some(target) = &settings.layer.target else {
        return findings.diagnostic("layer", &ConfigError::NoTarget);
    };
    let open = match target::open(&settings.layer, target).await {
        Ok(open) => open,
        Err(error) => return findings.diagnostic("layer", &error),
    };
    if let Some(probed) = &open.probed {
        let versions = &probed.versions;
        let of = |name: &str, version: &Option<String>| {
            version
                .as_ref()
                .map(|version| format!(", {name} {version}"))
        };
        let known = [
            of("channels", &versions.channels),
            of("channels_redis", &versions.channels_redis),
            of("redis", &versions.redis),
        ];
        let detail = format!(
            "{} (Python {}{}) says {} for {:?}",
            probed.python.display(),
            versions.python,
            known.into_iter().flatten().collect::<String>(),
            probed.backend,
            probed.alias
        );
        findings.ok("project", detail);
        if let Some(trap) = probe::worker_trap(probed) {
            findings.warning(
                "redis-py",
                trap,
                "in CHANNEL_LAYERS: \"hosts\": [{\"address\": \"redis://...\", \"socket_timeout\": None}], or pip install 'redis<8'",
            );
        }
    }
    for warning in &open.warnings {
        findings.warning(
            "layer",
            warning,
            "if it matters on our side too, say it in djangobot.toml: [layer] backend and config",
        );
    }
    match open.layer.ping().await {
        Ok(()) => findings.ok("layer", open.layer.describe()),
        Err(error) => findings.error(
            "layer",
            error.to_string(),
            Some("is the server running and reachable from here? Without one: djangobot layer, or TARGET embedded://".into()),
        ),
    }
    open.layer.close().await;
    if let Some(server) = open.embedded {
        server.shutdown().await;
    }
}

/// What to do about an error of Slack's, beyond its own sentence.
fn cure(error: &ApiError, settings: &Settings) -> String {
    match error.code() {
        "invalid_auth" | "not_authed" | "token_revoked" | "account_inactive" | "bad_token" => {
            "copy the Bot User OAuth Token anew from the app's OAuth & Permissions page into DJANGOBOT_TOKEN".into()
        }
        "not_allowed_token_type" => "RTM serves classic apps only; use the token of one".into(),
        "missing_scope" => "add the scope below OAuth & Permissions of the app, then install it to the workspace again".into(),
        "unreachable" | "interrupted" => {
            format!("can this machine reach {}? Behind a proxy, set HTTPS_PROXY", settings.slack.api_url)
        }
        _ => format!("see https://docs.slack.dev/reference/methods/{} for {}", error.method, error.code()),
    }
}

fn show(findings: &[Finding], as_json: bool) -> Result<(), Failure> {
    let text = if as_json {
        format!(
            "{}\n",
            serde_json::to_string_pretty(findings).map_err(Failure::plain)?
        )
    } else {
        findings.iter().map(line).collect()
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::plain)
}

fn line(finding: &Finding) -> String {
    let word = match finding.status {
        Status::Ok => "ok     ",
        Status::Warning => "WARNING",
        Status::Error => "ERROR  ",
    };
    let mut line = format!("{word}  {}: {}\n", finding.check, finding.detail);
    if let Some(cure) = &finding.cure {
        let cure = cure.replace('\n', "\n               ");
        line.push_str(&format!("         cure: {cure}\n"));
    }
    line
}
