//! The `Cookie` header, read as bytes: what one cookie holds never decides whether another is found.
//!
//! Any script and any host of the domain can set a neighbour, with any bytes in it, so only the wanted value itself is looked at.

use http::HeaderMap;
use http::header::COOKIE;

/// The values of the cookies called `name`, in the order they were sent, over all `Cookie` lines (RFC 9113 §8.2.3 splits them).
///
/// More than one may be there: browsers send every cookie whose domain and path match, longer paths first (RFC 6265 §5.4).
pub(super) fn values<'h, 'n>(
    headers: &'h HeaderMap,
    name: &'n str,
) -> impl Iterator<Item = &'h [u8]> + use<'h, 'n> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'))
        .filter_map(|pair| {
            let equals = memchr::memchr(b'=', pair)?;
            let (found, value) = (&pair[..equals], &pair[equals + 1..]);
            (found.trim_ascii() == name.as_bytes()).then(|| unquoted(value.trim_ascii()))
        })
}

/// RFC 6265 §4.1.1 allows a value in double quotes; browsers send them as they were set.
fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn found(lines: &[&[u8]]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        values(&headers, "a.b")
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    #[test]
    fn a_cookie_is_found_whatever_its_neighbours_hold() {
        let many = [b"x=1; ".repeat(200), b"a.b=1".to_vec()].concat();
        let long = [b"x=".to_vec(), vec![b'y'; 32 * 1024], b"; a.b=1".to_vec()].concat();
        for (line, expected) in [
            ("name=J\u{fc}rgen; a.b=1".as_bytes(), vec!["1"]),
            (b"name=\xff\xfe; a.b=1", vec!["1"]),
            (b"\xff; a.b=1; \xff=", vec!["1"]),
            (b"\"; a.b=1; \"", vec!["1"]),
            (b"x=\"; a.b=1; y=\"", vec!["1"]),
            (b"a.b=1; a.b=2;a.b=3", vec!["1", "2", "3"]),
            (b"a.b=\"1\"", vec!["1"]),
            (b"a.b=\"1", vec!["\"1"]),
            (b"a.b=\"", vec!["\""]),
            (b" a.b = 1 ", vec!["1"]),
            (b"a.b=", vec![""]),
            (b"a.b=1=2=", vec!["1=2="]),
            (b";;; ;a.b=1;;", vec!["1"]),
            (b"a.b", vec![]),
            (b"A.B=1; a.b.c=1; xa.b=1; a%2Eb=1; =a.b=1", vec![]),
            (b"no pair at all", vec![]),
            (b"", vec![]),
            (&many, vec!["1"]),
            (&long, vec!["1"]),
        ] {
            assert_eq!(
                found(&[line]),
                expected,
                "{}",
                String::from_utf8_lossy(line)
            );
        }
        assert_eq!(found(&[b"a.b=1", b"\xff", b"x=y; a.b=2"]), ["1", "2"]);
    }
}
