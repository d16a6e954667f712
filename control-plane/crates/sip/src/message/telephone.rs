//! Telephone numbers in URIs.

use std::borrow::Cow;

use super::{Scheme, Uri};

/// Whether the user of a URI is a telephone number: `tel:`, or `user=phone` (RFC 3261 §19.1.1).
pub fn is_telephone(uri: &Uri<'_>) -> bool {
    let user = uri.param("user");
    uri.scheme() == Scheme::Tel || user.is_some_and(|user| user.eq_ignore_ascii_case("phone"))
}

/// A telephone number without what only makes it easy to read (RFC 3966 §5.1.1).
pub fn digits(number: Cow<'_, str>) -> Cow<'_, str> {
    let is_separator = |c: char| matches!(c, '-' | '.' | '(' | ')');
    let is_number = |c: char| c.is_ascii_hexdigit() || matches!(c, '*' | '#' | '+') || is_separator(c);
    match number.contains(is_separator) && number.chars().all(is_number) {
        true => Cow::Owned(number.replace(is_separator, "")),
        false => number,
    }
}
