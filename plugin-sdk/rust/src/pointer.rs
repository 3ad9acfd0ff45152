//! RFC 6901 pointers, and the texts that they lead to.

use serde_json::Value;

/// A key as it stands in a pointer: `~` is `~0`, `/` is `~1`.
///
/// ```
/// assert_eq!(djangobot_plugin::pointer::escape("a/b"), "a~1b");
/// ```
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Calls `seen` with the pointer and the text of each string within a value. `base` is where the value stands.
///
/// ```
/// use djangobot_plugin::pointer;
/// use serde_json::json;
///
/// let blocks = json!([{"type": "section", "text": {"text": "hi"}}]);
/// let mut found = Vec::new();
/// pointer::each_text("/blocks", &blocks, &mut |pointer, text| {
///     found.push(format!("{pointer}={text}"));
/// });
/// // In whichever order the members of an object are kept.
/// found.sort();
/// assert_eq!(found, ["/blocks/0/text/text=hi", "/blocks/0/type=section"]);
/// ```
pub fn each_text(base: &str, value: &Value, seen: &mut impl FnMut(&str, &str)) {
    fn walk(pointer: &mut String, value: &Value, seen: &mut impl FnMut(&str, &str)) {
        let length = pointer.len();
        match value {
            Value::String(text) => seen(pointer, text),
            Value::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    pointer.push('/');
                    pointer.push_str(&index.to_string());
                    walk(pointer, element, seen);
                    pointer.truncate(length);
                }
            }
            Value::Object(members) => {
                for (key, member) in members {
                    pointer.push('/');
                    pointer.push_str(&escape(key));
                    walk(pointer, member, seen);
                    pointer.truncate(length);
                }
            }
            _ => {}
        }
    }
    walk(&mut base.to_owned(), value, seen);
}

/// The last key of a pointer and what leads to it: `/item` and `user` of `/item/user`.
pub fn split(pointer: &str) -> Option<(&str, &str)> {
    pointer.rsplit_once('/')
}
