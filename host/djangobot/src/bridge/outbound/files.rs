//! The files of a message, which are to be uploaded: `{"file": {"name": ..., "content": ...}}`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use djangobot_event::BYTES_KEY;
use serde_json::{Map, Value};

use crate::bridge::reply::{SendFailure, kind};

/// The method that shares uploaded files.
pub(crate) const SHARE: &str = "files.completeUploadExternal";
/// The most files of a message: Slack takes no more in one call.
const MOST_FILES: usize = 10;
/// The keys of a file, as apps write them and as Slack's SDK for Python does.
const KEYS: &[&str] = &[
    "name",
    "filename",
    "content",
    "title",
    "alt_text",
    "alt_txt",
    "snippet_type",
];

/// A file that is to be uploaded.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NewFile {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    /// The description of a picture, for people who do not see it.
    pub(crate) alt_text: Option<String>,
    /// The language of a snippet.
    pub(crate) snippet_type: Option<String>,
    pub(crate) content: Bytes,
}

impl std::fmt::Debug for NewFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ({} bytes)", self.name, self.content.len())
    }
}

/// Takes the files out of a message's keys. Their contents may have `most` bytes in all.
///
/// # Errors
///
/// Fails if they are not files, or too many, or too large.
pub(crate) fn take(keys: &mut Map<String, Value>, most: u64) -> Result<Vec<NewFile>, SendFailure> {
    let mut given = Vec::new();
    for key in ["file", "files"] {
        match keys.remove(key) {
            None | Some(Value::Null) => {}
            Some(Value::Array(files)) => given.extend(files),
            Some(file) => given.push(file),
        }
    }
    if given.len() > MOST_FILES {
        return Err(invalid(format!(
            "A message may have {MOST_FILES} files at most; it has {}.",
            given.len()
        )));
    }
    let files: Vec<NewFile> = given.into_iter().map(read).collect::<Result<_, _>>()?;
    let bytes: u64 = files.iter().map(|file| file.content.len() as u64).sum();
    if bytes > most {
        return Err(SendFailure::new(
            "file_too_large",
            format!(
                "The message's files have {bytes} bytes. slack.max-file-mib in djangobot.toml allows {} MiB.",
                most >> 20
            ),
        ));
    }
    Ok(files)
}

/// Makes the other keys of a message with files into arguments of [`SHARE`], which has fewer than a post.
///
/// # Errors
///
/// Fails if a key has no counterpart there.
pub(crate) fn take_text(keys: &mut Map<String, Value>) -> Result<(), SendFailure> {
    /// The arguments of [`SHARE`], and `token`, which is refused with a sentence of its own.
    const TAKEN: &[&str] = &[
        "blocks",
        "channel",
        "icon_emoji",
        "icon_url",
        "initial_comment",
        "thread_ts",
        "token",
        "username",
    ];
    if let Some(text) = keys.remove("text")
        && !text.is_null()
    {
        if !text.is_string() {
            let detail = format!("`text` must be a text; it is {}.", kind(&text));
            return Err(SendFailure::new("invalid_text", detail));
        }
        // Slack shows only one of `blocks` and `initial_comment`.
        if !keys.contains_key("blocks") {
            keys.insert("initial_comment".into(), text);
        }
    }
    match keys
        .iter()
        .find(|(key, value)| !value.is_null() && !TAKEN.contains(&key.as_str()))
    {
        Some((unknown, _)) => Err(SendFailure::new(
            "invalid_arguments",
            format!("{unknown:.40?} can't go with a file: Slack's {SHARE} has no such argument."),
        )),
        None => Ok(()),
    }
}

