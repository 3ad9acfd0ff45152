//! From what the operator wants to a plugin that events may meet: grants, config, compiled, linked, tried.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use djangobot_event::CleanText;
use semver::Version;
use wasmtime::component::Linker;

use crate::config::{Limits, PluginConfig};
use crate::digest::Digest;
use crate::grant::{self, Capability};
use crate::install::component::Artifact;
use crate::manifest::Manifest;
use crate::runtime::abi::v1;
use crate::runtime::compile::{CompileError, Compiler};
use crate::runtime::engine::Engine;
use crate::runtime::guest::Guest;
use crate::runtime::instance::{Instance, Prepared};
use crate::runtime::owner::{Owner, Services};
use crate::runtime::plugin::Plugin;
use crate::runtime::rehearsal::{Sample, replay};
use crate::runtime::wasi;
use crate::schema::{self, SchemaError};
use crate::services::http::Fetcher;
use crate::services::log::PluginLog;
use crate::services::meter::Meter;
use crate::services::roster::Roster;
use crate::services::secrets::Secrets;
use crate::services::store::{PluginStore, Store, StoreError};
use crate::verdict::Failure;

/// Instances of a plugin that may wait for others, unless the operator says how many.
const WAITING_INSTANCES: usize = 8;
/// The most that the operator may say.
const MAX_INSTANCES: usize = 256;

/// What plugins are loaded with.
pub struct Parts {
    /// Runs them.
    pub engine: Engine,
    /// Compiles them.
    pub compiler: Compiler,
    /// What they are told of the team.
    pub roster: Arc<dyn Roster>,
    /// Where they keep what must last.
    pub store: Store,
    /// Calls other hosts for them.
    pub http: Fetcher,
    /// What the operator lets them know.
    pub secrets: Arc<Secrets>,
}

/// A plugin as the operator wants it, and the component that the lock pins.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// As the operator wrote it.
    pub config: PluginConfig,
    /// What the component says of itself.
    pub manifest: Manifest,
    /// Of the component.
    pub digest: Digest,
    /// Of what the component was built from, where the lock pins that, too.
    pub sources: Option<Digest>,
    /// The file that holds the component.
    pub path: PathBuf,
    /// The config file, if there is one that holds its config.
    pub config_file: Option<PathBuf>,
    /// Its imports let it wait: for time to pass, by WASI.
    pub may_sleep: bool,
    /// It imports the roster.
    pub uses_roster: bool,
    /// Why it is not what was asked for: a sentence.
    pub note: Option<String>,
    /// The version before, where this one is not past its trial.
    pub before: Option<Box<Wanted>>,
}

/// Why a plugin can't be loaded. Shown behind its name.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It asks for more than was granted.
    #[error("it asks for {}, which {} not granted: {}; to grant it: djangobot plugin update {name} --grant {}",
        list(.missing), if .missing.len() == 1 { "is" } else { "are" }, meanings(.missing), args(.missing))]
    NotGranted {
        /// Which plugin.
        name: String,
        /// What of it.
        missing: Vec<Capability>,
    },
    /// Its config does not fit its schema: sentences, with the lines of the config file where they are known.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
    /// Whether its config fits is not known.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// It has no machine code.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Its imports or exports are not those of a plugin.
    #[error("it does not fit this host: {0}")]
    Link(CleanText),
    /// It did not start.
    #[error("it did not start: {0}")]
    Start(Failure),
    /// It started, and said that it is not well.
    #[error("it says that it is not well: {0}")]
    Health(Failure),
    /// It did not take the state of the version before.
    #[error("it did not take the state of the version that serves: {0}")]
    Restore(Failure),
    /// It failed on an event that the version before did well on.
    #[error(
        "it failed on a recent event of type {kind} ({id}), on which the version that serves did not: {failure}"
    )]
    Rehearsal {
        /// The event.
        id: CleanText,
        /// The event's.
        kind: CleanText,
        /// How.
        failure: Failure,
    },
    /// Its store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Waiting for its instances.
    #[error("instances must be from 1 to {MAX_INSTANCES}, not {0}")]
    Instances(usize),
}

impl Wanted {
    /// Checks its config against its schema, in a child that is started from `program`.
    ///
    /// # Errors
    /// [`LoadError::Config`] or [`LoadError::Schema`].
    pub async fn check_config(&self, program: &Path) -> Result<(), LoadError> {
        let config = &self.config.config;
        let problems = schema::check_in_child(program, &self.manifest, config).await?;
        if problems.is_empty() {
            return Ok(());
        }
        let file = self.config_file.as_ref();
        let text = file.and_then(|path| std::fs::read_to_string(path).ok());
        let sentences = problems.iter().map(|problem| {
            let text = text.as_deref().unwrap_or_default();
            let line = schema::line_of(text, &self.config.name, &problem.pointer);
            match (file, line) {
                (Some(path), Some(line)) => format!("{} line {line}: {problem}", path.display()),
                _ => problem.to_string(),
            }
        });
        Err(LoadError::Config(sentences.collect()))
    }
}

impl Artifact {
    /// Checks that its schema is one which can be used, in a child that is started from `program`: on an empty config, of
    /// which it may say what it wants.
    ///
    /// # Errors
    /// It is none, or takes too much.
    pub async fn check_schema(&self, program: &Path) -> Result<(), SchemaError> {
        let config = serde_json::json!({});
        let found = schema::check_in_child(program, &self.manifest, &config).await;
        found.map(|_| ())
    }
}

impl LoadError {
    /// That a plugin asks for more than the operator granted, where it does.
    pub fn not_granted(config: &PluginConfig, manifest: &Manifest) -> Option<Self> {
        let missing = grant::missing(&manifest.capabilities, &config.grants);
        (!missing.is_empty()).then(|| Self::NotGranted {
            name: config.name.clone(),
            missing: missing.into_iter().cloned().collect(),
        })
    }
}

