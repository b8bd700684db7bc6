//! The schema, step by step: each step once, in one transaction with the note that it was done.

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};

use super::{Database, Engine};
use crate::store::StoreError;

/// Every step there is, in order. A step that has shipped never changes; what is wrong with it, another mends.
const STEPS: &[(i64, &str)] = &[
    (1, include_str!("../../../migrations/0001_accounts.sql")),
    (2, include_str!("../../../migrations/0002_keys.sql")),
];

/// PostgreSQL: whoever migrates holds this, a number that nobody else has a reason to lock.
const MIGRATION_LOCK: i64 = 0x6b77_6d69_6772_6174;

// === impl Database ===

impl Database {
    /// Does the steps that have not been done. Of two that start at once, one waits for the other.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let failed = self.failed("bring its schema up to date");
        // SQLite's lock is taken by the beginning of the transaction.
        let mut transaction = self.begin().await?;
        if self.engine() == Engine::Postgres {
            sqlx::query("select pg_advisory_xact_lock($1)")
                .bind(MIGRATION_LOCK)
                .execute(&mut *transaction)
                .await
                .map_err(&failed)?;
        }
        sqlx::raw_sql("create table if not exists schema_steps (step bigint not null primary key)")
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        let done = self.last_step(&mut transaction).await?;
        for (step, sql) in STEPS.iter().filter(|(step, _)| *step > done) {
            sqlx::raw_sql(AssertSqlSafe(*sql))
                .execute(&mut *transaction)
                .await
                .map_err(&failed)?;
            sqlx::query("insert into schema_steps (step) values ($1)")
                .bind(step)
                .execute(&mut *transaction)
                .await
                .map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)
    }

    /// Refuses a database whose schema is not this version's.
    pub(super) async fn demand_schema(&self) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let known = STEPS.last().map_or(0, |(step, _)| *step);
        match self.last_step(&mut transaction).await {
            Ok(found) if found == known => Ok(()),
            Ok(found) => Err(self.other_schema(found)),
            // The table of steps is not there.
            Err(StoreError::Database { source, .. }) if source.as_database_error().is_some() => {
                Err(self.other_schema(0))
            }
            Err(error) => Err(error),
        }
    }

    async fn last_step(
        &self,
        transaction: &mut Transaction<'static, Any>,
    ) -> Result<i64, StoreError> {
        let row = sqlx::query("select coalesce(max(step), 0) from schema_steps")
            .fetch_one(&mut **transaction)
            .await;
        let found: i64 = row
            .and_then(|row| row.try_get(0))
            .map_err(self.failed("read its schema's version"))?;
        match STEPS.iter().any(|(step, _)| *step == found) || found == 0 {
            true => Ok(found),
            false => Err(self.other_schema(found)),
        }
    }

    fn other_schema(&self, found: i64) -> StoreError {
        StoreError::Schema {
            name: self.name.clone(),
            found,
            known: STEPS.last().map_or(0, |(step, _)| *step),
        }
    }
}
