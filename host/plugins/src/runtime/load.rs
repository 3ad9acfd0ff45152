//! Loading a plugin: its grants and its config are checked, its component is compiled, linked and rehearsed, and its
//! instances are started.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use djangobot_event::CleanText;
use semver::Version;
use wasmtime::component::Linker;

use crate::config::{Limits, PluginConfig};
use crate::digest::Digest;
use crate::grant::{self, Capability};
use crate::install::component::{Artifact, PinnedScript};
use crate::manifest::Manifest;
use crate::runtime::abi::v1;
use crate::runtime::compile::{CompileError, Compiler};
use crate::runtime::engine::Engine;
use crate::runtime::guest::Guest;
use crate::runtime::instance::{Instance, InstanceFactory};
use crate::runtime::owner::{Owner, Services};
use crate::runtime::plugin::{Plugin, PluginParts};
use crate::runtime::rehearsal::{Sample, replay};
use crate::runtime::wasi;
use crate::schema::{self, SchemaError};
use crate::services::http::Fetcher;
use crate::services::log::PluginLog;
use crate::services::meter::Meter;
use crate::services::roster::Roster;
use crate::services::secrets::Secrets;
use crate::services::slack::SlackApi;
use crate::services::store::{PluginStore, Store, StoreError};
use crate::verdict::Failure;

/// The number of instances of a plugin that makes requests over HTTP or calls of Slack, unless the operator sets it:
/// while one waits for an answer, the others serve.
const WAITING_INSTANCES: usize = 8;
/// The largest number of instances that the operator may set.
const MAX_INSTANCES: usize = 256;

/// The parts of a host that plugins are loaded with.
pub struct Parts {
    /// Runs the plugins.
    pub engine: Engine,
    /// Compiles the components.
    pub compiler: Compiler,
    /// Answers their questions about the team.
    pub roster: Arc<dyn Roster>,
    /// Keeps their data.
    pub store: Store,
    /// Makes their HTTP requests.
    pub http: Fetcher,
    /// Calls Slack's Web API for them.
    pub slack: Arc<dyn SlackApi>,
    /// The operator's secrets.
    pub secrets: Arc<Secrets>,
}

/// A plugin as it is configured, with the component that the lock pins.
#[derive(Clone, Debug)]
pub struct PluginSpec {
    /// The config as the operator wrote it.
    pub config: PluginConfig,
    /// The component's manifest.
    pub manifest: Manifest,
    /// The component's digest.
    pub digest: Digest,
    /// The digest of the sources that the component was built from, if the lock pins them too.
    pub sources: Option<Digest>,
    /// The file with the component.
    pub path: PathBuf,
    /// The config file, if the config comes from one. Mistakes are then reported with their lines.
    pub config_file: Option<PathBuf>,
    /// Whether it imports WASI's `poll`, by which it can wait for time to pass.
    pub may_sleep: bool,
    /// Whether it imports the roster.
    pub uses_roster: bool,
    /// The scripts, if it is a script plugin. The component is then that of its engine.
    pub script: Option<PinnedScript>,
    /// Why this is not the version that the lock pins: a clause.
    pub note: Option<String>,
    /// The version before, if this one has not passed its trial.
    pub before: Option<Box<PluginSpec>>,
}

