//! SQLite and PostgreSQL through one set of queries: numbers are `bigint`, everything else is `text`.
//!
//! SQLite knows one writer at a time, so here too there is one connection that writes and several that read; a writer of
//! another process is waited for. PostgreSQL has one pool for both.

mod accounts;
mod file;
mod keys;
mod migrate;
mod rows;
mod sessions;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Transaction};

use super::StoreError;

pub use keys::DatabaseKeyStore;

/// How long a connection, or SQLite's write lock, is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// SQLite: connections that read. PostgreSQL: all of them.
const CONNECTIONS: u32 = 8;

/// On every SQLite connection. `synchronous = full`: a sign-out that was answered is on the disk.
const SQLITE_SETTINGS: &str = "pragma journal_mode = wal; pragma synchronous = full; \
     pragma foreign_keys = on; pragma busy_timeout = 3000;";

/// A database: where accounts and sessions are, and keys if the configuration says so. Clones share the connections.
#[derive(Clone)]
pub struct Database {
    read: AnyPool,
    write: AnyPool,
    engine: Engine,
    /// What it is called in messages: never with the URL's password.
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

// === impl Engine ===

impl Engine {
    /// How a transaction begins that will write. SQLite's own `begin` would read first, and then find the lock taken by one
    /// who has changed what was read, which no waiting mends.
    const fn begin(self) -> &'static str {
        match self {
            Engine::Sqlite => "begin immediate",
            Engine::Postgres => "begin",
        }
    }
}

/// Whether a database that is not there, or has an older schema, is made what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setup {
    Make,
    Demand,
}

// === impl Database ===

impl Database {
    /// Opens `sqlite://PATH` or `postgres://…`, makes the file and its folder if they are not there, and brings the schema up
    /// to date; several servers may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Database`] says what was tried and what the engine said.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::connect(url, Setup::Make).await
    }

    /// As [`open`](Self::open), but the database must be there with the schema of this version: for commands.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn existing(url: &str) -> Result<Self, StoreError> {
        Self::connect(url, Setup::Demand).await
    }

    async fn connect(url: &str, setup: Setup) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let place = Place::of(url)?;
        let name = place.to_string();
        let (engine, url) = match &place {
            Place::File(path) => {
                file::prepare(path, setup)?;
                (Engine::Sqlite, sqlite_url(path))
            }
            Place::Server { url, .. } => (Engine::Postgres, url.clone()),
        };
        let failed = |source| failed(&name, "open it", source);
        let options: AnyConnectOptions = url.parse().map_err(failed)?;
        let options = options.disable_statement_logging();
        let pool = |connections| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(PATIENCE)
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        if engine == Engine::Sqlite {
                            connection.execute(sqlx::raw_sql(SQLITE_SETTINGS)).await?;
                        }
                        Ok(())
                    })
                })
        };
        let (read, write) = match engine {
            Engine::Sqlite => {
                let write = pool(1)
                    .connect_with(options.clone())
                    .await
                    .map_err(failed)?;
                let read = pool(CONNECTIONS).connect_with(options).await;
                (read.map_err(failed)?, write)
            }
            Engine::Postgres => {
                // The pool would try again until its patience ends, and then say only that it ended.
                let first = options.connect().await.map_err(failed)?;
                first.close().await.map_err(failed)?;
                let both = pool(CONNECTIONS).connect_with(options).await;
                let both = both.map_err(failed)?;
                (both.clone(), both)
            }
        };
        let database = Database {
            read,
            write,
            engine,
            name,
        };
        match setup {
            Setup::Make => database.migrate().await?,
            Setup::Demand => database.demand_schema().await?,
        }
        Ok(database)
    }

    /// Closes every connection. SQLite's write-ahead log is written into the file first: the file alone is then whole.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing is lost then, for the log is read at the next opening.
    pub async fn close(&self) -> Result<(), StoreError> {
        // Readers first: a log that somebody reads cannot be emptied.
        if self.engine == Engine::Sqlite {
            self.read.close().await;
        }
        let emptied = match self.engine {
            Engine::Sqlite if !self.write.is_closed() => self.empty_the_log().await,
            _ => Ok(()),
        };
        self.write.close().await;
        emptied
    }

    async fn empty_the_log(&self) -> Result<(), StoreError> {
        let failed = self.failed("write its log into the file");
        let outcome: (i64, i64, i64) = sqlx::query_as("pragma wal_checkpoint(truncate)")
            .fetch_one(&self.write)
            .await
            .map_err(&failed)?;
        if outcome.0 != 0 {
            tracing::info!(
                database = self.name,
                "another process uses the database: what is in its log stays there for now"
            );
        }
        Ok(())
    }

    /// Connections for statements that only read.
    pub(crate) fn read(&self) -> &AnyPool {
        &self.read
    }

    /// Connections for single statements that write.
    pub(crate) fn write(&self) -> &AnyPool {
        &self.write
    }

    /// Begins a transaction that will write; dropped, it is rolled back.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let begun = self.write.begin_with(self.engine.begin()).await;
        begun.map_err(self.failed("begin a transaction"))
    }

    /// Which engine it is.
    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// Names the database and what was tried.
    pub(crate) fn failed(&self, action: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
        move |source| failed(&self.name, action, source)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.name).finish()
    }
}

