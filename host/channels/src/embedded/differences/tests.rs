//! The differences that commands show, and commands that show none.

use super::*;
use crate::capacity::{Capacities, Pattern};
use crate::codec::{Codec, Key};

fn words(words: &[&str]) -> Vec<Bytes> {
    let copied = words
        .iter()
        .map(|word| Bytes::copy_from_slice(word.as_bytes()));
    copied.collect()
}

fn reported(differences: &Differences) -> Vec<&'static str> {
    let mut names: Vec<_> = differences.reported.iter().copied().collect();
    names.sort_unstable();
    names
}

#[test]
fn commands_show_prefix_database_and_expiries() {
    let check = |database: usize, line: &str, expected: &[&str]| {
        let mut differences = Differences::new(LayerOptions::default());
        let (command, arguments) = line.split_once(' ').unwrap();
        let arguments: Vec<_> = arguments.split(' ').collect();
        differences.compare_command(database, command, &words(&arguments));
        assert_eq!(reported(&differences), expected, "{line}");
    };
    check(0, "bzpopmin asgislack.message 5", &[]);
    check(0, "bzpopmin asgispecific.0af1! 5", &[]);
    check(0, "bzpopmin shopslack.message 5", &["prefix"]);
    check(0, "bzpopmin asgi:slack.message 5", &["prefix"]);
    check(1, "bzpopmin asgislack.message 5", &["database"]);
    check(0, "zcount asgislack.send -inf +inf", &[]);
    check(0, "zcount shopslack.send -inf +inf", &["prefix"]);
    check(0, "zcount anything 0 1", &[]);
    check(0, "expire asgislack.send 60", &[]);
    check(0, "expire asgislack.send 30", &["expiry"]);
    check(0, "expire asgi:group:people 86400", &[]);
    check(0, "expire asgi:group:people 60", &["group_expiry"]);
    check(0, "expire asgi2:group:people 86400", &["prefix"]);
    // Keys of other programs, and our own keys next to the queues.
    check(0, "expire asgi:djangobot:own 5", &[]);
    check(0, "expire celery-task 5", &[]);
    check(0, "zadd unacked 1 x", &[]);
}

#[test]
fn scripts_show_capacity_and_expiry() {
    let mut capacities = Capacities::new(100);
    capacities.add(Pattern::Glob("slack.*"), 500).unwrap();
    let check = |script, keys: &[&str], arguments: &[&str], expected: &[&str]| {
        let mut differences = Differences::new(LayerOptions {
            capacities: capacities.clone(),
            ..LayerOptions::default()
        });
        differences.compare_script(0, script, &words(keys), &words(arguments));
        assert_eq!(reported(&differences), expected, "{keys:?} {arguments:?}");
    };
    let group = Script::GroupSend;
    check(
        group,
        &["asgia", "asgislack.x"],
        &["m", "n", "100", "500", "1.5", "60"],
        &[],
    );
    check(group, &["asgia"], &["m", "100", "1.5", "60.5"], &[]);
    check(
        group,
        &["asgislack.x"],
        &["m", "100", "1.5", "60"],
        &["capacity"],
    );
    check(group, &["asgia"], &["m", "100", "1.5", "61"], &["expiry"]);
    check(group, &["shopa"], &["m", "1", "1.5", "61"], &["prefix"]);
    check(group, &["asgia"], &["m"], &[]);
    check(Script::Append, &["asgia"], &["0", "100", "60"], &[]);
    check(
        Script::Append,
        &["asgia"],
        &["0", "7", "60", "1", "m"],
        &["capacity"],
    );
}

#[test]
fn members_show_serializer_and_keys() {
    let options = |key: Option<&str>, serializer| LayerOptions {
        keys: key
            .and_then(|key| Key::new(key.as_bytes()))
            .into_iter()
            .collect(),
        serializer,
        ..LayerOptions::default()
    };
    let (msgpack, json) = (&b"\x81\xa1a\x01"[..], &b"{\"a\": 1}"[..]);
    let check =
        |theirs: Option<&str>, payload: &[u8], expected: LayerOptions, seen: Option<&str>| {
            let codec = |options: &LayerOptions| {
                Codec::new(options.random_prefix_length, options.keys.clone(), Some(70))
            };
            let member = codec(&options(theirs, Serializer::Msgpack)).seal(payload).0;
            let mut differences = Differences::new(expected.clone());
            differences.compare_command(
                0,
                "zadd",
                &[words(&["asgia", "1"]), vec![member.clone()]].concat(),
            );
            // Which key encrypted it shows only to who opens it.
            differences.report_if(of_payload(&codec(&expected).open(&member), &expected));
            assert_eq!(reported(&differences), seen.into_iter().collect::<Vec<_>>());
        };
    let keys = Some("list of symmetric_encryption_keys");
    let serializer = Some("serializer_format");
    check(None, msgpack, options(None, Serializer::Msgpack), None);
    check(None, json, options(None, Serializer::Msgpack), serializer);
    check(None, json, options(None, Serializer::Json), None);
    check(None, msgpack, options(None, Serializer::Json), serializer);
    check(Some("a"), msgpack, options(None, Serializer::Msgpack), keys);
    check(
        Some("a"),
        msgpack,
        options(Some("a"), Serializer::Msgpack),
        None,
    );
    check(
        Some("a"),
        json,
        options(Some("a"), Serializer::Msgpack),
        serializer,
    );
    check(
        Some("a"),
        msgpack,
        options(Some("b"), Serializer::Msgpack),
        keys,
    );
    check(None, msgpack, options(Some("b"), Serializer::Msgpack), keys);
}
