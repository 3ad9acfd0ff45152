//! Reads and writes numbers as Redis does.

use std::ops::Bound;

/// Reads an integer in its canonical form: without spaces, plus sign and leading zeros.
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: i64 = text.parse().ok()?;
    let canonical =
        !text.starts_with('+') && (text == "0" || !text.trim_start_matches('-').starts_with('0'));
    canonical.then_some(value)
}

/// Reads a score: decimal, with an exponent, or infinite, but never NaN.
pub(super) fn parse_double(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// Reads one end of a range of scores. A `(` before the number excludes the number itself.
pub(super) fn parse_bound(text: &[u8]) -> Option<Bound<f64>> {
    match text.strip_prefix(b"(") {
        Some(text) => parse_double(text).map(Bound::Excluded),
        None => parse_double(text).map(Bound::Included),
    }
}

/// Writes a double as Redis (since 7.2) and Valkey answer it: an integer in full, any other in the fewest digits that
/// read back as the same double, with an exponent if that is shorter.
pub(super) fn write_double(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value.fract() == 0.0 && value.abs() <= LARGEST_IN_FULL {
        return (value as i64).to_string();
    }
    let scientific = format!("{:e}", value.abs());
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let digits = digits.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", place_point(&digits, exponent))
}

/// The largest integer that is written in full: half of the largest 64-bit integer, as in Redis's `double2ll`.
const LARGEST_IN_FULL: f64 = (i64::MAX / 2) as f64;

/// Writes `d.ddd` times ten to the power of `exponent` as Redis's `fpconv_dtoa` does (`emit_digits` in fpconv_dtoa.c).
fn place_point(digits: &str, exponent: i32) -> String {
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    // The power of ten of the last digit.
    let last = exponent - (count - 1);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    if last >= 0 && exponent.abs() < count + 7 {
        return format!("{digits}{}", zeros(last));
    }
    if last < 0 && (last > -7 || exponent.abs() < 4) {
        return match usize::try_from(exponent + 1) {
            Ok(whole) if whole > 0 => format!("{}.{}", &digits[..whole], &digits[whole..]),
            _ => format!("0.{}{digits}", zeros(-exponent - 1)),
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    format!("{first}{point}{rest}e{sign}{}", exponent.abs())
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
    fn doubles_are_written_as_redis_8_writes_them() {
        // The answers of Redis 8.2.3 and Valkey 9.1.2 to ZSCORE, in RESP2 and RESP3 alike.
        for (value, expect) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (0.001, "0.001"),
            (1795345843.8345845, "1.7953458438345845e+9"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (1e17, "100000000000000000"),
            (1e18, "1000000000000000000"),
            (123456789012345678.0, "123456789012345680"),
            (12345678901234567890.0, "12345678901234567000"),
            (1e19, "1e+19"),
            (1.5e-5, "0.000015"),
            (1e-5, "0.00001"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (-1e-7, "-1e-7"),
            (1.25e-7, "1.25e-7"),
            (5e-324, "5e-324"),
            (1e300, "1e+300"),
            (-1.5e30, "-1.5e+30"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9007199254740993.0, "9007199254740992"),
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
            proptest::prop_assert_eq!(parse_double(write_double(value).as_bytes()), Some(value));
        }
    }
}
