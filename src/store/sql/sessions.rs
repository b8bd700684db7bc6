//! Sessions in a database, and the status lists that tell of those that have ended.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};

use super::Database;
use super::rows::{self, SESSION, USER, millis};
use crate::jose::NumericDate;
use crate::store::{
    Answer, NewSession, Session, SessionStore, StatusPlace, StoreError, User, Which,
};

static BY_TOKEN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select {SESSION}, {USER} from sessions s join users u on u.id = s.user_id \
         where s.token_hash = $1 and s.ended_at is null and s.expires_at > $2"
    )
});
static OF_USER: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select {SESSION} from sessions s where s.user_id = $1 and s.ended_at is null and s.expires_at > $2 \
         order by s.created_at desc, s.id"
    )
});
/// The name of [`SessionStore::longest_token_ttl`]'s value, in seconds.
const LONGEST_TTL: &str = "longest_token_ttl";

/// Puts a session at a place, if that is free.
const INSERT: &str = "insert into sessions (id, token_hash, user_id, remembered, ip_address, user_agent, created_at, \
     updated_at, expires_at, ended_at, status_list, status_index) \
     values ($1, $2, $3, $4, $5, $6, $7, $7, $8, null, $9, $10) on conflict (status_list, status_index) do nothing";

// === impl Database ===

impl Database {
    /// Gives the session the first of its draws that is free, in some list.
    pub(super) async fn add_session(
        &self,
        transaction: &mut Transaction<'static, Any>,
        new: &NewSession,
    ) -> Result<Session, StoreError> {
        let failed = self.failed("begin a session");
        let lists: (i64,) = sqlx::query_as("select count(*) from status_lists")
            .fetch_one(&mut **transaction)
            .await
            .map_err(&failed)?;
        // Lists are numbered from 1. The draws are random, so their remainders spread sessions over all the lists.
        let count = u32::try_from(lists.0).unwrap_or(u32::MAX);
        let in_use = new.draws.iter().filter(|_| count > 0).map(|&draw| {
            let list = 1 + (draw / super::super::STATUS_LIST_SIZE) % count.max(1);
            (list, draw % super::super::STATUS_LIST_SIZE)
        });
        for (list, index) in in_use {
            let place = StatusPlace { list, index };
            if self.insert_at(transaction, new, place).await? {
                return Ok(begun(new, place));
            }
        }
        // Every list is full, or there is none: open another. Somebody else may just be doing the same.
        let index = new.draws[0] % super::super::STATUS_LIST_SIZE;
        for list in count.saturating_add(1).. {
            sqlx::query(
                "insert into status_lists (list, revision) values ($1, 0) on conflict (list) do nothing",
            )
            .bind(i64::from(list))
            .execute(&mut **transaction)
            .await
            .map_err(&failed)?;
            let place = StatusPlace { list, index };
            if self.insert_at(transaction, new, place).await? {
                return Ok(begun(new, place));
            }
        }
        Err(failed(sqlx::Error::Protocol(
            "there is no place left in any status list".into(),
        )))
    }

    async fn insert_at(
        &self,
        transaction: &mut Transaction<'static, Any>,
        new: &NewSession,
        place: StatusPlace,
    ) -> Result<bool, StoreError> {
        let inserted = sqlx::query(INSERT)
            .bind(&new.id)
            .bind(&new.token_hash)
            .bind(&new.user_id)
            .bind(i64::from(new.remembered))
            .bind(&new.ip_address)
            .bind(&new.user_agent)
            .bind(millis(new.created_at))
            .bind(millis(new.expires_at))
            .bind(i64::from(place.list))
            .bind(i64::from(place.index))
            .execute(&mut **transaction)
            .await
            .map_err(self.failed("begin a session"))?;
        Ok(inserted.rows_affected() == 1)
    }

