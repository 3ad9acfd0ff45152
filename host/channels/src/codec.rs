//! The bytes around a payload: the random prefix and the Fernet encryption of channels_redis.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use fernet::Fernet;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

use crate::score::now;
use crate::wire::{Member, Serializer, Wire};

/// How many seconds a sender's clock may be ahead: the limit of Fernet.
const CLOCK_SKEW: i64 = 60;

/// The reason why the payload in a member can't be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The member is shorter than the random prefix.
    #[error(
        "it has only {0} bytes, fewer than the random prefix; the sender has another random_prefix_length"
    )]
    Short(usize),
    /// No key decrypts it.
    #[error(
        "none of the {keys} symmetric_encryption_keys decrypts it; the sender uses another key"
    )]
    Key {
        /// How many keys were tried.
        keys: usize,
    },
    /// A key decrypts it, but it waited too long, or the clocks of its sender and of this machine differ.
    #[error(
        "by its sender's clock it was encrypted {age} s ago, and at most {limit} s are allowed, or a minute ahead; it waited too long, or the clocks of the two machines differ"
    )]
    Age {
        /// Seconds since it was encrypted; negative if that time is ahead of ours.
        age: i64,
        /// The most seconds that are allowed.
        limit: u64,
    },
    /// The payload has expired. asgi_redis stores it in a separate key with a TTL.
    #[error("its payload has expired; nobody read it in time")]
    Expired,
}

/// A secret of `symmetric_encryption_keys`, hashed to a Fernet key. It is never shown.
#[derive(Clone)]
pub struct Key(Fernet);

