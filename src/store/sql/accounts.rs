//! Accounts in a database.

use std::sync::LazyLock;

use sqlx::{Any, AssertSqlSafe, Transaction};

use super::rows::{self, USER, millis};
use super::{Database, Engine};
use crate::jose::NumericDate;
use crate::store::{
    AccountStore, Answer, NewSession, PasswordHash, Session, StoreError, User, Which,
};

static BY_EMAIL: LazyLock<String> =
    LazyLock::new(|| format!("select {USER} from users u where u.email = $1"));
static BY_ID: LazyLock<String> =
    LazyLock::new(|| format!("select {USER} from users u where u.id = $1"));
static ALL: LazyLock<String> =
    LazyLock::new(|| format!("select {USER} from users u order by u.email"));

fn json(list: &[String]) -> String {
    serde_json::Value::from(list).to_string()
}

// === impl Database ===

impl Database {
    async fn find_user(
        &self,
        query: &'static str,
        by: &str,
    ) -> Result<Option<(User, PasswordHash)>, StoreError> {
        let failed = self.failed("look for an account");
        let row = sqlx::query(AssertSqlSafe(query))
            .bind(by)
            .fetch_optional(self.read())
            .await
            .map_err(&failed)?;
        let user = row.map(|row| Ok((rows::user(&row)?, rows::password(&row)?)));
        user.transpose().map_err(failed)
    }

    /// Keeps everybody else from this account until the transaction ends, and says whether there is such an account.
    ///
    /// A session that begins and a disabling that ends all sessions must not pass each other.
    pub(super) async fn hold_user(
        &self,
        transaction: &mut Transaction<'static, Any>,
        user: &str,
    ) -> Result<Option<bool>, StoreError> {
        let failed = self.failed("look for an account");
        // SQLite has one writer, who this is.
        let query = match self.engine() {
            Engine::Sqlite => "select disabled_at from users where id = $1",
            Engine::Postgres => "select disabled_at from users where id = $1 for update",
        };
        let row: Option<(Option<i64>,)> = sqlx::query_as(query)
            .bind(user)
            .fetch_optional(&mut **transaction)
            .await
            .map_err(failed)?;
        Ok(row.map(|(disabled_at,)| disabled_at.is_none()))
    }

    async fn add_user(
        &self,
        transaction: &mut Transaction<'static, Any>,
        user: &User,
        password: &PasswordHash,
    ) -> Result<bool, StoreError> {
        let profile = serde_json::to_string(&user.profile).unwrap_or_else(|_| "{}".into());
        let inserted = sqlx::query(
            "insert into users (id, email, name, image, email_verified, password_hash, roles, scopes, profile, \
             disabled_at, created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, null, $10, $11) \
             on conflict (email) do nothing",
        )
        .bind(&user.id)
        .bind(&user.email)
        .bind(&user.name)
        .bind(&user.image)
        .bind(i64::from(user.email_verified))
        .bind(&password.0)
        .bind(json(&user.roles))
        .bind(user.scopes.as_deref().map(json))
        .bind(profile)
        .bind(millis(user.created_at))
        .bind(millis(user.updated_at))
        .execute(&mut **transaction)
        .await
        .map_err(self.failed("add an account"))?;
        Ok(inserted.rows_affected() == 1)
    }

    async fn swap_password(
        &self,
        transaction: &mut Transaction<'static, Any>,
        user: &str,
        [old, new]: [&PasswordHash; 2],
        now: NumericDate,
    ) -> Result<bool, StoreError> {
        let swapped = sqlx::query(
            "update users set password_hash = $1, updated_at = $2 where id = $3 and password_hash = $4",
        )
        .bind(&new.0)
        .bind(millis(now))
        .bind(user)
        .bind(&old.0)
        .execute(&mut **transaction)
        .await
        .map_err(self.failed("change a password"))?;
        Ok(swapped.rows_affected() == 1)
    }
}

