//! Events of any content, edited in any way, compared with `serde_json::Value`. `PROPTEST_CASES=10000` looks harder.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by a panic")]

mod documents;

use djangobot_event::{EditError, Event, NewValue, Value as Read};
use proptest::prelude::*;
use serde_json::Value;

proptest! {
    #[test]
    fn a_document_reads_the_same_however_it_was_written(
        expect in documents::object(),
        choices in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let text = documents::written(&expect, &choices);
        let event = Event::parse(text.clone()).unwrap();
        prop_assert_eq!(event.raw(), &text);
        prop_assert_eq!(json(&event), text);
        prop_assert_eq!(&msgpack(&event), &expect);
        same_at_each_pointer(&event, "", &expect)?;
    }

    #[test]
    fn edits_do_what_they_do_to_a_tree_of_values(
        mut expect in documents::object(),
        choices in prop::collection::vec(any::<u8>(), 1..64),
        edits in prop::collection::vec(edit(), 1..12),
    ) {
        let mut event = Event::parse(documents::written(&expect, &choices)).unwrap();
        for edit in edits {
            let pointer = edit.pointer(&expect);
            let (ours, theirs) = match edit.value {
                Some(value) => {
                    let text = documents::written(&value, &choices);
                    (event.set(&pointer, new_value(&value, text)), set(&mut expect, &pointer, value))
                }
                None => (event.remove(&pointer), remove(&mut expect, &pointer)),
            };
            prop_assert_eq!(ours.is_ok(), theirs.is_some(), "{}: {:?}", pointer, ours);
            if pointer.is_empty() {
                prop_assert_eq!(ours, Err(EditError::Root));
            }
        }
        prop_assert_eq!(read_back(&json(&event)), expect.clone());
        prop_assert_eq!(&msgpack(&event), &expect);
        same_at_each_pointer(&event, "", &expect)?;
    }

    #[test]
    fn a_text_is_refused_exactly_where_serde_json_refuses_it(
        document in documents::object(),
        choices in prop::collection::vec(any::<u8>(), 1..64),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let mut text = documents::written(&document, &choices).into_bytes();
        for damage in damages {
            damage.on(&mut text);
        }
        let ours = Event::parse(text.clone());
        match (&ours, serde_json::from_slice::<Value>(&text)) {
            (Ok(event), Ok(theirs)) => {
                prop_assert!(theirs.is_object());
                let mut out = Vec::new();
                event.write_msgpack(&mut out);
                let mut rest = &out[..];
                prop_assert!(rmpv::decode::read_value(&mut rest).is_ok() && rest.is_empty());
                prop_assert_eq!(event.members("").unwrap().count(), theirs.as_object().unwrap().len());
            }
            // The documented differences to `serde_json`.
            (Ok(event), Err(error)) => {
                let error = error.to_string();
                prop_assert!(
                    error.contains("number out of range")
                        || event.notes().lone_surrogates
                            && (error.contains("surrogate") || error.contains("unexpected end of hex escape")),
                    "{error}"
                );
            }
            (Err(error), Ok(theirs)) => prop_assert!(!theirs.is_object(), "{error}"),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn a_message_comes_back_from_msgpack_as_it_was(document in documents::object()) {
        let payload = rmp_serde::to_vec(&document).unwrap();
        let event = Event::from_msgpack(&payload).unwrap();
        prop_assert_eq!(read_back(&json(&event)), document);
    }

    #[test]
    fn no_msgpack_of_any_kind_is_a_panic(
        document in documents::object(),
        damages in prop::collection::vec(damage(), 0..4),
    ) {
        let mut payload = rmp_serde::to_vec(&document).unwrap();
        for damage in damages {
            damage.on(&mut payload);
        }
        if let Ok(event) = Event::from_msgpack(&payload) {
            // `rmpv` is laxer: it takes any key and what follows.
            prop_assert!(rmpv::decode::read_value(&mut &payload[..]).is_ok());
            prop_assert!(serde_json::from_str::<Value>(&json(&event)).is_ok());
        }
    }
}

fn json(event: &Event) -> String {
    let mut text = Vec::new();
    event.write_json(&mut text);
    String::from_utf8(text).unwrap()
}

fn msgpack(event: &Event) -> Value {
    let mut payload = Vec::new();
    event.write_msgpack(&mut payload);
    let mut rest = &payload[..];
    let value = rmp_serde::from_read(&mut rest).unwrap();
    assert!(rest.is_empty());
    value
}

/// A JSON text as a tree. It is by way of an event of its own, since `serde_json` may miss a float by its last bit.
fn read_back(text: &str) -> Value {
    assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
    msgpack(&Event::parse(text.to_owned()).unwrap())
}

fn same_at_each_pointer(event: &Event, pointer: &str, expect: &Value) -> Result<(), TestCaseError> {
    let found = event.get(pointer);
    match (found, expect) {
        (Some(Read::Null), Value::Null) => {}
        (Some(Read::Bool(found)), Value::Bool(expect)) => prop_assert_eq!(found, *expect),
        (Some(Read::Int(found)), expect) => prop_assert_eq!(Some(found), expect.as_i64()),
        (Some(Read::UInt(found)), expect) => prop_assert_eq!(Some(found), expect.as_u64()),
        (Some(Read::Float(found)), expect) => {
            prop_assert!(expect.is_f64() && expect.as_f64() == Some(found))
        }
        (Some(Read::Text(found)), expect) => prop_assert_eq!(Some(&*found), expect.as_str()),
        (Some(Read::Json(_)), Value::Array(elements)) => {
            for (index, element) in elements.iter().enumerate() {
                same_at_each_pointer(event, &format!("{pointer}/{index}"), element)?;
            }
            prop_assert_eq!(event.get(&format!("{pointer}/{}", elements.len())), None);
        }
        (Some(Read::Json(_)), Value::Object(members)) => {
            let found = event.members(pointer).unwrap();
            let found: Vec<_> = found.map(|(key, _)| key.into_owned()).collect();
            prop_assert_eq!(found.len(), members.len());
            for (key, member) in members {
                prop_assert!(found.contains(key));
                let pointer = format!("{pointer}/{}", token(key));
                same_at_each_pointer(event, &pointer, member)?;
            }
            let subtree = event.subtree(pointer).unwrap();
            prop_assert_eq!(&msgpack(&subtree), expect);
        }
        (found, expect) => prop_assert!(false, "{}: {:?} is not {}", pointer, found, expect),
    }
    Ok(())
}

fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// An edit of something that is there, or next to it.
#[derive(Clone, Debug)]
struct AnEdit {
    /// Which of the values there are.
    target: prop::sample::Index,
    /// One more token behind its pointer.
    beyond: Option<String>,
    /// `None`: to be removed.
    value: Option<Value>,
}

fn edit() -> impl Strategy<Value = AnEdit> {
    let beyond = prop_oneof![
        3 => Just(None),
        2 => documents::key().prop_map(Some),
        1 => Just(Some("-".to_owned())),
        1 => (0..9u32).prop_map(|index| Some(index.to_string())),
    ];
    (
        any::<prop::sample::Index>(),
        beyond,
        prop::option::weighted(0.7, documents::value()),
    )
        .prop_map(|(target, beyond, value)| AnEdit {
            target,
            beyond,
            value,
        })
}

impl AnEdit {
    fn pointer(&self, document: &Value) -> String {
        let mut pointers = Vec::new();
        collect_pointers(document, String::new(), &mut pointers);
        let pointer = self.target.get(&pointers).clone();
        match &self.beyond {
            Some(key) => format!("{pointer}/{}", token(key)),
            None => pointer,
        }
    }
}

fn collect_pointers(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    match value {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                collect_pointers(element, format!("{pointer}/{index}"), pointers);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                collect_pointers(member, format!("{pointer}/{}", token(key)), pointers);
            }
        }
        _ => {}
    }
    pointers.push(pointer);
}

