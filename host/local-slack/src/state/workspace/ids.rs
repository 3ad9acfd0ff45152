//! Ids of users, conversations, bots and apps, and the time that the workspace was founded.

/// When the workspace says that it was founded: 2026-01-05 09:00 UTC, in seconds.
pub(crate) const FOUNDED: u64 = 1_767_603_600;

/// A bijection of indexes onto ids that look drawn: an odd factor is invertible modulo a power of two.
pub(crate) fn id(prefix: char, seed: u64, index: usize) -> String {
    const BITS: u32 = 44;
    // Each kind of id starts elsewhere, so that the first user and the first channel do not look alike.
    let start = (seed ^ u64::from(prefix as u32) << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let mixed = (index as u64)
        .wrapping_mul(0x5_DEEC_E66D)
        .wrapping_add(start)
        & ((1 << BITS) - 1);
    // Ids begin with a zero, as those that Slack gave out for years; nine digits of base 36 hold 44 bits.
    let mut digits = [b'0'; 11];
    let mut rest = mixed;
    for digit in digits[2..].iter_mut().rev() {
        *digit = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[(rest % 36) as usize];
        rest /= 36;
    }
    digits[0] = prefix as u8;
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_do_not_repeat() {
        let ids: HashSet<String> = (0..100_000).map(|index| id('U', 7, index)).collect();
        assert_eq!(ids.len(), 100_000);
        assert!(ids.iter().all(|id| id.len() == 11 && id.starts_with("U0")));
    }
}
