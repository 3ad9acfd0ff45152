//! Reading the config from JSON into the plugin's own type, with errors that name the key.

use serde::de::DeserializeOwned;

/// Reads a config.
///
/// # Errors
/// A clause that begins with the key that is wrong, such as `fields.1: invalid type: ...`.
pub(crate) fn parse<C: DeserializeOwned>(text: &str) -> Result<C, String> {
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // People don't see this JSON text, so its line and column help nobody; the key does.
        let message = message.split(" at line ").next().unwrap_or(&message);
        match path(text, error.line(), error.column()).as_str() {
            "" => message.to_owned(),
            key => format!("{key}: {message}"),
        }
    })
}

/// The keys that lead to a place in a JSON text, joined by dots; empty for the text itself.
fn path(text: &str, line: usize, column: usize) -> String {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let end = (before + column).min(text.len());
    let bytes = &text.as_bytes()[..end];
    // One entry for each container that is open: its current key or index, and whether it is an array.
    let mut open: Vec<(String, bool)> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' => open.push((String::new(), false)),
            b'[' => open.push(("0".to_owned(), true)),
            b'}' | b']' if at + 1 < bytes.len() => {
                open.pop();
            }
            // An error of a whole container, such as a missing key, is reported at its end.
            b'}' | b']' => {
                if let Some((key, _)) = open.last_mut() {
                    key.clear();
                }
            }
            b',' => {
                if let Some((key, array)) = open.last_mut() {
                    match array {
                        true => *key = key.parse::<usize>().map_or(0, |n| n + 1).to_string(),
                        false => key.clear(),
                    }
                }
            }
            b'"' => {
                let start = at + 1;
                at = start;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                let rest = text.get(at + 1..).unwrap_or_default().trim_start();
                if let Some((key, false)) = open.last_mut()
                    && key.is_empty()
                    && rest.starts_with(':')
                {
                    *key = text.get(start..at).unwrap_or_default().to_owned();
                }
            }
            _ => {}
        }
        at += 1;
    }
    let keys: Vec<&str> = open.iter().map(|(key, _)| key.as_str()).collect();
    keys.join(".").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    #[allow(dead_code)]
    struct Config {
        #[serde(default)]
        fields: Vec<u32>,
        #[serde(default)]
        deep: Option<Deep>,
        #[serde(default)]
        style: Option<Style>,
        name: String,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Deep {
        level: u8,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Style {
        RealName,
    }

    #[test]
    fn a_mistake_is_named_by_its_key() {
        let check = |text: &str, expect: &str| {
            let error = parse::<Config>(text).unwrap_err();
            assert!(error.starts_with(expect), "{error} / {expect}");
            assert!(!error.contains(" at line "), "{error}");
        };
        check(r#"{"name": 5}"#, "name: invalid type: integer `5`");
        check(
            r#"{"name": "a", "fields": [1, "b"]}"#,
            "fields.1: invalid type",
        );
        check(
            r#"{"deep": {"level": 300}, "name": "a"}"#,
            "deep.level: invalid value",
        );
        check(
            r#"{"deep": {}, "name": "a"}"#,
            "deep: missing field `level`",
        );
        check(
            r#"{"name": "a", "style": "rael-name"}"#,
            "style: unknown variant `rael-name`",
        );
        check(r#"{"a\"{": 1}"#, "a\\\"{: unknown field");
        check(
            "{\n \"name\": \"a\",\n \"fields\": 5}",
            "fields: invalid type",
        );
        check("{}", "missing field `name`");
        check(r#"{"fields": [1, 2]}"#, "missing field `name`");
    }

    #[test]
    fn a_right_config_is_read() {
        let config: Config =
            parse(r#"{"name": "a", "fields": [1], "style": "real-name"}"#).unwrap();
        assert_eq!((config.name.as_str(), config.fields.len()), ("a", 1));
    }
}
