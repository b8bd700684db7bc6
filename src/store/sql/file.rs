//! The SQLite file and its folder: made and looked at by name, never opened.
//!
//! POSIX locks belong to the process, not to the descriptor: closing *any* descriptor of the database drops every lock that
//! SQLite holds on it (sqlite.org/howtocorrupt.html §2.2). Another process then takes itself for the last one and removes the
//! write-ahead log under a running server, with everything that was answered since. So nothing in this program opens the
//! database, its `-wal` or its `-shm` but SQLite itself.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Setup;
use crate::store::StoreError;

/// Symbolic links that are followed to the place where a new database is made.
const MAX_LINKS: usize = 16;

/// Makes the file, 0600, and its folder, 0700, where they are not there: they hold password hashes and addresses. SQLite gives
/// `-wal` and `-shm` the file's own mode.
pub(super) fn prepare(path: &Path, setup: Setup) -> Result<(), StoreError> {
    let refused = |path: &Path, action| {
        let path = path.to_owned();
        move |source| StoreError::Io {
            path,
            action,
            source,
        }
    };
    let missing = match fs::metadata(path) {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => io::Error::other("is no file"),
        Err(error) if error.kind() == io::ErrorKind::NotFound && setup == Setup::Make => {
            let path = behind_links(path);
            if let Some(folder) = path.parent()
                && !folder.as_os_str().is_empty()
                && !folder.is_dir()
            {
                let made = DirBuilder::new().mode(0o700).create(folder);
                if !folder.is_dir() {
                    made.map_err(refused(folder, "create the folder"))?;
                }
            }
            return create(&path).map_err(refused(&path, "create the database"));
        }
        Err(error) => error,
    };
    Err(refused(
        path,
        "open the database; `keywheel serve` makes it",
    )(missing))
}

/// The place that a symbolic link to nothing points at.
fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => break,
        }
    }
    path
}

/// An empty file under a name of its own, closed, and only then linked to the name of the database: no descriptor of what
/// anybody can have opened as a database is ever closed here. Of several that do so at once one succeeds.
fn create(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new-{}", unique()?));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?
        .sync_all()?;
    let linked = match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // A file system without hard links: a rename, which takes the place of nothing that is there by now.
        Err(_) if !path.exists() => return fs::rename(&temporary, path),
        linked => linked,
    };
    fs::remove_file(&temporary)?;
    linked
}

/// A name that nobody else uses, whatever the process and the thread.
pub(super) fn unique() -> io::Result<String> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gave no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