/// The same value in the form that a plugin would choose for it.
fn new_value(value: &Value, text: String) -> NewValue {
    match value {
        Value::Null => NewValue::Null,
        Value::Bool(value) => (*value).into(),
        Value::String(value) => value.as_str().into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), ..) => value.into(),
            (_, Some(value), _) => value.into(),
            (.., Some(value)) => value.into(),
            _ => text.into_bytes().into(),
        },
        _ => text.into_bytes().into(),
    }
}

/// What [`Event::set`] says that it does. `None`: there is no place for it.
fn set(document: &mut Value, pointer: &str, value: Value) -> Option<()> {
    let (parent, token) = parent(document, pointer)?;
    match parent {
        Value::Object(members) => {
            members.insert(token, value);
        }
        Value::Array(elements) if token == "-" => elements.push(value),
        Value::Array(elements) => match index(&token)? {
            index if index == elements.len() => elements.push(value),
            index => *elements.get_mut(index)? = value,
        },
        _ => return None,
    }
    Some(())
}

fn remove(document: &mut Value, pointer: &str) -> Option<()> {
    let (parent, token) = parent(document, pointer)?;
    match parent {
        Value::Object(members) => members.remove(&token).map(drop),
        Value::Array(elements) => {
            index(&token)
                .filter(|&index| index < elements.len())
                .map(|index| {
                    elements.remove(index);
                })
        }
        _ => None,
    }
}

fn parent<'a>(document: &'a mut Value, pointer: &str) -> Option<(&'a mut Value, String)> {
    let (parent, token) = pointer.rsplit_once('/')?;
    Some((
        document.pointer_mut(parent)?,
        token.replace("~1", "/").replace("~0", "~"),
    ))
}

fn index(token: &str) -> Option<usize> {
    let index: usize = token.parse().ok()?;
    (index.to_string() == token).then_some(index)
}

/// Something that happens to bytes on the way.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    Overwrite(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Delete(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<prop::sample::Index>;
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(&br#"{}[]":,\/-+.eE019tfnu "#[..])
    ];
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..4),
        prop::sample::select(vec![
            "\\ud83d",
            "\\udc00",
            "\"a\":1,",
            "1e999",
            "-0",
            "00",
            "123456789012345678901",
            "null",
            "[",
            "{\"a\":",
            "//",
            "\u{feff}",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    prop_oneof![
        place().prop_map(Damage::Cut),
        (place(), byte).prop_map(|(place, byte)| Damage::Overwrite(place, byte)),
        (place(), piece).prop_map(|(place, piece)| Damage::Insert(place, piece)),
        place().prop_map(Damage::Delete),
    ]
}

impl Damage {
    fn on(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        match self {
            Damage::Insert(place, piece) => {
                let at = place.index(length + 1);
                bytes.splice(at..at, piece.iter().copied());
            }
            _ if length == 0 => {}
            Damage::Cut(place) => bytes.truncate(place.index(length)),
            Damage::Overwrite(place, byte) => bytes[place.index(length)] = *byte,
            Damage::Delete(place) => {
                bytes.remove(place.index(length));
            }
        }
    }
}
