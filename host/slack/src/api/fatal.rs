//! The codes of Slack's that end all work with a token, because only a person can mend the cause.
//!
//! Whatever is not in this table may pass by itself: a workspace that is being migrated, a network that Slack limits, a
//! proxy that answers in Slack's place. That is waited out.

/// A code of Slack's with which no further attempt makes sense.
struct Fatal {
    code: &'static str,
    /// For which calls.
    calls: Calls,
    /// Where Slack says so, in its own words where it has any.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for who reads or changes the table")
    )]
    source: &'static str,
}

/// The calls that a code is fatal for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calls {
    /// The token itself is of no use any more, whatever is called.
    All,
    /// The call that opens the connection. Another call that gets this code fails alone.
    Connecting,
    /// The call that renews a token.
    Renewing,
}

const CONNECTING: &[&str] = &["rtm.connect", "rtm.start", "apps.connections.open"];
const RENEWING: &[&str] = &["oauth.v2.access"];

const FATAL: &[Fatal] = &[
    Fatal {
        code: "account_inactive",
        calls: Calls::All,
        source: "every method's page: Authentication token is for a deleted user or workspace when using a bot token.",
    },
    Fatal {
        code: "invalid_auth",
        calls: Calls::All,
        source: "every method's page: Some aspect of authentication cannot be validated. Either the provided token is invalid or the request originates from an IP address disallowed from making the request.",
    },
    Fatal {
        code: "not_authed",
        calls: Calls::All,
        source: "every method's page: No authentication token provided.",
    },
    Fatal {
        code: "team_disabled",
        calls: Calls::All,
        source: "the SDK @slack/socket-mode: UnrecoverableSocketModeStartError.TeamDisabled",
    },
    Fatal {
        code: "token_revoked",
        calls: Calls::All,
        source: "every method's page: Authentication token is for a deleted user or workspace or the app has been removed when using a user token.",
    },
    Fatal {
        code: "two_factor_setup_required",
        calls: Calls::All,
        source: "every method's page: Two factor setup is required.",
    },
    Fatal {
        code: "user_removed_from_team",
        calls: Calls::All,
        source: "the SDK @slack/socket-mode: UnrecoverableSocketModeStartError.UserRemovedFromTeam",
    },
    Fatal {
        code: "deprecated_endpoint",
        calls: Calls::Connecting,
        source: "every method's page: The endpoint has been deprecated.",
    },
    Fatal {
        code: "enterprise_is_restricted",
        calls: Calls::Connecting,
        source: "every method's page: The method cannot be called from an Enterprise.",
    },
    Fatal {
        code: "forbidden_team",
        calls: Calls::Connecting,
        source: "apps.connections.open: The authenticated team cannot use this API",
    },
    Fatal {
        code: "method_deprecated",
        calls: Calls::Connecting,
        source: "every method's page: The method has been deprecated.",
    },
    Fatal {
        code: "missing_scope",
        calls: Calls::Connecting,
        source: "every method's page: The token used is not granted the specific scope permissions required to complete this request.",
    },
    Fatal {
        code: "no_permission",
        calls: Calls::Connecting,
        source: "every method's page: The workspace token used in this request does not have the permissions necessary to complete the request.",
    },
    Fatal {
        code: "not_allowed_token_type",
        calls: Calls::Connecting,
        source: "every method's page: The token type used in this request is not allowed.",
    },
    Fatal {
        code: "team_access_not_granted",
        calls: Calls::Connecting,
        source: "every method's page: The token used is not granted the specific workspace access required to complete this request.",
    },
    Fatal {
        code: "unknown_method",
        calls: Calls::Connecting,
        source: "the Web API's page: there is no method of this name",
    },
    Fatal {
        code: "bad_client_secret",
        calls: Calls::Renewing,
        source: "oauth.v2.access: Value passed for client_secret was invalid.",
    },
    Fatal {
        code: "invalid_client_id",
        calls: Calls::Renewing,
        source: "oauth.v2.access: Value passed for client_id was invalid.",
    },
    Fatal {
        code: "invalid_grant_type",
        calls: Calls::Renewing,
        source: "oauth.v2.access: Value passed for grant_type was invalid.",
    },
    Fatal {
        code: "invalid_refresh_token",
        calls: Calls::Renewing,
        source: "oauth.v2.access: Value passed for refresh_token was invalid.",
    },
];

/// Whether `code` is fatal where `method` answers it.
pub(super) fn is_fatal(method: &str, code: &str) -> bool {
    FATAL.iter().any(|fatal| {
        fatal.code == code
            && match fatal.calls {
                Calls::All => true,
                Calls::Connecting => CONNECTING.contains(&method),
                Calls::Renewing => RENEWING.contains(&method),
            }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_code_stands_in_the_table_once_and_says_where_it_is_from() {
        let mut codes = HashSet::new();
        for fatal in FATAL {
            assert!(codes.insert(fatal.code), "{} stands twice", fatal.code);
            assert!(fatal.source.contains(':'), "{}", fatal.code);
        }
    }

    #[test]
    fn a_code_is_fatal_for_its_calls_alone() {
        let check = |method, code, expect| {
            assert_eq!(is_fatal(method, code), expect, "{method} {code}");
        };
        for code in [
            "invalid_auth",
            "not_authed",
            "token_revoked",
            "account_inactive",
        ] {
            for method in [
                "rtm.connect",
                "apps.connections.open",
                "auth.test",
                "chat.postMessage",
            ] {
                check(method, code, true);
            }
        }
        check("apps.connections.open", "missing_scope", true);
        check("chat.postMessage", "missing_scope", false);
        check("oauth.v2.access", "invalid_refresh_token", true);
        check("chat.postMessage", "invalid_refresh_token", false);
    }

    #[test]
    fn nothing_is_fatal_that_may_pass_by_itself() {
        for code in [
            "accesslimited",
            "access_denied",
            "ekm_access_denied",
            "fatal_error",
            "internal_error",
            "migration_in_progress",
            "org_login_required",
            "ratelimited",
            "request_timeout",
            "service_unavailable",
            "team_added_to_org",
            "unknown_error",
            "what_is_this",
        ] {
            for method in CONNECTING.iter().chain(RENEWING).chain(&["auth.test"]) {
                assert!(!is_fatal(method, code), "{method} {code}");
            }
        }
    }
}
