//! Every command line that a document shows is one that the program takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "a test that cannot go on has failed; documents are read by other tests too"
)]

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use super::Cli;

#[path = "../../tests/support/documents.rs"]
mod documents;

use documents::Document;

/// The words of a shell command from the start of `text` to where it ends: a comment, an operator, the end of the line or of a
/// substitution.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | ';' | '&' | '>' | ')' | '\n') => break,
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The command lines of `keywheel` in a shell's text, continued lines joined.
fn command_lines(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let names: Vec<String> = Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches("$ ");
        for (at, _) in line.match_indices("keywheel ") {
            let is_command = match line[..at].chars().next_back() {
                None => true,
                Some(before) => before == '(' || before.is_whitespace(),
            };
            let words = words(&line[at..]);
            // In the middle of a line it may be a word like any other.
            let is_meant = at == 0 || words.get(1).is_some_and(|word| names.contains(word));
            if is_command && is_meant {
                found.push(words);
            }
        }
    }
    found
}

fn parse(words: &[String]) -> Result<(), clap::Error> {
    match Cli::try_parse_from(words) {
        Ok(_) => Ok(()),
        Err(error) if !error.use_stderr() => Ok(()),
        Err(error) => Err(error),
    }
}

#[test]
fn every_command_line_of_a_document_is_one_that_the_program_takes() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for document in Document::all() {
        for block in document.blocks() {
            let text = match block.language.as_str() {
                "sh" | "bash" | "console" => block.text,
                // What the program says is no command.
                "text" | "" => {
                    let lines = block.text.lines().filter(|line| line.starts_with("$ "));
                    lines.collect::<Vec<_>>().join("\n")
                }
                _ => continue,
            };
            for words in command_lines(&text) {
                checked += 1;
                if let Err(error) = parse(&words) {
                    wrong.push(format!("{}: {}\n{error}", document.path, words.join(" ")));
                }
            }
        }
        // In a sentence a command may be named without all that it needs.
        let prose = document.prose();
        for span in prose.split('`').skip(1).step_by(2) {
            if !span.starts_with("keywheel ") {
                continue;
            }
            checked += 1;
            let span = span.trim_end_matches([' ', '…']);
            let error = parse(&words(span)).err();
            let is_short = |error: &clap::Error| {
                matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::MissingSubcommand
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                )
            };
            if let Some(error) = error.filter(|error| !is_short(error)) {
                wrong.push(format!("{}: {span}\n{error}", document.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked >= 100, "{checked} command lines");
}

#[test]
fn a_wrong_command_line_is_found_wherever_it_stands() {
    for (text, line) in [
        (
            "$ keywheel keys rotate --forse",
            "keywheel keys rotate --forse",
        ),
        ("keywheel serf    # a comment", "keywheel serf"),
        (
            "curl -H \"Authorization: Bearer $(keywheel token --sob ada --aud api)\"",
            "keywheel token --sob ada --aud api",
        ),
        (
            "A=1 keywheel keys plan --at \\\n  soon",
            "keywheel keys plan --at soon",
        ),
        ("keywheel keys revoke | head -1", "keywheel keys revoke"),
    ] {
        let [found] = &command_lines(text)[..] else {
            panic!("{text}: {:?}", command_lines(text));
        };
        assert_eq!(found.join(" "), line);
        assert!(parse(found).is_err(), "{text}");
    }
    let quoted = command_lines("keywheel keys revoke KID --reason 'found in a bucket' --dry-run");
    assert_eq!(quoted[0][5], "found in a bucket");
    assert!(parse(&quoted[0]).is_ok());
}
