//! Slack's tokens, which are never shown in logs or errors.

use std::fmt;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// A Slack token. Neither `Debug` nor `Display` shows more than its kind.
#[derive(Clone)]
pub struct Token {
    secret: SecretString,
    authorization: HeaderValue,
    kind: TokenKind,
}

/// A refresh token (`xoxe-`), with which new tokens can be got, once.
#[derive(Clone)]
pub struct RefreshToken(SecretString);

/// The token that Slack gives an app with an event, to answer as one of its functions.
#[derive(Clone, PartialEq, Eq)]
pub struct BotAccessToken(String);

impl BotAccessToken {
    pub(crate) fn new(token: &str) -> Self {
        Self(token.to_owned())
    }

    /// The token itself, for the app alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BotAccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BotAccessToken")
    }
}

/// The kind of a token, by its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// `xoxb-`: a bot user's.
    Bot,
    /// `xoxp-`: a person's, which acts in that person's name.
    User,
    /// `xapp-`: an app's own, good for Socket Mode and little else.
    AppLevel,
    /// `xoxe.`: a bot's or a person's that lives for 12 hours.
    Rotating,
}

/// Why a text is not a Slack token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is empty, or white space only.
    #[error("the Slack token is empty: give the bot token of your app, which begins with xoxb-")]
    Empty,
    /// Begins with none of the prefixes that Slack's tokens have.
    #[error(
        "this is not a Slack token: give one that begins with xoxb- (bot), xoxp- (user), xapp- (app) or xoxe. (rotating)"
    )]
    UnknownPrefix,
    /// Holds what can't stand in an HTTP header; often a line break from copying.
    #[error(
        "the Slack token has a character that is not allowed in tokens (at byte {offset}): copy it again, without line breaks"
    )]
    BadCharacter {
        /// Where, in bytes from the token's begin.
        offset: usize,
    },
    /// `xoxe-` tokens only buy other tokens.
    #[error(
        "this is a refresh token (xoxe-), which can't call Slack: give the access token that was issued with it, which begins with xoxe."
    )]
    Refresh,
    /// Something else where a refresh token was wanted.
    #[error(
        "this is not a refresh token: give the one that begins with xoxe- and was issued with the access token"
    )]
    NoRefresh,
}

impl Token {
    /// Reads a token; white space around it is taken off.
    ///
    /// # Errors
    /// A [`TokenError`] that says what is wrong with the text.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let kind = match text.get(..5) {
            _ if text.is_empty() => return Err(TokenError::Empty),
            Some("xoxb-") => TokenKind::Bot,
            Some("xoxp-") => TokenKind::User,
            Some("xapp-") => TokenKind::AppLevel,
            Some("xoxe.") => TokenKind::Rotating,
            Some("xoxe-") => return Err(TokenError::Refresh),
            _ => return Err(TokenError::UnknownPrefix),
        };
        check_characters(text)?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {text}"))
            .map_err(|_| TokenError::BadCharacter { offset: 0 })?;
        authorization.set_sensitive(true);
        Ok(Token {
            secret: SecretString::from(text),
            authorization,
            kind,
        })
    }

    /// The kind of the token.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// The token itself, to be stored on disk.
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// The `Authorization` header.
    pub(crate) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }
}

impl RefreshToken {
    /// Reads a refresh token; white space around it is taken off.
    ///
    /// # Errors
    /// A [`TokenError`] that says what is wrong with the text.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if !text.starts_with("xoxe-") {
            return Err(TokenError::NoRefresh);
        }
        check_characters(text)?;
        Ok(RefreshToken(SecretString::from(text)))
    }

    /// The token itself, to be stored on disk.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

fn check_characters(text: &str) -> Result<(), TokenError> {
    match text.bytes().position(|byte| !byte.is_ascii_graphic()) {
        Some(offset) => Err(TokenError::BadCharacter { offset }),
        None => Ok(()),
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenKind::Bot => "bot token (xoxb-)",
            TokenKind::User => "user token (xoxp-)",
            TokenKind::AppLevel => "app-level token (xapp-)",
            TokenKind::Rotating => "rotating token (xoxe.)",
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}", self.kind)
    }
}

impl fmt::Display for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a refresh token (xoxe-)")
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").field(&self.kind).finish()
    }
}

impl std::str::FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        Token::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<TokenKind, TokenError>) {
        assert_eq!(
            Token::new(text).map(|token| token.kind()),
            expect,
            "{text:?}"
        );
    }

    #[test]
    fn the_prefix_says_the_kind() {
        check("xoxb-1", Ok(TokenKind::Bot));
        check(" xoxp-1\n", Ok(TokenKind::User));
        check("xapp-1", Ok(TokenKind::AppLevel));
        check("xoxe.xoxb-1", Ok(TokenKind::Rotating));
        check("xoxe-1", Err(TokenError::Refresh));
        check("", Err(TokenError::Empty));
        check("xox", Err(TokenError::UnknownPrefix));
        check("xoxé-1", Err(TokenError::UnknownPrefix));
        check("xoxb-1\n2", Err(TokenError::BadCharacter { offset: 6 }));
    }

    #[test]
    fn a_refresh_token_differs_from_access_tokens() {
        let check = |text, expect: Result<(), TokenError>| {
            assert_eq!(RefreshToken::new(text).map(drop), expect, "{text:?}");
        };
        check(" xoxe-1\n", Ok(()));
        check("xoxe.xoxb-1", Err(TokenError::NoRefresh));
        check("xoxb-1", Err(TokenError::NoRefresh));
        check("", Err(TokenError::Empty));
        check("xoxe-1\u{a0}2", Err(TokenError::BadCharacter { offset: 6 }));
    }

    #[test]
    fn a_token_never_shows_itself() {
        let token = Token::new("xoxb-hush").unwrap();
        assert_eq!(
            format!("{token} {token:?}"),
            "a bot token (xoxb-) Token(Bot)"
        );
        let token = RefreshToken::new("xoxe-hush").unwrap();
        assert_eq!(
            format!("{token} {token:?}"),
            "a refresh token (xoxe-) RefreshToken"
        );
    }
}
