//! Keys as files: `ring.json` with the stages and public halves, and one PKCS#8 PEM file a private key, named by its
//! thumbprint; all 0600, written as temp + fsync + rename + fsync of the folder.
//!
//! A key file is written before the ring names it and removed after the ring has let it go, so a crash in between leaves a
//! file too many, never one too few.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::rewrap::{rewrap, signer};
use super::seal::WrappingKeys;
use super::{KeyProblem, KeyStore, KeyWriter, Revision, Rewrapped, StoreError, StoredKeys};
use crate::issue::{KeyRecord, KeyRing};
use crate::jose::SigningKey;

const RING_FILE: &str = "ring.json";
const LOCK_FILE: &str = ".lock";
const KEY_EXTENSION: &str = "pem";
const TEMPORARY_PREFIX: &str = ".new-";
/// A writer needs milliseconds, RSA key generation included a second; this many tries at [`LOCK_PAUSE`].
const LOCK_TRIES: u32 = 100;
/// A ring that changes more often than this while it is read changes for ever.
const LOAD_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// A key file of more is none.
const MAX_KEY_FILE_BYTES: usize = 64 * 1024;

/// A folder of keys.
#[derive(Debug, Clone)]
pub struct FileKeyStore {
    folder: PathBuf,
    wrapping: Arc<WrappingKeys>,
    steps: Steps,
}

/// Told before and after each step of a write; for tests that end the process there. Nothing but code can set it.
#[derive(Clone, Default)]
struct Steps(Option<Observer>);

type Observer = Arc<dyn Fn(&str) + Send + Sync>;

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Steps")
    }
}

// === impl FileKeyStore ===

impl FileKeyStore {
    /// The folder is made, 0700, if it is not there; its parent must be.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it is no folder and cannot be made one.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let folder = folder.into();
        if !folder.is_dir() {
            let created = DirBuilder::new().mode(0o700).create(&folder);
            match created {
                // Another process was faster: the folder is there.
                Err(_) if folder.is_dir() => {}
                created => created.map_err(io_error(&folder, "create the folder"))?,
            }
        }
        Ok(Self::at(folder))
    }

    /// The folder, which must be there: for commands that only look.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it is not.
    pub fn existing(folder: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let folder = folder.into();
        fs::read_dir(&folder).map_err(io_error(&folder, "open the folder"))?;
        Ok(Self::at(folder))
    }

    fn at(folder: PathBuf) -> Self {
        FileKeyStore {
            folder,
            wrapping: Arc::default(),
            steps: Steps::default(),
        }
    }

    /// Private keys are sealed by the first of these and opened by any.
    pub fn sealed_by(mut self, keys: WrappingKeys) -> Self {
        self.wrapping = Arc::new(keys);
        self
    }

    /// For tests: calls `observe` with a name before and after each step of a write.
    #[doc(hidden)]
    pub fn on_step(mut self, observe: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.steps = Steps(Some(Arc::new(observe)));
        self
    }

    fn step(&self, name: &str) {
        if let Some(observe) = &self.steps.0 {
            observe(name);
        }
    }

    fn ring_path(&self) -> PathBuf {
        self.folder.join(RING_FILE)
    }

    /// By thumbprint, never by kid: a kid is any string, and a file name is not.
    fn key_path(&self, record: &KeyRecord) -> Option<PathBuf> {
        let thumbprint = *record.verifying_key().ok()?.thumbprint();
        Some(self.folder.join(format!("{thumbprint}.{KEY_EXTENSION}")))
    }

    fn load_ring(&self) -> Result<(KeyRing, Revision), StoreError> {
        let path = self.ring_path();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A folder that went missing is not an empty store.
                fs::read_dir(&self.folder).map_err(io_error(&self.folder, "open the folder"))?;
                return Ok((KeyRing::new(), Revision::default()));
            }
            Err(error) => return Err(io_error(&path, "open")(error)),
        };
        let metadata = file.metadata().map_err(io_error(&path, "read"))?;
        let text = io::read_to_string(&mut file).map_err(io_error(&path, "read"))?;
        let json = |source| StoreError::Json {
            path: path.clone(),
            source,
        };
        let ring = self.wrapping.read_ring(&text).map_err(json)?;
        let ring = ring.ok_or_else(|| StoreError::Seal { path: path.clone() })?;
        ring.check()
            .map_err(|source| StoreError::Ring { path, source })?;
        Ok((ring, revision(&metadata)))
    }

    fn problem(&self, record: &KeyRecord, why: String) -> KeyProblem {
        KeyProblem {
            path: self.key_path(record).unwrap_or_else(|| self.ring_path()),
            kid: Some(record.kid.clone()),
            why,
        }
    }

    fn read_private_half(&self, record: &KeyRecord) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
        let path = self.key_path(record).unwrap_or_else(|| self.ring_path());
        let problem = |why: String| self.problem(record, why);
        let pem = read_private_file(&path).map_err(problem)?;
        let opened = self.wrapping.open_pem(&record.kid, record.alg, &pem);
        opened.map_err(problem)
    }

    fn load_signer(&self, record: &KeyRecord) -> Result<SigningKey, KeyProblem> {
        let pkcs8 = self.read_private_half(record)?;
        signer(record, &pkcs8).map_err(|why| self.problem(record, why))
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.folder.join(format!("{TEMPORARY_PREFIX}{name}"));
        // Only one writer holds the lock: what stands there was left by a crash.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(&temporary, "remove")(error));
            }
            _ => {}
        }
        self.step("before a write");
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                self.step("created");
                let (first, rest) = content.split_at(content.len() / 2);
                file.write_all(first)?;
                self.step("half written");
                file.write_all(rest)?;
                self.step("written");
                file.sync_all()
            });
        self.step("synced");
        if let Err(error) = written {
            // A full disk: what little was written is in nobody's way, but need not stay.
            let _ = fs::remove_file(&temporary);
            return Err(io_error(&temporary, "write")(error));
        }
        fs::rename(&temporary, path).map_err(io_error(path, "replace"))?;
        self.step("renamed");
        self.sync_folder()?;
        self.step("folder synced");
        Ok(())
    }

    fn sync_folder(&self) -> Result<(), StoreError> {
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(io_error(&self.folder, "sync the folder"))
    }
}

