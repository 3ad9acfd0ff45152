//! Texts against their tapes and their errors.

use super::*;

#[test]
fn all_values_of_json_are_read() {
    for text in [
        "null",
        " true ",
        "\t\r\nfalse\n",
        "0",
        "-0",
        "-1.5e+3",
        "1e400",
        r#""""#,
        r#""\ud800""#,
        "\"\u{7f}é😀\"",
        "[]",
        "[ ]",
        "{}",
        "{ }",
        r#"{"":{"":[]}}"#,
        r#" { "a" : [ 1 , 2 ] , "b" : "c" } "#,
    ] {
        assert!(parse(text.as_bytes(), MAX_DEPTH).is_ok(), "{text}");
    }
}

#[test]
fn an_error_names_the_place_and_what_was_due_there() {
    check(
        "",
        "line 1, byte 0: expected a value, found the end of the text",
    );
    check(
        "  ",
        "line 1, byte 2: expected a value, found the end of the text",
    );
    check("nul", "line 1, byte 0: expected a value, found 'n'");
    check("True", "line 1, byte 0: expected a value, found 'T'");
    check("NaN", "line 1, byte 0: expected a value, found 'N'");
    check(
        "nullx",
        "line 1, byte 4: expected the end of the text, found 'x'",
    );
    check(
        "{}{}",
        "line 1, byte 2: expected the end of the text, found '{'",
    );
    check("[1,]", "line 1, byte 3: expected a value, found ']'");
    check("[1 2]", "line 1, byte 3: expected `,` or `]`, found '2'");
    check("[1}", "line 1, byte 2: expected `,` or `]`, found '}'");
    check(
        "[",
        "line 1, byte 1: expected a value, found the end of the text",
    );
    check("]", "line 1, byte 0: expected a value, found ']'");
    check(
        "{",
        "line 1, byte 1: expected a key or `}`, found the end of the text",
    );
    check("{1:2}", "line 1, byte 1: expected a key or `}`, found '1'");
    check("{é", "line 1, byte 1: expected a key or `}`, found 'é'");
    check(r#"{"a"}"#, "line 1, byte 4: expected `:`, found '}'");
    check(r#"{"a":}"#, "line 1, byte 5: expected a value, found '}'");
    check(r#"{"a":1,}"#, "line 1, byte 7: expected a key, found '}'");
    check(
        "{\"a\":1\n \"b\":2}",
        "line 2, byte 8: expected `,` or `}`, found '\"'",
    );
    check(
        "01",
        "line 1, byte 1: expected the end of the text, found '1'",
    );
    check(
        "-",
        "line 1, byte 1: expected a digit, found the end of the text",
    );
    check("[1.]", "line 1, byte 3: expected a digit, found ']'");
    check(
        r#""abc"#,
        "line 1, byte 4: expected `\"`, found the end of the text",
    );
    check(
        "\"a\nb\"",
        "line 1, byte 2: expected an escape for a control character, found '\\n'",
    );
    check(
        r#""\x""#,
        "line 1, byte 1: expected an escape that JSON has, found '\\\\'",
    );
    check(
        r#""\u12g4""#,
        "line 1, byte 1: expected an escape that JSON has, found '\\\\'",
    );
    check(
        r#""\u123"#,
        "line 1, byte 1: expected an escape that JSON has, found '\\\\'",
    );
    check(
        r#""\"#,
        "line 1, byte 1: expected an escape that JSON has, found '\\\\'",
    );
    check(
        "\u{feff}{}",
        "line 1, byte 0: expected a value, found '\\u{feff}'",
    );
}

#[test]
fn text_that_is_not_utf8_is_refused_at_any_place() {
    for (text, expect) in [
        (&b"\xff"[..], "line 1, byte 0: not UTF-8"),
        (b"{\n\"\xc3\":1}", "line 2, byte 3: not UTF-8"),
        (b"\"\xed\xa0\x80\"", "line 1, byte 1: not UTF-8"),
        (b"{} \xe2\x82", "line 1, byte 3: not UTF-8"),
    ] {
        assert_eq!(parse(text, MAX_DEPTH).unwrap_err().to_string(), expect);
    }
}

#[test]
fn depth_ends_where_serde_json_ends_and_costs_no_stack() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = |depth: usize| format!("{}0{}", open.repeat(depth), close.repeat(depth));
        let serde_reads = |depth| serde_json::from_str::<serde_json::Value>(&nested(depth)).is_ok();
        assert!(parse(nested(MAX_DEPTH).as_bytes(), MAX_DEPTH).is_ok());
        assert!(serde_reads(MAX_DEPTH) && !serde_reads(MAX_DEPTH + 1));
        let error = ParseError::TooDeep {
            line: 1,
            offset: MAX_DEPTH * open.len(),
            limit: MAX_DEPTH,
        };
        assert_eq!(
            parse(nested(MAX_DEPTH + 1).as_bytes(), MAX_DEPTH).unwrap_err(),
            error
        );
        let deep = nested(1_000_000);
        assert_eq!(parse(deep.as_bytes(), MAX_DEPTH).unwrap_err(), error);
        // Without the limit, too, nothing calls itself.
        assert!(parse(deep.as_bytes(), usize::MAX).is_ok());
    }
}

#[test]
fn an_integer_that_python_would_refuse_is_refused() {
    check(
        &format!("[\n{}]", "1".repeat(MAX_INTEGER_DIGITS + 1)),
        "line 2, byte 2: an integer of more than 4300 digits",
    );
    let float = format!("{}.5", "1".repeat(MAX_INTEGER_DIGITS + 1));
    assert!(parse(float.as_bytes(), MAX_DEPTH).is_ok());
}

#[track_caller]
fn check(text: &str, expect: &str) {
    match parse(text.as_bytes(), MAX_DEPTH) {
        Ok(_) => panic!("{text} was read"),
        Err(error) => assert_eq!(error.to_string(), expect, "{text}"),
    }
}

#[test]
fn siblings_are_one_step_apart() {
    let (nodes, _) = parse(br#"{"a":[1,[2]],"b":{},"c":"d"}"#, MAX_DEPTH).unwrap();
    let tape: Vec<_> = nodes.iter().map(|node| (node.kind, node.next)).collect();
    let expect = [
        (Kind::Object, 10),
        (Kind::Key, 2),
        (Kind::Array, 6),
        (Kind::Integer, 4),
        (Kind::Array, 6),
        (Kind::Integer, 6),
        (Kind::Key, 7),
        (Kind::Object, 8),
        (Kind::Key, 9),
        (Kind::Text, 10),
    ];
    assert_eq!(tape, expect);
}

#[test]
fn of_equal_keys_all_but_the_last_are_superseded() {
    let check = |text: &str, expect: &[usize], count| {
        let (nodes, notes) = parse(text.as_bytes(), MAX_DEPTH).unwrap();
        let superseded: Vec<_> = (0..nodes.len())
            .filter(|&node| nodes[node].kind == Kind::SupersededKey)
            .collect();
        assert_eq!(
            (superseded.as_slice(), nodes[0].extra),
            (expect, count),
            "{text}"
        );
        assert_eq!(notes.duplicate_keys, !expect.is_empty(), "{text}");
    };
    check(r#"{"a":1,"b":2}"#, &[], 2);
    check(r#"{"a":1,"b":2,"a":3}"#, &[1], 2);
    check(r#"{"a":1,"a":2,"a":3}"#, &[1, 3], 1);
    check(r#"{"a":1,"\u0061":2}"#, &[1], 1);
    check(r#"{"\u0061":[1,2],"b":{},"a":2}"#, &[1], 2);
    // These two hash alike: what differs is neither among the first nor the last eight bytes.
    check(r#"{"abcdefgh1abcdefgh":1,"abcdefgh2abcdefgh":2}"#, &[], 2);
    // More members than are compared in place.
    let many: Vec<_> = (0..100).map(|key| format!(r#""{key}":0"#)).collect();
    check(&format!("{{{}}}", many.join(",")), &[], 100);
    check(
        &format!(r#"{{{},"7":1,"99":1}}"#, many.join(",")),
        &[15, 199],
        100,
    );
}
