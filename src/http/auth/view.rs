//! Users and sessions as clients see them.

use serde_json::{Map, Value, json};

use crate::audit::rfc3339;
use crate::store::{Session, User};

/// Profile fields stand beside the others, as Better Auth puts them; their names differ, which the configuration makes sure of.
pub(super) fn user(user: &User) -> Value {
    let mut shown = Map::new();
    shown.insert("name".into(), user.name.as_str().into());
    shown.insert("email".into(), user.email.as_str().into());
    shown.insert("emailVerified".into(), user.email_verified.into());
    if let Some(image) = &user.image {
        shown.insert("image".into(), image.as_str().into());
    }
    shown.insert("createdAt".into(), rfc3339(user.created_at).into());
    shown.insert("updatedAt".into(), rfc3339(user.updated_at).into());
    for (name, value) in &user.profile {
        shown.insert(name.clone(), value.clone());
    }
    shown.insert("id".into(), user.id.as_str().into());
    Value::Object(shown)
}

/// `token` is what `revoke-session` is called with, and proves nothing: a page may show it, and whoever reads it can do no more than
/// name the session.
pub(super) fn session(session: &Session) -> Value {
    json!({
        "expiresAt": rfc3339(session.expires_at),
        "token": session.id,
        "createdAt": rfc3339(session.created_at),
        "updatedAt": rfc3339(session.updated_at),
        "ipAddress": session.ip_address,
        "userAgent": session.user_agent,
        "userId": session.user_id,
        "id": session.id,
    })
}
