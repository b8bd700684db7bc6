//! What a store of accounts and sessions promises, on each engine. PostgreSQL's half needs a server: `./test postgres`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use keywheel::NumericDate;
use keywheel::store::{
    AccountStore, Database, NewSession, PasswordHash, STATUS_LIST_SIZE, Session, SessionStore,
    StoreError, User, Which,
};
use tempfile::TempDir;

/// Where a server is that may be filled with databases.
const SERVER: &str = "TEST_POSTGRES_URL";

/// A place for one test's database, which goes with it where that is cheap.
struct Home {
    url: String,
    _folder: TempDir,
}

impl Home {
    fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite://{}", folder.path().join("data/kw.db").display());
        Home {
            url,
            _folder: folder,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the test part says where its server is"
    )]
    async fn postgres() -> Self {
        let server = std::env::var(SERVER).expect(SERVER);
        let folder = TempDir::new().unwrap();
        let name = format!("kw_{}", random().replace('-', "_").to_lowercase());
        sqlx::any::install_default_drivers();
        let pool = sqlx::AnyPool::connect(&format!("{server}/postgres"))
            .await
            .unwrap();
        let create = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(create).execute(&pool).await.unwrap();
        Home {
            url: format!("{server}/{name}"),
            _folder: folder,
        }
    }

    async fn open(&self) -> Database {
        Database::open(&self.url).await.unwrap()
    }
}

fn random() -> String {
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The promises, each on both engines.
macro_rules! on_both {
    ($($promise:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $promise() { super::$promise(super::Home::sqlite()).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs a server: ./test postgres"]
            async fn $promise() { super::$promise(super::Home::postgres().await).await; })*
        }
    };
}

on_both! {
    what_is_saved_is_read_back,
    one_address_has_one_account_even_when_two_sign_up_at_once,
    a_failed_sign_up_leaves_nothing,
    a_session_ends_once_and_for_all,
    each_way_of_ending_ends_what_it_says,
    an_expired_session_is_none,
    renewal_moves_the_end_of_a_live_session_only,
    ending_moves_the_revision_and_shows_the_place,
    two_sessions_never_share_a_place,
    a_full_list_opens_another,
    a_forgotten_place_is_free_again,
    a_password_changes_only_from_what_it_was,
    a_disabled_user_has_no_session_and_gets_none,
    sessions_that_begin_while_their_user_is_disabled_do_not_survive,
    two_starters_make_one_schema,
    data_outlives_a_restart_and_shared_values_are_shared,
    a_schema_of_another_version_is_refused,
    hostile_strings_are_strings,
}

const NOW: NumericDate = NumericDate::from_seconds(1_790_000_000);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn hash(text: &str) -> PasswordHash {
    PasswordHash(text.to_owned())
}

fn user(email: &str) -> User {
    User {
        id: random(),
        email: email.into(),
        name: "Ada".into(),
        image: None,
        email_verified: false,
        roles: vec!["reader".into()],
        scopes: None,
        profile: [("softwareBackground".into(), "none".into())].into(),
        disabled_at: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn session(user: &User) -> NewSession {
    let mut bytes = [[0; 4]; 16];
    for draw in &mut bytes {
        aws_lc_rs::rand::fill(draw).unwrap();
    }
    NewSession {
        id: random(),
        token_hash: random(),
        user_id: user.id.clone(),
        remembered: true,
        ip_address: "192.0.2.1".into(),
        user_agent: "test".into(),
        created_at: NOW,
        expires_at: NOW.plus(WEEK),
        draws: bytes.map(u32::from_le_bytes),
    }
}

async fn signed_up(store: &Database, email: &str) -> (User, NewSession, Session) {
    let (user, new) = (user(email), {
        let mut new = session(&user(email));
        new.user_id.clear();
        new
    });
    let new = NewSession {
        user_id: user.id.clone(),
        ..new
    };
    let session = store.sign_up(&user, &hash("p"), &new).await.unwrap();
    (user, new, session.unwrap())
}

async fn what_is_saved_is_read_back(home: Home) {
    let store = home.open().await;
    let (user, new, session) = signed_up(&store, "ada@example.com").await;
    let (found, password) = store
        .user_by_email("ada@example.com")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((&found, &password), (&user, &hash("p")));
    assert_eq!(store.user_by_id(&user.id).await.unwrap().unwrap().0, user);
    assert_eq!(store.users().await.unwrap(), std::slice::from_ref(&user));
    let found = store.session(&new.token_hash, NOW).await.unwrap();
    assert_eq!(found, Some((session.clone(), user.clone())));
    assert_eq!(store.sessions_of(&user.id, NOW).await.unwrap(), [session]);
    assert_eq!(store.count_sessions(NOW).await.unwrap(), 1);
    let later = NOW.plus(Duration::from_millis(1500));
    let (roles, scopes) = (["a".to_owned(), "b".into()], ["x:y".to_owned()]);
    assert!(store.set_roles(&user.id, &roles, later).await.unwrap());
    assert!(
        store
            .set_scopes(&user.id, Some(&scopes), later)
            .await
            .unwrap()
    );
    let (found, _) = store.user_by_id(&user.id).await.unwrap().unwrap();
    assert_eq!(found.roles, roles);
    assert_eq!(found.scopes.as_deref(), Some(&scopes[..]));
    assert_eq!(found.updated_at, later);
    assert!(store.set_scopes(&user.id, None, later).await.unwrap());
    let (found, _) = store.user_by_id(&user.id).await.unwrap().unwrap();
    assert_eq!(found.scopes, None);
    assert!(!store.set_roles("nobody", &roles, later).await.unwrap());
    assert!(
        store
            .user_by_email("Ada@example.com")
            .await
            .unwrap()
            .is_none()
    );
    store.ping().await.unwrap();
}

async fn one_address_has_one_account_even_when_two_sign_up_at_once(home: Home) {
    let store = home.open().await;
    let tries = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let user = user("ada@example.com");
            let new = session(&user);
            store.sign_up(&user, &hash("p"), &new).await.unwrap()
        })
    });
    let mut made = 0;
    for attempt in tries.collect::<Vec<_>>() {
        made += usize::from(attempt.await.unwrap().is_some());
    }
    assert_eq!(made, 1);
    assert_eq!(store.users().await.unwrap().len(), 1);
    assert_eq!(store.count_sessions(NOW).await.unwrap(), 1);
}