fn failed(name: &str, action: &'static str, source: sqlx::Error) -> StoreError {
    StoreError::Database {
        name: name.to_owned(),
        action,
        source: Box::new(source),
    }
}

/// What a database URL points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `sqlite://PATH`, `sqlite:PATH`.
    File(PathBuf),
    /// `postgres://…`, `postgresql://…`.
    Server {
        /// All of it.
        url: String,
        /// Without user and password.
        shown: String,
    },
}

// === impl Place ===

impl Place {
    /// Reads a database URL.
    ///
    /// # Errors
    /// [`StoreError::DatabaseUrl`].
    pub(crate) fn of(url: &str) -> Result<Self, StoreError> {
        let refuse = |why| Err(StoreError::DatabaseUrl { why });
        let Some((scheme, rest)) = url.split_once(':') else {
            return refuse(
                "must be like sqlite://data/keywheel.db or postgres://user@host/database",
            );
        };
        match scheme {
            "sqlite" => match rest.strip_prefix("//").unwrap_or(rest) {
                "" => refuse("names no file"),
                path if path.contains(":memory:") => refuse(
                    "must name a file: a database in memory would be another one for each connection",
                ),
                path if path.contains('?') => refuse("takes no parameters after `?`"),
                path => Ok(Place::File(path.into())),
            },
            "postgres" | "postgresql" => match url::Url::parse(url) {
                Ok(parsed) => Ok(Place::Server {
                    url: url.to_owned(),
                    shown: format!(
                        "{scheme}://{}{}",
                        parsed.host_str().unwrap_or_default(),
                        parsed.path()
                    ),
                }),
                Err(_) => {
                    refuse("is no URL: a password with special characters must be percent-encoded")
                }
            },
            _ => refuse("must begin with sqlite:// or postgres://"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Server { shown, .. } => f.write_str(shown),
        }
    }
}

/// Whether a database URL is one that [`Database::open`] can try; if not, why.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    match Place::of(url) {
        Err(StoreError::DatabaseUrl { why }) => Err(why.to_owned()),
        _ => Ok(()),
    }
}

/// The file that a database URL names, if it names one.
pub(crate) fn database_file(url: &str) -> Option<PathBuf> {
    match Place::of(url) {
        Ok(Place::File(path)) => Some(path),
        _ => None,
    }
}

/// What a database is called: never with the URL's password.
pub(crate) fn database_name(url: &str) -> String {
    Place::of(url).map_or_else(|_| "no database".into(), |place| place.to_string())
}

/// The path as `sqlx` reads it back: percent-decoded, up to the first `?`.
fn sqlite_url(path: &Path) -> String {
    let path = path.to_string_lossy();
    let mut url = String::from("sqlite:");
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                url.push(char::from(byte));
            }
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_names_a_file_or_a_server() {
        for (url, place) in [
            ("sqlite://data/keywheel.db", "data/keywheel.db"),
            ("sqlite:///var/lib/kw.db", "/var/lib/kw.db"),
            ("sqlite:kw.db", "kw.db"),
            (
                "postgres://u:secret@db.test/auth",
                "postgres://db.test/auth",
            ),
        ] {
            assert_eq!(Place::of(url).unwrap().to_string(), place);
        }
        for url in [
            "",
            "kw.db",
            "mysql://x",
            "sqlite://",
            "sqlite::memory:",
            "postgres://a b/",
        ] {
            assert!(Place::of(url).is_err(), "{url}");
        }
        assert_eq!(
            sqlite_url(Path::new("/a b/ü.db")),
            "sqlite:/a%20b/%C3%BC.db"
        );
    }
}
