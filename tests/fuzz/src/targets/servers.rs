//! The bytes that a Redis sends before its answers are read: its certificates, and error lines that quote bytes.
//!
//! The first byte of an input says whether the rest is a chain of certificates or a stream of answers, and the size of
//! the pieces in which that comes.

use djangobot_channels::fuzzing::{judged, readable};

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "servers",
    check,
    seeds,
    words: &[
        "-ERR ",
        "\r\n",
        "$3\r\n",
        "$-1\r\n",
        "!5\r\n",
        "=9\r\n",
        "*2\r\n",
        "%1\r\n",
        "+OK\r\n",
        "\u{ff}",
        "-----BEGIN CERTIFICATE-----\n",
        "\n-----END CERTIFICATE-----\n",
    ],
    longest: 2048,
};

const CHAINS: &[&[u8]] = &[
    include_bytes!("../../../../host/channels/tests/tls/version1.pem"),
    include_bytes!("../../../../host/channels/tests/tls/version3.pem"),
    include_bytes!("../../../../host/channels/tests/tls/self.pem"),
    include_bytes!("../../../../host/channels/tests/tls/ca.pem"),
];

fn seeds() -> Vec<Vec<u8>> {
    let streams = [
        &b"+OK\r\n-ERR unknown '\xff\x00'\r\n$2\r\n-\xff\r\n"[..],
        b"*2\r\n:1\r\n!3\r\n-\xfe-\r\n",
        b"$18446744073709551615\r\n-",
    ];
    let streams = streams.iter().map(|stream| [&[3][..], stream].concat());
    let chains = CHAINS.iter().map(|chain| [&[0][..], chain].concat());
    streams.chain(chains).collect()
}

fn check(input: &[u8]) {
    let (choice, rest) = pieces::choice(input);
    if choice == 0 {
        // Whatever it says, it is judged and described within bounds.
        let text = proportion::bounded_by(1 << 20, || judged(rest));
        assert!(text.chars().all(|it| !it.is_control()), "{text:?}");
        return;
    }
    let whole = proportion::bounded(input, 64, || readable(rest, rest.len().max(1)));
    assert_eq!(readable(rest, choice), whole, "however it comes");
    assert!(whole.len() >= rest.len());
    if !rest.contains(&b'-') {
        assert_eq!(whole, rest);
    }
}