impl KeyStore for FileKeyStore {
    /// Without the lock: a writer may remove a retired key's file between the ring's reading and the key's. Then the ring
    /// has changed too, and is read again.
    fn load(&self) -> Result<StoredKeys, StoreError> {
        let mut stored = self.load_once()?;
        for _ in 0..LOAD_TRIES {
            if self.revision()? == stored.revision {
                break;
            }
            stored = self.load_once()?;
        }
        Ok(stored)
    }

    fn private_key(&self, record: &KeyRecord) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
        self.read_private_half(record)
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        let path = self.ring_path();
        match fs::metadata(&path) {
            Ok(metadata) => Ok(revision(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Revision::default()),
            Err(error) => Err(io_error(&path, "read")(error)),
        }
    }

    fn lock(&self) -> Result<Box<dyn KeyWriter + '_>, StoreError> {
        Ok(Box::new(FileWriter::lock(self)?))
    }

    fn rewrap(&self, vouch: bool, dry_run: bool) -> Result<Vec<Rewrapped>, StoreError> {
        let is_newest = |record: &KeyRecord| {
            let path = self.key_path(record).unwrap_or_else(|| self.ring_path());
            let pem = read_private_file(&path);
            pem.is_ok_and(|pem| self.wrapping.is_newest_pem(&pem))
        };
        rewrap(
            self,
            &self.wrapping,
            &is_newest,
            self.ring_path(),
            vouch,
            dry_run,
        )
    }
}

impl FileKeyStore {
    fn load_once(&self) -> Result<StoredKeys, StoreError> {
        let (mut ring, revision) = self.load_ring()?;
        let mut stored = StoredKeys {
            revision,
            ..StoredKeys::default()
        };
        if ring.unvouched {
            stored
                .problems
                .push(self.wrapping.unvouched(self.ring_path()));
        }
        for record in &mut ring.keys {
            if !record.stage.needs_private_half() {
                continue;
            }
            match self.load_signer(record) {
                Ok(key) => stored.signers.push(Arc::new(key)),
                Err(problem) => {
                    record.usable = false;
                    stored.problems.push(problem);
                }
            }
        }
        stored.ring = ring;
        Ok(stored)
    }
}

