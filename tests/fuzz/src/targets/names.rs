//! Short texts that stand for something: names of channels and groups, capabilities, sources, digests, tokens.
//!
//! An input is such texts, one in each line.

use djangobot_channels::{ChannelName, GroupName};
use djangobot_plugins::{Capability, Digest, Source};
use djangobot_slack::Token;

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "names",
    check,
    seeds,
    words: &[
        "store",
        "slack",
        "secrets:",
        "http:",
        "http://",
        "*.",
        "[::1]:",
        "file:",
        "folder:",
        "https://",
        "xoxb-",
        "xoxe.",
        "!",
        "\n",
        "example.com",
        ":443",
        ":8443",
    ],
    longest: 256,
};

fn seeds() -> Vec<Vec<u8>> {
    pieces::texts([
        "slack.message\nspecific.3af3!da16\ngroup-1",
        "http:*.example.com\nhttp:a.example.com:443\nhttp:http://a.example.com:8080",
        "store\nslack\nsecrets:API_KEY",
        "http:http://[::1]:80\nhttp:A.com\nhttp:b:70000",
        "file:plugins/x.wasm\nfolder:../p\nhttps://a.org/x.wasm?y=1",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "xoxb-hush\nxoxe.xoxp-1\nxapp-1\nxoxe-1",
    ])
}

fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    for line in text.split('\n') {
        proportion::bounded(input, 64, || check_one(line));
    }
    let grants: Vec<Capability> = text
        .split('\n')
        .take(8)
        .filter_map(|line| line.parse().ok())
        .collect();
    check_covering(&grants);
}

fn check_one(text: &str) {
    let fits = |text: &str| {
        let mut bytes = text.bytes();
        bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let (queue, local) = text.split_once('!').unwrap_or((text, ""));
    let is_name = text.len() < 100 && !queue.is_empty() && fits(queue) && fits(local);
    let channel = ChannelName::new(text);
    assert_eq!(channel.is_ok(), is_name, "{text:?}: {channel:?}");
    if let Ok(channel) = channel {
        assert_eq!(channel.to_string(), text);
        assert!(text.starts_with(channel.queue()));
        assert_eq!(channel.is_process_local(), channel.queue().ends_with('!'));
    }
    let group = GroupName::new(text).is_ok();
    assert_eq!(group, is_name && !text.contains('!'), "{text:?}");

    if let Ok(capability) = text.parse::<Capability>() {
        assert_eq!(capability.to_string().parse(), Ok(capability), "{text:?}");
    }
    if let Ok(source) = text.parse::<Source>() {
        assert_eq!(source.to_string().parse(), Ok(source), "{text:?}");
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text.trim().to_ascii_lowercase());
    }
    match Token::new(text) {
        Ok(token) => {
            let shown = format!("{token} {token:?}");
            let secret = &text.trim()[5..];
            assert!(secret.len() < 8 || !shown.contains(secret), "{shown}");
        }
        // The sentence is the same for every text that is wrong in the same way, so that it shows nothing of this one.
        Err(error) => assert!(
            SENTENCES.iter().any(|it| error.to_string().starts_with(it)),
            "{error}"
        ),
    }
}

/// How the sentences about a text that is not a token begin.
const SENTENCES: [&str; 4] = [
    "the Slack token is empty",
    "this is not a Slack token: give one that begins",
    "the Slack token has a character that is not allowed in tokens (at byte ",
    "this is a refresh token (xoxe-), which can't call Slack",
];

/// Each grant covers itself, and all that is covered by a grant that it covers.
fn check_covering(grants: &[Capability]) {
    for one in grants {
        assert!(one.covers(one), "{one}");
        for two in grants.iter().filter(|two| one.covers(two)) {
            for three in grants.iter().filter(|three| two.covers(three)) {
                assert!(
                    one.covers(three),
                    "{one} covers {two}, which covers {three}"
                );
            }
        }
    }
}
