//! redis-py's connection keywords, as settings and URLs give them.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::hosts::{Endpoint, Host};

impl Host {
    /// Sets redis-py's connection keyword `name`. An error says what is wrong with `value`.
    pub(super) fn set(&mut self, name: &str, value: Setting<'_>) -> Result<KeywordSupport, String> {
        match name {
            "host" => self.endpoint = Endpoint::Tcp(value.text()?.to_owned(), self.port()),
            "port" => {
                let port = value.integer()?;
                let port = u16::try_from(port).map_err(|_| format!("{port} is not a port"))?;
                self.endpoint = Endpoint::Tcp(self.host_name().to_owned(), port);
            }
            "path" | "unix_socket_path" => self.endpoint = Endpoint::Unix(value.text()?.into()),
            "db" => self.database = value.integer()?,
            "username" => self.username = value.optional_text()?,
            "password" => self.password = value.optional_text()?,
            "ssl" => {
                self.tls = if value.boolean()? {
                    Some(self.tls.take().unwrap_or_default())
                } else {
                    None
                }
            }
            "ssl_ca_certs" => self.tls().ca_certs = value.optional_text()?.map(PathBuf::from),
            "ssl_certfile" => self.tls().certfile = value.optional_text()?.map(PathBuf::from),
            "ssl_keyfile" => self.tls().keyfile = value.optional_text()?.map(PathBuf::from),
            "ssl_ca_path" => self.tls().ca_path = value.optional_text()?.map(PathBuf::from),
            "ssl_ca_data" => self.tls().ca_data = value.optional_bytes()?,
            // The probe decrypts an encrypted key, because only Python can.
            "ssl_key_data" => self.tls().key_data = value.optional_bytes()?,
            "ssl_min_version" => self.tls().only_tls13 = value.is_tls13()?,
            "ssl_check_hostname" => self.tls().accept_any_name = !value.boolean()?,
            "ssl_cert_reqs" => {
                self.tls().accept_any = match value.optional_text()?.as_deref() {
                    // In Python's ssl module it is an integer enumeration.
                    Some(
                        "required" | "optional" | "CERT_REQUIRED" | "CERT_OPTIONAL" | "1" | "2",
                    ) => false,
                    None | Some("none" | "CERT_NONE" | "0") => true,
                    Some(other) => {
                        return Err(format!(
                            "{other:?} is not one of \"none\", \"optional\" and \"required\""
                        ));
                    }
                }
            }
            "ssl_password" | "connection_class" | "credential_provider" => {
                return Err(format!(
                    "only Python can use {name}; name the project as TARGET, or use ssl_certfile, ssl_keyfile, username and password here"
                ));
            }
            // rustls chooses safe ciphers by itself.
            "ssl_ciphers" | "ssl_include_verify_flags" | "ssl_exclude_verify_flags" => {}
            "socket_timeout" => self.response_timeout = value.seconds(self.response_timeout)?,
            "socket_connect_timeout" => {
                self.connect_timeout = value.seconds(self.connect_timeout)?
            }
            // These change only redis-py itself, or have a fixed value here.
            "socket_keepalive"
            | "retry_on_timeout"
            | "health_check_interval"
            | "client_name"
            | "max_connections"
            | "protocol"
            | "socket_read_size"
            | "single_connection_client"
            | "retry"
            | "retry_on_error"
            | "socket_keepalive_options"
            | "lib_name"
            | "lib_version"
            | "timeout" => {}
            "decode_responses" | "encoding" | "encoding_errors" => {}
            _ => return Ok(KeywordSupport::Unknown),
        }
        Ok(KeywordSupport::Known)
    }
}

/// Whether a keyword is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeywordSupport {
    /// It was applied, or makes no difference.
    Known,
    /// It is not known.
    Unknown,
}

/// A keyword's value: as JSON in settings, as text in a URL.
#[derive(Debug, Clone, Copy)]
pub(super) enum Setting<'a> {
    /// Text from a URL, where `True`, `yes` and `1` all mean true.
    Url(&'a str),
    /// A value from Django's settings.
    Json(&'a serde_json::Value),
}

impl<'a> Setting<'a> {
    fn text(self) -> Result<&'a str, String> {
        match self {
            Self::Url(text) => Ok(text),
            Self::Json(value) => value.as_str().ok_or_else(|| "it should be a string".into()),
        }
    }

    fn optional_text(self) -> Result<Option<String>, String> {
        match self {
            Self::Json(serde_json::Value::Null) => Ok(None),
            // redis-py sends a number as its digits.
            Self::Json(value) if value.is_i64() || value.is_u64() => Ok(Some(value.to_string())),
            _ => self.text().map(|text| Some(text.to_owned())),
        }
    }

    /// Text, or bytes that the probe has marked.
    fn optional_bytes(self) -> Result<Option<Vec<u8>>, String> {
        if let Self::Json(value) = self
            && let Some(base64) = value.get("__bytes__").and_then(serde_json::Value::as_str)
        {
            let bytes = STANDARD.decode(base64);
            return bytes.map(Some).map_err(|_| "it should be bytes".into());
        }
        Ok(self.optional_text()?.map(String::into_bytes))
    }

    /// Whether `ssl.TLSVersion` is TLS 1.3. In Python it is an integer, and settings may have its name.
    fn is_tls13(self) -> Result<bool, String> {
        Ok(match self.optional_text()?.as_deref() {
            Some("772" | "TLSv1_3" | "TLSv1.3" | "MAXIMUM_SUPPORTED" | "-1") => true,
            None | Some(_) => false,
        })
    }

    fn integer(self) -> Result<i64, String> {
        let number = match self {
            Self::Url(text) => text.parse().ok(),
            // redis-py also accepts a number that is written as a string.
            Self::Json(value) => value.as_i64().or_else(|| value.as_str()?.parse().ok()),
        };
        number.ok_or_else(|| "it should be a whole number".into())
    }

    fn boolean(self) -> Result<bool, String> {
        match self {
            Self::Url(text) => match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "t" | "yes" | "y" => Ok(true),
                "" | "0" | "false" | "f" | "no" | "n" => Ok(false),
                _ => Err("it should be true or false".into()),
            },
            Self::Json(value) => value
                .as_bool()
                .ok_or_else(|| "it should be True or False".into()),
        }
    }

    /// A time limit. None, or zero, leaves `default`.
    fn seconds(self, default: Duration) -> Result<Duration, String> {
        let seconds = match self {
            Self::Url(text) => text.parse().ok(),
            Self::Json(serde_json::Value::Null) => Some(0.0),
            Self::Json(value) => value.as_f64(),
        };
        let seconds = seconds.ok_or("it should be a number of seconds")?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(limit) if limit.is_zero() => Ok(default),
            // On a busy machine a shorter limit would end connections that work.
            Ok(limit) => Ok(limit.max(Duration::from_secs(1))),
            Err(_) => Err("it should be a number of seconds, not below 0".into()),
        }
    }
}
