//! Keys in a database: one ring for any number of servers, and a database that refuses a second signer.
//!
//! A change is one transaction: the new private halves, the ring, its stages in columns under a unique index, and the end of what is
//! needed no more. So there is nothing half done to clean up. Whoever changes keys keeps every other writer out: on SQLite by its
//! one write lock, on PostgreSQL by an advisory lock that ends with the transaction.

use std::cell::Cell;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::{Any, Executor as _, Row as _, Transaction};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::{Database, Engine};
use crate::issue::{KeyRecord, KeyRing};
use crate::jose::SigningKey;
use crate::store::rewrap::{rewrap, signer};
use crate::store::seal::WrappingKeys;
use crate::store::{KeyProblem, KeyStore, KeyWriter, Revision, Rewrapped, StoreError, StoredKeys};

/// PostgreSQL: whoever changes keys holds this, a number that nobody else has a reason to lock.
const KEYS_LOCK: i64 = 0x6b77_6b65_7973_6c6b;

/// Keys in a [`Database`].
pub struct DatabaseKeyStore {
    database: Database,
    wrapping: WrappingKeys,
    /// The trait is synchronous, and its callers may be inside a runtime; `None` only while this is dropped.
    runtime: Option<Runtime>,
}

// === impl DatabaseKeyStore ===

impl DatabaseKeyStore {
    /// Opens the database at `url`; with `make`, it is made where it is not there.
    ///
    /// # Errors
    /// [`StoreError`] says what was tried and what the engine said.
    pub fn open(url: &str, wrapping: WrappingKeys, make: bool) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("keywheel-keys")
            .enable_all()
            .build()
            .map_err(|source| StoreError::Io {
                path: PathBuf::from("keys"),
                action: "start a thread",
                source,
            })?;
        let opening = async {
            match make {
                true => Database::open(url).await,
                false => Database::existing(url).await,
            }
        };
        let database = wait(&runtime, opening)?;
        Ok(DatabaseKeyStore {
            database,
            wrapping,
            runtime: Some(runtime),
        })
    }

    fn wait<T: Send>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match &self.runtime {
            Some(runtime) => wait(runtime, work),
            None => Err(StoreError::Sealing("the store is closed".into())),
        }
    }

    /// What stands for the file in messages.
    fn place(&self, table: &str) -> PathBuf {
        PathBuf::from(format!("{}, {table}", self.database.name))
    }

    fn problem(&self, record: &KeyRecord, why: String) -> KeyProblem {
        KeyProblem {
            path: self.place("private_keys"),
            kid: Some(record.kid.clone()),
            why,
        }
    }

    fn read_document(&self) -> Result<Option<(i64, String)>, StoreError> {
        let reading = async {
            let row = sqlx::query("select serial, document from key_ring where id = 1")
                .fetch_optional(self.database.read())
                .await?;
            row.map(|row| Ok((row.try_get("serial")?, row.try_get("document")?)))
                .transpose()
        };
        self.wait(async { reading.await.map_err(self.database.failed("read the keys")) })
    }

    fn load_ring(&self) -> Result<(KeyRing, Revision), StoreError> {
        let Some((serial, document)) = self.read_document()? else {
            return Ok((KeyRing::new(), Revision::default()));
        };
        let path = self.place("key_ring");
        let ring = self.wrapping.read_ring(&document);
        let ring = ring.map_err(|source| StoreError::Json {
            path: path.clone(),
            source,
        })?;
        let ring = ring.ok_or_else(|| StoreError::Seal { path: path.clone() })?;
        ring.check()
            .map_err(|source| StoreError::Ring { path, source })?;
        Ok((ring, Revision(u128::from(serial.unsigned_abs()))))
    }

    fn read_pem(&self, record: &KeyRecord) -> Result<Zeroizing<String>, KeyProblem> {
        let reading = async {
            let row = sqlx::query("select pem from private_keys where kid = $1")
                .bind(&record.kid)
                .fetch_optional(self.database.read())
                .await;
            let row = row.map_err(self.database.failed("read a private key"))?;
            let pem = row.map(|row| row.try_get::<String, _>("pem")).transpose();
            pem.map_err(self.database.failed("read a private key"))
        };
        let pem = self.wait(reading);
        match pem {
            Ok(Some(pem)) => Ok(Zeroizing::new(pem)),
            Ok(None) => Err(self.problem(record, "missing; restore it from a backup".into())),
            Err(error) => Err(self.problem(record, error.to_string())),
        }
    }

    fn load_signer(&self, record: &KeyRecord) -> Result<SigningKey, KeyProblem> {
        let pkcs8 = self.private_key(record)?;
        signer(record, &pkcs8).map_err(|why| self.problem(record, why))
    }

    async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let mut transaction = self.database.begin().await?;
        if self.database.engine() == Engine::Postgres {
            sqlx::query("select pg_advisory_xact_lock($1)")
                .bind(KEYS_LOCK)
                .execute(&mut *transaction)
                .await
                .map_err(self.database.failed("wait for whoever changes the keys"))?;
        }
        Ok(transaction)
    }
}

/// Runs `work` to its end, wherever this is called from: a runtime does not let its own threads wait.
fn wait<T: Send>(
    runtime: &Runtime,
    work: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    let handle = runtime.handle();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| handle.block_on(work));
        waiting
            .join()
            .unwrap_or_else(|_| Err(StoreError::Sealing("a thread ended before its work".into())))
    })
}

impl Drop for DatabaseKeyStore {
    fn drop(&mut self) {
        self.close();
        if let Some(runtime) = self.runtime.take() {
            // May be dropped inside another runtime, where nothing may wait.
            runtime.shutdown_background();
        }
    }
}

