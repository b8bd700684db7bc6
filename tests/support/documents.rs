//! The documents of the repository, as text.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Markdown file.
pub struct Document {
    /// From the repository's root.
    pub path: String,
    pub text: String,
}

/// A fenced block of a document.
pub struct Block {
    /// What stands after the opening fence, `sh` or `rust,no_run` for example.
    pub language: String,
    pub text: String,
}

impl Document {
    /// Every Markdown file of the project's own, in order.
    pub fn all() -> Vec<Document> {
        let mut files = Vec::new();
        collect(root(), &mut files);
        files.sort();
        files.into_iter().map(|file| Document::at(&file)).collect()
    }

    pub fn read(path: &str) -> Document {
        Document::at(&root().join(path))
    }

    fn at(file: &Path) -> Document {
        let path = file.strip_prefix(root()).expect("within");
        Document {
            path: path.to_string_lossy().into_owned(),
            text: std::fs::read_to_string(file).expect("a document"),
        }
    }

    /// The fenced blocks, also those within lists, without their indentation.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<(usize, Block)> = None;
        for line in self.text.lines() {
            let code = line.trim_start();
            match (&mut open, code.strip_prefix("```")) {
                (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
                (Some((indent, block)), None) => {
                    block.text.push_str(line.get(*indent..).unwrap_or(code));
                    block.text.push('\n');
                }
                (None, Some(language)) => {
                    let indent = line.len() - code.len();
                    let language = language.trim().to_owned();
                    let text = String::new();
                    open = Some((indent, Block { language, text }));
                }
                (None, None) => {}
            }
        }
        blocks
    }

    /// The text outside of fenced blocks.
    pub fn prose(&self) -> String {
        let pieces = self.text.split("```").step_by(2);
        pieces.collect::<Vec<_>>().join("\n")
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        // What is installed, built or not the project's own.
        if name.starts_with('.')
            || ["node_modules", "target", "work", "artifacts"].contains(&&*name)
        {
            continue;
        }
        if path.is_dir() {
            collect(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}