/// Why a plugin can't be loaded: a clause that stands behind its name.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It asks for more than was granted.
    #[error("it asks for {}, which {} not granted: {}; to grant it: djangobot plugin update {name} --grant {}",
        list(.missing), if .missing.len() == 1 { "is" } else { "are" }, meanings(.missing), args(.missing))]
    NotGranted {
        /// The plugin's name.
        name: String,
        /// The capabilities that were not granted.
        missing: Vec<Capability>,
    },
    /// Its config does not fit its schema: clauses, with the lines of the config file where they are known.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
    /// Its config could not be checked.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// It could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Its imports or exports are not those of a plugin.
    #[error("it does not fit this host: {0}")]
    Link(CleanText),
    /// It did not start.
    #[error("it did not start: {0}")]
    Start(Failure),
    /// It started, and its `health` failed.
    #[error("its health check failed: {0}")]
    Health(Failure),
    /// It refused the state of the version before.
    #[error("it did not take the state of the version that serves: {0}")]
    Restore(Failure),
    /// It failed on an event on which the version before did not fail.
    #[error(
        "it failed on a recent event of type {kind} ({id}), on which the version that serves does not fail: {failure}"
    )]
    Rehearsal {
        /// The event's id.
        id: CleanText,
        /// The event's kind.
        kind: CleanText,
        /// The new version's failure.
        failure: Failure,
    },
    /// Its store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operator set a number of instances that is not allowed.
    #[error("instances must be from 1 to {MAX_INSTANCES}, not {0}")]
    Instances(usize),
}

impl PluginSpec {
    /// The digest of the component that is compiled: a script plugin's is that of its engine.
    fn code(&self) -> &Digest {
        let engine = self
            .script
            .as_ref()
            .and_then(|script| script.engine.as_ref());
        engine.unwrap_or(&self.digest)
    }

    /// The file with that component. All components of a state lie in one folder.
    fn code_path(&self) -> PathBuf {
        match self.code() == &self.digest {
            true => self.path.clone(),
            false => self.path.with_file_name(format!("{}.wasm", self.code())),
        }
    }

    /// What its `init` gets.
    fn init_text(&self, memory: usize) -> String {
        match &self.script {
            Some(pinned) => pinned.script.envelope(&self.config.config, memory),
            None => self.config.config.to_string(),
        }
    }

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
    /// Checks that its schema can be used, in a child that is started from `program`. The schema is tried on an empty
    /// config, whose problems don't matter here.
    ///
    /// # Errors
    /// The schema is not a JSON Schema, or takes too much.
    pub async fn check_schema(&self, program: &Path) -> Result<(), SchemaError> {
        let config = serde_json::json!({});
        let found = schema::check_in_child(program, &self.manifest, &config).await;
        found.map(|_| ())
    }
}

impl LoadError {
    /// The error for a plugin that asks for more than the operator granted; `None` for any other plugin.
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

/// A plugin that is compiled and linked, and not started yet.
pub(crate) struct Candidate {
    prepared: InstanceFactory,
    owner: Arc<Owner>,
    wanted: PluginSpec,
    may_wait: bool,
}

impl Parts {
    /// A plugin's store. Earlier versions of djangobot named stores by the plugin's name alone: such a store is taken
    /// over.
    fn store_of(&self, config: &PluginConfig, quota: u64) -> Result<PluginStore, LoadError> {
        let name = config.store_name();
        self.store.adopt(&config.name, &name)?;
        Ok(self.store.of(&name, quota)?)
    }

