//! Failures of calls to Slack's Web API: their meaning for the caller, and the words for people.

use std::fmt;
use std::time::Duration;

use djangobot_event::CleanText;

use crate::api::fatal;

/// The name that an answer to a `response_url` has in errors, where other calls have their method.
pub(crate) const RESPONSE_URL: &str = "response_url";

/// A call that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The method that was called.
    pub method: String,
    /// The `channel` argument of the call, where it had one.
    pub channel: Option<String>,
    /// The failure itself.
    pub failure: Failure,
}

/// The kinds of failure of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Slack answered `"ok": false`.
    Refused(Box<Refusal>),
    /// HTTP 429, or the error `ratelimited`.
    RateLimited {
        /// How long Slack wants us to wait, from its `Retry-After`.
        retry_after: Duration,
    },
    /// Another HTTP status, without an answer in JSON.
    Status(u16),
    /// No connection could be made: refused, no such host, TLS. Nothing was sent.
    Unreachable(String),
    /// The connection was lost, or no answer came in time, after the request may have been sent.
    Interrupted(String),
    /// The answer was not a JSON object with `ok`, or did not have the shape of the method's answers.
    Unreadable(String),
    /// The request could not be made from these arguments. Nothing was sent.
    Unsendable(String),
}

/// Slack's own words for why it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The code in `error`, such as `channel_not_found`.
    pub code: String,
    /// With `missing_scope`: the scope that the method needs.
    pub needed: Option<String>,
    /// With `missing_scope`: the scopes that the token has.
    pub provided: Option<String>,
    /// Slack's longer words, from `response_metadata.messages` and `errors`.
    pub messages: Vec<String>,
}

/// The meaning of a failure for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing will work until a person does something: stop.
    Fatal,
    /// This call will not work, however often it is tried; others will.
    Permanent,
    /// Try the same call again after this time.
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Surely not executed: try again soon.
    Retry,
    /// May have been executed: try again only what may happen twice.
    Ambiguous,
    /// The token's time is over: get a new one, then try again.
    Refresh,
    /// The call would change nothing, because its effect is there already: a success.
    AlreadyDone,
}

/// Codes with which Slack says that nothing was done, and that a later call may well succeed.
const LATER: &[&str] = &[
    // "Access to this method is limited on the current network."
    "accesslimited",
    // "Administrators have suspended the ability to post a message."
    "ekm_access_denied",
    "migration_in_progress",
    // "The workspace is undergoing an enterprise migration and will not be available until migration is complete."
    "org_login_required",
    "service_unavailable",
    // "Web API and other platform operations will be intermittently unavailable until the transition is complete."
    "team_added_to_org",
];

impl ApiError {
    /// The meaning of the failure for the caller.
    pub fn class(&self) -> Class {
        match &self.failure {
            Failure::Refused(refusal) => self.class_of(&refusal.code),
            Failure::RateLimited { retry_after } => Class::RateLimited {
                retry_after: *retry_after,
            },
            // An answer without Slack's JSON is not from Slack's Web API; 413, 414 and 431 are about this request.
            Failure::Status(413 | 414 | 431) | Failure::Unsendable(_) => Class::Permanent,
            // Answers of response URLs have no JSON, so that the status is Slack's own: the URL was used up, or has
            // expired.
            Failure::Status(400..=407 | 409..=428) if self.method == RESPONSE_URL => {
                Class::Permanent
            }
            Failure::Unreachable(_) | Failure::Status(..500 | 503) => Class::Retry,
            Failure::Status(_) | Failure::Interrupted(_) | Failure::Unreadable(_) => {
                Class::Ambiguous
            }
        }
    }

    fn class_of(&self, code: &str) -> Class {
        match code {
            "token_expired" => Class::Refresh,
            "already_reacted" | "no_reaction" | "already_pinned" | "not_pinned"
            | "already_in_channel" | "already_archived" | "not_archived" | "already_starred"
            | "not_starred" | "already_closed" => Class::AlreadyDone,
            "internal_error" | "fatal_error" | "request_timeout" => Class::Ambiguous,
            _ if LATER.contains(&code) => Class::Retry,
            _ if fatal::is_fatal(&self.method, code) => Class::Fatal,
            _ => Class::Permanent,
        }
    }

    /// Whether the call itself may be the reason of the failure, while others succeed: something answered it, or
    /// nothing in time.
    pub fn may_be_the_calls(&self) -> bool {
        match self.failure {
            Failure::Unreachable(_) | Failure::RateLimited { .. } => false,
            Failure::Refused(_)
            | Failure::Status(_)
            | Failure::Interrupted(_)
            | Failure::Unreadable(_)
            | Failure::Unsendable(_) => true,
        }
    }