/// Holds the lock; the system frees it when the file is closed, also after a crash.
struct FileWriter<'a> {
    store: &'a FileKeyStore,
    _lock: File,
}

// === impl FileWriter ===

impl<'a> FileWriter<'a> {
    fn lock(store: &'a FileKeyStore) -> Result<Self, StoreError> {
        let path = store.folder.join(LOCK_FILE);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_error(&path, "open the lock"))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(FileWriter { store, _lock: file }),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(io_error(&path, "lock")(error)),
            }
        }
        Err(StoreError::Locked { path })
    }
}

impl KeyWriter for FileWriter<'_> {
    fn load(&self) -> Result<StoredKeys, StoreError> {
        self.store.load()
    }

    fn save_key(&self, key: &SigningKey, pkcs8: &[u8]) -> Result<(), StoreError> {
        let thumbprint = key.verifying_key().thumbprint();
        let path = self
            .store
            .folder
            .join(format!("{thumbprint}.{KEY_EXTENSION}"));
        let wrapping = &self.store.wrapping;
        let pem = wrapping
            .seal_pem(key.kid(), key.algorithm(), pkcs8)
            .map_err(StoreError::Sealing)?;
        self.store.write(&path, pem.as_bytes())
    }

    fn save_ring(&self, ring: &KeyRing) -> Result<(), StoreError> {
        let path = self.store.ring_path();
        let failed = |source| StoreError::Json {
            path: path.clone(),
            source,
        };
        if ring.unvouched && self.store.wrapping.is_empty() {
            return Err(StoreError::NoWrappingKey { path });
        }
        let json = self.store.wrapping.write_ring(ring).map_err(failed)?;
        self.store.write(&path, json.as_bytes())
    }

    fn prune(&self, ring: &KeyRing) -> Result<(), StoreError> {
        let folder = &self.store.folder;
        let wanted: Vec<PathBuf> = ring
            .keys
            .iter()
            .filter(|record| record.stage.needs_private_half())
            .filter_map(|record| self.store.key_path(record))
            .collect();
        for entry in fs::read_dir(folder).map_err(io_error(folder, "open the folder"))? {
            let path = entry.map_err(io_error(folder, "read the folder"))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_key = path.extension().is_some_and(|ext| ext == KEY_EXTENSION);
            let is_left_over = name.starts_with(TEMPORARY_PREFIX);
            if is_left_over || (is_key && is_thumbprint_name(&name) && !wanted.contains(&path)) {
                fs::remove_file(&path).map_err(io_error(&path, "remove"))?;
                self.store.step("removed");
            }
        }
        self.store.sync_folder()
    }
}

/// `<43 characters of base64url>.pem`: what this store has named itself. Anything else in the folder is somebody's own.
fn is_thumbprint_name(name: &str) -> bool {
    name.strip_suffix(".pem").is_some_and(|stem| {
        stem.len() == 43
            && stem
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    })
}

/// A file that nobody but its owner may read; in words what is wrong if it cannot be had.
fn read_private_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "missing; restore it from a backup".to_owned(),
        _ => format!("cannot be opened: {error}"),
    })?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "mode {mode:04o} lets others at a private key; chmod 600 it, and rotate if they may have read it"
        ));
    }
    if metadata.len() > MAX_KEY_FILE_BYTES as u64 {
        return Err(format!("{} bytes are no private key", metadata.len()));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE_BYTES));
    io::copy(
        &mut io::Read::take(&file, MAX_KEY_FILE_BYTES as u64),
        &mut *content,
    )
    .map_err(|error| format!("cannot be read: {error}"))?;
    Ok(content)
}

/// Every save is a new file: its inode and times tell.
fn revision(metadata: &fs::Metadata) -> Revision {
    let time = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    Revision((u128::from(metadata.ino()) << 64) ^ time.cast_unsigned())
}

fn io_error<'p>(
    path: &'p Path,
    action: &'static str,
) -> impl Fn(io::Error) -> StoreError + use<'p> {
    move |source| StoreError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}
