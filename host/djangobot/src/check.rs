//! `djangobot check`: looks for problems of a set-up, and prints each with its cure.

mod scopes;
mod slack;

use std::io::Write;
use std::path::Path;

use djangobot_channels::{ChannelLayer, ChannelName, probe};
use djangobot_event::CleanText;
use djangobot_plugins::{Components, LoadError, PluginSpec, ResolveError, own_program};
use serde::Serialize;

use crate::cli::{CheckArgs, RunArgs};
use crate::config::Settings;
use crate::config::values::LogFormat;
use crate::cure;
use crate::failure::Failure;
use crate::state::{State, StateError};
use crate::telemetry::Terminal;
use crate::{plugins, run, target};

/// The result of one check.
#[derive(Debug, Serialize)]
struct Finding {
    /// The part of the set-up that was checked.
    check: &'static str,
    status: Severity,
    /// The fact.
    detail: String,
    /// The cure of a problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
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
            status: Severity::Ok,
            detail: detail.into(),
            cure: None,
        });
    }

    fn warning(&mut self, check: &'static str, detail: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Finding {
            check,
            status: Severity::Warning,
            detail: detail.into(),
            cure: Some(cure.into()),
        });
    }

    fn error(&mut self, check: &'static str, detail: impl Into<String>, cure: Option<String>) {
        self.0.push(Finding {
            check,
            status: Severity::Error,
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

/// Runs all checks. Fails if a problem would keep the bridge from working.
pub(crate) async fn check(
    args: CheckArgs,
    exposed_secrets: &[&str],
    terminal: Terminal,
) -> Result<(), Failure> {
    let RunArgs {
        target,
        slack,
        host,
        ..
    } = &args.run;
    let mut settings = Settings::read(target, slack, host).map_err(Failure::usage)?;
    // The findings are the output; a log is shown only to a person who asks for it.
    let log = host.files.log.log.as_deref().unwrap_or("error");
    terminal
        .start_logs(log, settings.log_format.or(Some(LogFormat::Human)))
        .map_err(Failure::usage)?;

    let mut findings = Findings::default();
    match &settings.file {
        Some(file) => findings.ok("config", format!("{} was read", file.display())),
        None => findings.ok(
            "config",
            format!(
                "there is no {}; flags and the environment are the only settings",
                crate::config::CONFIG_FILE
            ),
        ),
    }
    for option in exposed_secrets {
        let exposure = run::exposure(option);
        let (detail, cure) = exposure.split_once(": ").unwrap_or((&exposure, ""));
        findings.warning("command line", detail, cure);
    }
    look_at_state(&mut settings, &mut findings);
    look_at_plugins(&settings, &mut findings).await;
    // The name of the lease comes from Slack's answer about the bot, and the layer is then asked who has the lease.
    let mut lease = None;
    slack::look(&settings, &mut findings, &mut lease).await;
    look_at_layer(&settings, &mut findings, lease).await;
    show(&findings.0, args.json)?;
    match findings
        .0
        .iter()
        .filter(|finding| finding.status == Severity::Error)
        .count()
    {
        0 => Ok(()),
        errors => Err(Failure::plain(std::io::Error::other(format!(
            "{errors} of {} checks failed",
            findings.0.len()
        )))),
    }
}

fn look_at_state(settings: &mut Settings, findings: &mut Findings) {
    if let Err(error) = settings.open_state() {
        return findings.diagnostic("state", &error);
    }
    let folder = settings.state_dir.display();
    match State::open(&settings.state_dir) {
        Ok(state) => match state.dead_letter_count() {
            Ok(0) => findings.ok("state", format!("{folder} can be used")),
            Ok(letters) => findings.ok(
                "state",
                format!("{folder} can be used; it has {letters} dead letters, which djangobot dead-letters list shows"),
            ),
            Err(error) => findings.diagnostic("state", &error),
        },
        Err(StateError::InUse { .. }) => findings.ok(
            "state",
            format!("a running djangobot is using {folder}"),
        ),
        Err(error) => findings.diagnostic("state", &error),
    }
}

/// Checks whether each plugin can be loaded, as far as that is known without running it.
async fn look_at_plugins(settings: &Settings, findings: &mut Findings) {
    const CHECK: &str = "plugins";
    let components = Components::of(&settings.plugin_host.components_dir);
    let wanted = plugins::resolve_now(settings.config_file(), &components, &settings.plugins).await;
    let program = match own_program() {
        Ok(program) => program,
        Err(error) => return findings.error(CHECK, error.to_string(), None),
    };
    for wanted in wanted {
        match wanted {
            Ok(wanted) => match can_be_loaded(&wanted, &program).await {
                Ok(()) => findings.ok(
                    CHECK,
                    format!(
                        "{} {} can be loaded",
                        wanted.config.name, wanted.manifest.version
                    ),
                ),
                Err(error) => {
                    findings.error(CHECK, format!("{}: {error}", wanted.config.name), None)
                }
            },
            Err(ResolveError { config, .. }) if !config.enabled => {
                findings.ok(CHECK, format!("{} is disabled", config.name));
            }
            Err(ResolveError { config, why }) => {
                findings.error(CHECK, format!("{}: {why}", config.name), None)
            }
        }
    }
}

async fn can_be_loaded(wanted: &PluginSpec, program: &Path) -> Result<(), LoadError> {
    match LoadError::not_granted(&wanted.config, &wanted.manifest) {
        Some(error) => Err(error),
        None => wanted.check_config(program).await,
    }
}

/// Channels that most apps read. They are tried, because another program may use their keys for other data.
const COMMON: [&str; 3] = ["slack.message", "slack.app_mention", "slack.hello"];

async fn look_at_layer(settings: &Settings, findings: &mut Findings, lease: Option<String>) {
    let target = match settings.layer.target() {
        Ok(target) => target,
        Err(error) => return findings.diagnostic("layer", &error),
    };
    let open = match target::open(&settings.layer, &target).await {
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
            "if the option matters to djangobot too, describe the layer in djangobot.toml: [layer] backend and config",
        );
    }
    for note in &open.notes {
        findings.warning(
            "project",
            note,
            "nothing has to be done if messages on the layer keep the known class's keys and format",
        );
    }
    let channels = std::iter::once(&*settings.layer.send_channel).chain(COMMON);
    let channels: Vec<_> = channels
        .filter_map(|name| ChannelName::new(name).ok())
        .collect();
    match open.layer.rehearse(&channels).await {
        Ok(()) => findings.ok("layer", open.layer.describe()),
        Err(error) => {
            findings.error("layer", error.to_string(), Some(cure::of_layer(&error)));
        }
    }
    if let Some(name) = lease {
        look_at_lease(&*open.layer, &name, findings).await;
    }
    open.layer.close().await;
    if let Some(server) = open.embedded {
        server.shutdown().await;
    }
}

/// Looks up the host that serves the app. If the layer can't be asked, the check of the layer has reported that.
async fn look_at_lease(layer: &dyn ChannelLayer, name: &str, findings: &mut Findings) {
    match layer.lease(name).await {
        Ok(Some(lease)) => findings.ok(
            "host",
            format!(
                "the host {} serves this app; another one would stand by",
                lease.holder
            ),
        ),
        Ok(None) => findings.ok("host", "no host serves this app at the moment"),
        Err(_) => {}
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
        .write_all(CleanText::json(&text).as_bytes())
        .map_err(Failure::plain)
}

/// The longest detail that is shown, in bytes.
const MAX_DETAIL: usize = 2_000;

fn line(finding: &Finding) -> String {
    let word = match finding.status {
        Severity::Ok => "ok     ",
        Severity::Warning => "WARNING",
        Severity::Error => "ERROR  ",
    };
    // The detail quotes Slack, servers and plugins, whose texts must not control the terminal.
    let detail = CleanText::within(&finding.detail, MAX_DETAIL);
    let mut line = format!("{word}  {}: {detail}\n", finding.check);
    if let Some(cure) = &finding.cure {
        let cure = CleanText::lines(cure).replace('\n', "\n               ");
        line.push_str(&format!("         cure: {cure}\n"));
    }
    line
}
