//! The patterns of secrets and personal data, and redacting them in a text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use djangobot_plugin::Error;
use djangobot_plugin::mrkdwn::{self, Part};
use regex_lite::Regex;
use serde::Deserialize;

use crate::checks::{self, Check};

/// The patterns that the plugin knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Known {
    SlackToken,
    AwsKey,
    ApiKey,
    PrivateKey,
    Card,
    Email,
    Iban,
    Phone,
}

impl Known {
    /// All but telephone numbers, which look like many other numbers and would be found too often.
    pub(crate) const DEFAULT: [Known; 7] = [
        Known::SlackToken,
        Known::AwsKey,
        Known::ApiKey,
        Known::PrivateKey,
        Known::Card,
        Known::Email,
        Known::Iban,
    ];

    fn name(self) -> &'static str {
        match self {
            Known::SlackToken => "slack-token",
            Known::AwsKey => "aws-key",
            Known::ApiKey => "api-key",
            Known::PrivateKey => "private-key",
            Known::Card => "card",
            Known::Email => "email",
            Known::Iban => "iban",
            Known::Phone => "phone",
        }
    }

    fn regex(self) -> &'static str {
        match self {
            // Tokens of bots, users, apps and legacy integrations, rotated tokens, and addresses of webhooks.
            Known::SlackToken => {
                r"\b(?:xox[a-z](?:\.xox[a-z])?|xapp)-[0-9A-Za-z-]{8,}|https://hooks\.slack\.com/[a-z]+/[0-9A-Za-z/_-]{8,}"
            }
            Known::AwsKey => {
                r"\b(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AIPA|ANPA|ANVA|AROA)[0-9A-Z]{16}\b|(?i:aws_?secret_?(?:access_?)?key)\W{1,5}[0-9A-Za-z/+=]{40}"
            }
            // GitHub, GitLab, Google, Stripe, OpenAI and Anthropic, npm, and JSON Web Tokens.
            Known::ApiKey => {
                r"\bgh[opsur]_[0-9A-Za-z]{36,}|\bgithub_pat_[0-9A-Za-z_]{22,}|\bglpat-[0-9A-Za-z_-]{20,}|\bAIza[0-9A-Za-z_-]{35}|\b[rs]k_live_[0-9A-Za-z]{16,}|\bsk-[0-9A-Za-z_-]{20,}|\bnpm_[0-9A-Za-z]{36}|\beyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}"
            }
            // Up to the end of the key, or of the text where the key was cut off.
            Known::PrivateKey => {
                r"(?s)-----BEGIN [0-9A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [0-9A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\z)"
            }
            // Digits in any groups, among which `checks` finds the card number.
            Known::Card => r"\d(?:[ -]?\d){12,}",
            Known::Email => {
                r#"[^\s<>|()\[\],;:"@]+@[0-9A-Za-z\x{80}-\x{10ffff}-]+(?:\.[0-9A-Za-z\x{80}-\x{10ffff}-]+)*\.[A-Za-z\x{80}-\x{10ffff}]{2,}"#
            }
            Known::Iban => r"\b[A-Za-z]{2}\d{2}(?:[ -]?[0-9A-Za-z]{1,4}){3,8}",
            Known::Phone => r"\+\d(?:[ ./()-]{0,2}\d){6,14}|\(\d{3}\) ?\d{3}-\d{4}\b",
        }
    }

    fn check(self) -> Option<Check> {
        match self {
            Known::Card => Some(checks::cards),
            Known::Iban => Some(checks::iban),
            _ => None,
        }
    }

    /// Whether a text may have a match: most texts lack the characters that the pattern needs, which costs less to find
    /// out than a search.
    fn may_be_in(self, text: &str) -> bool {
        let has = |any: &[&str]| any.iter().any(|literal| text.contains(literal));
        let digits = |least| text.bytes().filter(u8::is_ascii_digit).take(least).count() == least;
        match self {
            Known::SlackToken => has(&["xox", "xapp-", "hooks.slack.com"]),
            Known::AwsKey => {
                let windows = text.as_bytes().windows(3);
                has(&["AK", "AS", "AB", "AC", "AG", "AI", "AN", "AR"])
                    || windows
                        .into_iter()
                        .any(|three| three.eq_ignore_ascii_case(b"aws"))
            }
            Known::ApiKey => has(&["gh", "glpat-", "AIza", "k_live_", "sk-", "npm_", "eyJ"]),
            Known::PrivateKey => has(&["PRIVATE KEY"]),
            Known::Card => digits(13),
            Known::Email => has(&["@"]),
            Known::Iban => digits(8),
            Known::Phone => has(&["+", "("]),
        }
    }
}

