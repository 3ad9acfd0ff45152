//! Tokens that expire, and the refresh tokens that they are renewed with.
//!
//! <https://docs.slack.dev/authentication/using-token-rotation>: a refresh token serves once, and of an app's access
//! tokens the newest two are good until they expire.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::options::OAuth;

/// So many of an app's access tokens are good at a time.
const GOOD: usize = 2;

#[derive(Debug)]
pub(crate) struct Rotation {
    oauth: OAuth,
    /// The one refresh token that is good.
    refresh: String,
    /// Access tokens, oldest first, and when they expire.
    issued: VecDeque<(String, Instant)>,
}

/// A new pair of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) lifetime: Duration,
}

impl Rotation {
    pub(crate) fn new(oauth: OAuth) -> Self {
        Rotation {
            refresh: oauth.refresh_token.clone(),
            oauth,
            issued: VecDeque::new(),
        }
    }

    /// The refresh token that is good now.
    pub(crate) fn refresh_token(&self) -> &str {
        &self.refresh
    }

    /// Takes a refresh token and gives a new pair, or Slack's error code.
    pub(crate) fn renew(
        &mut self,
        client_id: &str,
        client_secret: &str,
        refresh: &str,
    ) -> Result<Pair, &'static str> {
        if client_id != self.oauth.client_id {
            return Err("invalid_client_id");
        }
        if client_secret != self.oauth.client_secret {
            return Err("bad_client_secret");
        }
        if refresh != self.refresh {
            return Err("invalid_refresh_token");
        }
        let (access, refresh) = (rand::random::<u128>(), rand::random::<u128>());
        let pair = Pair {
            access: format!("xoxe.xoxb-1-{access:032x}"),
            refresh: format!("xoxe-1-{refresh:032x}"),
            lifetime: self.oauth.token_lifetime,
        };
        self.refresh.clone_from(&pair.refresh);
        let expires = Instant::now() + pair.lifetime;
        self.issued.push_back((pair.access.clone(), expires));
        Ok(pair)
    }

    /// Whether an access token that was issued here is valid; `None` where it was not issued here.
    pub(crate) fn judge(&self, token: &str) -> Option<Result<(), &'static str>> {
        let place = self.issued.iter().rposition(|(one, _)| one == token)?;
        if place + GOOD < self.issued.len() {
            return Some(Err("token_revoked"));
        }
        let expired = self.issued[place].1 <= Instant::now();
        Some(if expired {
            Err("token_expired")
        } else {
            Ok(())
        })
    }

    /// Lets all access tokens that were issued so far expire now.
    pub(crate) fn expire(&mut self) {
        let now = Instant::now();
        for (_, expires) in &mut self.issued {
            *expires = now.min(*expires);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation() -> Rotation {
        Rotation::new(OAuth {
            client_id: "1.2".to_owned(),
            client_secret: "secret".to_owned(),
            refresh_token: "xoxe-1-first".to_owned(),
            token_lifetime: Duration::from_secs(60),
        })
    }

    #[test]
    fn a_refresh_token_serves_once() {
        let mut rotation = rotation();
        let pair = rotation.renew("1.2", "secret", "xoxe-1-first").unwrap();
        let again = rotation.renew("1.2", "secret", "xoxe-1-first");
        assert_eq!(again, Err("invalid_refresh_token"));
        rotation.renew("1.2", "secret", &pair.refresh).unwrap();
    }

    #[test]
    fn the_error_of_a_renewal_is_named() {
        let check = |id: &str, secret: &str, refresh: &str, expect: &str| {
            assert_eq!(rotation().renew(id, secret, refresh), Err(expect));
        };
        check("x", "secret", "xoxe-1-first", "invalid_client_id");
        check("1.2", "x", "xoxe-1-first", "bad_client_secret");
        check("1.2", "secret", "x", "invalid_refresh_token");
    }

    #[test]
    fn the_newest_two_access_tokens_are_good_until_they_expire() {
        let mut rotation = rotation();
        let mut refresh = "xoxe-1-first".to_owned();
        let tokens: Vec<String> = (0..3)
            .map(|_| {
                let pair = rotation.renew("1.2", "secret", &refresh).unwrap();
                refresh = pair.refresh;
                pair.access
            })
            .collect();
        assert_eq!(rotation.judge(&tokens[0]), Some(Err("token_revoked")));
        assert_eq!(rotation.judge(&tokens[1]), Some(Ok(())));
        assert_eq!(rotation.judge(&tokens[2]), Some(Ok(())));
        assert_eq!(rotation.judge("xoxe.xoxb-1-other"), None);
        rotation.expire();
        assert_eq!(rotation.judge(&tokens[2]), Some(Err("token_expired")));
    }
}
