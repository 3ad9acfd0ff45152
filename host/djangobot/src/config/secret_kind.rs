//! Recognizes the kind of a secret by its form, and finds secrets of the wrong kind before Slack is asked anything.

use std::fmt;

use miette::Diagnostic;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// A secret of another kind than its setting takes. The secret itself is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Error, Diagnostic)]
#[error("{setting} {found}")]
#[diagnostic(help("{}", help(*setting, *found, *also)))]
pub(crate) struct MisplacedSecret {
    pub(crate) setting: Setting,
    pub(crate) found: Kind,
    /// The other setting, which holds the kind that this one takes, if two are swapped.
    also: Option<Setting>,
}

/// A setting that takes a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Token,
    AppToken,
    SigningSecret,
    ClientSecret,
    RefreshToken,
}

/// The kind of a secret, as its form shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bot,
    User,
    AppLevel,
    Rotating,
    Refresh,
    /// `xoxc-` and `xoxd-`, which Slack's own clients use.
    Session,
    /// `xoxa-`, `xoxr-` and `xoxs-`, which Slack no longer issues.
    Retired,
    /// 32 hexadecimal digits: the signing secret or the client secret, which can't be told apart.
    Secret,
    /// `123.456`.
    ClientId,
    /// `A0123ABCD`.
    AppId,
    Webhook,
    Url,
    Quoted,
    /// It has `Bearer` before it, as in an HTTP header.
    Header,
    /// An example from a manual, in place of the real secret.
    Placeholder,
    Unknown,
}

impl MisplacedSecret {
    /// Finds the secrets among `given` that are of a wrong kind.
    pub(super) fn among(given: &[(Setting, Option<&SecretString>)]) -> Vec<Self> {
        let kinds: Vec<_> = given
            .iter()
            .map(|(setting, secret)| (*setting, secret.map(kind_of_secret)))
            .collect();
        let wrong = kinds.iter().filter_map(|(setting, found)| {
            let found = (*found).filter(|found| !setting.takes(*found))?;
            let also = kinds.iter().find_map(|(other, kind)| {
                (other != setting && setting.takes_surely((*kind)?)).then_some(*other)
            });
            Some(Self {
                setting: *setting,
                found,
                also,
            })
        });
        wrong.collect()
    }
}

impl Setting {
    fn takes(self, kind: Kind) -> bool {
        match self {
            Self::Token => matches!(kind, Kind::Bot | Kind::User | Kind::Rotating),
            Self::AppToken => kind == Kind::AppLevel,
            Self::RefreshToken => kind == Kind::Refresh,
            // Slack does not document their form, so only a secret that is certainly of another kind is refused.
            Self::SigningSecret | Self::ClientSecret => {
                matches!(kind, Kind::Secret | Kind::Unknown)
            }
        }
    }

    fn takes_surely(self, kind: Kind) -> bool {
        kind != Kind::Unknown && self.takes(kind)
    }

    /// A sentence about the right secret for this setting, and where the app's pages show it.
    fn source(self) -> &'static str {
        match self {
            Self::Token => {
                "DJANGOBOT_TOKEN takes the Bot User OAuth Token (xoxb-...) of the app's page \"OAuth & Permissions\""
            }
            Self::AppToken => {
                "DJANGOBOT_APP_TOKEN takes the token that begins with xapp-: the app's page \"Basic Information\", \"App-Level Tokens\", scope connections:write"
            }
            Self::SigningSecret => {
                "DJANGOBOT_SIGNING_SECRET takes the \"Signing Secret\" of the app's page \"Basic Information\", \"App Credentials\""
            }
            Self::ClientSecret => {
                "client-secret takes the \"Client Secret\" of the app's page \"Basic Information\", \"App Credentials\""
            }
            Self::RefreshToken => {
                "refresh-token takes the token that begins with xoxe-, of the app's page \"OAuth & Permissions\""
            }
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Token => "DJANGOBOT_TOKEN",
            Self::AppToken => "DJANGOBOT_APP_TOKEN",
            Self::SigningSecret => "DJANGOBOT_SIGNING_SECRET",
            Self::ClientSecret => "client-secret",
            Self::RefreshToken => "refresh-token",
        }
    }
}

