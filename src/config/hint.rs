//! What was probably meant by a name that does not exist, and where in a file something stands.

/// Adds to the message about an unknown field which of those that exist is nearest, if one is near.
pub(super) fn with_nearest(why: String) -> String {
    let mut quoted = why.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| why.starts_with("unknown field")) else {
        return why;
    };
    let most = unknown.chars().count().div_ceil(3);
    let nearest = quoted
        .map(|name| (distance(unknown, name), name))
        .filter(|(distance, _)| *distance <= most)
        .min();
    match nearest {
        Some((_, name)) => format!("{why}; did you mean `{name}`?"),
        None => why,
    }
}

/// Levenshtein's: how many letters to put in, leave out or change.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// The setting that the text at `offset` belongs to, `section.key`; of a value over several lines, too.
pub(super) fn setting_at(text: &str, offset: usize) -> Option<String> {
    let mut section = String::new();
    let mut key = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if start > offset {
            break;
        }
        start += line.len();
        let line = line.trim();
        if line.starts_with('[') && line.ends_with(']') && !line.contains(['"', '\'', ',', '{']) {
            section = line.trim_matches(['[', ']', ' ']).to_owned();
            key = None;
        } else if let Some((name, _)) = line.split_once('=') {
            let name = name.trim();
            let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            if !name.is_empty() && name.bytes().all(is_key) {
                key = Some(name.to_owned());
            }
        }
    }
    Some(match (section.is_empty(), key?) {
        (true, key) => key,
        (false, key) => format!("{section}.{key}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_told_from_another_word() {
        let message = |unknown: &str| {
            format!("unknown field `{unknown}`, expected one of `listen`, `tokens`, `keys`")
        };
        assert!(with_nearest(message("lissen")).ends_with("; did you mean `listen`?"));
        assert!(with_nearest(message("token")).ends_with("; did you mean `tokens`?"));
        assert!(!with_nearest(message("frobnicate")).contains("did you mean"));
        let other = "invalid type: `keys`".to_owned();
        assert_eq!(with_nearest(other.clone()), other);
    }

    #[test]
    fn the_setting_around_an_error_is_found() {
        let text = "a = 1\n[keys]\nb = [\n  \"x\",\n]\n[[audience]]\nname = 3\n";
        for (part, setting) in [("a =", "a"), ("\"x\"", "keys.b"), ("name", "audience.name")] {
            let offset = text.find(part).unwrap();
            assert_eq!(setting_at(text, offset).as_deref(), Some(setting), "{part}");
        }
        assert_eq!(setting_at("", 0), None);
    }
}