fn list(missing: &[Capability]) -> String {
    missing
        .iter()
        .map(|it| format!("`{it}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn meanings(missing: &[Capability]) -> String {
    missing
        .iter()
        .map(|it| format!("{it} lets it {}", it.meaning()))
        .collect::<Vec<_>>()
        .join(", ")
}

fn args(missing: &[Capability]) -> String {
    missing
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" --grant ")
}

/// A plugin on trial: linked, and not started yet.
pub(crate) struct Candidate {
    prepared: Prepared,
    owner: Arc<Owner>,
    wanted: Wanted,
    may_wait: bool,
    instances: usize,
}

impl Parts {
    /// A plugin's store. One that was made when stores were known by the plugin's name alone is its own.
    fn store_of(&self, config: &PluginConfig, quota: u64) -> Result<PluginStore, LoadError> {
        let name = config.store_name();
        self.store.adopt(&config.name, &name)?;
        Ok(self.store.of(&name, quota)?)
    }

    /// Checks, compiles and links what is wanted.
    pub(crate) async fn candidate(&self, wanted: Wanted) -> Result<Candidate, LoadError> {
        let Wanted {
            config, manifest, ..
        } = &wanted;
        if let Some(error) = LoadError::not_granted(config, manifest) {
            return Err(error);
        }
        wanted.check_config(self.compiler.program()).await?;
        // What was granted and not asked for is not given either.
        let grants = manifest.capabilities.clone();
        let http_grants: Vec<_> = grants
            .iter()
            .filter_map(|it| match it {
                Capability::Http(pattern) => Some(pattern.clone()),
                _ => None,
            })
            .collect();
        let may_wait = !http_grants.is_empty() || wanted.may_sleep;
        let instances = config.instances.unwrap_or(if http_grants.is_empty() {
            1
        } else {
            WAITING_INSTANCES
        });
        if !(1..=MAX_INSTANCES).contains(&instances) {
            return Err(LoadError::Instances(instances));
        }
        let component = self
            .compiler
            .component(&self.engine, &wanted.path, &wanted.digest)
            .await?;
        let limits = Limits::of(&config.limits, &manifest.limits, may_wait);
        let store = grants.contains(&Capability::Store);
        // A disk answers when it will, though mostly at once: what it keeps waiting is one conversation.
        let asks_disk = store || grants.iter().any(|it| matches!(it, Capability::Secret(_)));
        let owner = Arc::new(Owner {
            limits,
            config: config.config.to_string(),
            log: Arc::new(PluginLog::new(&config.name, limits.log)),
            sends: Meter::new(u64::from(limits.sends)),
            services: Services {
                roster: self.roster.clone(),
                store: match store {
                    true => Some(self.store_of(config, limits.store)?),
                    false => None,
                },
                http: self.http.clone(),
                secrets: self.secrets.clone(),
            },
            http_grants,
            manifest: manifest.clone(),
            grants,
        });
        let unfit = |error: wasmtime::Error| LoadError::Link(format!("{error:#}").into());
        let mut linker: Linker<Guest> = Linker::new(self.engine.wasmtime());
        wasi::link(&mut linker).map_err(unfit)?;
        v1::link(&mut linker, &owner.grants).map_err(unfit)?;
        let linked = linker.instantiate_pre(&component).map_err(unfit)?;
        Ok(Candidate {
            prepared: Prepared::new(self.engine.clone(), linked, owner.clone()).map_err(unfit)?,
            owner,
            wanted,
            may_wait: may_wait || asks_disk,
            instances,
        })
    }
}

impl Candidate {
    /// Tries the plugin where nobody sees it: starts it, gives it the state of the one that serves, asks how it is, and
    /// shows it the events of late. One that fails on an event is refused only where the one that serves does not.
    pub(crate) async fn rehearse(
        &self,
        state: Option<&[u8]>,
        samples: &[Sample],
        serving: Option<&Plugin>,
    ) -> Result<(), LoadError> {
        let mut instance = self.prepared.start(true).await.map_err(LoadError::Start)?;
        if let Some(state) = state {
            instance.restore(state).await.map_err(LoadError::Restore)?;
        }
        instance.health().await.map_err(LoadError::Health)?;
        let Some(serving) = serving else {
            return Ok(());
        };
        for sample in samples {
            let Some(failure) = replay(&mut instance, &self.owner, sample).await else {
                continue;
            };
            if serving.fails_on(sample).await {
                // Neither can do this one; a fresh instance goes on with the next.
                instance = self.prepared.start(true).await.map_err(LoadError::Start)?;
                continue;
            }
            return Err(LoadError::Rehearsal {
                id: CleanText::new(&sample.passing.id),
                kind: CleanText::new(&sample.passing.kind),
                failure,
            });
        }
        Ok(())
    }

    /// Starts the instances that events will meet.
    pub(crate) async fn start(&self) -> Result<Vec<Instance>, LoadError> {
        let mut instances = Vec::with_capacity(self.instances);
        for _ in 0..self.instances {
            instances.push(self.prepared.start(false).await.map_err(LoadError::Start)?);
        }
        Ok(instances)
    }

    /// The plugin, with the instances that were started for it.
    pub(crate) fn into_plugin(self, instances: Vec<Instance>) -> Plugin {
        let Self {
            prepared,
            owner,
            wanted,
            may_wait,
            ..
        } = self;
        Plugin::new(
            owner,
            wanted.config,
            (wanted.digest, wanted.sources),
            prepared,
            (may_wait, wanted.uses_roster),
            instances,
        )
    }

    pub(crate) fn version(&self) -> &Version {
        &self.wanted.manifest.version
    }
}