    /// The failure as one word: Slack's code, or one of ours in the same form (`ratelimited`, `unreachable`, ...).
    pub fn code(&self) -> &str {
        match &self.failure {
            Failure::Refused(refusal) => &refusal.code,
            Failure::RateLimited { .. } => "ratelimited",
            Failure::Status(_) => "http_status",
            Failure::Unreachable(_) => "unreachable",
            Failure::Interrupted(_) => "interrupted",
            Failure::Unreadable(_) => "unreadable_answer",
            Failure::Unsendable(_) => "unsendable",
        }
    }

    /// The cure for a code of Slack's, as the end of a sentence.
    fn cure(&self, refusal: &Refusal) -> Option<String> {
        Some(match &*refusal.code {
            "invalid_auth" | "not_authed" => {
                "the token is not valid: copy it again from the app's page \"OAuth & Permissions\"".into()
            }
            "account_inactive" | "user_removed_from_team" => {
                "the token's user or app is no longer in the workspace: install the app again".into()
            }
            "token_revoked" => "the token was revoked: install the app again and use its new token".into(),
            "invalid_refresh_token" => {
                "the refresh token was used before, or is revoked: install the app again, and give its new tokens".into()
            }
            "invalid_client_id" | "bad_client_secret" => {
                "client id and client secret are not the app's: copy them from its page \"Basic Information\"".into()
            }
            "token_expired" => "the token's 12 hours are over: refresh it".into(),
            "not_allowed_token_type" if self.method.starts_with("rtm.") => {
                "Slack's RTM takes only tokens of classic apps: use Socket Mode, with an app-level token (xapp-)".into()
            }
            "not_allowed_token_type" if self.method == "apps.connections.open" => {
                "Socket Mode is opened with an app-level token: make one with the scope connections:write on the app's \
                 page \"Basic Information\"; it begins with xapp-".into()
            }
            "link_disabled" => {
                "Socket Mode is switched off for the app: switch it on on the app's page \"Socket Mode\", or use the \
                 HTTP transport".into()
            }
            "not_allowed_token_type" => "this method does not take a token of this kind".into(),
            "missing_scope" => match (
                refusal.needed.as_deref().map(CleanText::new),
                refusal.provided.as_deref().map(CleanText::new),
            ) {
                (Some(needed), Some(provided)) => format!(

                    "the token lacks the scope {needed} (it has: {provided}): add it to the app and install it again"
                ),
                (Some(needed), None) => {
                    format!("the token lacks the scope {needed}: add it to the app and install it again")
                }
                _ => "the token lacks a scope: add it to the app and install it again".into(),
            },
            "channel_not_found" => "there is no such channel, or the bot may not see it: invite the bot".into(),
            "not_in_channel" => "the bot is not in the channel: invite it".into(),
            "is_archived" => "the channel is archived".into(),
            "no_text" => "the message has neither text nor blocks".into(),
            "msg_too_long" => "the text is too long: Slack takes 40,000 characters at most, 4,000 for an update".into(),
            "user_not_found" => "there is no such user".into(),
            "unknown_method" => "Slack has no such method".into(),
            "migration_in_progress" => "the workspace is being moved between Slack's servers".into(),
            "org_login_required" | "team_added_to_org" => {
                "the workspace is being moved into an Enterprise organization, and can be used again after that".into()
            }
            "accesslimited" => "Slack limits this method on the network that the call came from".into(),
            "ekm_access_denied" => "the workspace's administrators have suspended its keys, and can give them back".into(),
            "two_factor_setup_required" => {
                "the workspace wants two-factor authentication, and the token's user has to set it up".into()
            }
            "team_disabled" => "the workspace was disabled".into(),
            "forbidden_team" | "enterprise_is_restricted" => "Slack does not offer this method to the workspace".into(),
            "team_access_not_granted" => {
                "the app's installation does not cover this workspace: install it there".into()
            }
            _ => return None,
        })
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slack's {}", self.method)?;
        if let Some(channel) = &self.channel {
            write!(f, " (channel {})", CleanText::within(channel, 100))?;
        }
        match &self.failure {
            Failure::Refused(refusal) => {
                write!(f, " answered {}", CleanText::within(&refusal.code, 100))?;
                if let Some(cure) = self.cure(refusal) {
                    write!(f, ": {cure}")?;
                }
                if !refusal.messages.is_empty() {
                    write!(f, " ({})", CleanText::new(&refusal.messages.join("; ")))?;
                }
                Ok(())
            }
            Failure::RateLimited { retry_after } => {
                write!(
                    f,
                    " is called too often: it may be called again in {} s",
                    retry_after.as_secs()
                )
            }
            Failure::Status(status) => write!(
                f,
                " answered with HTTP status {status} and no JSON of Slack's: a proxy, a firewall or a server on the way \
                 may have answered in its place"
            ),
            Failure::Unreachable(why) => write!(
                f,
                " can't be reached: {}: check the network, the proxy and the URL",
                CleanText::new(why)
            ),
            Failure::Interrupted(why) => write!(
                f,
                " gave no whole answer, and may have done its work: {}",
                CleanText::new(why)
            ),
            Failure::Unreadable(why) => {
                write!(
                    f,
                    " gave an answer that can't be read: {}",
                    CleanText::new(why)
                )
            }
            Failure::Unsendable(why) => write!(f, " can't be called: {}", CleanText::new(why)),
        }
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &str, code: &str) -> ApiError {
        let refusal = Refusal {
            code: code.into(),
            ..Refusal::default()
        };
        ApiError {
            method: method.into(),
            channel: None,
            failure: Failure::Refused(Box::new(refusal)),
        }
    }

