//! Strict JSON (RFC 8259) for JOSE objects: one pass, borrowed, and duplicate member names refused at every depth.
//!
//! A general JSON library keeps the last of two equal names, silently; two parsers that keep
//! different ones disagree about what was signed (RFC 8725 §2.4). So the objects that decide a verdict are read here.
//! Never allocates for a string without escapes, nor for an object of up to sixteen members.

use std::borrow::Cow;

use super::names::Names;

/// Deepest nesting of arrays and objects. Real tokens stay under 6; a bound keeps the recursion off the stack's end
/// (CVE-2025-53864 was a stack overflow by depth).
pub(crate) const MAX_DEPTH: u8 = 32;

/// Why a text is not the strict JSON that JOSE asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    what: &'static str,
    at: usize,
}

impl JsonError {
    /// What is wrong, in words.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Offset in bytes from the start of the JSON text.
    pub fn at(&self) -> usize {
        self.at
    }
}

/// One JSON value; arrays and objects are validated whole and handed on as their text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool,
    /// The number as written, in JSON's grammar.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(&'a str),
    Object(&'a str),
}

impl<'a> Value<'a> {
    pub(crate) fn into_string(self) -> Option<Cow<'a, str>> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Calls `on_member` for each member of the one object that `text` is.
///
/// # Errors
/// Anything but one object, by RFC 8259 to the letter; a duplicate name; more than [`MAX_DEPTH`] levels; whatever `on_member` returns.
pub(crate) fn object<'a, E: From<JsonError>>(
    text: &'a str,
    mut on_member: impl FnMut(&str, Value<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut scanner = Scanner::new(text);
    scanner.whitespace();
    scanner.eat(b'{', "not a JSON object")?;
    scanner.members(&mut on_member)?;
    scanner.end()?;
    Ok(())
}

/// Calls `on_element` for each element of the one array that `text` is.
///
/// # Errors
/// As [`object`].
pub(crate) fn array<'a, E: From<JsonError>>(
    text: &'a str,
    mut on_element: impl FnMut(Value<'a>, &'a str) -> Result<(), E>,
) -> Result<(), E> {
    let mut scanner = Scanner::new(text);
    scanner.whitespace();
    scanner.eat(b'[', "not a JSON array")?;
    scanner.elements(&mut on_element)?;
    scanner.end()?;
    Ok(())
}

/// UTF-8 text from bytes, with the offset of the first byte that is not.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, JsonError> {
    std::str::from_utf8(bytes).map_err(|error| JsonError {
        what: "not UTF-8",
        at: error.valid_up_to(),
    })
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
}