    /// Checks, compiles and links a plugin.
    pub(crate) async fn candidate(&self, wanted: PluginSpec) -> Result<Candidate, LoadError> {
        let PluginSpec {
            config, manifest, ..
        } = &wanted;
        // Cheap checks go first: compiling may take minutes, and nobody should wait for it to hear of a missing grant.
        if let Some(error) = LoadError::not_granted(config, manifest) {
            return Err(error);
        }
        wanted.check_config(self.compiler.program()).await?;
        let grants = manifest.granted(&config.grants);
        let http_grants: Vec<_> = grants
            .iter()
            .filter_map(|it| match it {
                Capability::Http(pattern) => Some(pattern.clone()),
                _ => None,
            })
            .collect();
        let calls_slack = grants
            .iter()
            .any(|it| matches!(it, Capability::SlackMethod(_)));
        let waits_for_answers = !http_grants.is_empty() || calls_slack;
        let may_wait = waits_for_answers || wanted.may_sleep;
        let instances = config.instances.unwrap_or(match waits_for_answers {
            true => WAITING_INSTANCES,
            false => 1,
        });
        if !(1..=MAX_INSTANCES).contains(&instances) {
            return Err(LoadError::Instances(instances));
        }
        let (path, digest) = (wanted.code_path(), wanted.code());
        let component = match wanted.script {
            Some(_) => self.compiler.shared(&self.engine, &path, digest).await?,
            None => self.compiler.component(&self.engine, &path, digest).await?,
        };
        let limits = Limits::of(&config.limits, &manifest.limits, may_wait);
        let store = grants.contains(&Capability::Store);
        // A disk may take any time, though it mostly takes none, so that these plugins too must hold up one
        // conversation at most. More instances they don't need.
        let asks_disk = store || grants.iter().any(|it| matches!(it, Capability::Secret(_)));
        let owner = Arc::new(Owner {
            name: config.name.clone(),
            instances: u32::try_from(instances).unwrap_or(u32::MAX),
            limits,
            config: wanted.init_text(limits.memory),
            log: Arc::new(PluginLog::new(&config.name, limits.log)),
            sends: Meter::new(u64::from(limits.sends)),
            slack_calls: Meter::new(u64::from(limits.slack_calls)),
            services: Services {
                roster: self.roster.clone(),
                store: match store {
                    true => Some(self.store_of(config, limits.store)?),
                    false => None,
                },
                http: self.http.clone(),
                slack: self.slack.clone(),
                secrets: self.secrets.clone(),
            },
            http_grants,
            manifest: manifest.clone(),
            grants,
        });
        let unfit = |error: wasmtime::Error| LoadError::Link(format!("{error:#}").into());
        let mut linker: Linker<Guest> = Linker::new(self.engine.wasmtime());
        wasi::link(&mut linker).map_err(unfit)?;
        v1::link(&mut linker).map_err(unfit)?;
        let linked = linker.instantiate_pre(&component).map_err(unfit)?;
        Ok(Candidate {
            prepared: InstanceFactory::new(self.engine.clone(), linked, owner.clone())
                .map_err(unfit)?,
            owner,
            may_wait: may_wait || asks_disk || manifest.defers,
            wanted,
        })
    }
}

impl Candidate {
    /// Tries the plugin with no effect outside: starts it, gives it the state of the version that serves, calls
    /// `health`, and shows it recent events. A failure on an event counts only if the version that serves does not fail
    /// on it as well.
    pub(crate) async fn rehearse(
        &self,
        state: Option<&[u8]>,
        samples: &[Sample],
        serving: Option<&Plugin>,
    ) -> Result<(), LoadError> {
        let mut instance = self
            .prepared
            .start_shadow()
            .await
            .map_err(LoadError::Start)?;
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
                // Neither version handles this event. The failure may have broken the instance, so a new one goes on.
                instance = self
                    .prepared
                    .start_shadow()
                    .await
                    .map_err(LoadError::Start)?;
                continue;
            }
            return Err(LoadError::Rehearsal {
                id: CleanText::new(&sample.event.id),
                kind: CleanText::new(&sample.event.kind),
                failure,
            });
        }
        Ok(())
    }

    /// Starts the instances that will get events.
    pub(crate) async fn start(&self) -> Result<Vec<Instance>, LoadError> {
        let mut instances = Vec::with_capacity(self.owner.instances as usize);
        for number in 0..self.owner.instances {
            instances.push(
                self.prepared
                    .start(number)
                    .await
                    .map_err(LoadError::Start)?,
            );
        }
        Ok(instances)
    }

    /// Makes the plugin out of the candidate and its started instances.
    pub(crate) fn into_plugin(self, instances: Vec<Instance>) -> Plugin {
        let parts = PluginParts {
            owner: self.owner,
            digest: self.wanted.digest,
            sources: self.wanted.sources,
            uses_roster: self.wanted.uses_roster,
            config: self.wanted.config,
            factory: self.prepared,
            may_wait: self.may_wait,
        };
        Plugin::new(parts, instances)
    }

    pub(crate) fn version(&self) -> &Version {
        &self.wanted.manifest.version
    }
}
