//! A real local Slack for the tests of this crate, and a client of it.

use std::future::Future;
use std::time::Duration;

use local_slack::{LocalSlack, Options};

use crate::{Token, WebApi};

/// A workspace that lives as long as the test.
pub(crate) async fn slack(options: Options) -> (LocalSlack, WebApi) {
    let slack = LocalSlack::start(options).await.unwrap();
    let api = client(&slack);
    (slack, api)
}

pub(crate) fn client(slack: &LocalSlack) -> WebApi {
    WebApi::new(
        slack.api_url().parse().unwrap(),
        Token::new(slack.token()).unwrap(),
    )
    .unwrap()
}

/// Waits for what must come, and fails the test rather than hang it.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(180), what)
        .await
        .expect("it comes within three minutes")
}
