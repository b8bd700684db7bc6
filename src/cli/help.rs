//! Help, and errors of the command line, as they are shown: examples that can be pasted whatever the width of the terminal, and
//! nothing that acts on it.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _, FromArgMatches as _};

use super::Cli;
use crate::{config, printable};

/// In examples in place of spaces while lines are wrapped: clap breaks lines at spaces alone.
const NO_BREAK: char = '\u{a0}';

/// Reads the command line.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = unwrapped(Cli::command());
    let matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Shows what clap has to say, be it help or an error; gives the exit code.
pub(super) fn show(error: &clap::Error) -> ExitCode {
    let rendered = error.render();
    let plain = rendered.to_string().replace(NO_BREAK, " ");
    let shown = printable::block(&plain);
    let is_terminal = match error.use_stderr() {
        true => io::stderr().is_terminal(),
        false => io::stdout().is_terminal(),
    };
    let text = match is_terminal && config::wants_color() && *shown == *plain {
        true => rendered.ansi().to_string().replace(NO_BREAK, " "),
        false => shown.into_owned(),
    };
    // Whoever does not read it has no use for an error about that.
    let _ = match error.use_stderr() {
        true => write!(io::stderr().lock(), "{text}"),
        false => write!(io::stdout().lock(), "{text}"),
    };
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The same command, whose examples stay on their lines.
fn unwrapped(command: Command) -> Command {
    let command = command.mut_subcommands(unwrapped);
    let Some(text) = command.get_after_help() else {
        return command;
    };
    let text = text.to_string();
    let lines = text.lines().map(|line| match line.starts_with("  ") {
        true => line.replace(' ', "\u{a0}"),
        false => line.to_owned(),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    command.after_help(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command with the words that lead to it.
    fn all(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
        for sub in command.get_subcommands() {
            let path = format!("{path} {}", sub.get_name());
            all(sub, &path, found);
            found.push((path, sub.clone()));
        }
    }

    fn help(command: &Command, width: usize) -> String {
        let mut command = command.clone().term_width(width);
        command
            .render_long_help()
            .to_string()
            .replace(NO_BREAK, " ")
    }

    /// The examples as they stand in the help, each with the lines that it goes on over.
    fn examples(help: &str) -> Vec<String> {
        let after = help.split("Examples:\n").nth(1).unwrap_or_default();
        let mut found: Vec<String> = Vec::new();
        for line in after.lines().take_while(|line| line.starts_with("  ")) {
            match (line.starts_with("    "), found.last_mut()) {
                (true, Some(last)) => *last = format!("{last}\n{line}"),
                _ => found.push(line.to_owned()),
            }
        }
        found
    }

    /// What a shell makes of a line: the arguments of each `keywheel` in it. The two ends of a pipe run at once, so each shell
    /// writes into a file of its own.
    fn calls(example: &str) -> Vec<Vec<String>> {
        let folder = tempfile::TempDir::new().unwrap();
        for file in ["password.txt", "token.txt"] {
            std::fs::write(folder.path().join(file), "x").unwrap();
        }
        let script = format!(
            "keywheel() {{ {{ printf '%s\\001' \"$@\"; printf '\\002'; }} >>calls.$BASHPID; }}\n\
             curl() {{ :; }}\n{example}\n"
        );
        let status = std::process::Command::new("bash")
            .args(["-euc", &script])
            .current_dir(folder.path())
            .status();
        assert!(status.unwrap().success(), "{example}");
        let files = std::fs::read_dir(folder.path()).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let calls: String = files
            .filter(|path| path.file_stem().is_some_and(|stem| stem == "calls"))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        let calls = calls.split('\u{2}').filter(|call| !call.is_empty());
        calls
            .map(|call| {
                call.trim_end_matches('\u{1}')
                    .split('\u{1}')
                    .map(Into::into)
                    .collect()
            })
            .collect()
    }

    #[test]
    fn every_example_of_every_help_can_be_pasted_whatever_the_width() {
        let mut commands = Vec::new();
        all(&unwrapped(Cli::command()), "keywheel", &mut commands);
        let mut tried = 0;
        for (path, command) in commands
            .iter()
            .filter(|(_, command)| !command.has_subcommands())
        {
            let wide = examples(&help(command, 1000));
            assert!(!wide.is_empty(), "{path} has no example");
            assert_eq!(examples(&help(command, 40)), wide, "{path}");
            for example in wide {
                let calls = calls(&example);
                assert!(!calls.is_empty(), "{path}: {example}");
                for call in calls {
                    let args = ["keywheel".into()]
                        .into_iter()
                        .chain(call.iter().map(OsString::from));
                    let parsed = parse(args);
                    assert!(parsed.is_ok(), "{example}: {}", parsed.err().unwrap());
                    tried += 1;
                }
            }
        }
        assert!(tried > 40, "{tried}");
    }
}
