//! `docs/faults.md`: every fault that was found has exactly one row, and every test that holds its mending is still there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use support::documents::Document;
use support::named_tests::{NamedTests, references};

/// Why a row has no test, when it has none.
const LEFT: &str = "left: ";

/// A fault that is still there.
const OPEN: &str = "open";

/// The numbers that the page must have.
fn numbers() -> Vec<String> {
    let program = (1..=33).map(|n| format!("F{n:03}"));
    let client = [132, 133, 160, 161, 162].map(|n| format!("F{n}"));
    let documents = (1..=30).map(|n| format!("D{n}"));
    program.chain(client).chain(documents).collect()
}

struct Row {
    number: String,
    what: String,
    held_by: String,
}

fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
        // A code span may hold an escaped bar.
        let mut cells = line.split(" | ");
        let number = cells.next()?.to_owned();
        let digits = number.strip_prefix(['F', 'D'])?;
        digits.parse::<u16>().ok()?;
        let what = cells.next()?.to_owned();
        let held_by = cells.collect::<Vec<_>>().join(" | ");
        Some(Row {
            number,
            what,
            held_by,
        })
    });
    lines.collect()
}

/// What is wrong with a row, if anything is.
fn check(row: &Row, tests: &NamedTests) -> Vec<String> {
    let mut wrong = Vec::new();
    if row.what.len() < 10 {
        wrong.push("does not say what was wrong".to_owned());
    }
    if row.held_by == OPEN {
        return wrong;
    }
    if let Some(reason) = row.held_by.strip_prefix(LEFT) {
        if reason.len() < 10 {
            wrong.push("is left without a reason".to_owned());
        }
        return wrong;
    }
    let named = references(&row.held_by, |span| {
        tests.is_target(span) || span.contains('/')
    });
    let spans = row.held_by.split('`').count() / 2;
    let targets = row.held_by.matches("`: `").count();
    if named.is_empty() || named.len() + targets != spans {
        wrong.push(format!("names no test in {:?}", row.held_by));
    }
    wrong.extend(named.iter().filter_map(|one| tests.missing(one)));
    wrong
}

/// Numbers that are missing, and those that are there more than once.
fn miscounted(rows: &[Row]) -> Vec<String> {
    let count = |number: &str| rows.iter().filter(|row| row.number == number).count();
    let missing = numbers().into_iter().filter(|number| count(number) == 0);
    let twice = rows.iter().map(|row| row.number.clone());
    let twice = twice.filter(|number| count(number) > 1);
    missing.chain(twice).collect()
}

#[test]
fn every_number_has_exactly_one_row() {
    let page = Document::read("docs/faults.md");
    let all = rows(&page.text);
    assert_eq!(miscounted(&all), Vec::<String>::new());
    // A row that cannot be read as one is none: lines of the tables are all read.
    let lines = page.text.lines().filter(|line| line.starts_with("| "));
    let headings = page.text.matches("| number | what was wrong |").count();
    assert_eq!(lines.count(), all.len() + 2 * headings);

    let (first, _) = page.text.split_once("\n| F017 |").unwrap();
    assert!(miscounted(&rows(first)).contains(&"F017".to_owned()));
    let again = format!("{}\n| D5 | said a second time | open |", page.text);
    assert_eq!(miscounted(&rows(&again)), ["D5", "D5"]);
}

#[test]
fn every_test_that_holds_a_fault_exists() {
    let tests = NamedTests::read();
    let page = Document::read("docs/faults.md");
    let mut wrong = Vec::new();
    for row in rows(&page.text) {
        let found = check(&row, &tests).into_iter();
        wrong.extend(found.map(|why| format!("{}: {why}", row.number)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_row_whose_test_is_gone_is_noticed() {
    let tests = NamedTests::read();
    let verdict = |held_by: &str| {
        let line = format!("| F999 | something that was wrong | {held_by} |");
        let [row] = &rows(&line)[..] else {
            panic!("no row: {line}");
        };
        check(row, &tests)
    };
    for good in [
        "`faults`: `a_row_whose_test_is_gone_is_noticed`",
        "`remote`: `refresh::freshness_is_clamped`, `bounds::slow_answers_end_at_the_deadline`; `faults`: `every_test_that_holds_a_fault_exists`",
        "`lib`: `issue::passwords::tests::beyond_the_bound_nobody_waits`",
        "`tests/proxies/proxies.py`: `nginx`",
        "left: it has a reason of its own",
        "open",
    ] {
        assert_eq!(verdict(good), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "",
        "-",
        "left: ",
        "open?",
        "a test, surely",
        "`faults`",
        "`faults`: `a_test_that_never_was`",
        "`no_such_target`: `freshness_is_clamped`",
        "`remote`: `freshness_is_clamped`, `a_test_that_never_was`",
        "`lib`: `issue::a_test_that_never_was`",
        "`tests/proxies/proxies.py`: `a title that it does not have`",
        "`tests/no_such_file.py`: `nginx`",
    ] {
        assert!(!verdict(bad).is_empty(), "{bad}");
    }
}