    /// Ends sessions and moves the revisions of their lists on.
    pub(super) async fn end_sessions(
        &self,
        transaction: &mut Transaction<'static, Any>,
        user: &str,
        which: Which<'_>,
        now: NumericDate,
    ) -> Result<Vec<String>, StoreError> {
        let failed = self.failed("end a session");
        let (query, by) = match which {
            Which::All => (
                "select id, status_list from sessions where user_id = $1 and ended_at is null and expires_at > $2 \
                 and id <> $3",
                "",
            ),
            Which::AllBut(id) => (
                "select id, status_list from sessions where user_id = $1 and ended_at is null and expires_at > $2 \
                 and id <> $3",
                id,
            ),
            Which::Id(id) => (
                "select id, status_list from sessions where user_id = $1 and ended_at is null and expires_at > $2 \
                 and id = $3",
                id,
            ),
            Which::TokenHash(hash) => (
                "select id, status_list from sessions where user_id = $1 and ended_at is null and expires_at > $2 \
                 and token_hash = $3",
                hash,
            ),
        };
        let found: Vec<(String, i64)> = sqlx::query_as(query)
            .bind(user)
            .bind(millis(now))
            .bind(by)
            .fetch_all(&mut **transaction)
            .await
            .map_err(&failed)?;
        let mut lists: Vec<i64> = found.iter().map(|(_, list)| *list).collect();
        lists.sort_unstable();
        lists.dedup();
        for (id, _) in &found {
            sqlx::query("update sessions set ended_at = $1 where id = $2 and ended_at is null")
                .bind(millis(now))
                .bind(id)
                .execute(&mut **transaction)
                .await
                .map_err(&failed)?;
        }
        // In order, so that two who do this at once cannot wait for each other.
        for list in lists {
            sqlx::query("update status_lists set revision = revision + 1 where list = $1")
                .bind(list)
                .execute(&mut **transaction)
                .await
                .map_err(&failed)?;
        }
        Ok(found.into_iter().map(|(id, _)| id).collect())
    }
}

fn begun(new: &NewSession, status: StatusPlace) -> Session {
    Session {
        id: new.id.clone(),
        user_id: new.user_id.clone(),
        remembered: new.remembered,
        ip_address: new.ip_address.clone(),
        user_agent: new.user_agent.clone(),
        created_at: new.created_at,
        updated_at: new.created_at,
        expires_at: new.expires_at,
        status,
    }
}

impl SessionStore for Database {
    fn begin<'a>(&'a self, session: &'a NewSession) -> Answer<'a, Option<Session>> {
        Box::pin(async move {
            let mut transaction = Database::begin(self).await?;
            if self.hold_user(&mut transaction, &session.user_id).await? != Some(true) {
                return Ok(None);
            }
            let session = self.add_session(&mut transaction, session).await?;
            let committed = transaction.commit().await;
            committed.map_err(self.failed("begin a session"))?;
            Ok(Some(session))
        })
    }