impl Kind {
    fn of(text: &str) -> Self {
        let text = text.trim();
        let bare = text.trim_matches(['"', '\'', '`', '“', '”', '‘', '’']);
        if bare.len() < text.len() {
            return Self::Quoted;
        }
        if text
            .get(..7)
            .is_some_and(|word| word.eq_ignore_ascii_case("bearer "))
        {
            return Self::Header;
        }
        if let Some((_, rest)) = text.split_once("://") {
            return match rest.starts_with("hooks.slack.com") {
                true => Self::Webhook,
                false => Self::Url,
            };
        }
        if is_placeholder(text) {
            return Self::Placeholder;
        }
        match text.get(..5) {
            Some("xoxb-") => Self::Bot,
            Some("xoxp-") => Self::User,
            Some("xapp-") => Self::AppLevel,
            Some("xoxe.") => Self::Rotating,
            Some("xoxe-") => Self::Refresh,
            Some("xoxc-" | "xoxd-") => Self::Session,
            Some("xoxa-" | "xoxr-" | "xoxs-") => Self::Retired,
            _ if text.len() == 32 && text.bytes().all(|it| it.is_ascii_hexdigit()) => Self::Secret,
            _ if is_client_id(text) => Self::ClientId,
            _ if is_app_id(text) => Self::AppId,
            _ => Self::Unknown,
        }
    }

    /// The cure for a secret of this kind in a wrong place.
    fn cure(self) -> Option<&'static str> {
        Some(match self {
            Self::Bot | Self::User | Self::Rotating => {
                "an xoxb- or xoxp- token belongs in DJANGOBOT_TOKEN"
            }
            Self::AppLevel => {
                "an xapp- token belongs in DJANGOBOT_APP_TOKEN, and turns Socket Mode on"
            }
            Self::Refresh => {
                "a refresh token belongs below [slack] as refresh-token, next to client-id and client-secret"
            }
            Self::Secret => {
                "the signing secret belongs in DJANGOBOT_SIGNING_SECRET, the client secret below [slack] as client-secret"
            }
            Self::ClientId => "the client id belongs below [slack] as client-id",
            Self::Session => "only Slack's own clients may use it; use the app's own token",
            Self::Retired => "install the app again to get a token of a current kind",
            Self::Webhook => {
                "djangobot does not use incoming webhooks: it posts with the bot's token"
            }
            Self::Quoted => {
                "take the quotation marks off: Docker's --env-file, for one, keeps them as part of the value"
            }
            Self::Header => "write the token alone, without \"Bearer\"",
            Self::AppId | Self::Url | Self::Placeholder | Self::Unknown => return None,
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "the Slack token (DJANGOBOT_TOKEN)",
            Self::AppToken => "the app-level token (DJANGOBOT_APP_TOKEN)",
            Self::SigningSecret => "the signing secret (DJANGOBOT_SIGNING_SECRET)",
            Self::ClientSecret => "the client secret (client-secret)",
            Self::RefreshToken => "the refresh token (refresh-token)",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bot => "is a bot token (xoxb-)",
            Self::User => "is a user token (xoxp-)",
            Self::AppLevel => "is an app-level token (xapp-)",
            Self::Rotating => "is a rotating token (xoxe.)",
            Self::Refresh => "is a refresh token (xoxe-)",
            Self::Session => "is a browser session's token (xoxc- or xoxd-)",
            Self::Retired => "is a token of a kind that Slack has retired (xoxa-, xoxr- or xoxs-)",
            Self::Secret => "is a signing secret or client secret (32 hexadecimal digits)",
            Self::ClientId => "is an app's client id",
            Self::AppId => "is an app's id",
            Self::Webhook => "is the address of an incoming webhook",
            Self::Url => "is an address",
            Self::Quoted => "has quotation marks around it",
            Self::Header => "begins with \"Bearer\"",
            Self::Placeholder => "is an example, which stands for the real one",
            Self::Unknown => "does not look like a Slack token",
        })
    }
}

