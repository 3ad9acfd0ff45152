//! JSON pointers (RFC 6901), and the texts that they lead to.

use serde_json::Value;

/// A key as it is written in a pointer: `~` becomes `~0`, and `/` becomes `~1`.
///
/// ```
/// assert_eq!(djangobot_plugin::pointer::escape("a/b"), "a~1b");
/// ```
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Calls `seen` with the pointer and the text of each string within a value. `base` is the pointer of the value itself.
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
/// // The order of an object's members is not defined.
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

/// Splits a pointer at its last key: `/item/user` into `/item` and `user`.
pub fn split(pointer: &str) -> Option<(&str, &str)> {
    pointer.rsplit_once('/')
}