// === impl Scanner ===

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Scanner {
            text,
            at: 0,
            depth: 0,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self, what: &'static str) -> JsonError {
        JsonError { what, at: self.at }
    }

    fn whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.error(what));
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.whitespace();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("more text after the JSON value")),
        }
    }

    fn deeper(&mut self) -> Result<(), JsonError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nested too deep"));
        }
        Ok(())
    }

    /// The members of an object whose `{` has been read, up to and with its `}`.
    fn members<E: From<JsonError>>(
        &mut self,
        mut on_member: impl FnMut(&str, Value<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.deeper()?;
        let mut names = Names::new();
        self.whitespace();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            self.whitespace();
            let start = self.at;
            let name = self.string()?;
            if !names.insert(&name) {
                return Err(JsonError {
                    what: "duplicate member name",
                    at: start,
                }
                .into());
            }
            self.whitespace();
            self.eat(b':', "a member name without a colon")?;
            let (value, _) = self.value()?;
            on_member(&name, value)?;
            self.whitespace();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return Err(self.error("a member that is not followed by , or }").into()),
            }
        }
    }

    /// The elements of an array whose `[` has been read, up to and with its `]`.
    fn elements<E: From<JsonError>>(
        &mut self,
        mut on_element: impl FnMut(Value<'a>, &'a str) -> Result<(), E>,
    ) -> Result<(), E> {
        self.deeper()?;
        self.whitespace();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            let (value, raw) = self.value()?;
            on_element(value, raw)?;
            self.whitespace();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => {
                    return Err(self
                        .error("an element that is not followed by , or ]")
                        .into());
                }
            }
        }
    }

    /// One value and its text.
    fn value(&mut self) -> Result<(Value<'a>, &'a str), JsonError> {
        self.whitespace();
        let start = self.at;
        let value = match self.peek() {
            Some(b'"') => Value::String(self.string()?),
            Some(b'{') => {
                self.at += 1;
                self.members(|_, _| Ok::<(), JsonError>(()))?;
                Value::Object(&self.text[start..self.at])
            }
            Some(b'[') => {
                self.at += 1;
                self.elements(|_, _| Ok::<(), JsonError>(()))?;
                Value::Array(&self.text[start..self.at])
            }
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            Some(b't') => self.literal("true", Value::Bool)?,
            Some(b'f') => self.literal("false", Value::Bool)?,
            Some(b'n') => self.literal("null", Value::Null)?,
            _ => return Err(self.error("not a JSON value")),
        };
        Ok((value, &self.text[start..self.at]))
    }

    fn literal(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, JsonError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error("not a JSON value"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// RFC 8259 §6: no leading zero, no bare point, no `+`, no `NaN`.
    fn number(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.error("not a JSON number"));
        }
        Ok(())
    }

    /// A string with its quotes read and its escapes resolved; borrowed when it has none.
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.eat(b'"', "not a JSON string")?;
        let start = self.at;
        let mut words = self.text.as_bytes()[start..].chunks_exact(8);
        while let Some(&[a, b, c, d, e, f, g, h]) = words.next() {
            let stops = stops(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
            self.at += stops.trailing_zeros() as usize / 8;
            if stops != 0 {
                break;
            }
        }
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Cow::Borrowed(text));
                }
                Some(b'\\') => return self.escaped_string(start).map(Cow::Owned),
                Some(0x00..=0x1f) => return Err(self.error("a control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.error("a string without its end")),
            }
        }
    }

    #[cold]
    fn escaped_string(&mut self, start: usize) -> Result<String, JsonError> {
        let mut out = String::from(&self.text[start..self.at]);
        let mut plain = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    out.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    out.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    out.push(self.escape()?);
                    plain = self.at;
                }
                Some(0x00..=0x1f) => return Err(self.error("a control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.error("a string without its end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let byte = self.peek().ok_or(self.error("a string without its end"))?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                let code = match first {
                    0xD800..=0xDBFF => {
                        self.eat(b'\\', "a lone surrogate")?;
                        self.eat(b'u', "a lone surrogate")?;
                        let second = self.hex4()?;
                        if !(0xDC00..=0xDFFF).contains(&second) {
                            return Err(self.error("a lone surrogate"));
                        }
                        0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                    }
                    code => code,
                };
                // Only a lone low surrogate is left that is no character.
                char::from_u32(code).ok_or(self.error("a lone surrogate"))?
            }
            _ => return Err(self.error("an unknown escape")),
        })
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self
                .peek()
                .and_then(|byte| char::from(byte).to_digit(16))
                .ok_or(self.error("a \\u escape without its four hex digits"))?;
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }
}

