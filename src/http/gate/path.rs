//! A request path that can be read in one way only. Whoever decides by a path must read it as the backend will, so what two
//! servers could read differently is refused rather than guessed.

use std::borrow::Cow;

/// Longest path that is looked at, in bytes; proxies and servers commonly stop at 8 KiB.
const MAX_PATH_BYTES: usize = 8 * 1024;

/// The segments of a path, decoded. `/a/b/` has the segments `a` and `b`, as `/a/b` has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlainPath<'t> {
    segments: Vec<Cow<'t, str>>,
}

/// Why a path is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    #[error("it does not begin with a slash")]
    NotAbsolute,
    #[error("an empty segment")]
    EmptySegment,
    #[error("a `.` or `..` segment")]
    DotSegment,
    #[error("a percent sign that is not followed by two hexadecimal digits")]
    PercentEncoding,
    #[error("an encoded slash, backslash, percent sign, dot or control character")]
    EncodedSeparator,
    #[error("a backslash, a semicolon, a fragment, a control character or one beyond ASCII")]
    Character,
    #[error("it does not decode to UTF-8")]
    NotUtf8,
}

// === impl PlainPath ===

impl<'t> PlainPath<'t> {
    /// Reads the path of a request target; the query is cut off and not looked at.
    ///
    /// # Errors
    /// [`PathError`] for every path that servers are known to read in more than one way.
    pub(crate) fn parse(target: &'t str) -> Result<Self, PathError> {
        if target.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let path = path.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            // `/`, and not `//`: that has lost a slash at each end.
            return match target.starts_with("//") {
                true => Err(PathError::EmptySegment),
                false => Ok(PlainPath {
                    segments: Vec::new(),
                }),
            };
        }
        let segments = path.split('/').map(segment).collect::<Result<_, _>>()?;
        Ok(PlainPath { segments })
    }

    pub(crate) fn segments(&self) -> &[Cow<'t, str>] {
        &self.segments
    }
}

fn segment(text: &str) -> Result<Cow<'_, str>, PathError> {
    if text.is_empty() {
        return Err(PathError::EmptySegment);
    }
    // RFC 3986 §5.2.4 has them removed, but not every server does, nor all in the same place.
    if text == "." || text == ".." {
        return Err(PathError::DotSegment);
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    if text.bytes().all(is_plain) {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()];
                let byte = hex(digits).ok_or(PathError::PercentEncoding)?;
                // Decoded once by one server and twice by the next, these end segments or undo them.
                if matches!(byte, b'/' | b'\\' | b'%' | b'.' | b';') || byte < 0x20 || byte == 0x7f
                {
                    return Err(PathError::EncodedSeparator);
                }
                decoded.push(byte);
            }
            // Some servers take a backslash for a slash, and cut a segment at its semicolon.
            b'\\' | b';' | b'#' | 0..=0x20 | 0x7f.. => return Err(PathError::Character),
            byte => decoded.push(byte),
        }
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| PathError::NotUtf8)
}

fn hex([high, low]: [Option<u8>; 2]) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_in_one_way_or_not_at_all() {
        for (target, expected) in [
            ("/", Ok(vec![])),
            ("/?a=/../b", Ok(vec![])),
            ("/orders", Ok(vec!["orders"])),
            ("/orders/", Ok(vec!["orders"])),
            ("/orders/7?x=%2F", Ok(vec!["orders", "7"])),
            ("/a%20b/%C3%A4", Ok(vec!["a b", "ä"])),
            ("/a:b@c,d=e", Ok(vec!["a:b@c,d=e"])),
            ("/...", Ok(vec!["..."])),
            ("", Err(PathError::NotAbsolute)),
            ("orders", Err(PathError::NotAbsolute)),
            ("http://evil.example/", Err(PathError::NotAbsolute)),
            ("//", Err(PathError::EmptySegment)),
            ("//orders", Err(PathError::EmptySegment)),
            ("/a//b", Err(PathError::EmptySegment)),
            ("/a/b//", Err(PathError::EmptySegment)),
            ("/a/../b", Err(PathError::DotSegment)),
            ("/a/./b", Err(PathError::DotSegment)),
            ("/..", Err(PathError::DotSegment)),
            ("/%2e%2e/admin", Err(PathError::EncodedSeparator)),
            ("/a%2fb", Err(PathError::EncodedSeparator)),
            ("/a%5Cb", Err(PathError::EncodedSeparator)),
            ("/a%252fb", Err(PathError::EncodedSeparator)),
            ("/a%00", Err(PathError::EncodedSeparator)),
            ("/a%0d%0aX:1", Err(PathError::EncodedSeparator)),
            ("/a;b=c/d", Err(PathError::Character)),
            ("/a%3bb", Err(PathError::EncodedSeparator)),
            ("/a\\b", Err(PathError::Character)),
            ("/a#b", Err(PathError::Character)),
            ("/a b", Err(PathError::Character)),
            ("/a\r\nX: 1", Err(PathError::Character)),
            ("/ä", Err(PathError::Character)),
            ("/%", Err(PathError::PercentEncoding)),
            ("/%4", Err(PathError::PercentEncoding)),
            ("/%zz", Err(PathError::PercentEncoding)),
            ("/%ff", Err(PathError::NotUtf8)),
        ] {
            let expected = expected
                .map(|segments: Vec<&str>| segments.into_iter().map(Cow::from).collect::<Vec<_>>());
            let read = PlainPath::parse(target).map(|path| path.segments);
            assert_eq!(read, expected, "{target:?}");
        }
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
        assert_eq!(PlainPath::parse(&long), Err(PathError::TooLong));
    }
}
