//! The probe against real virtualenvs and small projects, written to folders of their own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use djangobot_tests::{python, python_channels1, python_redis7};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

mod ends;
mod errors;
mod layers;
mod sentinels;

const ASGI: &str = "\
import os
os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'myapp.settings')
from django.core.asgi import get_asgi_application
from channels.layers import get_channel_layer
application = get_asgi_application()
channel_layer = get_channel_layer()
other_layer = get_channel_layer('other')
";
const SETTINGS: &str = "\
SECRET_KEY = 'x'
INSTALLED_APPS = ['channels']
CHANNEL_LAYERS = {
    'default': {'BACKEND': 'channels_redis.core.RedisChannelLayer', 'CONFIG': {'hosts': [('127.0.0.1', 6399)]}},
    'other': {'BACKEND': 'channels_redis.pubsub.RedisPubSubChannelLayer', 'CONFIG': {'prefix': 'p'}},
}
";

/// A project of these files, with `myapp` a package.
fn project(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("myapp/__init__.py", "")].iter().chain(files) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn usual_project() -> TempDir {
    project(&[("myapp/asgi.py", ASGI), ("myapp/settings.py", SETTINGS)])
}

fn options(folder: &Path) -> ProbeOptions {
    ProbeOptions {
        python: Some(python()),
        directory: folder.to_owned(),
        ..ProbeOptions::default()
    }
}

/// Probes a project whose `CHANNEL_LAYERS["default"]["CONFIG"]` is this Python expression.
async fn config_of(expression: &str) -> Value {
    let settings = format!(
        "import re, pathlib, ssl, decimal\nclass Odd:\n    def __repr__(self): return '<Odd>'\nclass Broken:\n    def __repr__(self): raise ValueError\nclass Own: pass\n\
         CHANNEL_LAYERS = {{'default': {{'BACKEND': 'myapp.settings.Own', 'CONFIG': {expression}}}}}\n"
    );
    let folder = project(&[("myapp/settings.py", &settings)]);
    probe("myapp.settings", &options(folder.path()))
        .await
        .unwrap()
        .config
}

/// Probes `target` in a project of `files` and expects an error, with `parts` in its sentence or its help.
async fn check_error(files: &[(&str, &str)], target: &str, parts: &[&str]) -> ProbeError {
    let folder = project(files);
    let error = probe(target, &options(folder.path())).await.unwrap_err();
    let text = format!("{error}\n{}", error.help());
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    error
}

#[tokio::test]
async fn every_form_of_target_finds_the_projects_layer() {
    let folder = usual_project();
    for target in [
        "myapp.asgi:channel_layer",
        "myapp.asgi:application",
        "myapp.asgi",
        "myapp.settings",
    ] {
        let found = probe(target, &options(folder.path())).await.unwrap();
        assert_eq!(
            found.backend, "channels_redis.core.RedisChannelLayer",
            "{target}"
        );
        let host = &found.config["hosts"][0];
        assert_eq!(
            (&host["host"], &host["port"]),
            (&json!("127.0.0.1"), &json!(6399)),
            "{target}"
        );
        assert_eq!(
            (found.alias.as_str(), found.aliases),
            ("default", vec!["default".into(), "other".into()]),
            "{target}"
        );
        assert_eq!(
            found.settings_module.as_deref(),
            Some("myapp.settings"),
            "{target}"
        );
        assert_eq!(found.python, python(), "{target}");
    }
}

#[tokio::test]
async fn the_2016_target_works_where_the_attribute_is_gone() {
    let asgi = ASGI.replace("channel_layer =", "nothing =");
    let folder = project(&[("myapp/asgi.py", &asgi), ("myapp/settings.py", SETTINGS)]);
    let found = probe("myapp.asgi:channel_layer", &options(folder.path()))
        .await
        .unwrap();
    assert_eq!(found.alias, "default");
}

#[tokio::test]
async fn a_layer_object_counts_for_its_own_alias_unless_one_is_asked_for() {
    let folder = usual_project();
    let mut options = options(folder.path());
    let found = probe("myapp.asgi:other_layer", &options).await.unwrap();
    assert_eq!(
        (found.alias.as_str(), found.backend.as_str()),
        ("other", "channels_redis.pubsub.RedisPubSubChannelLayer")
    );
    options.alias = Some("default".into());
    assert_eq!(
        probe("myapp.asgi:other_layer", &options)
            .await
            .unwrap()
            .alias,
        "default"
    );
    assert_eq!(
        probe("myapp.settings", &options).await.unwrap().alias,
        "default"
    );
}

#[tokio::test]
async fn a_layer_that_the_project_made_itself_is_known_by_its_class() {
    let asgi = format!(
        "{ASGI}from channels_redis.pubsub import RedisPubSubChannelLayer\nmine = RedisPubSubChannelLayer()\n"
    );
    let folder = project(&[("myapp/asgi.py", &asgi), ("myapp/settings.py", SETTINGS)]);
    assert_eq!(
        probe("myapp.asgi:mine", &options(folder.path()))
            .await
            .unwrap()
            .alias,
        "other"
    );
}

