//! Against a real local Slack, whose `oauth.v2.access` says what Slack would.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use local_slack::{Answer as Prescribed, Control, LocalSlack, Options};
use tokio::task::JoinHandle;

use super::*;
use crate::testing::{slack, soon};

/// A rotation at work; dropping it ends it.
struct Running {
    _slack: LocalSlack,
    control: Control,
    api: WebApi,
    rotation: Rotation,
    kept: Arc<Mutex<Vec<Pair>>>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), Fatal>>,
}

fn pair(number: u32, lives: Duration) -> Pair {
    Pair {
        access: Token::new(&format!("xoxe.xoxb-{number}")).unwrap(),
        refresh: RefreshToken::new(&format!("xoxe-{number}")).unwrap(),
        expires_at: SystemTime::now() + lives,
    }
}

fn sold(number: u32) -> Prescribed {
    Prescribed {
        body: Some(json!({
            "ok": true, "access_token": format!("xoxe.xoxb-{number}"), "refresh_token": format!("xoxe-{number}"),
            "expires_in": 43200, "token_type": "bot",
        })),
        ..Prescribed::default()
    }
}

fn refused(code: &str, times: u64) -> Prescribed {
    Prescribed {
        error: Some(code.into()),
        times,
        ..Prescribed::default()
    }
}

const HOURS: Duration = Duration::from_secs(11 * 3600);

impl Running {
    /// A rotation whose pair lives for so long yet, with what Slack answers, and with failures to keep a pair.
    async fn start(lives: Duration, answers: Vec<Prescribed>, unkept: u32) -> Self {
        let (slack, api) = slack(Options::default()).await;
        let control = slack.control();
        for answer in answers {
            control.answer(METHOD, answer);
        }
        let kept = Arc::<Mutex<Vec<Pair>>>::default();
        let (keeping, failures, user) = (Arc::clone(&kept), AtomicU32::new(unkept), api.clone());
        let before = api.token_version();
        let keep =
            move |pair: Pair| -> Pin<Box<dyn Future<Output = Result<(), KeepError>> + Send>> {
                assert_eq!(
                    user.token_version(),
                    before + 1,
                    "it is not used before it is kept"
                );
                let failed = failures
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok();
                if !failed {
                    keeping.lock().unwrap().push(pair);
                }
                Box::pin(async move {
                    if failed {
                        Err("the disk is full".into())
                    } else {
                        Ok(())
                    }
                })
            };
        let config = Config {
            backoff_first: Duration::from_millis(1),
            backoff_max: Duration::from_millis(5),
            ..Config::default()
        };
        let client = Client {
            id: "C1".into(),
            secret: "hush".into(),
        };
        let rotation = Rotation::new(api.clone(), client, pair(1, lives), config, Box::new(keep));
        let cancel = CancellationToken::new();
        let task = tokio::spawn({
            let (rotation, cancel) = (rotation.clone(), cancel.clone());
            async move { rotation.run(cancel).await }
        });
        Running {
            _slack: slack,
            control,
            api,
            rotation,
            kept,
            cancel,
            task,
        }
    }

    fn bought(&self) -> usize {
        self.control.calls(Some(METHOD)).len()
    }

