//! Opens the channel layer that a TARGET names: parses URLs, asks a project's own Python, or starts the embedded layer.

use std::path::PathBuf;
use std::sync::Arc;

use djangobot_channels::probe::{ProbeError, ProbeOptions, ProjectLayer, look_at_target, probe};
use djangobot_channels::{
    BindError, ChannelLayer, ConfigError, Credentials, EmbeddedServer, LayerConfig, ServerOptions,
};
use miette::Diagnostic;
use secrecy::ExposeSecret;
use thiserror::Error;

use crate::config::values::BodyFormat;
use crate::config::{LayerSettings, Target};
use crate::cure;

/// A channel layer that is ready for use.
pub(crate) struct OpenLayer {
    pub(crate) layer: Arc<dyn ChannelLayer>,
    /// The format of events on it.
    pub(crate) format: BodyFormat,
    /// The server of the embedded layer, which runs in this process.
    pub(crate) embedded: Option<EmbeddedServer>,
    /// The answer of the project's Python, if the TARGET is a project.
    pub(crate) probed: Option<ProjectLayer>,
    /// Sentences about options that are ignored.
    pub(crate) warnings: Vec<String>,
    /// Sentences about behaviour of the project's own classes that exists in Python alone.
    pub(crate) notes: Vec<String>,
}

/// The layer can't be opened.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum TargetError {
    #[error("{error}")]
    #[diagnostic(help("{help}"))]
    Probe { error: ProbeError, help: String },
    #[error("the channel layer of {place} can't be used: {error}")]
    #[diagnostic(help("{}", cure::of_config(error)))]
    Config { place: String, error: ConfigError },
    #[error(transparent)]
    #[diagnostic(help(
        "give another address: embedded://127.0.0.1:PORT; for other machines: embedded://0.0.0.0:PORT --password-file PATH"
    ))]
    Embedded(#[from] BindError),
    #[error("embedded:// does not say where the layer of the running bridge is")]
    #[diagnostic(help("give the address that the bridge logged at its start: redis://HOST:PORT"))]
    NoAddress,
}

/// Refuses a text that can't be a TARGET, by its form alone.
///
/// It is checked before the tokens: a user who misspelt a command would otherwise read about a missing token first.
pub(crate) fn look_at_form(target: &Target) -> Result<(), TargetError> {
    match target {
        Target::Project { target, directory } => {
            look_at_target(target, directory).map_err(TargetError::from)
        }
        Target::Urls(_) | Target::Inline { .. } => Ok(()),
    }
}

/// Opens the layer that `settings` name.
pub(crate) async fn open(
    settings: &LayerSettings,
    target: &Target,
) -> Result<OpenLayer, TargetError> {
    let resolved = resolve(settings, target).await?;
    let (layer, embedded) = match resolved.config.clone() {
        LayerConfig::Embedded(config) => {
            let server = EmbeddedServer::bind_with(config.listen, config.server_options()).await?;
            let layer = Arc::new(server.layer()) as Arc<dyn ChannelLayer>;
            (layer, Some(server))
        }
        config => (resolved.connect(config)?, None),
    };
    Ok(resolved.opened(settings, layer, embedded))
}

/// Opens the layer like [`open`], but for an embedded layer connects to the one that runs in another process.
pub(crate) async fn join(
    settings: &LayerSettings,
    target: &Target,
) -> Result<OpenLayer, TargetError> {
    let resolved = resolve(settings, target).await?;
    let config = match resolved.config.clone() {
        // Port 0 means any free port, so it does not say which one the bridge got.
        LayerConfig::Embedded(config) if config.listen.port() == 0 => {
            return Err(TargetError::NoAddress);
        }
        // Other processes reach the embedded layer over a socket, like a Redis.
        LayerConfig::Embedded(config) => LayerConfig::Redis(config.layer),
        config => config,
    };
    let layer = resolved.connect(config)?;
    Ok(resolved.opened(settings, layer, None))
}

/// The options of the embedded layer's server when it runs alone.
///
/// The settings of clients are compared only if the config file gives the project's CONFIG; without it, there is
/// nothing to compare them to.
pub(crate) fn embedded_options(
    settings: &LayerSettings,
    urls: &[String],
) -> Result<ServerOptions, TargetError> {
    let mut options = match read_urls(settings, urls) {
        Ok(LayerConfig::Embedded(config)) => {
            for warning in &config.layer.warnings {
                tracing::warn!("{warning}");
            }
            config.server_options()
        }
        Ok(_) => ServerOptions::default(),
        Err(error) => {
            let place = "the embedded layer".to_owned();
            return Err(TargetError::Config { place, error });
        }
    };
    if settings.config.is_null() {
        options.layer = None;
    }
    Ok(options)
}