async fn a_failed_sign_up_leaves_nothing(home: Home) {
    let store = home.open().await;
    let (_, taken, _) = signed_up(&store, "ada@example.com").await;
    let other = user("bob@example.com");
    // The same token hash: the session is refused, and with it the account.
    let new = NewSession {
        token_hash: taken.token_hash,
        ..session(&other)
    };
    let failed = store.sign_up(&other, &hash("p"), &new).await;
    assert!(
        matches!(failed, Err(StoreError::Database { .. })),
        "{failed:?}"
    );
    assert!(
        store
            .user_by_email("bob@example.com")
            .await
            .unwrap()
            .is_none()
    );
    assert!(store.begin(&session(&other)).await.unwrap().is_none());
}

async fn a_session_ends_once_and_for_all(home: Home) {
    let store = home.open().await;
    let (user, new, session) = signed_up(&store, "ada@example.com").await;
    let end = || store.end(&user.id, Which::TokenHash(&new.token_hash), NOW);
    let (one, two) = tokio::join!(end(), end());
    let ended: Vec<_> = [one.unwrap(), two.unwrap()].concat();
    assert_eq!(ended, std::slice::from_ref(&session.id));
    assert_eq!(store.session(&new.token_hash, NOW).await.unwrap(), None);
    assert!(store.sessions_of(&user.id, NOW).await.unwrap().is_empty());
    assert!(!store.renew(&session.id, NOW.plus(WEEK), NOW).await.unwrap());
}

