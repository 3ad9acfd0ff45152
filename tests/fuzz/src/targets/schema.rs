//! A plugin's config against the schema of its manifest: the keys of `config-schema` in TOML, a zero byte, and the config
//! in JSON.

use djangobot_plugins::{Manifest, schema};
use serde_json::Value;

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "schema",
    check,
    seeds,
    words: &[
        "type = \"object\"\n",
        "type = [\"string\", \"null\"]\n",
        "additionalProperties = false\n",
        "required = [\"a\"]\n",
        "[config-schema.properties.a]\n",
        "items = { ",
        "pattern = \"^a+$\"",
        "format = \"uri\"",
        "minimum = 1",
        "\"$ref\" = \"#/properties/a\"",
        "enum = [",
        "oneOf = [",
        "propertyNames = {",
        "{\"a\":",
        "[1,\"x\",null]",
    ],
    longest: 512,
};

fn seeds() -> Vec<Vec<u8>> {
    pieces::texts([
        "additionalProperties = false\n[config-schema.properties]\nstyle = { enum = [\"a\", \"b\"] }\nfields = { type = \"array\", items = { type = \"string\" } }\n\0{\"style\":\"c\",\"fields\":[\"x\",5],\"a/b\":1}",
        "required = [\"a\"]\n[config-schema.properties.a]\ntype = \"string\"\npattern = \"^[a-z]+$\"\nmaxLength = 3\n\0{\"a\":\"ABCD\"}",
        "oneOf = [{ type = \"string\" }, { minimum = 1 }]\n\"$defs\" = { x = { \"$ref\" = \"#\" } }\n\0{}",
        "propertyNames = { maxLength = 2 }\npatternProperties = { \"^x\" = { const = 1 } }\n\0{\"xyz\":2}",
    ])
}

fn check(input: &[u8]) {
    let mut parts = pieces::parts(input).map(str::from_utf8);
    let (Some(Ok(asked)), Some(Ok(config))) = (parts.next(), parts.next()) else {
        return;
    };
    let text = format!("name = \"a\"\nversion = \"1.0.0\"\n[config-schema]\n{asked}");
    let (Ok(manifest), Ok(config)) = (
        Manifest::parse(&text),
        serde_json::from_str::<Value>(config),
    ) else {
        return;
    };
    let problems = proportion::bounded_by(8 << 20, || schema::check(&manifest, &config));
    for problem in problems.unwrap_or_default() {
        assert!(!problem.message.is_empty());
        assert!(
            config.pointer(&problem.pointer).is_some(),
            "{problem}, and there is nothing at {}",
            problem.pointer
        );
    }
}