/// Writes CONFIG for the settings of a Django app on the embedded layer of `server`, as Python source. Placeholders
/// stand for secrets.
pub(crate) fn django_config(settings: &LayerSettings, server: &EmbeddedServer) -> String {
    let address = server.addr();
    let password = if server.has_password() {
        ":PASSWORD@"
    } else {
        ""
    };
    let mut config = format!(
        "{{\"hosts\": [{{\"address\": \"redis://{password}{address}\", \"socket_timeout\": None}}]"
    );
    for (name, value) in settings.config.as_object().into_iter().flatten() {
        match name.as_str() {
            "hosts" => {}
            "symmetric_encryption_keys" => config.push_str(&format!(", {name:?}: [\"KEY\"]")),
            _ => config.push_str(&format!(", {name:?}: {value}")),
        }
    }
    config + "}"
}

/// The settings of the layer that a TARGET names.
struct ResolvedTarget {
    config: LayerConfig,
    probed: Option<ProjectLayer>,
    /// The place where the settings are written, for errors.
    place: String,
}

impl ResolvedTarget {
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
            // An app that still runs Channels 1 has consumers for the body of djangobot 0.1, from 2016.
            LayerConfig::AsgiRedis(_) => BodyFormat::V01,
            _ => BodyFormat::Flat,
        });
        let mut warnings = self.config.warnings().to_vec();
        if settings.password.is_some() && !matches!(self.config, LayerConfig::Embedded(_)) {
            warnings.push(
                "password-file is ignored, because it is for the embedded layer: put the password of this layer's server \
                 into the URL or into the project's settings"
                    .into(),
            );
        }
        if self.probed.is_some() && !settings.config.is_null() {
            warnings.push(
                "config below [layer] is ignored, because the TARGET is a project: its own CHANNEL_LAYERS count".into(),
            );
        }
        OpenLayer {
            layer,
            format,
            embedded,
            notes: self.probed.as_ref().map(notes).unwrap_or_default(),
            probed: self.probed,
            warnings,
        }
    }
}

async fn resolve(settings: &LayerSettings, target: &Target) -> Result<ResolvedTarget, TargetError> {
    let (config, probed, place) = match target {
        Target::Urls(urls) => (read_urls(settings, urls), None, "the TARGET".to_owned()),
        Target::Inline { backend, config } => (
            LayerConfig::from_settings(backend, config),
            None,
            "[layer] in the config file".to_owned(),
        ),
        Target::Project { target, directory } => {
            let options = options(settings, directory);
            let probed = probe(target, &options).await?;
            let mut config = LayerConfig::from_settings(&probed.backend, &probed.config);
            // A credential provider gives passwords that expire, so the project's Python must be asked again later.
            if let (Ok(config), false) = (&mut config, probed.providers.is_empty()) {
                config.set_credentials(Credentials::new(target, options));
            }
            (config, Some(probed), format!("{target} (CHANNEL_LAYERS)"))
        }
    };
    match config {
        Ok(config) => Ok(ResolvedTarget {
            config,
            probed,
            place,
        }),
        Err(error) => Err(TargetError::Config { place, error }),
    }
}

fn read_urls(settings: &LayerSettings, urls: &[String]) -> Result<LayerConfig, ConfigError> {
    let mut config = LayerConfig::from_urls_with(urls, &settings.config)?;
    if let (LayerConfig::Embedded(config), Some(password)) = (&mut config, &settings.password) {
        config.set_password(password.expose_secret().to_owned());
    }
    Ok(config)
}

/// Describes what djangobot can't do like the project's own classes.
fn notes(probed: &ProjectLayer) -> Vec<String> {
    let mut notes = Vec::new();
    if !probed.overrides.is_empty() {
        notes.push(format!(
            "{} is treated as {}, its base class; djangobot does not do what it overrides: {}",
            probed.class,
            probed.backend,
            probed.overrides.join(", ")
        ));
    }
    if !probed.providers.is_empty() {
        notes.push(format!(
            "the server's user and password come from {}, which is asked again when the server refuses them",
            probed.providers.join(" and ")
        ));
    }
    notes
}

fn options(settings: &LayerSettings, directory: &std::path::Path) -> ProbeOptions {
    let here = PathBuf::from(".");
    ProbeOptions {
        python: settings.python.clone(),
        directory: if directory.as_os_str().is_empty() {
            here
        } else {
            directory.to_owned()
        },
        timeout: settings.import_timeout,
        alias: settings.alias.clone(),
    }
}

impl From<ProbeError> for TargetError {
    fn from(error: ProbeError) -> Self {
        Self::Probe {
            help: error.help(),
            error,
        }
    }
}
