//! Decides which log lines of plugins are written. They all have the target `plugin`, and a field with the plugin's
//! name, so that a filter can name a plugin like a crate: `--log info,resolve-names=debug`.

use std::collections::HashMap;

use djangobot_plugins::manifest;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// The target of all lines that plugins write.
pub(super) const TARGET: &str = "plugin";

/// The levels that a filter names.
#[derive(Clone, Debug)]
pub(super) struct PluginLevels {
    named: HashMap<String, LevelFilter>,
    /// The level of plugins that the filter does not name.
    others: LevelFilter,
}

impl PluginLevels {
    /// Reads the parts of a filter that concern plugins: a bare level, `plugin=LEVEL` and `NAME=LEVEL`. All other parts
    /// are about other targets.
    pub(super) fn of(filter: &str) -> Self {
        let mut named = HashMap::new();
        let (mut plain, mut plugins) = (None, None);
        for directive in filter.split(',').map(str::trim) {
            match directive.split_once('=') {
                None => plain = directive.parse().ok().or(plain),
                Some((TARGET, level)) => plugins = level.parse().ok().or(plugins),
                Some((name, level)) if manifest::is_name(name) => {
                    if let Ok(level) = level.parse() {
                        named.insert(name.to_owned(), level);
                    }
                }
                Some(_) => {}
            }
        }
        Self {
            named,
            others: plugins.or(plain).unwrap_or(LevelFilter::ERROR),
        }
    }

    /// The directive for the main filter: it must let all lines through that this one decides on.
    pub(super) fn directive(&self) -> String {
        let most = self.named.values().copied().fold(self.others, Ord::max);
        format!("{TARGET}={most}")
    }
}

impl<S: Subscriber> Filter<S> for PluginLevels {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() != TARGET {
            return true;
        }
        let mut level = LevelVisitor {
            levels: self,
            found: self.others,
        };
        event.record(&mut level);
        *metadata.level() <= level.found
    }
}

/// Finds the level of the plugin that a line names.
struct LevelVisitor<'a> {
    levels: &'a PluginLevels,
    found: LevelFilter,
}

impl Visit for LevelVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "plugin"
            && let Some(level) = self.levels.named.get(value)
        {
            self.found = *level;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::{Layer, SubscriberExt};

    use super::*;

    /// Collects the levels of the lines that are let through.
    #[derive(Clone, Default)]
    struct LevelLog(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for LevelLog {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0
                .lock()
                .unwrap()
                .push(event.metadata().level().to_string());
        }
    }

    #[test]
    fn a_plugin_is_filtered_by_its_name_and_all_by_theirs() {
        let check = |filter: &str, name: &str, expect: &[&str]| {
            let seen = LevelLog::default();
            let levels = PluginLevels::of(filter);
            let layer = seen.clone().with_filter(levels);
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                tracing::debug!(target: "plugin", plugin = name, "one");
                tracing::info!(target: "plugin", plugin = name, "two");
                tracing::warn!(target: "plugin", plugin = name, "three");
            });
            assert_eq!(*seen.0.lock().unwrap(), expect, "{filter} {name}");
        };
        check("info", "a", &["INFO", "WARN"]);
        check("debug", "a", &["DEBUG", "INFO", "WARN"]);
        check("info,a=debug", "a", &["DEBUG", "INFO", "WARN"]);
        check("info,a=debug", "b", &["INFO", "WARN"]);
        check("warn,plugin=info", "b", &["INFO", "WARN"]);
        check(
            "info,plugin=off,resolve-names=warn",
            "resolve-names",
            &["WARN"],
        );
        check("info,plugin=off,resolve-names=warn", "b", &[]);
        check("djangobot_slack=debug", "b", &[]);
    }

    #[test]
    fn the_filter_lets_through_the_most_that_is_asked_for() {
        let check = |filter, expect| assert_eq!(PluginLevels::of(filter).directive(), expect);
        check("info", "plugin=info");
        check("info,a=trace,b=warn", "plugin=trace");
        check("debug,plugin=warn", "plugin=warn");
    }
}