    fn session<'a>(
        &'a self,
        token_hash: &'a str,
        now: NumericDate,
    ) -> Answer<'a, Option<(Session, User)>> {
        Box::pin(async move {
            let failed = self.failed("look for a session");
            let row = sqlx::query(AssertSqlSafe(BY_TOKEN.as_str()))
                .bind(token_hash)
                .bind(millis(now))
                .fetch_optional(self.read())
                .await
                .map_err(&failed)?;
            let found = row.map(|row| Ok((rows::session(&row)?, rows::user(&row)?)));
            found.transpose().map_err(failed)
        })
    }

    fn sessions_of<'a>(&'a self, user: &'a str, now: NumericDate) -> Answer<'a, Vec<Session>> {
        Box::pin(async move {
            let failed = self.failed("list sessions");
            let found = sqlx::query(AssertSqlSafe(OF_USER.as_str()))
                .bind(user)
                .bind(millis(now))
                .fetch_all(self.read())
                .await
                .map_err(&failed)?;
            let sessions: Result<_, sqlx::Error> = found.iter().map(rows::session).collect();
            sessions.map_err(failed)
        })
    }

    fn renew<'a>(
        &'a self,
        session: &'a str,
        expires_at: NumericDate,
        now: NumericDate,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let renewed = sqlx::query(
                "update sessions set expires_at = $1, updated_at = $2 \
                 where id = $3 and ended_at is null and expires_at > $2",
            )
            .bind(millis(expires_at))
            .bind(millis(now))
            .bind(session)
            .execute(self.write())
            .await
            .map_err(self.failed("renew a session"))?;
            Ok(renewed.rows_affected() == 1)
        })
    }

    fn end<'a>(
        &'a self,
        user: &'a str,
        which: Which<'a>,
        now: NumericDate,
    ) -> Answer<'a, Vec<String>> {
        Box::pin(async move {
            let mut transaction = Database::begin(self).await?;
            self.hold_user(&mut transaction, user).await?;
            let ended = self
                .end_sessions(&mut transaction, user, which, now)
                .await?;
            let committed = transaction.commit().await;
            committed.map_err(self.failed("end a session"))?;
            Ok(ended)
        })
    }

    fn status_lists(&self) -> Answer<'_, Vec<(u32, u64)>> {
        Box::pin(async move {
            let failed = self.failed("read the status lists");
            let found = sqlx::query("select list, revision from status_lists order by list")
                .fetch_all(self.read())
                .await
                .map_err(&failed)?;
            let lists: Result<_, sqlx::Error> = found
                .iter()
                .map(|row| {
                    let revision: i64 = row.try_get("revision")?;
                    Ok((
                        rows::small(row, "list")?,
                        u64::try_from(revision).unwrap_or(0),
                    ))
                })
                .collect();
            lists.map_err(failed)
        })
    }

    fn ended_places(&self, list: u32, since: NumericDate) -> Answer<'_, Vec<u32>> {
        Box::pin(async move {
            let failed = self.failed("read a status list");
            let found = sqlx::query(
                "select status_index from sessions where status_list = $1 and ended_at >= $2",
            )
            .bind(i64::from(list))
            .bind(millis(since))
            .fetch_all(self.read())
            .await
            .map_err(&failed)?;
            let places: Result<_, sqlx::Error> = found
                .iter()
                .map(|row| rows::small(row, "status_index"))
                .collect();
            places.map_err(failed)
        })
    }

    fn forget_sessions(&self, before: NumericDate) -> Answer<'_, u64> {
        Box::pin(async move {
            let forgotten = sqlx::query(
                "delete from sessions where expires_at < $1 or (ended_at is not null and ended_at < $1)",
            )
            .bind(millis(before))
            .execute(self.write())
            .await
            .map_err(self.failed("forget old sessions"))?;
            Ok(forgotten.rows_affected())
        })
    }

    fn count_sessions(&self, now: NumericDate) -> Answer<'_, u64> {
        Box::pin(async move {
            let count: (i64,) = sqlx::query_as(
                "select count(*) from sessions where ended_at is null and expires_at > $1",
            )
            .bind(millis(now))
            .fetch_one(self.read())
            .await
            .map_err(self.failed("count sessions"))?;
            Ok(u64::try_from(count.0).unwrap_or(0))
        })
    }

    fn shared_value<'a>(&'a self, name: &'a str, first: &'a str) -> Answer<'a, String> {
        Box::pin(async move {
            let failed = self.failed("read a shared value");
            sqlx::query(
                "insert into shared_values (name, value) values ($1, $2) on conflict (name) do nothing",
            )
            .bind(name)
            .bind(first)
            .execute(self.write())
            .await
            .map_err(&failed)?;
            let row: (String,) = sqlx::query_as("select value from shared_values where name = $1")
                .bind(name)
                .fetch_one(self.read())
                .await
                .map_err(failed)?;
            Ok(row.0)
        })
    }

    fn longest_token_ttl(&self, ttl: Duration) -> Answer<'_, Duration> {
        Box::pin(async move {
            let known = self.shared_value(LONGEST_TTL, "0").await?;
            let known = Duration::from_secs(known.parse().unwrap_or(0));
            if known >= ttl {
                return Ok(known);
            }
            sqlx::query("update shared_values set value = $1 where name = $2")
                .bind(ttl.as_secs().to_string())
                .bind(LONGEST_TTL)
                .execute(self.write())
                .await
                .map_err(self.failed("note the longest life of tokens"))?;
            Ok(ttl)
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            sqlx::query("select list from status_lists where list = 0")
                .fetch_optional(self.read())
                .await
                .map_err(self.failed("reach it"))?;
            Ok(())
        })
    }
}
