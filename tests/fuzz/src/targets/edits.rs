//! Pointers and edits, compared with the same edits of a tree of values.
//!
//! An input is an event and its edits, between zero bytes: `+/pointer`, a line break and a JSON text to set, `-/pointer`
//! to remove. The values at the pointers are compared after each.

use djangobot_event::{EditError, Event, NewValue, Value as Read};
use serde_json::Value;

use crate::{Target, json, pieces, proportion, samples};

pub(crate) const TARGET: Target = Target {
    name: "edits",
    check,
    seeds,
    words: &[
        "\0+/",
        "\0-/",
        "\n",
        "/-",
        "/0",
        "/1",
        "~0",
        "~1",
        "/a",
        "/type",
        "/blocks/0/text/text",
        "{}",
        "[]",
        "[[1],{\"a\":2}]",
        "null",
        "\"x\"",
    ],
    longest: 1024,
};

fn seeds() -> Vec<Vec<u8>> {
    const EDITS: &[&str] = &[
        "+/type\n\"slack.message\"",
        "+/djangobot\n{\"attempt\":1,\"list\":[1,2]}\0+/djangobot/list/-\n{\"a\":[]}\0-/djangobot/list/0\0+/djangobot/list/1/a/0\n5",
        "-/text\0+/text\n\"again\"\0-/type\0-/type",
        "+/blocks/0/text\n[]\0+/blocks/0/text/0\nnull\0-/blocks/0",
        "+/a~1b/m~0n/2/0/new\n1.5\0-/a~1b/m~0n/0\0+/a~1b/m~0n/9\n1",
        "+\n{}\0-\0+no\n1\0+/a/b/c\n1\0-/none",
    ];
    let events = samples::EVENTS.iter();
    events
        .flat_map(|event| EDITS.iter().map(move |edits| format!("{event}\0{edits}")))
        .map(String::into_bytes)
        .collect()
}

fn check(input: &[u8]) {
    let mut parts = pieces::parts(input);
    let text = parts.next().unwrap_or_default();
    let Ok(mut event) = Event::parse(text.to_vec()) else {
        return;
    };
    let notes = event.notes();
    let Some(mut tree) = serde_json::from_slice::<Value>(text)
        .ok()
        .filter(|_| !notes.big_integers && !notes.lone_surrogates)
    else {
        return;
    };
    for edit in parts.take(32) {
        let Some((pointer, value)) = edit_of(edit) else {
            continue;
        };
        let before = json::text(&event);
        let outcome = proportion::bounded(input, 512, || match value {
            Some(value) => event.set(pointer, NewValue::Json(value.to_vec())),
            None => event.remove(pointer),
        });
        let model = match value {
            Some(value) => match tree_of(value) {
                Some(value) => set(&mut tree, pointer, value),
                // It is refused, or it has what makes the comparison worthless.
                None if outcome.is_err() => None,
                None => return,
            },
            None => remove(&mut tree, pointer),
        };
        match (outcome, model) {
            (Ok(()), Some(())) => {}
            (Err(error), None) => {
                assert_eq!(json::text(&event), before, "{error}");
                assert_eq!(pointer.is_empty(), error == EditError::Root, "{error}");
            }
            // Too deep together; the model has no such bound.
            (Err(_), Some(())) if json::depth(&tree) > djangobot_event::MAX_DEPTH => return,
            (outcome, model) => panic!("{pointer}: {outcome:?}, where the tree says {model:?}"),
        }
        check_found(&event, &tree, pointer);
    }
    let text = json::text(&event);
    json::assert_same(&serde_json::from_str(&text).expect("it is JSON"), &tree);
    let payload = json::msgpack(&event);
    let unpacked = rmpv::decode::read_value(&mut &payload[..]).expect("it is msgpack");
    let unpacked = json::of_msgpack(&unpacked).expect("all of it came from JSON");
    json::assert_same(&unpacked, &tree);
}

