//! Guards, plugins without which no event may pass: while one does not serve, its events are dropped or wait, whatever
//! happened to the config, the lock, the component or the compiled code.

use std::time::Duration;

use djangobot_plugins::{OnError, PluginConfig, ResolveError, State};
use serde_json::json;

use crate::guest::Guest;
use crate::stage::{PluginOutput, Role, Stage, only};

fn guard(on_error: OnError) -> Role {
    Role::new("guard", &Guest::marks("seen", "yes")).on_error(on_error)
}

/// A guard whose component can't be found.
fn unready(on_error: OnError) -> ResolveError {
    ResolveError {
        config: PluginConfig {
            on_error,
            ..PluginConfig::new("guard", "file:guard.wasm")
        },
        why: "djangobot.lock line 3: key with no value".into(),
    }
}

fn is_dropped_by_failure(passed: &PluginOutput) -> bool {
    passed.events.is_empty() && passed.dropped.as_ref().is_some_and(|it| it.failed)
}

async fn is_held(passing: &mut (impl Future<Output = PluginOutput> + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(300), passing)
        .await
        .is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_guard_that_can_not_be_loaded_are_dropped_or_held_as_the_operator_set() {
    let broken = Guest::new().init("unreachable");
    for is_broken in [false, true] {
        let spoil = async |stage: &Stage, on_error| match is_broken {
            true => {
                let role = Role::new("guard", &broken).on_error(on_error);
                stage.plays(&[role]).await;
            }
            false => {
                stage.host.apply(vec![Err(unready(on_error))]).await;
            }
        };
        let stage = Stage::new();
        spoil(&stage, OnError::Pass).await;
        only(&stage.message("hi").await);

        spoil(&stage, OnError::Drop).await;
        let passed = stage.message("hi").await;
        assert!(is_dropped_by_failure(&passed), "{passed:?}");
        let passed = stage.outbound(json!({"text": "hi"}), 0).await;
        assert!(is_dropped_by_failure(&passed), "{passed:?}");
        assert_eq!(stage.status("guard").state, State::Refused);
        // Its subscriptions are known once its component is, and other events then go on.
        let reaction = stage.event(json!({"type": "reaction_added"})).await;
        assert_eq!(is_dropped_by_failure(&reaction), !is_broken, "{reaction:?}");

        spoil(&stage, OnError::Hold).await;
        let held = stage.message("hi");
        tokio::pin!(held);
        assert!(is_held(&mut held).await);
        let good = [guard(OnError::Hold)];
        let (passed, ()) = tokio::join!(held, stage.plays(&good));
        assert_eq!(only(&passed)["seen"], "yes");

        // A version that serves goes on, whatever was to replace it.
        spoil(&stage, OnError::Hold).await;
        assert_eq!(only(&stage.message("hi").await)["seen"], "yes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_event_goes_on_when_the_guard_is_disabled_removed_or_not_a_guard_any_more() {
    let disabled = PluginConfig {
        enabled: false,
        ..unready(OnError::Hold).config
    };
    let why = "it is disabled".to_owned();
    let ends = [
        vec![],
        vec![Err(ResolveError {
            config: disabled,
            why,
        })],
        vec![Err(unready(OnError::Pass))],
    ];
    for end in ends {
        let stage = Stage::new();
        stage.host.apply(vec![Err(unready(OnError::Hold))]).await;
        let held = stage.message("hi");
        tokio::pin!(held);
        assert!(is_held(&mut held).await);
        let (passed, _) = tokio::join!(held, stage.host.apply(end));
        assert_eq!(only(&passed)["seen"], serde_json::Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_any_plugin_at_the_start_and_later_for_guards_alone() {
    let stage = Stage::new();
    let role = guard(OnError::Pass);
    stage.host.expect(&[role.config()]).await;
    assert_eq!(stage.status("guard").state, State::Loading);
    let held = stage.message("hi");
    tokio::pin!(held);
    assert!(is_held(&mut held).await);
    let (passed, ()) = tokio::join!(held, stage.plays(std::slice::from_ref(&role)));
    assert_eq!(only(&passed)["seen"], "yes");

    let more = |name: &str, on_error| Role::new(name, &Guest::new()).on_error(on_error).config();
    let added = [role.config(), more("more", OnError::Pass)];
    stage.host.expect(&added).await;
    only(&stage.message("hi").await);
    let added = [role.config(), more("second-guard", OnError::Drop)];
    stage.host.expect(&added).await;
    let held = stage.message("hi");
    tokio::pin!(held);
    assert!(is_held(&mut held).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_error_takes_effect_even_if_the_rest_of_the_change_is_refused() {
    let fails = Role::new("guard", &Guest::new().on_event("unreachable"));
    let stage = Stage::with(&[fails]).await;
    only(&stage.message("hi").await);
    stage.host.apply(vec![Err(unready(OnError::Drop))]).await;
    let passed = stage.message("hi").await;
    assert!(is_dropped_by_failure(&passed), "{passed:?}");
    // A mistake in the config must not let events pass.
    let mut mistaken = unready(OnError::Pass);
    mistaken.config.mistake = Some(mistaken.why.clone());
    stage.host.apply(vec![Err(mistaken)]).await;
    let passed = stage.message("hi").await;
    assert!(is_dropped_by_failure(&passed), "{passed:?}");
    stage.host.apply(vec![Err(unready(OnError::Pass))]).await;
    only(&stage.message("hi").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_serve_stay_while_a_name_in_the_config_can_not_be_read() {
    let role = guard(OnError::Drop);
    let stage = Stage::with(std::slice::from_ref(&role)).await;
    let mut nameless = unready(OnError::Drop);
    nameless.config.name = "the [[plugin]] of line 7".into();
    nameless.config.mistake = Some(nameless.why.clone());
    stage.host.apply(vec![Err(nameless.clone())]).await;
    assert_eq!(only(&stage.message("hi").await)["seen"], "yes");
    // If it can't be one of those that serve, its events are dropped.
    let both = vec![stage.wanted(&role), Err(nameless)];
    stage.host.apply(both).await;
    let passed = stage.message("hi").await;
    assert!(is_dropped_by_failure(&passed), "{passed:?}");
    stage.plays(&[role]).await;
    assert_eq!(only(&stage.message("hi").await)["seen"], "yes");
}
