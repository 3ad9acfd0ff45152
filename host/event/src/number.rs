//! JSON numbers: their grammar, and what they are worth.

use crate::tape::Kind;

/// Integers with more digits are refused: it is where Python's `json.loads` stops (`sys.get_int_max_str_digits()`).
pub const MAX_INTEGER_DIGITS: usize = 4300;

/// Why a text is not a number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NumberError {
    /// A digit is missing at this offset.
    NoDigit(usize),
    /// An integer that begins at this offset has more than [`MAX_INTEGER_DIGITS`] digits.
    TooLong(usize),
}

/// Reads the number that begins at `at` (RFC 8259, section 6): one past its end, and which kind it is.
///
/// A zero before other digits ends the number; what follows is then out of place for the caller.
#[inline]
pub(crate) fn scan(text: &[u8], at: usize) -> Result<(usize, Kind), NumberError> {
    let first = at + usize::from(text.get(at) == Some(&b'-'));
    let mut end = match text.get(first) {
        Some(b'0') => first + 1,
        _ => digits(text, first)?,
    };
    let whole = end;
    if text.get(end) == Some(&b'.') {
        end = digits(text, end + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = digits(text, end + 1 + sign)?;
    }
    if end != whole {
        return Ok((end, Kind::Float));
    }
    match end - first {
        ..=18 => Ok((end, Kind::Integer)),
        19..=20 => Ok((
            end,
            if magnitude_fits(&text[at..end]) {
                Kind::Integer
            } else {
                Kind::BigInteger
            },
        )),
        21..=MAX_INTEGER_DIGITS => Ok((end, Kind::BigInteger)),
        _ => Err(NumberError::TooLong(at)),
    }
}

/// One past the last of the digits at `at`, of which there must be one.
#[inline]
fn digits(text: &[u8], at: usize) -> Result<usize, NumberError> {
    let mut end = at;
    while text.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    if end == at {
        Err(NumberError::NoDigit(at))
    } else {
        Ok(end)
    }
}

/// Whether an integer of 19 or 20 digits is an `i64` or a `u64`.
fn magnitude_fits(number: &[u8]) -> bool {
    str::from_utf8(number)
        .is_ok_and(|number| number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok())
}

/// An integer of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Integer {
    Signed(i64),
    /// Above `i64::MAX`.
    Unsigned(u64),
}

/// The value of what [`scan`] called an integer.
#[inline]
pub(crate) fn integer(number: &[u8]) -> Integer {
    let (negative, digits) = match number {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = digits.iter().fold(0u64, |sum, digit| {
        sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
    });
    if negative {
        Integer::Signed(0i64.wrapping_sub_unsigned(magnitude))
    } else {
        i64::try_from(magnitude).map_or(Integer::Unsigned(magnitude), Integer::Signed)
    }
}

/// The nearest `f64` to what [`scan`] called a float; infinite where it is out of range.
pub(crate) fn float(number: &[u8]) -> f64 {
    // The grammar of JSON is within that of `f64::from_str`, so that this can't fail.
    str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_where_json_says_and_know_their_kind() {
        let check = |text: &str, expect| assert_eq!(scan(text.as_bytes(), 0), expect, "{text}");
        check("0", Ok((1, Kind::Integer)));
        check("-0", Ok((2, Kind::Integer)));
        check("01", Ok((1, Kind::Integer)));
        check("12]", Ok((2, Kind::Integer)));
        check("1.5", Ok((3, Kind::Float)));
        check("1e5", Ok((3, Kind::Float)));
        check("-1.0E-5,", Ok((7, Kind::Float)));
        check("1e+400", Ok((6, Kind::Float)));
        check("9223372036854775807", Ok((19, Kind::Integer)));
        check("18446744073709551615", Ok((20, Kind::Integer)));
        check("18446744073709551616", Ok((20, Kind::BigInteger)));
        check("-9223372036854775808", Ok((20, Kind::Integer)));
        check("-9223372036854775809", Ok((20, Kind::BigInteger)));
        check(
            &"9".repeat(MAX_INTEGER_DIGITS),
            Ok((MAX_INTEGER_DIGITS, Kind::BigInteger)),
        );
        check(
            &"9".repeat(MAX_INTEGER_DIGITS + 1),
            Err(NumberError::TooLong(0)),
        );
        check("", Err(NumberError::NoDigit(0)));
        check("-", Err(NumberError::NoDigit(1)));
        check("+1", Err(NumberError::NoDigit(0)));
        check(".5", Err(NumberError::NoDigit(0)));
        check("1.", Err(NumberError::NoDigit(2)));
        check("1.e5", Err(NumberError::NoDigit(2)));
        check("1e", Err(NumberError::NoDigit(2)));
        check("1e+", Err(NumberError::NoDigit(3)));
    }

    #[test]
    fn integers_are_exact_to_64_bits() {
        for number in [
            i64::MIN,
            i64::MIN + 1,
            -10,
            -1,
            0,
            1,
            10,
            i64::MAX - 1,
            i64::MAX,
        ] {
            assert_eq!(
                integer(number.to_string().as_bytes()),
                Integer::Signed(number)
            );
        }
        for number in [i64::MAX as u64 + 1, u64::MAX] {
            assert_eq!(
                integer(number.to_string().as_bytes()),
                Integer::Unsigned(number)
            );
        }
        assert_eq!(integer(b"-0"), Integer::Signed(0));
    }

    #[test]
    fn floats_are_the_nearest_ones() {
        assert_eq!(float(b"0.1"), 0.1);
        assert_eq!(float(b"1355517523.000005"), 1_355_517_523.000_005);
        assert_eq!(float(b"-0.0").to_bits(), (-0.0f64).to_bits());
        assert_eq!(float(b"9007199254740993.0"), 9_007_199_254_740_992.0);
        assert_eq!(float(b"1e400"), f64::INFINITY);
        assert_eq!(float(b"-1e400"), f64::NEG_INFINITY);
        assert_eq!(float(b"1e-400"), 0.0);
    }
}
