//! Slack's signature of a request: an HMAC of time and body with a secret that only Slack and the app know.

use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use djangobot_event::lock;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::http_events::counts::Outcome;

/// The app's signing secrets: one, or while it is being changed two. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct SigningSecrets(Arc<RwLock<Vec<SecretString>>>);

impl SigningSecrets {
    /// Takes other secrets from now on.
    pub fn set(&self, secrets: Vec<SecretString>) {
        *lock::write(&self.0) = secrets;
    }

    fn any(&self, is_it: impl Fn(&SecretString) -> bool) -> bool {
        let secrets = lock::read(&self.0);
        secrets.iter().any(is_it)
    }
}

impl From<Vec<SecretString>> for SigningSecrets {
    fn from(secrets: Vec<SecretString>) -> Self {
        SigningSecrets(Arc::new(RwLock::new(secrets)))
    }
}

/// Why a request is not taken for Slack's. The sentence says nothing that would help to make one.
#[derive(Debug)]
pub(super) struct SignatureError {
    pub(super) outcome: Outcome,
    pub(super) sentence: String,
}

/// The claim of a request's headers that Slack signed it recently. The body decides whether that is true.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    time: &'a str,
    digits: &'a str,
    signature: [u8; 32],
}

/// Reads the headers. A header that is missing, malformed or of another time shows that Slack did not send the request.
pub(super) fn claim<'a>(
    headers: &'a HeaderMap,
    now: SystemTime,
    max_age: Duration,
) -> Result<Claim<'a>, SignatureError> {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or_else(|| SignatureError {
            outcome: Outcome::Unsigned,
            sentence: format!("the request has no {name}, so it is not from Slack"),
        })
    };
    let (time, signature) = (
        header("x-slack-request-timestamp")?,
        header("x-slack-signature")?,
    );
    let refused = |sentence: String| SignatureError {
        outcome: Outcome::Refused,
        sentence,
    };
    let seconds = time
        .parse::<u64>()
        .map_err(|_| refused("the request's time is not a number".to_owned()))?;
    let now = now
        .duration_since(UNIX_EPOCH)
        .map_err(|_| refused("this machine's clock stands before 1970".to_owned()))?;
    if now.as_secs().abs_diff(seconds) > max_age.as_secs() {
        return Err(refused(format!(
            "the request's time is more than {} s from this machine's: it is an old one, or a clock is wrong",
            max_age.as_secs()
        )));
    }
    let digits = signature.strip_prefix("v0=").unwrap_or_default();
    let signature = unhex(digits)
        .ok_or_else(|| refused("the request's signature is not of the kind v0".to_owned()))?;
    Ok(Claim {
        time,
        digits,
        signature,
    })
}

impl Claim<'_> {
    /// Checks the signature, and gives it: it names the request, however often it comes.
    pub(super) fn verify(
        &self,
        secrets: &SigningSecrets,
        body: &[u8],
    ) -> Result<String, SignatureError> {
        let is_slacks = secrets.any(|secret| {
            Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).is_ok_and(|mac| {
                mac.chain_update(b"v0:")
                    .chain_update(self.time)
                    .chain_update(b":")
                    .chain_update(body)
                    // In constant time.
                    .verify_slice(&self.signature)
                    .is_ok()
            })
        });
        match is_slacks {
            true => Ok(self.digits.to_ascii_lowercase()),
            false => Err(SignatureError {
                outcome: Outcome::Refused,
                sentence: "the request's signature is wrong: it is not from Slack, or the signing secret is another app's".into(),
            }),
        }
    }
}

/// A SHA-256 sum from its 64 digits.
fn unhex(digits: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = digits.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: &u8| char::from(*digit).to_digit(16);
        let [high, low] = pair else { return None };
        *byte = u8::try_from(value(high)? << 4 | value(low)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Slack's own page about signatures.
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const TIME: u64 = 1_531_420_618;
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
        channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
        response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
        trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    fn checked(
        secrets: &[&str],
        headers: &[(&'static str, &str)],
        body: &str,
        now: u64,
    ) -> Result<String, SignatureError> {
        let secrets = Vec::from_iter(secrets.iter().map(|secret| (*secret).into())).into();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let now = UNIX_EPOCH + Duration::from_secs(now);
        claim(&headers, now, Duration::from_secs(300))?.verify(&secrets, body.as_bytes())
    }

    #[test]
    fn only_recent_requests_signed_with_our_secret_are_slacks() {
        let check = |secrets: &[&str], time: &str, signature: &str, body, now, expect: &str| {
            let headers = [
                ("x-slack-request-timestamp", time),
                ("x-slack-signature", signature),
            ];
            match checked(secrets, &headers, body, now) {
                Ok(named) => {
                    assert_eq!(expect, "", "{signature}");
                    assert_eq!(named, SIGNATURE[3..], "however it was written");
                }
                Err(SignatureError {
                    outcome,
                    sentence: why,
                }) => {
                    assert_eq!(outcome, Outcome::Refused, "{why}");
                    assert!(!expect.is_empty() && why.contains(expect), "{why}");
                    assert!(!why.contains(SECRET) && !why.contains(&SIGNATURE[3..]));
                }
            }
        };
        let time = TIME.to_string();
        let ours = [SECRET];
        check(&ours, &time, SIGNATURE, BODY, TIME, "");
        check(&["new", SECRET], &time, SIGNATURE, BODY, TIME, "");
        check(&ours, &time, SIGNATURE, BODY, TIME + 300, "");
        check(&ours, &time, SIGNATURE, BODY, TIME - 300, "");
        check(
            &ours,
            &time,
            SIGNATURE,
            BODY,
            TIME + 301,
            "a clock is wrong",
        );
        check(
            &ours,
            &time,
            SIGNATURE,
            BODY,
            TIME - 301,
            "a clock is wrong",
        );
        check(
            &["other"],
            &time,
            SIGNATURE,
            BODY,
            TIME,
            "signature is wrong",
        );
        check(&[], &time, SIGNATURE, BODY, TIME, "signature is wrong");
        check(
            &ours,
            &time,
            SIGNATURE,
            &BODY[1..],
            TIME,
            "signature is wrong",
        );
        let later = (TIME + 1).to_string();
        check(&ours, &later, SIGNATURE, BODY, TIME, "signature is wrong");
        let upper = format!("v0={}", SIGNATURE[3..].to_uppercase());
        check(&ours, &time, &upper, BODY, TIME, "");
        for odd in [
            "",
            "v0=",
            "v1=a2",
            &SIGNATURE[3..],
            &SIGNATURE[..66],
            &format!("{SIGNATURE}0"),
        ] {
            check(&ours, &time, odd, BODY, TIME, "not of the kind");
        }
        let no_hex = format!("v0={}", "g".repeat(64));
        check(&ours, &time, &no_hex, BODY, TIME, "not of the kind");
        for odd in ["", "-1", "1e9", "now", "99999999999999999999"] {
            check(&ours, odd, SIGNATURE, BODY, TIME, "not a number");
        }
    }

    #[test]
    fn a_request_without_the_headers_is_not_slacks() {
        let both = [
            ("x-slack-request-timestamp", "1531420618"),
            ("x-slack-signature", SIGNATURE),
        ];
        assert!(checked(&[SECRET], &both, BODY, TIME).is_ok());
        for one in &both {
            let why = checked(&[SECRET], std::slice::from_ref(one), BODY, TIME).unwrap_err();
            assert_eq!(why.outcome, Outcome::Unsigned);
            assert!(why.sentence.contains("not from Slack"), "{why:?}");
        }
    }
}