impl Key {
    /// Makes the Fernet key of `secret`: the SHA-256 of its bytes (`BaseMessageSerializer.make_fernet`).
    ///
    /// `None` does not happen with a hash of 32 bytes, but the Fernet library's constructor allows for it.
    pub fn new(secret: &[u8]) -> Option<Self> {
        Fernet::new(&URL_SAFE.encode(Sha256::digest(secret))).map(Self)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Seals payloads into members, and opens members.
#[derive(Debug, Clone)]
pub struct Codec {
    /// The number of random bytes before each payload. They make equal messages different members of a sorted set.
    prefix: usize,
    /// The first key encrypts, and all are tried to decrypt. Without keys there is no encryption.
    keys: Vec<Key>,
    /// The greatest age of a Fernet token, in seconds.
    ttl: Option<u64>,
}

impl Codec {
    /// A codec with `prefix` random bytes, `keys`, and a limit in seconds for the age of a token.
    pub fn new(prefix: usize, keys: Vec<Key>, ttl: Option<u64>) -> Self {
        Self { prefix, keys, ttl }
    }

    /// For how long a member of [`Codec::seal`] can be opened; `None` is for ever.
    pub fn lifetime(&self) -> Option<Duration> {
        self.ttl
            .filter(|_| !self.keys.is_empty())
            .map(Duration::from_secs)
    }

    /// The format of the members that [`Codec::seal`] makes of payloads of `serializer`.
    pub fn wire(&self, serializer: Serializer) -> Wire {
        Wire {
            serializer,
            head: self.prefix,
            sealed: !self.keys.is_empty(),
        }
    }

    /// Makes the member of `payload`.
    pub fn seal(&self, payload: &[u8]) -> Member {
        let token;
        let payload = match self.keys.first() {
            Some(Key(first)) => {
                token = first.encrypt(payload);
                token.as_bytes()
            }
            None => payload,
        };
        let mut out = vec![0; self.prefix];
        rand::rng().fill(out.as_mut_slice());
        out.reserve_exact(payload.len());
        out.extend_from_slice(payload);
        Member(out.into())
    }

    /// Finds the payload in `member`. Nothing is copied unless it is encrypted.
    ///
    /// # Errors
    /// The reason why the member can't be opened.
    pub fn open(&self, member: &Bytes) -> Result<Bytes, OpenError> {
        self.open_at(member, Some(now() as u64))
    }

    /// As [`Codec::open`], for a member of any age: an earlier reader took it in time.
    ///
    /// # Errors
    /// The reason why the member can't be opened.
    pub fn open_again(&self, member: &Bytes) -> Result<Bytes, OpenError> {
        self.open_at(member, None)
    }

    fn open_at(&self, member: &Bytes, now: Option<u64>) -> Result<Bytes, OpenError> {
        if member.len() < self.prefix {
            return Err(OpenError::Short(member.len()));
        }
        let body = member.slice(self.prefix..);
        if self.keys.is_empty() {
            return Ok(body);
        }
        let refused = OpenError::Key {
            keys: self.keys.len(),
        };
        let token = std::str::from_utf8(&body).ok();
        let Some((token, sealed)) = token.and_then(|token| Some((token, sealed_at(token)?))) else {
            return Err(refused);
        };
        // The library judges the token at the time of its own making, so that only the check below judges its age.
        let decrypt = |Key(fernet): &Key| fernet.decrypt_at_time(token, None, sealed as u64).ok();
        let payload = self.keys.iter().find_map(decrypt).ok_or(refused)?;
        if let (Some(now), Some(limit)) = (now, self.ttl) {
            let age = now as i64 - sealed;
            if age < -CLOCK_SKEW || u64::try_from(age).is_ok_and(|age| age > limit) {
                return Err(OpenError::Age { age, limit });
            }
        }
        Ok(payload.into())
    }
}

/// The Unix time in a Fernet token, which follows its version. `None` if no real clock can have shown that time.
fn sealed_at(token: &str) -> Option<i64> {
    let head = URL_SAFE.decode(token.get(..12)?).ok()?;
    let sealed = i64::from_be_bytes(head.get(1..9)?.try_into().ok()?);
    (0..=i64::from(u32::MAX) * 4)
        .contains(&sealed)
        .then_some(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The encrypted member of the dump in the wire format's notes: written by channels_redis 4.3
    /// with the key `s3cret-key`, here cut to a short message of the pub/sub layer.
    const PYTHON_TOKEN: &str = "gAAAAABrAs20Y9vkSB_i3dXat568CvrmznCxU7WwmdjZJEgIbmDelN_4dez6zfkpyBb6WyMesuyK667i8m0I9BcJTe8gyHMkKQ==";

    fn key(secret: &str) -> Key {
        Key::new(secret.as_bytes()).unwrap()
    }

    #[test]
    fn a_member_is_the_random_prefix_and_the_payload() {
        for prefix in [0, 8, 12, 300] {
            let codec = Codec::new(prefix, Vec::new(), Some(70));
            let (one, two) = (codec.seal(b"payload"), codec.seal(b"payload"));
            assert_eq!(&one.0[prefix..], b"payload");
            assert_eq!(one == two, prefix == 0);
            assert_eq!(codec.open(&one.0).unwrap(), "payload");
        }
    }

    #[test]
    fn the_golden_member_of_channels_redis_opens() {
        let member =
            b"\xda\xe1\xbf\xa2\x7e\xba\x3c\x3b\xae\x83\xc5\xef\x8d\xa4type\xadslack.message";
        let payload = Codec::new(12, Vec::new(), Some(70))
            .open(&Bytes::from_static(member))
            .unwrap();
        assert_eq!(payload, &b"\x8d\xa4type\xadslack.message"[..]);
    }

    #[test]
    fn a_token_that_python_made_opens() {
        let codec = Codec::new(0, vec![key("s3cret-key")], None);
        assert_eq!(
            codec
                .open(&Bytes::from_static(PYTHON_TOKEN.as_bytes()))
                .unwrap(),
            &b"\x81\xa4type\xa3x.y"[..]
        );
    }

    #[test]
    fn a_token_older_than_the_limit_is_refused() {
        let codec = Codec::new(0, vec![key("s3cret-key")], Some(30));
        assert!(codec.open(&codec.seal(b"x").0).is_ok());
        let sealed = |ago: i64| {
            let Key(fernet) = key("s3cret-key");
            Bytes::from(fernet.encrypt_at_time(b"x", (now() as i64 - ago) as u64))
        };
        // A second or two may pass before it is opened.
        for (ago, opens) in [
            (0, true),
            (25, true),
            (40, false),
            (-50, true),
            (-90, false),
        ] {
            let member = sealed(ago);
            let opened = codec.open(&member);
            assert_eq!(opened.is_ok(), opens, "{ago}: {opened:?}");
            assert!(opens || matches!(opened, Err(OpenError::Age { limit: 30, .. })));
            assert_eq!(codec.open_again(&member).unwrap(), "x");
        }
        let foreign = Codec::new(0, vec![key("other")], Some(30));
        assert_eq!(foreign.open(&sealed(40)), Err(OpenError::Key { keys: 1 }));
    }

    #[test]
    fn a_token_with_an_absurd_time_is_an_error_and_not_a_crash() {
        for time in [u64::MAX, u64::MAX - 30, 1 << 63, 1 << 62] {
            let member =
                Bytes::from(URL_SAFE.encode([&[0x80][..], &time.to_be_bytes(), &[0; 64]].concat()));
            for ttl in [None, Some(30)] {
                let codec = Codec::new(0, vec![key("s3cret-key")], ttl);
                assert_eq!(codec.open(&member), Err(OpenError::Key { keys: 1 }));
                assert_eq!(codec.open_again(&member), Err(OpenError::Key { keys: 1 }));
            }
        }
    }

    #[test]
    fn the_first_key_encrypts_and_all_are_tried_to_decrypt() {
        let old = Codec::new(12, vec![key("old")], Some(70));
        let rotated = Codec::new(12, vec![key("new"), key("old")], Some(70));
        let new = Codec::new(12, vec![key("new")], Some(70));
        assert_eq!(rotated.open(&old.seal(b"x").0).unwrap(), "x");
        assert_eq!(new.open(&rotated.seal(b"x").0).unwrap(), "x");
        assert_eq!(
            old.open(&rotated.seal(b"x").0),
            Err(OpenError::Key { keys: 1 })
        );
    }

    #[test]
    fn bytes_that_are_not_a_member_are_an_error() {
        let codec = Codec::new(12, vec![key("k")], Some(70));
        assert_eq!(
            codec.open(&Bytes::from_static(b"short")),
            Err(OpenError::Short(5))
        );
        assert_eq!(
            codec.open(&Bytes::from_static(b"0123456789ab\xff\xfe")),
            Err(OpenError::Key { keys: 1 })
        );
        assert_eq!(
            codec.open(&Bytes::from_static(b"0123456789ab")),
            Err(OpenError::Key { keys: 1 })
        );
    }

    proptest::proptest! {
        #[test]
        fn every_payload_comes_back(payload: Vec<u8>, prefix in 0_usize..40, keyed: bool) {
            let keys = if keyed { vec![key("k")] } else { Vec::new() };
            let codec = Codec::new(prefix, keys, Some(70));
            proptest::prop_assert_eq!(codec.open(&codec.seal(&payload).0).unwrap(), payload);
        }

        #[test]
        fn foreign_bytes_are_an_error_and_not_a_crash(bytes: Vec<u8>, text in "gAAAAA[A-Za-z0-9_=-]{0,200}") {
            let codec = Codec::new(0, vec![key("k")], Some(70));
            proptest::prop_assert!(codec.open(&bytes.into()).is_err());
            proptest::prop_assert!(codec.open(&text.into()).is_err());
        }
    }
}
