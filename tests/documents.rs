//! What the documents name is there: tests, parts of `./test`, files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::process::Command;

use support::documents::Document;
use support::named_tests::{NamedTests, Reference, references, root};

/// Names of that many words are names of tests, and of nothing else that documents speak of.
const WORDS_OF_A_TEST: usize = 5;

/// The code spans of a document, outside of its blocks.
fn spans(document: &Document) -> Vec<String> {
    let prose = document.prose();
    let spans = prose.split('`').skip(1).step_by(2);
    spans.map(String::from).collect()
}

fn is_snake_case(span: &str) -> bool {
    let mut bytes = span.bytes();
    bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_:".contains(&byte))
}

#[test]
fn every_test_that_a_document_names_exists() {
    let tests = NamedTests::read();
    let mut wrong = Vec::new();
    let mut named = 0;
    for document in Document::all() {
        let is_target = |span: &str| tests.is_target(span) || is_script(span);
        for reference in references(&document.prose(), is_target) {
            named += 1;
            let missing = tests.missing(&reference);
            wrong.extend(missing.map(|why| format!("{}: {why}", document.path)));
        }
        for span in spans(&document) {
            if span.ends_with('…') && is_snake_case(span.trim_end_matches('…')) {
                wrong.push(format!("{}: {span}: write the whole name", document.path));
            }
            let name = span.rsplit("::").next().unwrap();
            let is_name = is_snake_case(&span)
                && name.split('_').count() >= WORDS_OF_A_TEST
                && !name.starts_with("keywheel_");
            if is_name {
                named += 1;
                if !tests.is_somewhere(&span) {
                    wrong.push(format!("{}: there is no test {span}", document.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(named >= 60, "{named} names");
}

/// A script is named by its path, `clients/web/test/client.test.mjs` for example.
fn is_script(span: &str) -> bool {
    span.contains('/')
        && [".mjs", ".py", ".yml"]
            .iter()
            .any(|end| span.ends_with(end))
}

/// The comparison's cells are `file::test`, of a file of `tests/remote`.
#[test]
fn every_cell_of_the_comparison_names_a_test_of_its_file() {
    let tests = NamedTests::read();
    let comparison = Document::read("docs/comparison.md");
    let cells = spans(&comparison).into_iter();
    let cells: Vec<String> = cells
        .filter(|span| {
            let file = span.split_once("::").map(|(file, _)| file);
            file.is_some_and(|file| root().join(format!("tests/remote/{file}.rs")).exists())
        })
        .collect();
    assert!(cells.len() >= 35, "{cells:?}");
    for name in cells {
        let target = "remote".to_owned();
        assert_eq!(tests.missing(&Reference { target, name }), None);
    }
}

/// A security claim names its test: each row of the threat model that says what holds an attack off.
#[test]
fn every_attack_on_signing_in_names_the_tests_that_hold_it_off() {
    let tests = NamedTests::read();
    let model = Document::read("docs/threat-model.md");
    let (_, section) = model.text.split_once("\n## Signing in\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let mut count = 0;
    for row in rows.skip(2) {
        let held_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let named = references(held_by, |span| tests.is_target(span) || is_script(span));
        assert!(!named.is_empty(), "{row}");
        count += 1;
    }
    assert!(count >= 13, "{count} rows");
}

/// Files of the source and of the tests that documents name.
#[test]
fn every_source_file_that_a_document_names_exists() {
    for document in Document::all() {
        let words = document
            .text
            .split(|c: char| c.is_whitespace() || "`()[],;".contains(c));
        for word in words {
            let is_file = ["src/", "tests/", "benches/", "examples/"]
                .iter()
                .any(|folder| word.starts_with(folder))
                && [".rs", ".py", ".mjs", ".toml", ".jsonl"]
                    .iter()
                    .any(|end| word.ends_with(end));
            // Of another project, or an example of one's own.
            if !is_file || document.path == "docs/comparison.md" {
                continue;
            }
            let folder = root().join(&document.path);
            let beside = folder.parent().unwrap().join(word);
            assert!(
                root().join(word).exists() || beside.exists(),
                "{}: {word}",
                document.path
            );
        }
    }
}

#[test]
fn a_test_that_is_gone_is_noticed() {
    let tests = NamedTests::read();
    let there = |text: &str| {
        let named = references(text, |span| tests.is_target(span) || is_script(span));
        let missing: Vec<_> = named.iter().filter_map(|one| tests.missing(one)).collect();
        (named.len(), missing)
    };
    let good = [
        "`documents`: `a_test_that_is_gone_is_noticed`",
        "`remote`: `refresh::freshness_is_clamped`, `freshness_is_clamped`",
        "`store_contract`: `hostile_strings_are_strings`",
        "`properties`: `what_is_minted_is_accepted`",
        "`no_locks`: `eddsa_cached`",
        "`lib`: `jose::base64url::tests::every_byte_in_every_place_means_what_the_library_says`",
    ];
    for text in good {
        let (named, missing) = there(text);
        assert!(named > 0 && missing.is_empty(), "{text}: {missing:?}");
    }
    for text in [
        "`documents`: `a_test_that_never_was`",
        "`documents`: `is_script`",
        "`remote`: `bounds::freshness_is_clamped`",
        "`lib`: `jose::a_test_that_never_was`",
        "`tests/no_such_file.py`: `a title`",
    ] {
        let (named, missing) = there(text);
        assert_eq!((named, missing.len()), (1, 1), "{text}");
    }
}

#[test]
fn every_part_of_the_suite_that_a_document_names_exists() {
    let listed = Command::new(root().join("test")).arg("--list").output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    let parts: Vec<&str> = listed.lines().collect();
    for document in Document::all() {
        for call in document.text.split("./test ").skip(1) {
            let line = call
                .split(['`', '\n', ',', ')', ';', '#', '.'])
                .next()
                .unwrap();
            for word in line.split_whitespace() {
                let is_part = parts.contains(&word) || word.starts_with("--");
                assert!(is_part, "{}: ./test {line}", document.path);
            }
        }
        for call in document.text.split("--test ").skip(1) {
            let end = call.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let target = &call[..end.unwrap_or(call.len())];
            let file = root().join(format!("tests/{target}.rs"));
            assert!(file.exists(), "{}: --test {target}", document.path);
        }
    }
}

/// `CONTRIBUTING.md` asks for a line on every dependency: what it is for, and why this one.
#[test]
fn every_dependency_has_its_line_of_reasons() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let page = Document::read("docs/decisions/0001-dependencies.md");
    let table = page.text.lines().filter(|line| line.starts_with("| `"));
    let table: Vec<&str> = table.collect();
    let mut within = false;
    let mut count = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            within = line.ends_with("dependencies]");
        }
        let Some((name, _)) = line.split_once(" = ").filter(|_| within) else {
            continue;
        };
        if name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        {
            let quoted = format!("`{name}`");
            count += 1;
            let has_line = table.iter().any(|row| row.contains(&quoted));
            assert!(has_line, "{name} has no line in {}", page.path);
        }
    }
    assert!(count >= 40, "{count} dependencies");
}