impl KeyStore for DatabaseKeyStore {
    fn close(&self) {
        if let Err(error) = self.wait(self.database.close()) {
            tracing::warn!(%error, "the keys' database could not be closed in order");
        }
    }

    fn load(&self) -> Result<StoredKeys, StoreError> {
        let (mut ring, revision) = self.load_ring()?;
        let mut stored = StoredKeys {
            revision,
            ..StoredKeys::default()
        };
        if ring.unvouched {
            let path = self.place("key_ring");
            stored.problems.push(self.wrapping.unvouched(path));
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

    fn private_key(&self, record: &KeyRecord) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
        let pem = self.read_pem(record)?;
        let opened = self
            .wrapping
            .open_pem(&record.kid, record.alg, pem.as_bytes());
        opened.map_err(|why| self.problem(record, why))
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        let reading = async {
            let row = sqlx::query("select serial from key_ring where id = 1")
                .fetch_optional(self.database.read())
                .await?;
            row.map(|row| row.try_get::<i64, _>("serial")).transpose()
        };
        let serial =
            self.wait(async { reading.await.map_err(self.database.failed("read the keys")) })?;
        Ok(Revision(
            serial.map_or(0, |serial| u128::from(serial.unsigned_abs())),
        ))
    }

    fn lock(&self) -> Result<Box<dyn KeyWriter + '_>, StoreError> {
        let transaction = self.wait(self.begin())?;
        Ok(Box::new(DatabaseWriter {
            store: self,
            transaction: Cell::new(Some(transaction)),
        }))
    }

    fn rewrap(&self, vouch: bool, dry_run: bool) -> Result<Vec<Rewrapped>, StoreError> {
        let is_newest = |record: &KeyRecord| {
            let pem = self.read_pem(record);
            pem.is_ok_and(|pem| self.wrapping.is_newest_pem(pem.as_bytes()))
        };
        rewrap(
            self,
            &self.wrapping,
            &is_newest,
            self.place("key_ring"),
            vouch,
            dry_run,
        )
    }
}

/// Holds the transaction, and with it the lock.
struct DatabaseWriter<'a> {
    store: &'a DatabaseKeyStore,
    transaction: Cell<Option<Transaction<'static, Any>>>,
}

impl DatabaseWriter<'_> {
    /// The transaction that is open, or a new one after the last was committed.
    fn transaction(&self) -> Result<Transaction<'static, Any>, StoreError> {
        match self.transaction.take() {
            Some(transaction) => Ok(transaction),
            None => self.store.wait(self.store.begin()),
        }
    }
}

impl Drop for DatabaseWriter<'_> {
    fn drop(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            let database = &self.store.database;
            // An error is a connection that is gone, and its transaction with it.
            let _ = self.store.wait(async {
                let rolled_back = transaction.rollback().await;
                rolled_back.map_err(database.failed("roll back"))
            });
        }
    }
}

impl KeyWriter for DatabaseWriter<'_> {
    /// Outside the transaction: nothing of it is meant to be seen before it is committed.
    fn load(&self) -> Result<StoredKeys, StoreError> {
        self.store.load()
    }

    fn save_key(&self, key: &SigningKey, pkcs8: &[u8]) -> Result<(), StoreError> {
        let store = self.store;
        let pem = store.wrapping.seal_pem(key.kid(), key.algorithm(), pkcs8);
        let pem = pem.map_err(StoreError::Sealing)?;
        let mut transaction = self.transaction()?;
        let failed = store.database.failed("save a private key");
        let transaction = store.wait(async {
            sqlx::query(
                "insert into private_keys (kid, pem) values ($1, $2) \
                 on conflict (kid) do update set pem = excluded.pem",
            )
            .bind(key.kid())
            .bind(pem.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
            Ok(transaction)
        })?;
        self.transaction.set(Some(transaction));
        Ok(())
    }

    fn save_ring(&self, ring: &KeyRing) -> Result<(), StoreError> {
        let store = self.store;
        let path = store.place("key_ring");
        if ring.unvouched && store.wrapping.is_empty() {
            return Err(StoreError::NoWrappingKey { path });
        }
        let document = store.wrapping.write_ring(ring);
        let document = document.map_err(|source| StoreError::Json { path, source })?;
        let transaction = self.transaction()?;
        let failed = store.database.failed("save the keys");
        store.wait(async { write(transaction, ring, &document).await.map_err(failed) })
    }

    /// Done with the ring, in the same transaction.
    fn prune(&self, _: &KeyRing) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn write(
    mut transaction: Transaction<'static, Any>,
    ring: &KeyRing,
    document: &str,
) -> Result<(), sqlx::Error> {
    let serial = i64::try_from(ring.serial).unwrap_or(i64::MAX);
    // By whoever has seen the last change, or by nobody.
    let written = sqlx::query(
        "insert into key_ring (id, serial, document) values (1, $1, $2) \
         on conflict (id) do update set serial = excluded.serial, document = excluded.document \
         where key_ring.serial < excluded.serial",
    )
    .bind(serial)
    .bind(document)
    .execute(&mut *transaction)
    .await?;
    if written.rows_affected() != 1 {
        return Err(sqlx::Error::Protocol(
            "the ring has changed meanwhile; try again".into(),
        ));
    }
    transaction.execute("delete from key_stages").await?;
    for key in &ring.keys {
        sqlx::query("insert into key_stages (kid, alg, stage) values ($1, $2, $3)")
            .bind(&key.kid)
            .bind(key.alg.name())
            .bind(key.stage.name())
            .execute(&mut *transaction)
            .await?;
    }
    transaction
        .execute(
            "delete from private_keys where kid not in \
             (select kid from key_stages where stage in ('announced', 'signing'))",
        )
        .await?;
    transaction.commit().await
}