async fn each_way_of_ending_ends_what_it_says(home: Home) {
    let store = home.open().await;
    let (user, _, first) = signed_up(&store, "ada@example.com").await;
    let (_, _, stranger) = signed_up(&store, "bob@example.com").await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(store.begin(&session(&user)).await.unwrap().unwrap().id);
    }
    let left = async || {
        let left = store.sessions_of(&user.id, NOW).await.unwrap();
        left.into_iter().map(|s| s.id).collect::<BTreeSet<_>>()
    };
    // Not one's own: nothing ends.
    assert!(
        store
            .end(&user.id, Which::Id(&stranger.id), NOW)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(left().await.len(), 4);
    store
        .end(&user.id, Which::Id(&others[0]), NOW)
        .await
        .unwrap();
    assert!(!left().await.contains(&others[0]));
    store
        .end(&user.id, Which::AllBut(&first.id), NOW)
        .await
        .unwrap();
    assert_eq!(left().await, [first.id.clone()].into());
    store.end(&user.id, Which::All, NOW).await.unwrap();
    assert!(left().await.is_empty());
    assert_eq!(store.count_sessions(NOW).await.unwrap(), 1);
}

async fn an_expired_session_is_none(home: Home) {
    let store = home.open().await;
    let (user, new, session) = signed_up(&store, "ada@example.com").await;
    let end = NOW.plus(WEEK);
    let before = end.minus(Duration::from_millis(1));
    assert!(
        store
            .session(&new.token_hash, before)
            .await
            .unwrap()
            .is_some()
    );
    assert!(store.session(&new.token_hash, end).await.unwrap().is_none());
    assert!(store.sessions_of(&user.id, end).await.unwrap().is_empty());
    assert_eq!(store.count_sessions(end).await.unwrap(), 0);
    assert!(
        store
            .end(&user.id, Which::Id(&session.id), end)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn renewal_moves_the_end_of_a_live_session_only(home: Home) {
    let store = home.open().await;
    let (_, new, session) = signed_up(&store, "ada@example.com").await;
    let later = NOW.plus(WEEK / 2);
    assert!(
        store
            .renew(&session.id, later.plus(WEEK), later)
            .await
            .unwrap()
    );
    let (found, _) = store
        .session(&new.token_hash, NOW.plus(WEEK))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.expires_at, found.updated_at),
        (later.plus(WEEK), later)
    );
    let too_late = later.plus(WEEK);
    assert!(
        !store
            .renew(&session.id, too_late.plus(WEEK), too_late)
            .await
            .unwrap()
    );
}

async fn ending_moves_the_revision_and_shows_the_place(home: Home) {
    let store = home.open().await;
    let (user, _, session) = signed_up(&store, "ada@example.com").await;
    let before = store.status_lists().await.unwrap();
    assert_eq!(before, [(session.status.list, 0)]);
    assert!(
        store
            .ended_places(1, NumericDate::EPOCH)
            .await
            .unwrap()
            .is_empty()
    );
    store.end(&user.id, Which::All, NOW).await.unwrap();
    assert_eq!(
        store.status_lists().await.unwrap(),
        [(session.status.list, 1)]
    );
    let places = store.ended_places(session.status.list, NOW).await.unwrap();
    assert_eq!(places, [session.status.index]);
    let later = NOW.plus(Duration::from_secs(1));
    assert!(
        store
            .ended_places(session.status.list, later)
            .await
            .unwrap()
            .is_empty()
    );
    // Nothing to end, nothing to tell.
    store.end(&user.id, Which::All, NOW).await.unwrap();
    assert_eq!(
        store.status_lists().await.unwrap(),
        [(session.status.list, 1)]
    );
}

async fn two_sessions_never_share_a_place(home: Home) {
    let store = home.open().await;
    let (user, _, first) = signed_up(&store, "ada@example.com").await;
    let mut places = BTreeSet::from([first.status]);
    for n in 0..20 {
        // The first draw is always the same; the second is this session's own.
        let mut new = session(&user);
        new.draws[0] = first.status.index;
        new.draws[1] = n;
        let begun = store.begin(&new).await.unwrap().unwrap();
        assert!(begun.status.index < STATUS_LIST_SIZE);
        assert!(places.insert(begun.status), "{:?}", begun.status);
    }
}

async fn a_full_list_opens_another(home: Home) {
    let store = home.open().await;
    let (user, _, first) = signed_up(&store, "ada@example.com").await;
    let mut new = session(&user);
    new.draws = [first.status.index; 16];
    let begun = store.begin(&new).await.unwrap().unwrap();
    assert_eq!(begun.status.list, 2);
    assert_eq!(store.status_lists().await.unwrap(), [(1, 0), (2, 0)]);
}

