//! Sets of small numbers, a bit each.

/// The numbers of the bits that are set, ascending.
pub(super) fn numbers(set: u64) -> impl Iterator<Item = u8> {
    let mut left = set;
    std::iter::from_fn(move || {
        let number = u8::try_from(left.trailing_zeros()).unwrap_or(u8::MAX);
        // Takes the lowest bit away.
        left &= left.checked_sub(1)?;
        Some(number)
    })
}
