//! Rows of the tables, as values.

use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::time::Duration;

use crate::jose::NumericDate;
use crate::store::{PasswordHash, Session, StatusPlace, User};

/// The columns that [`user`] reads, under the name `u`.
pub(super) const USER: &str = "u.id as user_id, u.email, u.name, u.image, u.email_verified, u.password_hash, u.roles, \
     u.scopes, u.profile, u.disabled_at, u.created_at as user_created_at, u.updated_at as user_updated_at";

/// The columns that [`session`] reads, under the name `s`.
pub(super) const SESSION: &str = "s.id, s.user_id as session_user, s.remembered, s.ip_address, s.user_agent, s.created_at, \
     s.updated_at, s.expires_at, s.status_list, s.status_index";

/// A moment as the tables have it.
pub(super) fn millis(at: NumericDate) -> i64 {
    i64::try_from(at.since(NumericDate::EPOCH).as_millis()).unwrap_or(i64::MAX)
}

fn moment(millis: i64) -> NumericDate {
    NumericDate::from_duration(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

/// What is in a text column as JSON.
fn json<T: DeserializeOwned>(row: &AnyRow, column: &'static str) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    parse(column, &text)
}

fn parse<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::ColumnDecode {
        index: column.into(),
        source: error.into(),
    })
}

pub(super) fn user(row: &AnyRow) -> Result<User, sqlx::Error> {
    let scopes: Option<String> = row.try_get("scopes")?;
    let disabled_at: Option<i64> = row.try_get("disabled_at")?;
    Ok(User {
        id: row.try_get("user_id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        image: row.try_get("image")?,
        email_verified: row.try_get::<i64, _>("email_verified")? != 0,
        roles: json(row, "roles")?,
        scopes: scopes.map(|text| parse("scopes", &text)).transpose()?,
        profile: json(row, "profile")?,
        disabled_at: disabled_at.map(moment),
        created_at: moment(row.try_get("user_created_at")?),
        updated_at: moment(row.try_get("user_updated_at")?),
    })
}

pub(super) fn password(row: &AnyRow) -> Result<PasswordHash, sqlx::Error> {
    Ok(PasswordHash(row.try_get("password_hash")?))
}

pub(super) fn session(row: &AnyRow) -> Result<Session, sqlx::Error> {
    Ok(Session {
        id: row.try_get("id")?,
        user_id: row.try_get("session_user")?,
        remembered: row.try_get::<i64, _>("remembered")? != 0,
        ip_address: row.try_get("ip_address")?,
        user_agent: row.try_get("user_agent")?,
        created_at: moment(row.try_get("created_at")?),
        updated_at: moment(row.try_get("updated_at")?),
        expires_at: moment(row.try_get("expires_at")?),
        status: StatusPlace {
            list: small(row, "status_list")?,
            index: small(row, "status_index")?,
        },
    })
}

/// A number that was written as a `u32`.
pub(super) fn small(row: &AnyRow, column: &'static str) -> Result<u32, sqlx::Error> {
    let value: i64 = row.try_get(column)?;
    u32::try_from(value).map_err(|error| sqlx::Error::ColumnDecode {
        index: column.into(),
        source: error.into(),
    })
}