async fn a_forgotten_place_is_free_again(home: Home) {
    let store = home.open().await;
    let (user, _, ended) = signed_up(&store, "ada@example.com").await;
    let living = store.begin(&session(&user)).await.unwrap().unwrap();
    store
        .end(&user.id, Which::Id(&ended.id), NOW)
        .await
        .unwrap();
    assert_eq!(store.forget_sessions(NOW).await.unwrap(), 0);
    let later = NOW.plus(Duration::from_secs(1));
    assert_eq!(store.forget_sessions(later).await.unwrap(), 1);
    assert!(
        store
            .ended_places(1, NumericDate::EPOCH)
            .await
            .unwrap()
            .is_empty()
    );
    let mut new = session(&user);
    new.draws[0] = ended.status.index;
    let reused = store.begin(&new).await.unwrap().unwrap();
    assert_eq!(reused.status, ended.status);
    // One that expired goes too, a living one stays.
    assert_eq!(store.forget_sessions(living.expires_at).await.unwrap(), 0);
    let after = living.expires_at.plus(Duration::from_secs(1));
    assert_eq!(store.forget_sessions(after).await.unwrap(), 2);
}

async fn a_password_changes_only_from_what_it_was(home: Home) {
    let store = home.open().await;
    let (user, _, first) = signed_up(&store, "ada@example.com").await;
    let replace = |old: &'static str, new: &'static str| {
        let (store, id) = (store.clone(), user.id.clone());
        async move {
            let swapped = store
                .replace_password(&id, &hash(old), &hash(new), NOW)
                .await;
            swapped.unwrap()
        }
    };
    assert!(!replace("wrong", "q").await);
    assert!(replace("p", "q").await);
    let change = |old: &'static str| {
        let (store, user) = (store.clone(), user.clone());
        async move {
            let new = session(&user);
            let (old, r) = (hash(old), hash("r"));
            let changed = store.change_password(&user.id, &old, &r, &new, NOW);
            changed.await.unwrap()
        }
    };
    assert!(change("p").await.is_none());
    assert_eq!(store.sessions_of(&user.id, NOW).await.unwrap(), [first]);
    let (one, two) = tokio::join!(change("q"), change("q"));
    let session = one.or(two).unwrap();
    assert_eq!(store.sessions_of(&user.id, NOW).await.unwrap(), [session]);
    assert_eq!(
        store.user_by_id(&user.id).await.unwrap().unwrap().1,
        hash("r")
    );
}

async fn a_disabled_user_has_no_session_and_gets_none(home: Home) {
    let store = home.open().await;
    let (user, new, _) = signed_up(&store, "ada@example.com").await;
    store.begin(&session(&user)).await.unwrap().unwrap();
    assert_eq!(store.disable("nobody", NOW).await.unwrap(), None);
    assert_eq!(store.disable(&user.id, NOW).await.unwrap(), Some(2));
    assert_eq!(store.session(&new.token_hash, NOW).await.unwrap(), None);
    assert_eq!(store.begin(&session(&user)).await.unwrap(), None);
    let (p, q, new_session) = (hash("p"), hash("q"), session(&user));
    let changed = store.change_password(&user.id, &p, &q, &new_session, NOW);
    assert_eq!(changed.await.unwrap(), None);
    let (found, _) = store.user_by_id(&user.id).await.unwrap().unwrap();
    assert_eq!(found.disabled_at, Some(NOW));
    let later = NOW.plus(Duration::from_secs(5));
    assert_eq!(store.disable(&user.id, later).await.unwrap(), Some(0));
    let (found, _) = store.user_by_id(&user.id).await.unwrap().unwrap();
    assert_eq!(found.disabled_at, Some(NOW));
    assert!(store.enable(&user.id, later).await.unwrap());
    assert!(store.begin(&session(&user)).await.unwrap().is_some());
    // What had ended stays ended.
    assert_eq!(store.session(&new.token_hash, NOW).await.unwrap(), None);
}