/// Finds and redacts all configured patterns.
pub(crate) struct Finder {
    patterns: Vec<Pattern>,
}

struct Pattern {
    /// `None` for a pattern of the operator's own.
    known: Option<Known>,
    regex: Regex,
    replacement: String,
}

impl Finder {
    /// A finder. The operator's own patterns go first, so that a more special name wins.
    ///
    /// # Errors
    /// One of the operator's patterns is not a regular expression.
    pub(crate) fn new(
        known: &[Known],
        custom: &BTreeMap<String, String>,
        replacement: &str,
    ) -> Result<Self, Error> {
        let pattern = |name: &str, regex: &str, known| {
            let regex = Regex::new(regex).map_err(|error| format!("custom.{name}: {error}"))?;
            Ok::<_, Error>(Pattern {
                known,
                regex,
                replacement: replacement.replace("{name}", name),
            })
        };
        let custom = custom
            .iter()
            .map(|(name, regex)| pattern(name, regex, None));
        let known = known
            .iter()
            .map(|known| pattern(known.name(), known.regex(), Some(*known)));
        Ok(Finder {
            patterns: custom.chain(known).collect::<Result<_, _>>()?,
        })
    }

    /// The redacted text; `None` if nothing was found.
    pub(crate) fn redact(&self, text: &str) -> Option<String> {
        // A link with a redacted part would not be a link any more, so that the whole link is replaced.
        let links = mrkdwn::replace(text, |part| match part {
            Part::Link { url, label } => {
                let found = self.patterns.iter().find(|pattern| {
                    pattern.finds(url) || label.is_some_and(|label| pattern.finds(label))
                });
                found.map(|pattern| pattern.replacement.clone())
            }
            _ => None,
        });
        let mut redacted = links;
        for pattern in &self.patterns {
            if let Cow::Owned(text) = pattern.replace(&redacted) {
                redacted = Cow::Owned(text);
            }
        }
        match redacted {
            Cow::Owned(redacted) => Some(redacted),
            Cow::Borrowed(_) => None,
        }
    }
}

impl Pattern {
    fn finds(&self, text: &str) -> bool {
        matches!(self.replace(text), Cow::Owned(_))
    }

    fn replace<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.known.is_some_and(|known| !known.may_be_in(text)) {
            return Cow::Borrowed(text);
        }
        let check = self.known.and_then(Known::check);
        let mut out = String::new();
        // `done` is the part of the text that is in `out` already, and `searched` the part that was searched.
        // `done <= searched` always holds.
        let (mut done, mut searched) = (0, 0);
        while let Some(found) = self.regex.find_at(text, searched) {
            let within = match check {
                None if found.is_empty() => Vec::new(),
                None => std::iter::once(0..found.len()).collect(),
                Some(check) => check(found.as_str()),
            };
            for range in &within {
                out.push_str(&text[done..found.start() + range.start]);
                out.push_str(&self.replacement);
                done = found.start() + range.end;
            }
            searched = match within.last() {
                Some(_) if check.is_none() => found.end(),
                // A card's check has seen the whole match, but an IBAN may begin within a match that was not one.
                Some(range) if self.known == Some(Known::Iban) => found.start() + range.end,
                _ if self.known == Some(Known::Card) => found.end(),
                _ => {
                    found.start()
                        + text[found.start()..]
                            .chars()
                            .next()
                            .map_or(1, char::len_utf8)
                }
            };
            if searched > text.len() {
                break;
            }
        }
        match done {
            0 => Cow::Borrowed(text),
            _ => {
                out.push_str(&text[done..]);
                Cow::Owned(out)
            }
        }
    }
}
