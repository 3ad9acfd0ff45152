//! `djangobot.toml` as a run reads it. Whatever is wrong in it, no secret shows.
//!
//! An input is the text of the file; or what stands before the secrets, around each within its quotes, and after them,
//! between zero bytes.

use djangobot::fuzzing::config;

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "config",
    check,
    seeds,
    words: &[
        "[slack]\n",
        "token = \"",
        "transport = \"rtm\"\n",
        "api-url = \"http://127.0.0.1/\"\n",
        "methods = [\"chat.*\"]\n",
        "roster-wait = 1e3\n",
        "[layer]\n",
        "target = [\"redis://h\"]\n",
        "backend = \"x\"\n",
        "[layer.config]\n",
        "send-channel = \"a.b\"\n",
        "[[plugin]]\nname = \"a\"\nsource = \"file:a\"\n",
        "on-error = \"hold\"\n",
        "listen = \"127.0.0.1:0\"\n",
        "state-dir = \"s\"\n",
        "log-format = \"json\"\n",
        "\0",
        "'''",
        "\"\"\"",
        "\\u0000",
    ],
    longest: 768,
};

/// The middle of each secret.
const SECRET: &str = "hunter2hunter2";

fn seeds() -> Vec<Vec<u8>> {
    pieces::texts([
        "[slack]\ntoken = \"xoxb-1\"\ndefault-channel = \"general\"\nroster-wait = 5\n[layer]\ntarget = \"myapp.asgi\"\nformat = \"djangobot-0.1\"\n",
        "listen = \"127.0.0.1:9000\"\nstate-dir = \"s\"\n[[plugin]]\nname = \"a\"\nsource = \"file:a.wasm\"\non-error = \"hold\"\ngrants = [\"store\"]\n[plugin.limits]\nmemory-mib = 5\n[plugin.config]\nx = [1, { y = 2 }]\n",
        "[layer]\nbackend = \"channels_redis.core.RedisChannelLayer\"\nsend-channel = \"slack.send\"\n[layer.config]\nhosts = [\"redis://h\"]\n",
        "[[plugin]]\nname = \"a\"\nsource = \"file:a\"\n[[plugin]]\nname = \"a\"\nsource = \"ftp:a\"\n",
        "\0xoxb-\0\0",
        "[slack]\ntokne = 1\n\0\0\0[layer]\n",
        "x = 1\n[slack]\ntransport = \"pigeon\"\n\0a\0b\0y = [\n",
    ])
}

fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let parts: Vec<&str> = text.split('\0').collect();
    let (text, has_secret) = match parts.as_slice() {
        // Outside of a string the secret would be a key or a syntax error, and no token.
        [before, begin, end, after]
            if [begin, end]
                .iter()
                .all(|part| !part.contains(['"', '\\', '\n'])) =>
        {
            let secrets = [
                "token",
                "app-token",
                "signing-secret",
                "client-secret",
                "refresh-token",
            ]
            .map(|key| format!("{key} = \"{begin}{SECRET}{end}\"\n"))
            .concat();
            (format!("{before}\n[slack]\n{secrets}{after}"), true)
        }
        _ => (text.to_owned(), false),
    };
    let read = proportion::bounded_by(2 << 20, || config(&text));
    let (Ok(shown) | Err(shown)) = &read;
    assert!(!has_secret || !shown.contains(SECRET), "{shown}");
    if let Err(told) = &read
        && let Some((_, rest)) = told.split_once("djangobot.toml line ")
    {
        let line = rest.split(':').next().and_then(|line| line.parse().ok());
        let lines = 1..=text.matches('\n').count() + 1;
        assert!(
            line.is_some_and(|line: usize| lines.contains(&line)),
            "{told}"
        );
    }
}