fn help(setting: Setting, found: Kind, also: Option<Setting>) -> String {
    let source = setting.source();
    match (also, found.cure()) {
        (Some(also), _) if also.takes_surely(found) => format!(
            "{} and {} are swapped: exchange their values; {source}",
            setting.key(),
            also.key()
        ),
        (Some(also), _) => format!(
            "{} holds what belongs in {}; {source}",
            also.key(),
            setting.key()
        ),
        (None, Some(cure)) => format!("{cure}; {source}"),
        (None, None) => source.to_owned(),
    }
}

fn kind_of_secret(secret: &SecretString) -> Kind {
    Kind::of(secret.expose_secret())
}

/// Whether the text is an example such as `xoxb-your-token`, `xoxb-...`, `xapp-XXXX`, `<token>` or `changeme`.
fn is_placeholder(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let rest = lower.split_once('-').map_or(&*lower, |(_, rest)| rest);
    let is_filling = |it: char| matches!(it, 'x' | '*' | '-' | '.' | '_' | '…');
    lower.contains("...")
        || lower.contains('…')
        || lower.contains("your")
        || lower.starts_with(['<', '$', '{', '%'])
        || matches!(
            &*lower,
            "changeme" | "change-me" | "secret" | "token" | "todo"
        )
        || (!lower.is_empty() && rest.chars().all(is_filling))
}

fn is_client_id(text: &str) -> bool {
    let is_number = |part: &str| part.len() >= 6 && part.bytes().all(|it| it.is_ascii_digit());
    text.split_once('.')
        .is_some_and(|(one, other)| is_number(one) && is_number(other))
}

fn is_app_id(text: &str) -> bool {
    let is_of_id = |it: u8| it.is_ascii_uppercase() || it.is_ascii_digit();
    text.starts_with('A') && (9..=13).contains(&text.len()) && text.bytes().all(is_of_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secrets_form_says_what_it_is() {
        let hex = "0123456789abcdef0123456789abcdef";
        for (text, kind) in [
            ("xoxb-1-2-abc", Kind::Bot),
            (" xoxp-1\n", Kind::User),
            ("xapp-1-A1-2-3", Kind::AppLevel),
            ("xoxe.xoxb-1", Kind::Rotating),
            ("xoxe-1-abc", Kind::Refresh),
            ("xoxc-1", Kind::Session),
            ("xoxd-1", Kind::Session),
            ("xoxa-2-1", Kind::Retired),
            (hex, Kind::Secret),
            ("1234567890.1234567890123", Kind::ClientId),
            ("A0123ABCDEF", Kind::AppId),
            ("https://hooks.slack.com/services/T1/B1/x", Kind::Webhook),
            ("https://slack.com/api/", Kind::Url),
            ("\"xoxb-1\"", Kind::Quoted),
            ("'xoxb-1'", Kind::Quoted),
            ("Bearer xoxb-1", Kind::Header),
            ("xoxb-...", Kind::Placeholder),
            ("xoxb-your-token", Kind::Placeholder),
            ("xapp-XXXXXXXX", Kind::Placeholder),
            ("<token>", Kind::Placeholder),
            ("${SLACK_TOKEN}", Kind::Placeholder),
            ("nonsense", Kind::Unknown),
            ("xoxé-1", Kind::Unknown),
            ("", Kind::Unknown),
        ] {
            assert_eq!(Kind::of(text), kind, "{text:?}");
        }
    }

    #[test]
    fn each_setting_takes_its_own_kind_only() {
        let all = [
            (Setting::Token, "xoxb-1"),
            (Setting::AppToken, "xapp-1"),
            (Setting::RefreshToken, "xoxe-1"),
            (Setting::SigningSecret, "0123456789abcdef0123456789abcdef"),
            (Setting::ClientSecret, "0123456789abcdef0123456789abcdef"),
        ];
        for (setting, _) in all {
            for (other, text) in all {
                let alike =
                    |setting| matches!(setting, Setting::SigningSecret | Setting::ClientSecret);
                let fits = setting == other || (alike(setting) && alike(other));
                assert_eq!(setting.takes(Kind::of(text)), fits, "{setting}: {text}");
            }
        }
    }
}
