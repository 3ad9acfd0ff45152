//! Requests to the embedded layer, in pieces of any size, and its answers, compared with redis-rs.
//!
//! The first byte of an input says the size of the pieces, whether a password is wanted, and whether the rest is bytes
//! as they come, or lines of words that are made requests of.

use std::io::Cursor;

use djangobot_channels::fuzzing::{answers, requests};
use redis::{Parser, Value};

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "resp",
    check,
    seeds,
    words: &[
        "*1\r\n$4\r\nPING\r\n",
        "*2\r\n$",
        "\r\n$3\r\n",
        "ZADD k 1 m\n",
        "ZADD k NX GT CH INCR ",
        "ZRANGE k 0 -1",
        " WITHSCORES",
        " BYSCORE REV LIMIT 0 1",
        "ZPOPMIN k 1\n",
        "BZPOPMIN k 0\n",
        "LPUSH l a b\n",
        "BLPOP l 1\n",
        "BRPOPLPUSH l m 1\n",
        "MULTI\n",
        "EXEC\n",
        "DISCARD\n",
        "WATCH k\n",
        "HELLO 3\n",
        "AUTH x\n",
        "CLIENT TRACKING on BCAST\n",
        "SUBSCRIBE c\n",
        "PSUBSCRIBE [a-c]*\n",
        "PUBLISH c x\n",
        "KEYS *[^a-]?\\\n",
        "EVALSHA x 1 k a\n",
        "SCRIPT LOAD x\n",
        "EXPIRE k 10 NX\n",
        "SET k v EX 10 NX\n",
        "INFO\n",
        "COMMAND\n",
        "SELECT 1\n",
        "FLUSHALL\n",
        "(1",
        "-inf",
        "+inf",
        "9223372036854775807",
    ],
    longest: 512,
};

/// The memory that the server may hold, in bytes.
const MEMORY: usize = 256 << 10;

fn seeds() -> Vec<Vec<u8>> {
    let raw = pieces::texts([
        "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
        "PING\r\n  get  x \n\r\n*0\r\n*-1\r\n",
        "*4\r\n$4\r\nZADD\r\n$1\r\nk\r\n$3\r\n1.5\r\n$1\r\nm\r\n*2\r\n$5\r\nZCARD\r\n$1\r\nk\r\n",
        "*2\r\n$67108864\r\n",
    ]);
    let lines = pieces::texts([
        "HELLO 3\nZADD k 1 a 2 b\nZRANGE k 0 -1 WITHSCORES\nZPOPMIN k\nBZPOPMIN k 0",
        "MULTI\nSET a b\nGET a\nEXEC\nWATCH a\nEXPIRE a 10\nTTL a\nDEL a",
        "SUBSCRIBE c d\nPSUBSCRIBE n*\nPUBLISH news x\nUNSUBSCRIBE\nPUNSUBSCRIBE",
        "HELLO 3\nCLIENT TRACKING on BCAST PREFIX k NOLOOP\nSET k v\nGET k\nINFO\nRESET",
        "RPUSH l a b c\nLRANGE l 0 -1\nBLPOP l 1\nLLEN l\nBRPOPLPUSH l m 0\nTYPE m",
        "AUTH hush\nSELECT 3\nKEYS [a-c]*\nDBSIZE\nTIME\nFLUSHDB",
        "EVAL return 1 0\nSCRIPT LOAD return\nEVALSHA abc 0\nCONFIG GET maxmemory\nQUIT",
    ]);
    let with = |choice: u8| move |rest: Vec<u8>| [&[choice][..], &rest].concat();
    let raw = raw.into_iter().map(with(0x13));
    raw.chain(lines.into_iter().map(with(0x93))).collect()
}

fn check(input: &[u8]) {
    let (choice, rest) = pieces::choice(input);
    let sent = if choice & 0x80 == 0 {
        rest.to_vec()
    } else {
        let lines = rest.split(|&byte| byte == b'\n');
        lines
            .flat_map(|line| request(line.split(|&byte| byte == b' ')))
            .collect()
    };
    let trusted = choice & 0x40 == 0;
    let (whole, end) = proportion::bounded(&sent, 64, || requests(&sent, usize::MAX, trusted));
    let piece = 1 + choice % 16;
    assert_eq!(
        requests(&sent, piece, trusted),
        (whole.clone(), end),
        "in pieces of {piece}"
    );
    let again: Vec<u8> = whole
        .iter()
        .flat_map(|words| request(words.iter()))
        .collect();
    assert_eq!(requests(&again, usize::MAX, true), (whole, None));

    let password = (!trusted).then_some("hush");
    let limit = 64 * sent.len() + 32 * MEMORY;
    let answered = proportion::bounded_by(limit, || answers(&sent, MEMORY, password));
    check_answers(&answered);
}

/// Panics where an answer is none, or does not end where the next begins.
fn check_answers(answered: &[u8]) {
    // Behind all answers stands one of ours, which none of them may swallow.
    let mut reader = Cursor::new([answered, b"+the end\r\n"].concat());
    let mut parser = Parser::new();
    loop {
        match parser.parse_value(&mut reader) {
            Ok(Value::SimpleString(end)) if end == "the end" => return,
            Ok(_) => {}
            Err(error) => panic!("{error}: {}", answered.escape_ascii()),
        }
    }
}

/// A request as client libraries write it.
fn request<W: AsRef<[u8]>>(words: impl Iterator<Item = W>) -> Vec<u8> {
    let words: Vec<W> = words.collect();
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend(word);
        out.extend(b"\r\n");
    }
    out
}
