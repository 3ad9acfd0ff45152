//! From a TARGET to a channel layer: URLs are read, a project's own Python is asked, the embedded layer is started.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use djangobot_channels::probe::{ProbeError, ProbeOptions, Probed, probe};
use djangobot_channels::{BindError, ChannelLayer, ConfigError, EmbeddedServer, LayerConfig};
use miette::Diagnostic;
use thiserror::Error;

use crate::cli::BodyFormat;
use crate::config::{LayerSettings, Target};

/// How long a project's Python may take to import it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// A channel layer, ready to be used.
pub(crate) struct OpenLayer {
    pub(crate) layer: Arc<dyn ChannelLayer>,
    /// What events look like on it.
    pub(crate) format: BodyFormat,
    /// The server that belongs to it, where the layer is inside this process.
    pub(crate) embedded: Option<EmbeddedServer>,
    /// What the project's Python said, where one was asked.
    pub(crate) probed: Option<Probed>,
    /// Options that were passed over, as sentences.
    pub(crate) warnings: Vec<String>,
}

/// Why there is no layer.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum TargetError {
    #[error("{error}")]
    #[diagnostic(help("{help}"))]
    Probe { error: ProbeError, help: String },
    #[error("the channel layer of {place} can't be used: {error}")]
    #[diagnostic(help("djangobot check tells more about a set-up"))]
    Config { place: String, error: ConfigError },
    #[error(transparent)]
    #[diagnostic(help("give another address: embedded://127.0.0.1:PORT"))]
    Embedded(#[from] BindError),
    #[error("{0:?} is neither a command nor a module")]
    #[diagnostic(help("did you mean `djangobot {1}`? djangobot --help shows all commands"))]
    Misspelt(String, &'static str),
    #[error("embedded:// does not say where the layer of the running bridge is")]
    #[diagnostic(help("give the address that the bridge logged at its start: redis://HOST:PORT"))]
    NoAddress,
}

/// Refuses a TARGET that can only be a command, misspelt.
pub(crate) fn refuse_misspelt(target: &Target) -> Result<(), TargetError> {
    match target {
        Target::Project { target, .. } => match misspelt(target) {
            Some(command) => Err(TargetError::Misspelt(target.clone(), command)),
            None => Ok(()),
        },
        Target::Urls(_) | Target::Inline { .. } => Ok(()),
    }
}

/// Makes the layer that `settings` name.
pub(crate) async fn open(
    settings: &LayerSettings,
    target: &Target,
) -> Result<OpenLayer, TargetError> {
    let resolved = resolve(settings, target).await?;
    let (layer, embedded) = match resolved.config.clone() {
        LayerConfig::Embedded(config) => {
            let server = EmbeddedServer::bind(config.listen).await?;
            let layer = Arc::new(server.layer()) as Arc<dyn ChannelLayer>;
            (layer, Some(server))
        }
        config => (resolved.connect(config)?, None),
    };
    Ok(resolved.opened(settings, layer, embedded))
}

/// As [`open`], but a TARGET of the embedded layer means the one that runs already, in another process.
pub(crate) async fn join(
    settings: &LayerSettings,
    target: &Target,
) -> Result<OpenLayer, TargetError> {
    let resolved = resolve(settings, target).await?;
    let config = match resolved.config.clone() {
        LayerConfig::Embedded(config) if config.listen.port() == 0 => {
            return Err(TargetError::NoAddress);
        }
        LayerConfig::Embedded(config) => {
            LayerConfig::from_urls(&[format!("redis://{}", config.listen)])
                .map_err(|error| resolved.unusable(error))?
        }
        config => config,
    };
    let layer = resolved.connect(config)?;
    Ok(resolved.opened(settings, layer, None))
}

/// What a TARGET turned out to name.
struct Resolved {
    config: LayerConfig,
    probed: Option<Probed>,
    /// Where it is written, for errors.
    place: String,
}

impl Resolved {
    fn connect(&self, config: LayerConfig) -> Result<Arc<dyn ChannelLayer>, TargetError> {
        djangobot_channels::open(config).map_err(|error| self.unusable(error))
    }

    fn unusable(&self, error: ConfigError) -> TargetError {
        TargetError::Config {
            place: self.place.clone(),
            error,
        }
    }

    fn opened(
        self,
        settings: &LayerSettings,
        layer: Arc<dyn ChannelLayer>,
        embedded: Option<EmbeddedServer>,
    ) -> OpenLayer {
        let format = settings.format.unwrap_or(match self.config {
            // Who still runs Channels 1 has consumers written for the body of 2016.
            LayerConfig::AsgiRedis(_) => BodyFormat::V01,
            _ => BodyFormat::Flat,
        });
        OpenLayer {
            layer,
            format,
            embedded,
            probed: self.probed,
            warnings: self.config.warnings().to_vec(),
        }
    }
}

async fn resolve(settings: &LayerSettings, target: &Target) -> Result<Resolved, TargetError> {
    refuse_misspelt(target)?;
    let (config, probed, place) = match target {
        Target::Urls(urls) => (LayerConfig::from_urls(urls), None, "the TARGET".to_owned()),
        Target::Inline { backend, config } => (
            LayerConfig::from_settings(backend, config),
            None,
            "[layer] in the config file".to_owned(),
        ),
        Target::Project { target, directory } => {
            let probed = ask(settings, target, directory).await?;
            let config = LayerConfig::from_settings(&probed.backend, &probed.config);
            (config, Some(probed), format!("{target} (CHANNEL_LAYERS)"))
        }
    };
    match config {
        Ok(config) => Ok(Resolved {
            config,
            probed,
            place,
        }),
        Err(error) => Err(TargetError::Config { place, error }),
    }
}

async fn ask(
    settings: &LayerSettings,
    target: &str,
    directory: &std::path::Path,
) -> Result<Probed, TargetError> {
    let here = PathBuf::from(".");
    let options = ProbeOptions {
        python: settings.python.clone(),
        directory: if directory.as_os_str().is_empty() {
            here
        } else {
            directory.to_owned()
        },
        timeout: PROBE_TIMEOUT,
        alias: settings.alias.clone(),
    };
    probe(target, &options)
        .await
        .map_err(|error| TargetError::Probe {
            help: error.help(),
            error,
        })
}

/// The command that was meant, where a TARGET looks like none: a lone word, near to a command's name.
fn misspelt(target: &str) -> Option<&'static str> {
    const COMMANDS: &[&str] = &[
        "run",
        "dev",
        "check",
        "dead-letters",
        "local-slack",
        "layer",
        "completions",
        "help",
    ];
    if target.contains(['.', ':', '/']) {
        return None;
    }
    COMMANDS
        .iter()
        .copied()
        .find(|command| strsim::damerau_levenshtein(target, command) <= 2)
}

#[cfg(test)]
mod tests {
    use super::misspelt;

    #[test]
    fn a_misspelt_command_is_told_from_a_module() {
        assert_eq!(misspelt("chekc"), Some("check"));
        assert_eq!(misspelt("local-slac"), Some("local-slack"));
        assert_eq!(misspelt("myapp.asgi:channel_layer"), None);
        assert_eq!(misspelt("settings"), None);
    }
}
