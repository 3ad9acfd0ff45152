use proptest::prelude::*;

use super::*;

fn read_all(
    mut reader: RequestReader,
    input: &[u8],
) -> (Vec<Vec<Bytes>>, Result<(), ProtocolError>) {
    let mut input = BytesMut::from(input);
    let mut requests = Vec::new();
    loop {
        match reader.next(&mut input, true) {
            Ok(Some(request)) => requests.push(request.words),
            Ok(None) => return (requests, Ok(())),
            Err(error) => return (requests, Err(error)),
        }
    }
}

fn check(input: &[u8], expect: &[&[&str]], end: Result<(), ProtocolError>) {
    let (requests, got) = read_all(RequestReader::default(), input);
    let expect: Vec<Vec<Bytes>> = expect
        .iter()
        .map(|request| {
            request
                .iter()
                .map(|a| Bytes::copy_from_slice(a.as_bytes()))
                .collect()
        })
        .collect();
    assert_eq!(requests, expect, "{}", input.escape_ascii());
    assert_eq!(got, end, "{}", input.escape_ascii());
}

#[test]
fn requests_are_read_pipelined_and_typed_by_hand() {
    check(
        b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
        &[&["PING"], &["ECHO", ""]],
        Ok(()),
    );
    check(
        b"PING\r\n  get  x \n\r\n",
        &[&["PING"], &["get", "x"]],
        Ok(()),
    );
    check(b"*0\r\n*-1\r\n*1\r\n$1\r\nx\r\n", &[&["x"]], Ok(()));
    check(b"*2\r\n$3\r\nGET\r\n$5\r\nab", &[], Ok(()));
}

#[test]
fn hostile_requests_are_errors() {
    check(b"*200000\r\n", &[], Err(ProtocolError::ArgumentCount));
    check(b"*x\r\n", &[], Err(ProtocolError::ArgumentCount));
    check(b"*1\r\n$-1\r\n", &[], Err(ProtocolError::BulkLength));
    check(
        b"*1\r\n$99999999999999999999\r\n",
        &[],
        Err(ProtocolError::BulkLength),
    );
    check(b"*1\r\n$67108865\r\n", &[], Err(ProtocolError::BulkLength));
    check(b"*2\r\n$67108864\r\n", &[], Ok(()));
    check(b"*1\r\n*1\r\n", &[], Err(ProtocolError::NoBulk(b'*')));
    check(b"*1\r\n\r\n", &[], Err(ProtocolError::NoBulk(b'\n')));
    check(b"*1\r\n$1\r\nxyz\r\n", &[], Err(ProtocolError::BulkEnd));
    check(&[b'a'; MAX_LINE], &[], Err(ProtocolError::LongLine));
}

#[test]
fn little_may_be_asked_for_before_the_password() {
    for (input, error) in [
        (&b"*11\r\n"[..], ProtocolError::CountBeforePassword),
        (b"*1\r\n$16385\r\n", ProtocolError::LengthBeforePassword),
        (
            &[b"*2\r\n$16384\r\n", &[b'x'; 16384][..], b"\r\n$1\r\n"].concat(),
            ProtocolError::LengthBeforePassword,
        ),
    ] {
        for (trusted, expect) in [(false, Err(error)), (true, Ok(()))] {
            let got = RequestReader::default().next(&mut BytesMut::from(input), trusted);
            assert_eq!(
                got.map(|request| assert!(request.is_none())),
                expect,
                "{}",
                input[..10.min(input.len())].escape_ascii()
            );
        }
    }
}

#[test]
fn replies_follow_the_protocol_that_was_agreed() {
    fn check(reply: Reply, old: &str, new: &str) {
        for (protocol, expect) in [(Protocol::Resp2, old), (Protocol::Resp3, new)] {
            let mut out = BytesMut::new();
            reply.write(protocol, &mut out);
            assert_eq!(std::str::from_utf8(&out).unwrap(), expect, "{protocol:?}");
        }
    }
    check(Reply::OK, "+OK\r\n", "+OK\r\n");
    check(
        Reply::Error("ERR a\r\n+OK".into()),
        "-ERR a  +OK\r\n",
        "-ERR a  +OK\r\n",
    );
    check(Reply::Null, "$-1\r\n", "_\r\n");
    check(Reply::NullArray, "*-1\r\n", "_\r\n");
    check(Reply::Double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n");
    check(
        Reply::Scored(vec![("a".into(), 1.0)]),
        "*2\r\n$1\r\na\r\n$1\r\n1\r\n",
        "*1\r\n*2\r\n$1\r\na\r\n,1\r\n",
    );
    check(
        Reply::Map(vec![(Reply::text("k"), Reply::Integer(3))]),
        "*2\r\n$1\r\nk\r\n:3\r\n",
        "%1\r\n$1\r\nk\r\n:3\r\n",
    );
    check(
        Reply::Push(vec![Reply::Integer(1)]),
        "*1\r\n:1\r\n",
        ">1\r\n:1\r\n",
    );
}

fn written(requests: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for request in requests {
        Reply::Array(request.iter().map(|a| Reply::text(a.clone())).collect())
            .write(Protocol::Resp2, &mut out);
    }
    out.to_vec()
}

proptest! {
    #[test]
    fn requests_cut_anywhere_are_read_whole(
        requests in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5), 1..5),
        cuts in prop::collection::vec(1usize..20, 0..40),
    ) {
        let bytes = written(&requests);
        let (mut reader, mut input, mut read) = (RequestReader::default(), BytesMut::new(), Vec::new());
        let mut rest = &bytes[..];
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            input.extend_from_slice(now);
            rest = later;
            while let Some(request) = reader.next(&mut input, true).unwrap() {
                read.push(request.words.iter().map(|a| a.to_vec()).collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(read, requests);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), line in "[*$+-]?[0-9-]{0,20}(\r\n)?([*$][0-9-]{0,5}\r\n){0,4}") {
        let _ = read_all(RequestReader::default(), &bytes);
        let _ = read_all(RequestReader::default(), line.as_bytes());
    }
}
