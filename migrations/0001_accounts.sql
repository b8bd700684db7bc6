-- Accounts, sessions, status lists. Moments are milliseconds since 1970-01-01T00:00:00Z; lists and objects are JSON texts.
-- Runs on SQLite and on PostgreSQL: only bigint and text, which mean the same on both.

create table users (
    id text not null primary key,
    -- Lower case: one account to an address, however it is written.
    email text not null unique,
    name text not null,
    image text,
    email_verified bigint not null,
    password_hash text not null,
    roles text not null,
    -- Null: whatever the audience gives to everyone.
    scopes text,
    profile text not null,
    disabled_at bigint,
    created_at bigint not null,
    updated_at bigint not null
);

create table status_lists (
    list bigint not null primary key,
    -- Grows with every change of a bit.
    revision bigint not null
);

create table sessions (
    id text not null primary key,
    -- SHA-256 of the token, base64url. The token itself is nowhere.
    token_hash text not null unique,
    -- No cascade: the bits of a user's sessions outlive them.
    user_id text not null references users (id),
    remembered bigint not null,
    ip_address text not null,
    user_agent text not null,
    created_at bigint not null,
    updated_at bigint not null,
    expires_at bigint not null,
    -- Set: the session is over and its bit is 1. The row stays until no token can carry the index any more.
    ended_at bigint,
    status_list bigint not null references status_lists (list),
    status_index bigint not null,
    unique (status_list, status_index)
);

create index sessions_of_user on sessions (user_id);
create index sessions_by_expiry on sessions (expires_at);

-- Values that every server on this database must share, made by the first.
create table shared_values (
    name text not null primary key,
    value text not null
);
