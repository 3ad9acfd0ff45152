//! URLs of layers. Whatever is wrong with one, its password shows nowhere.
//!
//! An input is a scheme, a user, what stands around the password, and the rest of the URL, in five lines; what is no
//! such input is taken as URLs, one in each line.

use djangobot_channels::LayerConfig;

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "urls",
    check,
    seeds,
    words: &[
        "redis://",
        "rediss://",
        "unix://",
        "redis+pubsub://",
        "asgi-redis://",
        "embedded://",
        "valkey://",
        "?db=",
        "?socket_timeout=",
        "?ssl_cert_reqs=none",
        "&x=",
        "%2F",
        "%",
        "[::1]",
        "localhost:",
        "\n",
        "@",
        "#",
    ],
    longest: 256,
};

/// Stands in the URL as the password, or as its middle.
const PASSWORD: &str = "hunter2hunter2";

fn seeds() -> Vec<Vec<u8>> {
    pieces::texts([
        "redis://localhost:6379/1",
        "redis://u:p%40ss@h:1/2?socket_timeout=5&x=1\nredis://other",
        "unix:///run/redis.sock?db=3",
        "rediss+pubsub://[::1]:1?ssl_check_hostname=no",
        "asgi-redis://h\nembedded://",
        "embedded://localhost:7000",
        "redis\nu\n\n\nh:6379/0",
        "rediss\n\n\n\nh/x",
        "redis\n\na/b\n#c\nh",
        "unix\nu\n\n\n/run/r.sock?db=x",
        "redis\nu\np?q\nr&s\nh:99999/",
        "redis\nu\n5?\n\nh",
        "redis\nu\n5/\n?x\nh",
        "redis\nu\n5?\n#x\nh",
        "redis\nu\n5?x&\n&y\nh",
        "redis\nu\na@b\n#x\nh",
    ])
}

fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let lines: Vec<&str> = text.split('\n').collect();
    let secret = match lines.as_slice() {
        // With a `=` it would be an option that has a value.
        [scheme, user, before, after, rest]
            if ![user, before, after]
                .iter()
                .any(|part| part.contains('=') || is_path(scheme, part))
                && !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'+' || byte == b'-') =>
        {
            Some(format!(
                "{scheme}://{user}:{before}{PASSWORD}{after}@{rest}"
            ))
        }
        _ => None,
    };
    let urls: Vec<String> = match &secret {
        Some(url) => vec![url.clone()],
        None => lines.iter().map(ToString::to_string).collect(),
    };
    let read = proportion::bounded(input, 256, || LayerConfig::from_urls(&urls));
    let mut shown = format!("{read:?}");
    match &read {
        Ok(config) => shown.extend(config.warnings().iter().map(String::as_str)),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            shown.push_str(&error.to_string());
        }
    }
    if secret.is_some() {
        assert!(!shown.contains(PASSWORD), "{urls:?}: {shown}");
    }
}

/// Whether a part of a URL before its `@` would belong to a socket's path, and so be shown.
fn is_path(scheme: &str, part: &str) -> bool {
    scheme.starts_with("unix") && part.contains('/')
}