    fn kept(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        kept.iter()
            .map(|pair| pair.refresh.expose().to_owned())
            .collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_token_near_its_end_is_refreshed_kept_and_then_used() {
    let running = Running::start(Duration::from_secs(60), vec![sold(2)], 0).await;
    soon(running.rotation.renew(1)).await.unwrap();
    assert_eq!(running.kept(), ["xoxe-2"]);
    let kept = running.kept.lock().unwrap()[0].expires_at;
    assert!(kept > SystemTime::now() + Duration::from_secs(43_000));

    let call = &running.control.calls(Some(METHOD))[0];
    assert_eq!(
        call.arguments,
        json!({"client_id": "C1", "client_secret": "hush", "grant_type": "refresh_token", "refresh_token": "xoxe-1"})
    );
    running.control.revoke("xoxe.xoxb-2", "it_is_this_one");
    let error = soon(running.api.auth_test()).await.unwrap_err();
    assert_eq!(error.code(), "it_is_this_one");
}

#[tokio::test]
async fn a_token_with_hours_to_live_is_refreshed_when_slack_says_that_it_expired_and_once_for_all()
{
    let running = Running::start(HOURS, vec![sold(2), sold(3)], 0).await;
    soon(running.rotation.ready()).await.unwrap();
    assert_eq!(running.bought(), 0);
    let seen = running.api.token_version();
    let all = (0..20).map(|_| running.rotation.renew(seen));
    for renewed in soon(futures_util::future::join_all(all)).await {
        assert_eq!(renewed, Ok(()));
    }
    assert_eq!(soon(running.rotation.renew(seen)).await, Ok(()));
    assert_eq!(running.bought(), 1);
    assert_eq!(running.api.token_version(), seen + 1);
}

#[tokio::test]
async fn a_start_with_a_token_whose_time_is_over_waits_for_the_new_one() {
    let running = Running::start(Duration::ZERO, vec![sold(2)], 0).await;
    soon(running.rotation.ready()).await.unwrap();
    assert_eq!(running.kept(), ["xoxe-2"]);
}

#[tokio::test]
async fn failures_are_survived() {
    let answers = vec![
        refused("internal_error", 2),
        Prescribed {
            status: 503,
            body: Some(json!("busy")),
            ..Prescribed::default()
        },
        Prescribed {
            status: 401,
            body: Some(json!("<html>Who are you?</html>")),
            ..Prescribed::default()
        },
        refused("org_login_required", 1),
        refused("accesslimited", 1),
        refused("a_new_error", 1),
        Prescribed {
            hang_up: true,
            ..Prescribed::default()
        },
        Prescribed {
            body: Some(json!({"ok": true, "access_token": "xoxe.xoxb-9"})),
            ..Prescribed::default()
        },
        sold(2),
    ];
    let running = Running::start(Duration::ZERO, answers, 3).await;
    soon(running.rotation.ready()).await.unwrap();
    assert_eq!(running.bought(), 10);
    assert_eq!(
        running.kept(),
        ["xoxe-2"],
        "bought once, however often it could not be kept"
    );
}

#[tokio::test]
async fn a_refusal_ends_it_only_when_the_token_has_expired_too() {
    let mut running = Running::start(
        Duration::from_secs(60),
        vec![refused("invalid_refresh_token", 100)],
        0,
    )
    .await;
    soon(running.control.wait_for_calls(METHOD, 3)).await;
    assert!(!running.task.is_finished());
    let why = soon(running.rotation.renew(running.api.token_version()))
        .await
        .unwrap_err();
    assert!(why.to_string().contains("install the app again"), "{why}");
    let error = soon(&mut running.task)
        .await
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(error.contains("invalid_refresh_token"), "{error}");
    assert!(matches!(
        soon(running.rotation.renew(9)).await,
        Err(RefreshError::Refused(_))
    ));
}

#[tokio::test]
async fn to_stop_finishes_what_is_under_way() {
    let slow = Prescribed {
        delay_ms: 200,
        ..sold(2)
    };
    let mut running = Running::start(Duration::ZERO, vec![slow], 0).await;
    soon(running.control.wait_for_calls(METHOD, 1)).await;
    running.cancel.cancel();
    assert_eq!(soon(&mut running.task).await.unwrap(), Ok(()));
    assert_eq!(running.kept(), ["xoxe-2"]);
    assert_eq!(
        soon(running.rotation.renew(running.api.token_version())).await,
        Err(RefreshError::Stopped)
    );
}

#[tokio::test]
async fn to_stop_gives_up_on_a_disk_that_takes_nothing() {
    let mut running = Running::start(Duration::ZERO, vec![sold(2)], u32::MAX).await;
    soon(running.control.wait_for_calls(METHOD, 1)).await;
    running.cancel.cancel();
    assert_eq!(soon(&mut running.task).await.unwrap(), Ok(()));
    assert_eq!(
        running.api.token_version(),
        1,
        "what is not kept is not used"
    );
}

#[test]
fn a_pair_can_be_written_and_read_and_does_not_show_itself() {
    let pair = pair(1, HOURS);
    let read = Pair::from_json(pair.to_json().expose_secret()).unwrap();
    assert_eq!(read.access.secret().expose_secret(), "xoxe.xoxb-1");
    assert_eq!(read.refresh.secret().expose_secret(), "xoxe-1");
    let lost = pair.expires_at.duration_since(read.expires_at).unwrap();
    assert!(lost < Duration::from_secs(1));
    let shown = format!("{pair:?} {:?}", pair.to_json());
    assert!(
        !shown.contains("xoxb-1") && !shown.contains("xoxe-1"),
        "{shown}"
    );
    for bad in [
        "",
        "{}",
        r#"{"access_token":"x","refresh_token":"xoxe-1","expires_at":1}"#,
    ] {
        assert!(Pair::from_json(bad).is_err(), "{bad}");
    }
}