#[tokio::test]
async fn the_layer_of_channels_1_is_read() {
    let settings = "\
SECRET_KEY = 'x'
CHANNEL_LAYERS = {
    'default': {'BACKEND': 'asgiref.inmemory.ChannelLayer', 'ROUTING': []},
    'slack': {'BACKEND': 'asgi_redis.RedisChannelLayer', 'ROUTING': [], 'CONFIG': {'hosts': ['redis://127.0.0.1:6399']}},
}
";
    let asgi = "\
import os
os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'myapp.settings')
from channels.asgi import get_channel_layer
channel_layer = get_channel_layer('slack')
";
    let folder = project(&[("myapp/asgi.py", asgi), ("myapp/settings.py", settings)]);
    let options = ProbeOptions {
        python: Some(python_channels1()),
        ..options(folder.path())
    };
    let found = probe("myapp.asgi:channel_layer", &options).await.unwrap();
    assert_eq!(
        (found.alias.as_str(), found.backend.as_str()),
        ("slack", "asgi_redis.core.RedisChannelLayer")
    );
    let host = &found.config["hosts"][0];
    assert_eq!(
        (&host["host"], &host["port"]),
        (&json!("127.0.0.1"), &json!(6399))
    );
    assert_eq!(found.versions.asgi_redis.as_deref(), Some("1.4.3"));
    assert_eq!(found.versions.channels.as_deref(), Some("1.1.8"));
}

#[tokio::test]
async fn versions_are_those_of_the_projects_python() {
    let folder = usual_project();
    for (python, redis) in [(python(), "8.1.0"), (python_redis7(), "7.4.1")] {
        let options = ProbeOptions {
            python: Some(python),
            ..options(folder.path())
        };
        let versions = probe("myapp.settings", &options).await.unwrap().versions;
        assert_eq!(versions.redis.as_deref(), Some(redis));
        assert_eq!(versions.channels.as_deref(), Some("4.3.2"));
        assert_eq!(versions.channels_redis.as_deref(), Some("4.3.0"));
        assert!(
            versions.python.starts_with("3.") && versions.django.is_some(),
            "{versions:?}"
        );
        assert_eq!(versions.asgi_redis, None);
    }
}

#[tokio::test]
async fn values_that_json_has_no_form_for_are_marked() {
    let check = async |expression: &str, expect: Value| {
        assert_eq!(
            config_of(&format!("{{'x': {expression}}}")).await,
            json!({"x": expect}),
            "{expression}"
        );
    };
    check(
        "[None, True, 1, -9223372036854775808, 18446744073709551615, 1.5, 'é\\n']",
        json!([null, true, 1, i64::MIN, u64::MAX, 1.5, "é\n"]),
    )
    .await;
    check("(('h', 1), ['i', (2,)])", json!([["h", 1], ["i", [2]]])).await;
    check("re.compile('^a|b$')", json!({"__regex__": "^a|b$"})).await;
    check(
        "re.compile('a', re.I | re.S)",
        json!({"__regex__": "(?is)a"}),
    )
    .await;
    check("b'\\x00\\xff'", json!({"__bytes__": "AP8="})).await;
    check(
        "pathlib.PurePosixPath('/run/redis.sock')",
        json!("/run/redis.sock"),
    )
    .await;
    check("ssl.CERT_NONE", json!(0)).await;
    check(
        "{1: 'a', ('b', 2): None}",
        json!({"__items__": [[1, "a"], [["b", 2], null]]}),
    )
    .await;
    check(
        "[Odd(), Broken()]",
        json!([{"__unsupported__": "myapp.settings.Odd"}, {"__unsupported__": "myapp.settings.Broken"}]),
    )
    .await;
    check("[2**64, float('nan'), '\\ud800']", json!([{"__unsupported__": "int"}, {"__unsupported__": "float"}, {"__unsupported__": "str"}])).await;
    check(
        "decimal.Decimal('1')",
        json!({"__unsupported__": "decimal.Decimal"}),
    )
    .await;
}

#[tokio::test]
async fn channel_capacity_keeps_its_order() {
    let config = config_of("{'channel_capacity': {'z*': 1, re.compile('^a'): 2, 'a*': 3}}").await;
    assert_eq!(
        config,
        json!({"channel_capacity": {"__items__": [["z*", 1], [{"__regex__": "^a"}, 2], ["a*", 3]]}})
    );
}

#[tokio::test]
async fn a_config_that_holds_itself_ends() {
    let settings = "loop = {}\nloop['x'] = loop\nloop['y'] = [loop]\nclass Own: pass\nCHANNEL_LAYERS = {'default': {'BACKEND': 'myapp.settings.Own', 'CONFIG': loop}}\n";
    let folder = project(&[("myapp/settings.py", settings)]);
    let found = probe("myapp.settings", &options(folder.path()))
        .await
        .unwrap();
    assert!(
        found.config.to_string().contains("__unsupported__"),
        "{}",
        found.config
    );
}

#[tokio::test]
async fn output_of_the_project_is_not_mistaken_for_the_answer() {
    let noise = "\
import os, sys, subprocess
print('{\"alias\": \"fooled\"}')
print('djangobot-probe:{}')
os.write(1, b'x' * 300000)
sys.stderr.write('y' * 300000)
subprocess.run(['echo', 'a child prints too'])
";
    let folder = project(&[("myapp/settings.py", &format!("{noise}{SETTINGS}"))]);
    assert_eq!(
        probe("myapp.settings", &options(folder.path()))
            .await
            .unwrap()
            .alias,
        "default"
    );
}

#[tokio::test]
async fn threads_and_children_that_stay_do_not_keep_it() {
    let stay = "\
import subprocess, threading, time
threading.Thread(target=time.sleep, args=(3600,)).start()
subprocess.Popen(['sleep', '20'])
";
    let folder = project(&[("myapp/settings.py", &format!("{stay}{SETTINGS}"))]);
    assert_eq!(
        probe("myapp.settings", &options(folder.path()))
            .await
            .unwrap()
            .alias,
        "default"
    );
}
