//! From a TARGET to a channel layer: URLs are read, a project's own Python is asked, the embedded layer is started.

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

/// A channel layer, ready to be used.
pub(crate) struct OpenLayer {
    pub(crate) layer: Arc<dyn ChannelLayer>,
    /// What events look like on it.
    pub(crate) format: BodyFormat,
    /// The server that belongs to it, where the layer is inside this process.
    pub(crate) embedded: Option<EmbeddedServer>,
    /// What the project's Python said, where one was asked.
    pub(crate) probed: Option<ProjectLayer>,
    /// Options that were passed over, as sentences.
    pub(crate) warnings: Vec<String>,
    /// What the project's own classes do that happens in Python alone, as sentences.
    pub(crate) notes: Vec<String>,
}

/// Why there is no layer.
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

/// Refuses what can be no TARGET by its form alone: who writes a program's name is not helped by hearing of tokens first.
pub(crate) fn look_at_form(target: &Target) -> Result<(), TargetError> {
    match target {
        Target::Project { target, directory } => {
            look_at_target(target, directory).map_err(TargetError::from)
        }
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
            let server = EmbeddedServer::bind_with(config.listen, config.server_options()).await?;
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
        LayerConfig::Embedded(config) => LayerConfig::Redis(config.layer),
        config => config,
    };
    let layer = resolved.connect(config)?;
    Ok(resolved.opened(settings, layer, None))
}

/// What the embedded layer's server takes where it runs alone. Clients are compared where it is known what they should have.
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

/// CONFIG for the settings of a Django app on the embedded layer of `server`, in Python's words. Secrets are not shown.
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

/// What a TARGET turned out to name.
struct Resolved {
    config: LayerConfig,
    probed: Option<ProjectLayer>,
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
        let mut warnings = self.config.warnings().to_vec();
        if settings.password.is_some() && !matches!(self.config, LayerConfig::Embedded(_)) {
            warnings.push(
                "password-file is for the embedded layer and was passed over: this layer's server has its password in the \
                 URL or in the project's settings"
                    .into(),
            );
        }
        if self.probed.is_some() && !settings.config.is_null() {
            warnings.push(
                "config below [layer] was passed over: the project's own CHANNEL_LAYERS say how its layer is".into(),
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

async fn resolve(settings: &LayerSettings, target: &Target) -> Result<Resolved, TargetError> {
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
            if let (Ok(config), false) = (&mut config, probed.providers.is_empty()) {
                config.set_credentials(Credentials::new(target, options));
            }
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

fn read_urls(settings: &LayerSettings, urls: &[String]) -> Result<LayerConfig, ConfigError> {
    let mut config = LayerConfig::from_urls_with(urls, &settings.config)?;
    if let (LayerConfig::Embedded(config), Some(password)) = (&mut config, &settings.password) {
        config.set_password(password.expose_secret().to_owned());
    }
    Ok(config)
}

/// What should be known of classes that a layer's settings name.
fn notes(probed: &ProjectLayer) -> Vec<String> {
    let mut notes = Vec::new();
    if !probed.overrides.is_empty() {
        notes.push(format!(
            "{} is taken for {}, which it is made from; what it changes otherwise happens in Python alone: {}",
            probed.class,
            probed.backend,
            probed.overrides.join(", ")
        ));
    }
    if !probed.providers.is_empty() {
        notes.push(format!(
            "the server's user and password are what {} answered now; it is asked again when the server refuses them",
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
