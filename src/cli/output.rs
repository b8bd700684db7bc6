//! What goes to stdout: JSON lines, and tables that align on a terminal and stay plain elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use serde::Serialize;

use super::CliError;
use crate::jose::NumericDate;
use crate::printable;

/// One JSON document and a newline.
pub(super) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(CliError::failed)?;
    document(&text)
}

/// A JSON document that is text already.
pub(super) fn document(json: &str) -> Result<(), CliError> {
    write(&printable::json(json))
}

/// One line. Whatever of it came from outside, a terminal shows it and does nothing else.
pub(super) fn line(text: &str) -> Result<(), CliError> {
    write(&printable::line(text))
}

/// Several lines, where the program itself made the line breaks.
pub(super) fn block(text: &str) -> Result<(), CliError> {
    write(&printable::block(text))
}

/// A reader that has gone away is no error of ours.
fn write(text: &str) -> Result<(), CliError> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::failed(error)),
        _ => Ok(()),
    }
}

/// One line on stderr for whoever started this; that nobody can read it is no reason to end.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable::line(text));
}

/// Columns with a heading: aligned on a terminal, separated by tabs elsewhere. A tab or line break within a cell is escaped.
pub(super) fn table<const N: usize>(
    heading: [&str; N],
    rows: &[[String; N]],
) -> Result<(), CliError> {
    let aligned = io::stdout().is_terminal();
    let rows: Vec<[String; N]> = rows
        .iter()
        .map(|row| {
            row.each_ref()
                .map(|cell| printable::line(cell).into_owned())
        })
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let render = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| match aligned {
                true => format!("{cell:width$}"),
                false => cell.clone(),
            })
            .collect();
        let separator = if aligned { "  " } else { "\t" };
        cells.join(separator).trim_end().to_owned()
    };
    write(&render(&heading.map(String::from)))?;
    for row in &rows {
        write(&render(row))?;
    }
    Ok(())
}

/// How far off a moment is, in words of at most two units: `3d 4h ago`, `in 12m`, `now`.
pub(super) fn relative(at: NumericDate, now: NumericDate) -> String {
    if at > now {
        format!("in {}", short(at.since(now)))
    } else {
        match now.since(at) {
            age if age < Duration::from_secs(1) => "now".into(),
            age => format!("{} ago", short(age)),
        }
    }
}

fn short(duration: Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() >= 500_000_000);
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