/// The pointer, and the text that is to be set there.
pub(super) fn edit_of(edit: &[u8]) -> Option<(&str, Option<&[u8]>)> {
    match edit {
        [b'+', rest @ ..] => {
            let end = rest.iter().position(|&byte| byte == b'\n')?;
            Some((str::from_utf8(&rest[..end]).ok()?, Some(&rest[end + 1..])))
        }
        [b'-', rest @ ..] => Some((str::from_utf8(rest).ok()?, None)),
        _ => None,
    }
}

/// A JSON text that both readers take for the same.
fn tree_of(text: &[u8]) -> Option<Value> {
    let wrapped = [b"{\"a\":", text, b"}"].concat();
    let notes = Event::parse(wrapped).ok()?.notes();
    serde_json::from_slice(text)
        .ok()
        .filter(|_| !notes.big_integers && !notes.lone_surrogates)
}

/// The value that is found at `pointer` must be the one that the tree has there.
fn check_found(event: &Event, tree: &Value, pointer: &str) {
    // `serde_json` takes `~2` and `01` for what they are not.
    let expect = is_pointer(pointer).then(|| tree.pointer(pointer)).flatten();
    match (event.get(pointer), expect) {
        (None, None) => {}
        (Some(Read::Json(text)), Some(expect @ (Value::Array(_) | Value::Object(_)))) => {
            json::assert_same(&serde_json::from_str(&text).expect("it is JSON"), expect);
            let is_object = expect.is_object();
            let subtree = event.subtree(pointer).map(|subtree| json::text(&subtree));
            // A value that was set is not a part of the text, and has no subtree.
            assert!(subtree.is_none_or(|subtree| is_object && subtree == text));
        }
        (Some(Read::Null), Some(Value::Null)) => {}
        (Some(Read::Bool(found)), Some(Value::Bool(expect))) => assert_eq!(found, *expect),
        (Some(Read::Text(found)), Some(Value::String(expect))) => assert_eq!(&*found, expect),
        (Some(Read::Int(found)), Some(expect)) => json::assert_same(&found.into(), expect),
        (Some(Read::UInt(found)), Some(expect)) => json::assert_same(&found.into(), expect),
        (Some(Read::Float(found)), Some(expect)) => json::assert_same(&found.into(), expect),
        (found, expect) => panic!("{pointer}: {found:?} was found, and there is {expect:?}"),
    }
}

fn is_pointer(pointer: &str) -> bool {
    let escapes = pointer.split('~').skip(1);
    let is_index = |token: &str| token == "0" || !token.starts_with(['0', '+']);
    let is_exact = |token: &str| token.parse::<usize>().is_err() || is_index(token);
    escapes.clone().all(|escape| escape.starts_with(['0', '1'])) && pointer.split('/').all(is_exact)
}

/// The edit that [`Event::set`] promises; `None` if there is no place for the value.
fn set(tree: &mut Value, pointer: &str, value: Value) -> Option<()> {
    let (parent, token) = parent(tree, pointer)?;
    match parent {
        Value::Object(members) => drop(members.insert(token, value)),
        Value::Array(items) if token == "-" => items.push(value),
        Value::Array(items) => match index(&token)? {
            at if at == items.len() => items.push(value),
            at => *items.get_mut(at)? = value,
        },
        _ => return None,
    }
    Some(())
}

fn remove(tree: &mut Value, pointer: &str) -> Option<()> {
    let (parent, token) = parent(tree, pointer)?;
    match parent {
        Value::Object(members) => members.remove(&token).map(drop),
        Value::Array(items) => {
            let at = index(&token).filter(|&at| at < items.len())?;
            items.remove(at);
            Some(())
        }
        _ => None,
    }
}

fn parent<'a>(tree: &'a mut Value, pointer: &str) -> Option<(&'a mut Value, String)> {
    let (parent, token) = pointer.rsplit_once('/')?;
    if !is_pointer(pointer) {
        return None;
    }
    let token = token.replace("~1", "/").replace("~0", "~");
    Some((tree.pointer_mut(parent)?, token))
}

fn index(token: &str) -> Option<usize> {
    let at: usize = token.parse().ok()?;
    (at.to_string() == token).then_some(at)
}
