//! The address of a Web API: Slack's own, or that of a local Slack.

use url::Url;

use crate::config::error::ConfigError;
use crate::config::values::SLACK_API;

/// Checks the base of the Web API, and gives it a slash at its end: without one, joining a method's name would replace
/// the last part of the path.
pub(super) fn api_url(given: Option<Url>) -> Result<Url, ConfigError> {
    let mut url = match given {
        Some(url) => url,
        None => {
            return Url::parse(SLACK_API).map_err(|_| ConfigError::ApiUrl {
                value: SLACK_API.into(),
                reason: "it can't be parsed",
            });
        }
    };
    let wrong = |reason| ConfigError::ApiUrl {
        value: url.to_string(),
        reason,
    };
    match url.scheme() {
        "https" => {}
        "http" if url.host_str().is_some_and(is_loopback) => {}
        "http" => {
            return Err(wrong(
                "over plain http the network could read the token; only a loopback address may use it",
            ));
        }
        _ => return Err(wrong("its scheme is neither https nor http")),
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}
