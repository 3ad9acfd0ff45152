//! The tests' own tools do what the tests rely on.

use std::process::Command;
use std::time::Duration;

use crate::{
    Program, Redis, eventually, node, node_modules, python, python_channels1, python_redis7,
};

fn shell(script: &str) -> Program {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Program::start(command)
}

#[test]
fn a_redis_keeps_its_port_over_a_restart_and_ends_when_dropped() {
    let mut redis = Redis::start();
    assert_eq!(redis.cli(&["SET", "key", "value"]), "OK");
    let port = redis.port();
    redis.restart();
    assert_eq!(redis.port(), port);
    assert_eq!(redis.cli(&["EXISTS", "key"]), "0");
    drop(redis);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_redis_with_arguments_has_them() {
    let redis = Redis::with_args(&["--requirepass", "secret"]);
    assert_eq!(
        redis.cli(&["--no-auth-warning", "-a", "secret", "PING"]),
        "PONG"
    );
    assert!(redis.cli(&["PING"]).contains("NOAUTH"));
}

#[test]
fn each_virtualenv_has_the_versions_that_its_list_says() {
    let versions = "import importlib.metadata as m; print(*(m.version(n) for n in ['channels', 'redis', 'msgpack-python' if m.version('channels')[0] == '1' else 'msgpack']))";
    let check = |python: std::path::PathBuf, expect: &str| {
        let output = Command::new(&python)
            .args(["-c", versions])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            expect,
            "{}",
            python.display()
        );
    };
    check(python(), "4.3.2 8.1.0 1.2.4");
    check(python_redis7(), "4.3.2 7.4.1 1.2.4");
    check(python_channels1(), "1.1.8 2.10.6 0.5.6");
}

#[test]
fn node_finds_slacks_packages() {
    let script = "require('@slack/rtm-api'); require('@slack/web-api'); console.log('found')";
    let output = Command::new(node())
        .args(["-e", script])
        .env("NODE_PATH", node_modules())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "found",
        "{output:?}"
    );
}

#[tokio::test]
async fn a_program_gives_its_lines_in_order_and_its_end() {
    let mut program = shell("echo one; echo two >&2; read word; echo \"got $word\"; exit 3");
    assert_eq!(program.line("one").await, "one");
    assert_eq!(program.line("two").await, "two");
    program.write_line("three").await;
    assert_eq!(program.line("got").await, "got three");
    assert_eq!(program.exit().await.code(), Some(3));
    assert_eq!(
        (program.stdout().as_str(), program.stderr().as_str()),
        ("one\ngot three\n", "two\n")
    );
}

#[tokio::test]
async fn a_program_is_told_to_end_by_sigterm() {
    let mut program =
        shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    program.line("ready").await;
    assert_eq!(program.terminate().await.code(), Some(0));
    assert_eq!(program.line("bye").await, "bye");
}

#[tokio::test]
#[should_panic(expected = "ended without a line with \"three\"; it wrote:\none\n")]
async fn a_line_that_does_not_come_is_a_failure_with_what_came() {
    shell("echo one").line("three").await;
}

#[tokio::test]
async fn a_programs_cost_can_be_read() {
    let mut program =
        shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo ready; read end");
    program.line("ready").await;
    assert!(program.cpu_time() > Duration::ZERO);
    assert!(program.resident_memory() > 100_000);
}

#[tokio::test]
async fn eventually_gives_the_first_value() {
    let mut tries = 0;
    let value = eventually("three tries", async || {
        tries += 1;
        (tries == 3).then_some(tries)
    });
    assert_eq!(value.await, 3);
}
