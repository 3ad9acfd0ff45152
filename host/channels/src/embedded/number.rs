//! Numbers as Redis reads and writes them.

use std::ops::Bound;

/// An integer in its one canonical form: no spaces, no plus sign, no leading zeros.
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: i64 = text.parse().ok()?;
    let canonical =
        !text.starts_with('+') && (text == "0" || !text.trim_start_matches('-').starts_with('0'));
    canonical.then_some(value)
}

/// A score: decimal, with exponent, or infinite; never "not a number".
pub(super) fn parse_double(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// One end of a range of scores; `(` before the number leaves the number itself out.
pub(super) fn parse_bound(text: &[u8]) -> Option<Bound<f64>> {
    match text.strip_prefix(b"(") {
        Some(text) => parse_double(text).map(Bound::Excluded),
        None => parse_double(text).map(Bound::Included),
    }
}

/// A double as C's `%.17g` writes it, which is what Redis 7.0 answers; reading it gives the same double.
pub(super) fn write_double(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 {
            "inf".to_owned()
        } else {
            "-inf".to_owned()
        };
    }
    let scientific = format!("{value:.16e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).unwrap_or(0);
        return without_trailing_zeros(&format!("{value:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!(
        "{}e{sign}{:02}",
        without_trailing_zeros(digits),
        exponent.abs()
    )
}

fn without_trailing_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_form() {
        for (text, expect) in [
            ("0", Some(0)),
            ("-7", Some(-7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("007", None),
            ("-0", None),
            ("+5", None),
            (" 5", None),
            ("", None),
            ("-", None),
            ("1.0", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), expect, "{text:?}");
        }
    }

    #[test]
    fn doubles_are_written_as_c_writes_them() {
        for (value, expect) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1, "0.10000000000000001"),
            (1795345843.8345845, "1795345843.8345845"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e-5, "1.5e-05"),
            (1e300, "1.0000000000000001e+300"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(write_double(value), expect);
        }
    }

    #[test]
    fn bounds_may_leave_their_number_out() {
        assert_eq!(parse_bound(b"(1.5"), Some(Bound::Excluded(1.5)));
        assert_eq!(
            parse_bound(b"-inf"),
            Some(Bound::Included(f64::NEG_INFINITY))
        );
        assert_eq!(parse_bound(b"nan"), None);
        assert_eq!(parse_bound(b"(("), None);
    }

    proptest::proptest! {
        #[test]
        fn a_written_double_reads_as_itself(bits: u64) {
            let value = f64::from_bits(bits);
            proptest::prop_assume!(!value.is_nan());
            proptest::prop_assert_eq!(parse_double(write_double(value).as_bytes()).map(f64::to_bits), Some(bits));
        }
    }
}