impl AccountStore for Database {
    fn sign_up<'a>(
        &'a self,
        user: &'a User,
        password: &'a PasswordHash,
        session: &'a NewSession,
    ) -> Answer<'a, Option<Session>> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            if !self.add_user(&mut transaction, user, password).await? {
                return Ok(None);
            }
            let session = self.add_session(&mut transaction, session).await?;
            let committed = transaction.commit().await;
            committed.map_err(self.failed("add an account"))?;
            Ok(Some(session))
        })
    }

    fn user_by_email<'a>(&'a self, email: &'a str) -> Answer<'a, Option<(User, PasswordHash)>> {
        Box::pin(self.find_user(&BY_EMAIL, email))
    }

    fn user_by_id<'a>(&'a self, id: &'a str) -> Answer<'a, Option<(User, PasswordHash)>> {
        Box::pin(self.find_user(&BY_ID, id))
    }

    fn users(&self) -> Answer<'_, Vec<User>> {
        Box::pin(async move {
            let failed = self.failed("list the accounts");
            let found = sqlx::query(AssertSqlSafe(ALL.as_str())).fetch_all(self.read());
            let found = found.await.map_err(&failed)?;
            let users: Result<_, sqlx::Error> = found.iter().map(rows::user).collect();
            users.map_err(failed)
        })
    }

    fn replace_password<'a>(
        &'a self,
        user: &'a str,
        old: &'a PasswordHash,
        new: &'a PasswordHash,
        now: NumericDate,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            let swapped = self
                .swap_password(&mut transaction, user, [old, new], now)
                .await?;
            let committed = transaction.commit().await;
            committed.map_err(self.failed("change a password"))?;
            Ok(swapped)
        })
    }

    fn change_password<'a>(
        &'a self,
        user: &'a str,
        old: &'a PasswordHash,
        new: &'a PasswordHash,
        session: &'a NewSession,
        now: NumericDate,
    ) -> Answer<'a, Option<Session>> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            if self.hold_user(&mut transaction, user).await? != Some(true)
                || !self
                    .swap_password(&mut transaction, user, [old, new], now)
                    .await?
            {
                return Ok(None);
            }
            self.end_sessions(&mut transaction, user, Which::All, now)
                .await?;
            let session = self.add_session(&mut transaction, session).await?;
            let committed = transaction.commit().await;
            committed.map_err(self.failed("change a password"))?;
            Ok(Some(session))
        })
    }

    fn set_roles<'a>(
        &'a self,
        user: &'a str,
        roles: &'a [String],
        now: NumericDate,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let updated = sqlx::query("update users set roles = $1, updated_at = $2 where id = $3")
                .bind(json(roles))
                .bind(millis(now))
                .bind(user)
                .execute(self.write())
                .await
                .map_err(self.failed("set roles"))?;
            Ok(updated.rows_affected() == 1)
        })
    }

    fn set_scopes<'a>(
        &'a self,
        user: &'a str,
        scopes: Option<&'a [String]>,
        now: NumericDate,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let updated =
                sqlx::query("update users set scopes = $1, updated_at = $2 where id = $3")
                    .bind(scopes.map(json))
                    .bind(millis(now))
                    .bind(user)
                    .execute(self.write())
                    .await
                    .map_err(self.failed("set scopes"))?;
            Ok(updated.rows_affected() == 1)
        })
    }

    fn disable<'a>(&'a self, user: &'a str, now: NumericDate) -> Answer<'a, Option<u64>> {
        Box::pin(async move {
            let failed = self.failed("disable an account");
            let mut transaction = self.begin().await?;
            if self.hold_user(&mut transaction, user).await?.is_none() {
                return Ok(None);
            }
            sqlx::query(
                "update users set disabled_at = coalesce(disabled_at, $1), updated_at = $1 where id = $2",
            )
            .bind(millis(now))
            .bind(user)
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
            let ended = self
                .end_sessions(&mut transaction, user, Which::All, now)
                .await?;
            transaction.commit().await.map_err(failed)?;
            Ok(Some(ended.len() as u64))
        })
    }

    fn enable<'a>(&'a self, user: &'a str, now: NumericDate) -> Answer<'a, bool> {
        Box::pin(async move {
            let updated =
                sqlx::query("update users set disabled_at = null, updated_at = $1 where id = $2")
                    .bind(millis(now))
                    .bind(user)
                    .execute(self.write())
                    .await
                    .map_err(self.failed("enable an account"))?;
            Ok(updated.rows_affected() == 1)
        })
    }
}
