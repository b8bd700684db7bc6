-- The keys, where the configuration says `[keys] store = "database"`.

-- The ring as one document, with its seal where there is a wrapping key: what is believed. One row.
create table key_ring (
    id bigint not null primary key check (id = 1),
    -- One more at each change: a writer that has not seen the last one is refused.
    serial bigint not null,
    document text not null
);

-- The same stages in columns, written with the ring in one transaction, so that the database itself refuses a second signer.
create table key_stages (
    kid text not null primary key,
    alg text not null,
    stage text not null check (stage in ('announced', 'signing', 'retired', 'gone', 'revoked'))
);

create unique index one_signing_key on key_stages (alg) where stage = 'signing';
create unique index one_announced_key on key_stages (alg) where stage = 'announced';

-- Private halves, PEM: sealed where there is a wrapping key.
create table private_keys (
    kid text not null primary key,
    pem text not null
);
