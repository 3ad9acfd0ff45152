//! An input cut into parts, for targets that take more than one thing.

/// The parts of `input` between bytes that are zero, which no text of ours has.
pub(crate) fn parts(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|&byte| byte == 0)
}

/// The first byte of `input`, which chooses, and the rest.
pub(crate) fn choice(input: &[u8]) -> (usize, &[u8]) {
    match input.split_first() {
        Some((&choice, rest)) => (usize::from(choice), rest),
        None => (0, input),
    }
}

/// Seeds from texts.
pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Vec<u8>> {
    texts
        .into_iter()
        .map(|text| text.as_bytes().to_vec())
        .collect()
}