/// The bytes of a word, the first one lowest, that are `"`, `\\`, or below a space: each has its highest bit set. Beyond the first
/// there may be more than there are.
#[inline]
fn stops(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let zero = |word: u64| word.wrapping_sub(EACH) & !word;
    let quote = zero(word ^ (EACH * b'"' as u64));
    let backslash = zero(word ^ (EACH * b'\\' as u64));
    let control = word.wrapping_sub(EACH * b' ' as u64) & !word;
    (quote | backslash | control) & (EACH << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Vec<String>, JsonError> {
        let mut names = Vec::new();
        object(text, |name, _| {
            names.push(name.to_owned());
            Ok::<(), JsonError>(())
        })?;
        Ok(names)
    }

    #[test]
    fn agrees_with_serde_json_on_what_is_json() {
        for text in [
            "{}",
            " { } ",
            r#"{"a":1,"b":[1,2,{"c":null}],"d":"x\u00e9\ud83d\ude00\n"}"#,
            r#"{"a":-0,"b":1.5e-7,"c":true,"d":false}"#,
            "{\"a\"\t:\r\n1}",
        ] {
            assert!(check(text).is_ok(), "{text}");
            assert!(
                serde_json::from_str::<serde_json::Value>(text).is_ok(),
                "{text}"
            );
        }
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{}x",
            "{}{}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{a:1}"#,
            r#"{'a':1}"#,
            r#"{"a":01}"#,
            r#"{"a":+1}"#,
            r#"{"a":.5}"#,
            r#"{"a":1.}"#,
            r#"{"a":1e}"#,
            r#"{"a":-}"#,
            r#"{"a":NaN}"#,
            r#"{"a":tru}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00"}"#,
            r#"{"a":"\ud800\u0041"}"#,
            r#"{"a":"\u12"}"#,
            "{\"a\":\"\n\"}",
            "{\"a\":\"",
            "{\"a\":[1,]}",
            "{\"a\":[1",
            "\u{feff}{}",
            "{\"a\":1}\u{0}",
            "/**/{}",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn duplicate_names_are_refused_at_every_depth_and_through_escapes() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
        ] {
            assert_eq!(
                check(text).map_err(|e| e.what()),
                Err("duplicate member name"),
                "{text}"
            );
        }
        let many = |last: usize| {
            let members: Vec<_> = (0..100)
                .chain([last])
                .map(|i| format!("\"m{i}\":0"))
                .collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(check(&many(100)).map(|names| names.len()), Ok(101));
        for repeated in [0, 15, 16, 17, 99] {
            assert!(check(&many(repeated)).is_err(), "{repeated}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(check(&nested(usize::from(MAX_DEPTH) - 1)).is_ok());
        assert!(check(&nested(usize::from(MAX_DEPTH))).is_err());
        assert!(check(&nested(1_000_000)).is_err());
    }

    #[test]
    fn a_string_ends_where_it_ends_and_holds_no_control_character() {
        for before in 0..20 {
            for after in 0..10 {
                let of = |middle: &str| {
                    let (before, after) = (
                        "é".repeat(before / 2) + &"x".repeat(before % 2),
                        "y".repeat(after),
                    );
                    format!("{{\"{before}{middle}{after}\":1,\"z\":2}}")
                };
                for middle in [
                    "", "!", "#", "[", "]", "\u{7f}", "\u{80}", "\u{a2}", "ÿ", "\u{20}", "🔑",
                ] {
                    assert_eq!(
                        check(&of(middle)).map(|names| names.len()),
                        Ok(2),
                        "{middle:?}"
                    );
                }
                for byte in 0..0x20 {
                    let text = of(char::from(byte).to_string().as_str());
                    assert_eq!(
                        check(&text).map_err(|e| e.what()),
                        Err("a control character in a string")
                    );
                }
                assert_eq!(
                    check(&of("\\n")).map(|names| names[0].contains('\n')),
                    Ok(true)
                );
                assert!(check(&of("\"")).is_err());
            }
        }
    }

    #[test]
    fn strings_borrow_unless_they_have_escapes() {
        object(r#"{"a":"plain","b":"esc\u0061ped"}"#, |name, value| {
            match (name, value) {
                ("a", Value::String(Cow::Borrowed("plain"))) => {}
                ("b", Value::String(Cow::Owned(text))) if text == "escaped" => {}
                other => panic!("{other:?}"),
            }
            Ok::<(), JsonError>(())
        })
        .unwrap();
    }
}
