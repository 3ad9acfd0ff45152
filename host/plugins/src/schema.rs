//! Checks a plugin's config against the schema in its manifest, before the plugin sees it.

mod child;
mod problem;

use serde_json::Value;

use crate::manifest::Manifest;

pub(crate) use self::child::check as check_in_child;
pub use self::child::{SUBCOMMAND, SchemaError, child};
pub use self::problem::ConfigProblem;
use self::problem::{problems, without_schema};

/// Checks `config` in this process and returns its problems. The schema decides how long that takes, so the host has a
/// child do it (`check_in_child`).
///
/// # Errors
/// The manifest's schema is not a JSON Schema.
pub fn check(manifest: &Manifest, config: &Value) -> Result<Vec<ConfigProblem>, String> {
    match &manifest.config_schema {
        Some(schema) => problems(schema, config),
        None => Ok(without_schema(config)),
    }
}

/// The line of `text`, a `djangobot.toml`, that has the config value at `pointer` of plugin `name`; where there is
/// none, the line of the nearest value above it. Lines count from 1.
pub fn line_of(text: &str, name: &str, pointer: &str) -> Option<usize> {
    let document = toml_edit::Document::parse(text).ok()?;
    let plugins = document.get("plugin")?.as_array_of_tables()?;
    let plugin = plugins
        .iter()
        .find(|plugin| plugin.get("name").and_then(toml_edit::Item::as_str) == Some(name))?;
    let mut span = plugin.span();
    let mut item = plugin.get("config");
    if let Some(found) = item.and_then(toml_edit::Item::span) {
        span = Some(found);
    }
    for token in pointer.split('/').skip(1) {
        item = item.and_then(|item| match token.parse::<usize>() {
            Ok(index) => item.get(index),
            Err(_) => item.get(token),
        });
        match item.and_then(toml_edit::Item::span) {
            Some(found) => span = Some(found),
            None => break,
        }
    }
    let start = span?.start;
    Some(text.get(..start)?.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(schema: &str) -> Manifest {
        Manifest::parse(&format!("name = \"a\"\nversion = \"1.0.0\"\n{schema}")).unwrap()
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_with_its_key() {
        let manifest = manifest(
            "[config-schema]\nadditionalProperties = false\n[config-schema.properties]\nstyle = { enum = [\"a\", \"b\"] }\nfields = { type = \"array\", items = { type = \"string\" } }",
        );
        let check = |config: serde_json::Value, expect: &[&str]| {
            let found: Vec<String> = check(&manifest, &config)
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found.len(), expect.len(), "{found:?}");
            for (found, expect) in found.iter().zip(expect) {
                assert!(found.contains(expect), "{found} / {expect}");
            }
        };
        check(json!({"style": "a"}), &[]);
        check(json!({"style": "c"}), &["config.style: "]);
        check(json!({"fields": ["x", 5]}), &["config.fields.1: "]);
        check(json!({"stlye": "a"}), &["stlye"]);
    }

    #[test]
    fn a_schema_refers_to_its_own_parts_only() {
        for target in ["http://127.0.0.1:9/schema.json", "file:///etc/hosts"] {
            let manifest = manifest(&format!("config-schema = {{ \"$ref\" = \"{target}\" }}"));
            let refused = check(&manifest, &json!({})).unwrap_err();
            assert!(
                refused.ends_with("may refer only to its own parts, such as \"#/$defs/name\""),
                "{refused}"
            );
        }
        let own = manifest(
            "[config-schema]\n\"$ref\" = \"#/$defs/a\"\n[config-schema.\"$defs\".a]\ntype = \"object\"",
        );
        assert_eq!(check(&own, &json!({})), Ok(Vec::new()));
    }

    #[test]
    fn without_a_schema_there_is_no_config() {
        let manifest = manifest("");
        assert_eq!(check(&manifest, &json!({})), Ok(Vec::new()));
        assert_eq!(check(&manifest, &json!({"a": 1})).unwrap().len(), 1);
    }

    #[test]
    fn the_line_of_a_value_is_found() {
        let text = "listen = \"127.0.0.1:1\"\n\n[[plugin]]\nname = \"a\"\n\n[[plugin]]\nname = \"b\"\n[plugin.config]\nstyle = \"c\"\nfields = [\n  \"x\",\n  5,\n]\n";
        assert_eq!(line_of(text, "b", "/style"), Some(9));
        assert_eq!(line_of(text, "b", "/fields/1"), Some(12));
        assert_eq!(line_of(text, "b", "/absent"), Some(8));
        assert_eq!(line_of(text, "a", ""), Some(3));
        assert_eq!(line_of(text, "c", ""), None);
    }
}
