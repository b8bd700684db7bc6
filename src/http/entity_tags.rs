//! Entity tags of `If-None-Match`, copied out of a request, so that nothing else of the request is kept while it is held.

use http::HeaderMap;
use http::header::IF_NONE_MATCH;

/// `If-None-Match: *`: any representation at all.
const ANY: &str = "*";
/// Most tags that are read: a verifier holds one, a cache a few. A tag beyond them costs a whole answer instead of a 304.
const MAX_TAGS: usize = 8;
/// Longest tag that is read. Ours have fewer than 64 bytes.
const MAX_TAG_BYTES: usize = 128;

/// What a client says that it has: at most [`MAX_TAGS`] of at most [`MAX_TAG_BYTES`], whatever was sent.
///
/// One text, with commas: while a request is held, many small allocations would keep the memory around them from being used again.
pub(super) struct EntityTags(Box<str>);

// === impl EntityTags ===

impl EntityTags {
    /// The listed tags, without their weakness: `If-None-Match` compares weakly (RFC 9110 §13.1.2).
    pub(super) fn copied_from(headers: &HeaderMap) -> Self {
        let sent = headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim())
            .map(|tag| tag.strip_prefix("W/").unwrap_or(tag))
            .filter(|tag| !tag.is_empty() && tag.len() <= MAX_TAG_BYTES);
        let mut tags = String::new();
        for tag in sent.take(MAX_TAGS) {
            if !tags.is_empty() {
                tags.push(',');
            }
            tags.push_str(tag);
        }
        EntityTags(tags.into())
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').filter(|tag| !tag.is_empty())
    }

    /// As the issuing side compares them.
    pub(super) fn as_strs(&self) -> Vec<&str> {
        self.iter().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a representation is named, and not just any.
    pub(super) fn name_one(&self) -> bool {
        self.iter().any(|tag| tag != ANY)
    }

    /// Whether the client has the representation with this tag.
    pub(super) fn include(&self, etag: &str) -> bool {
        self.iter().any(|tag| tag == ANY || tag == etag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(sent: &str) -> EntityTags {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, sent.parse().unwrap());
        EntityTags::copied_from(&headers)
    }

    #[test]
    fn entity_tags_are_compared_by_the_rfc() {
        for (sent, current) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(tags(sent).include("\"a\""), current, "{sent}");
        }
        let none = EntityTags::copied_from(&HeaderMap::new());
        assert!(!none.include("\"a\"") && !none.name_one());
        assert!(!tags("*").name_one() && tags("*, \"a\"").name_one());
    }

    #[test]
    fn no_list_of_tags_costs_more_than_its_bound() {
        let many = vec!["\"a\""; 8_000].join(",");
        assert_eq!(tags(&many).as_strs().len(), MAX_TAGS);
        let long = format!("\"{}\", \"a\"", "b".repeat(30_000));
        assert_eq!(tags(&long).as_strs(), ["\"a\""]);
    }
}