fn read(file: Value) -> Result<NewFile, SendFailure> {
    let Value::Object(mut file) = file else {
        return Err(invalid(format!(
            "A file must be a dict with `name` and `content`; it is {}.",
            kind(&file)
        )));
    };
    if let Some(unknown) = file.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(invalid(format!(
            "A file has no {unknown:.40?}; it may have `name`, `content`, `title`, `alt_text` and `snippet_type`."
        )));
    }
    let content = match file.remove("content") {
        Some(content) => bytes(content)?,
        None => return Err(invalid("A file must have `content`, as bytes or a text.")),
    };
    if content.is_empty() {
        return Err(invalid(
            "The file's `content` is empty. Slack takes no empty files.",
        ));
    }
    // A key may have two spellings: ours, and that of Slack's SDK.
    let mut text = |keys: &[&str]| {
        let given = keys.iter().find_map(|key| file.remove(*key));
        match given {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(other) => Err(invalid(format!(
                "A file's `{}` must be a text; it is {}.",
                keys[0],
                kind(&other)
            ))),
        }
    };
    let name = text(&["name", "filename"])?;
    Ok(NewFile {
        name: name.ok_or_else(|| invalid("A file must have a `name`."))?,
        title: text(&["title"])?,
        alt_text: text(&["alt_text", "alt_txt"])?,
        snippet_type: text(&["snippet_type"])?,
        content,
    })
}

/// The content of a file. Bytes are written as base64, because the outbox has JSON.
fn bytes(content: Value) -> Result<Bytes, SendFailure> {
    match content {
        Value::String(text) => Ok(text.into()),
        Value::Object(fields) => {
            let base64 = fields.get(BYTES_KEY).and_then(Value::as_str);
            let read = base64.and_then(|it| STANDARD.decode(it).ok());
            read.map(Bytes::from)
                .ok_or_else(|| invalid("A file's `content` must be bytes or a text; it is a dict."))
        }
        other => Err(invalid(format!(
            "A file's `content` must be bytes or a text; it is {}.",
            kind(&other)
        ))),
    }
}

fn invalid(detail: impl AsRef<str>) -> SendFailure {
    SendFailure::new("invalid_file", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taken(message: Value) -> Result<Vec<NewFile>, SendFailure> {
        let Value::Object(mut keys) = message else {
            panic!("a message is an object")
        };
        let files = take(&mut keys, 1 << 20);
        assert!(keys.is_empty(), "{keys:?}");
        files
    }

    #[test]
    fn files_are_read_from_texts_and_from_bytes() {
        let files = taken(json!({
            "file": {"name": "a.txt", "content": "hé", "title": "A", "alt_text": null},
            "files": [{"filename": "b.bin", "content": {"$bytes": "AP8="}, "alt_txt": "noise", "snippet_type": ""}],
        }));
        let file = |name: &str, content: &'static [u8]| NewFile {
            name: name.into(),
            title: None,
            alt_text: None,
            snippet_type: None,
            content: content.into(),
        };
        let first = NewFile {
            title: Some("A".into()),
            ..file("a.txt", "hé".as_bytes())
        };
        let second = NewFile {
            alt_text: Some("noise".into()),
            ..file("b.bin", b"\x00\xff")
        };
        assert_eq!(files, Ok(vec![first, second]));
    }

    #[test]
    fn a_value_that_is_not_a_file_is_refused_with_a_sentence() {
        let check = |file: Value, error: &str, word: &str| {
            let refusal = taken(json!({ "file": file })).unwrap_err();
            assert_eq!(refusal.error, error);
            assert!(refusal.detail.contains(word), "{refusal}");
        };
        check(json!("F123"), "invalid_file", "a dict");
        check(json!({"content": "x"}), "invalid_file", "`name`");
        check(json!({"name": "a"}), "invalid_file", "`content`");
        check(json!({"name": "a", "content": ""}), "invalid_file", "empty");
        check(
            json!({"name": "a", "content": 5}),
            "invalid_file",
            "a number",
        );
        check(
            json!({"name": "a", "content": {"x": 1}}),
            "invalid_file",
            "a dict",
        );
        check(json!({"name": 5, "content": "x"}), "invalid_file", "`name`");
        check(
            json!({"name": "a", "content": "x", "path": "/etc"}),
            "invalid_file",
            "path",
        );
        let large = "x".repeat((1 << 20) + 1);
        check(
            json!({"name": "a", "content": large}),
            "file_too_large",
            "max-file-mib",
        );
        let many = vec![json!({"name": "a", "content": "x"}); 11];
        assert!(
            taken(json!({ "files": many }))
                .unwrap_err()
                .detail
                .contains("10")
        );
    }
}