async fn sessions_that_begin_while_their_user_is_disabled_do_not_survive(home: Home) {
    let (one, two) = (home.open().await, home.open().await);
    for round in 0..10 {
        let (user, ..) = signed_up(&one, &format!("u{round}@example.com")).await;
        let beginning = tokio::spawn({
            let (store, user) = (one.clone(), user.clone());
            async move {
                for _ in 0..5 {
                    store.begin(&session(&user)).await.unwrap();
                }
            }
        });
        two.disable(&user.id, NOW).await.unwrap();
        beginning.await.unwrap();
        assert!(one.sessions_of(&user.id, NOW).await.unwrap().is_empty());
    }
}

async fn two_starters_make_one_schema(home: Home) {
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let url = home.url.clone();
            tokio::spawn(async move { Database::open(&url).await.map(drop) })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    signed_up(&home.open().await, "ada@example.com").await;
}

async fn data_outlives_a_restart_and_shared_values_are_shared(home: Home) {
    let store = home.open().await;
    let (user, new, session) = signed_up(&store, "ada@example.com").await;
    assert_eq!(
        store.shared_value("secret", "first").await.unwrap(),
        "first"
    );
    let minutes = |n: u64| Duration::from_secs(n * 60);
    assert_eq!(
        store.longest_token_ttl(minutes(30)).await.unwrap(),
        minutes(30)
    );
    assert_eq!(
        store.longest_token_ttl(minutes(15)).await.unwrap(),
        minutes(30)
    );
    drop(store);
    let store = Database::existing(&home.url).await.unwrap();
    assert_eq!(
        store.session(&new.token_hash, NOW).await.unwrap(),
        Some((session, user))
    );
    assert_eq!(
        store.shared_value("secret", "second").await.unwrap(),
        "first"
    );
    assert_eq!(
        store.longest_token_ttl(minutes(60)).await.unwrap(),
        minutes(60)
    );
}

async fn a_schema_of_another_version_is_refused(home: Home) {
    drop(home.open().await);
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&home.url).await.unwrap();
    sqlx::raw_sql("insert into schema_steps (step) values (999)")
        .execute(&pool)
        .await
        .unwrap();
    for refused in [
        Database::open(&home.url).await,
        Database::existing(&home.url).await,
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(
            error.contains("schema step 999") && error.contains("newer keywheel"),
            "{error}"
        );
    }
}

async fn hostile_strings_are_strings(home: Home) {
    let store = home.open().await;
    let hostile = "'; drop table users; -- \u{1F980} \" \\ <script>alert(1)</script> %s {0} $1";
    let mut user = user(hostile);
    user.name = hostile.into();
    user.image = Some(hostile.into());
    user.roles = vec![hostile.into()];
    user.scopes = Some(vec![hostile.into()]);
    user.profile = [(hostile.to_owned(), hostile.into())].into();
    let mut new = session(&user);
    new.user_agent = hostile.into();
    new.ip_address = hostile.into();
    store
        .sign_up(&user, &hash(hostile), &new)
        .await
        .unwrap()
        .unwrap();
    let (found, password) = store.user_by_email(hostile).await.unwrap().unwrap();
    assert_eq!((found, password), (user, hash(hostile)));
    let (found, _) = store.session(&new.token_hash, NOW).await.unwrap().unwrap();
    assert_eq!(
        (found.user_agent.as_str(), found.ip_address.as_str()),
        (hostile, hostile)
    );
    assert!(store.session(hostile, NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn a_database_that_cannot_be_had_is_named_without_its_password() {
    let folder = TempDir::new().unwrap();
    let nowhere = format!("sqlite://{}/a/b/c.db", folder.path().display());
    for (url, words) in [
        (
            "postgres://u:hunter2@127.0.0.1:1/db",
            "postgres://127.0.0.1/db",
        ),
        (nowhere.as_str(), "create the folder"),
        ("mysql://x", "sqlite:// or postgres://"),
    ] {
        let error = Database::open(url).await.unwrap_err().to_string();
        assert!(
            error.contains(words) && !error.contains("hunter2"),
            "{error}"
        );
        assert!(Database::existing(url).await.is_err());
    }
}

#[tokio::test]
async fn a_database_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::sqlite();
    let store = home.open().await;
    signed_up(&store, "ada@example.com").await;
    let file = std::path::Path::new(home.url.strip_prefix("sqlite://").unwrap());
    let folder = file.parent().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    let mode = std::fs::metadata(folder).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}