    fn failed(failure: Failure) -> ApiError {
        ApiError {
            method: "chat.postMessage".into(),
            channel: Some("C1".into()),
            failure,
        }
    }

    #[test]
    fn a_code_says_what_to_do() {
        let check = |method, code, expect| {
            assert_eq!(refused(method, code).class(), expect, "{method} {code}")
        };
        check("chat.postMessage", "invalid_auth", Class::Fatal);
        check("chat.postMessage", "token_revoked", Class::Fatal);
        check("chat.postMessage", "missing_scope", Class::Permanent);
        check("rtm.connect", "missing_scope", Class::Fatal);
        check("rtm.connect", "not_allowed_token_type", Class::Fatal);
        check(
            "apps.connections.open",
            "not_allowed_token_type",
            Class::Fatal,
        );
        for code in [
            "migration_in_progress",
            "org_login_required",
            "accesslimited",
            "team_added_to_org",
        ] {
            for method in [
                "rtm.connect",
                "apps.connections.open",
                "auth.test",
                "chat.postMessage",
            ] {
                check(method, code, Class::Retry);
            }
        }
        check("chat.postMessage", "internal_error", Class::Ambiguous);
        check("chat.postMessage", "fatal_error", Class::Ambiguous);
        check("chat.postMessage", "service_unavailable", Class::Retry);
        check("chat.postMessage", "token_expired", Class::Refresh);
        check("reactions.add", "already_reacted", Class::AlreadyDone);
        check("chat.postMessage", "what_is_this", Class::Permanent);
    }

    #[test]
    fn a_failure_on_the_way_says_whether_it_may_have_been_executed() {
        let check = |failure: Failure, expect| assert_eq!(failed(failure).class(), expect);
        check(Failure::Unreachable("refused".into()), Class::Retry);
        for status in [302, 400, 401, 403, 404, 407, 408, 421, 451, 503] {
            check(Failure::Status(status), Class::Retry);
        }
        for status in [500, 502, 504, 520] {
            check(Failure::Status(status), Class::Ambiguous);
        }
        check(Failure::Status(413), Class::Permanent);
        let used_up = ApiError {
            method: RESPONSE_URL.into(),
            ..failed(Failure::Status(404))
        };
        assert_eq!(used_up.class(), Class::Permanent);
        check(Failure::Interrupted("timeout".into()), Class::Ambiguous);
        check(Failure::Unreadable("HTML".into()), Class::Ambiguous);
        let wait = Duration::from_secs(3);
        check(
            Failure::RateLimited { retry_after: wait },
            Class::RateLimited { retry_after: wait },
        );
    }

    #[test]
    fn slacks_words_are_one_clean_line() {
        let mut error = refused("chat.postMessage", "bad\nFORGED \u{1b}[2J\u{202e}");
        error.channel = Some("C1\n".into());
        if let Failure::Refused(refusal) = &mut error.failure {
            refusal.messages = vec!["x\ny".repeat(100_000)];
        }
        let text = error.to_string();
        assert!(
            !text.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{text}"
        );
        assert!(text.len() < 1_000, "{}", text.len());
    }

    #[test]
    fn the_text_names_the_method_the_channel_and_the_cure() {
        let mut error = refused("chat.postMessage", "missing_scope");
        if let Failure::Refused(refusal) = &mut error.failure {
            refusal.needed = Some("chat:write".into());
            refusal.provided = Some("rtm:stream".into());
        }
        error.channel = Some("C1".into());
        assert_eq!(
            error.to_string(),
            "Slack's chat.postMessage (channel C1) answered missing_scope: the token lacks the scope chat:write \
             (it has: rtm:stream): add it to the app and install it again"
        );
        assert!(
            refused("rtm.connect", "not_allowed_token_type")
                .to_string()
                .contains("use Socket Mode")
        );
    }
}
