//! `keywheel users`: who has an account, what they may do, and letting nobody in. Works on the store itself, whether a server
//! runs or not; servers publish ended sessions within a moment.

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{CliError, ConfigArgs, output, runtime, telemetry};
use crate::audit::{AuditLog, Event, Fields};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Log};
use crate::jose::NumericDate;
use crate::store::{AccountStore, Database, Session, SessionStore, User, Which};

/// Look at accounts, set their roles and scopes, disable them, end their sessions
#[derive(Subcommand)]
pub(super) enum UsersCommand {
    List(ListArgs),
    Roles(RolesArgs),
    Scopes(ScopesArgs),
    Disable(DisableArgs),
    Enable(EnableArgs),
    Sessions(SessionsArgs),
    SignOut(SignOutArgs),
}

/// Every account: address, name, roles, and since when
#[derive(Args)]
#[command(after_help = "Examples:\n  keywheel users list\n  keywheel users list --json")]
pub(super) struct ListArgs {
    #[command(flatten)]
    common: Common,
}

/// Set the roles of an account; its next token has them
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel users roles ada@example.com editor admin
  keywheel users roles ada@example.com --none")]
pub(super) struct RolesArgs {
    #[command(flatten)]
    whom: Whom,
    /// All roles it is to have
    #[arg(
        value_name = "ROLE",
        required_unless_present = "none",
        conflicts_with = "none"
    )]
    roles: Vec<String>,
    /// None at all
    #[arg(long)]
    none: bool,
    #[command(flatten)]
    common: Common,
}

/// Set the scopes that an account may have; each audience gives those of them that it knows
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel users scopes ada@example.com orders:read orders:write
  keywheel users scopes ada@example.com --none
  keywheel users scopes ada@example.com --default")]
pub(super) struct ScopesArgs {
    #[command(flatten)]
    whom: Whom,
    /// All scopes it may have
    #[arg(value_name = "SCOPE", required_unless_present_any = ["none", "default"], conflicts_with_all = ["none", "default"])]
    scopes: Vec<String>,
    /// None at all
    #[arg(long, conflicts_with = "default")]
    none: bool,
    /// Those that each audience gives to everyone
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    common: Common,
}

/// Keep an account out: it cannot sign in, and all its sessions end at once
#[derive(Args)]
#[command(after_help = "Examples:\n  keywheel users disable ada@example.com")]
pub(super) struct DisableArgs {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    common: Common,
}

/// Let a disabled account sign in again; its old sessions stay ended
#[derive(Args)]
#[command(after_help = "Examples:\n  keywheel users enable ada@example.com")]
pub(super) struct EnableArgs {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    common: Common,
}

/// The living sessions of an account
#[derive(Args)]
#[command(after_help = "Examples:\n  keywheel users sessions ada@example.com --json")]
pub(super) struct SessionsArgs {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    common: Common,
}

/// End all sessions of an account, or one; verifiers refuse their tokens at once
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel users sign-out ada@example.com
  keywheel users sign-out ada@example.com --session 4f1d2c…")]
pub(super) struct SignOutArgs {
    #[command(flatten)]
    whom: Whom,
    /// Only this one, as `keywheel users sessions` names it
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Whom {
    /// The account's e-mail address
    #[arg(value_name = "EMAIL")]
    email: String,
}

#[derive(Args)]
struct Common {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An account that a command is about, with what it takes to change it.
struct Account {
    store: Database,
    user: User,
    config: Config,
    json: bool,
}

pub(super) fn run(command: UsersCommand) -> Result<(), CliError> {
    telemetry::start(&Log::for_commands())?;
    runtime()?.block_on(async {
        match command {
            UsersCommand::List(args) => list(args).await,
            UsersCommand::Roles(args) => roles(args).await,
            UsersCommand::Scopes(args) => scopes(args).await,
            UsersCommand::Disable(args) => disable(args).await,
            UsersCommand::Enable(args) => enable(args).await,
            UsersCommand::Sessions(args) => sessions(args).await,
            UsersCommand::SignOut(args) => sign_out(args).await,
        }
    })
}

// === impl Account ===

impl Account {
    async fn find(whom: &Whom, common: &Common) -> Result<Self, CliError> {
        let config = common.config.load()?;
        let store = Database::existing(&config.database.url.0).await?;
        let email = whom.email.to_ascii_lowercase();
        let Some((user, _)) = store.user_by_email(&email).await? else {
            return Err(CliError::No(format!(
                "no account has the address {email}; `keywheel users list` shows those there are"
            )));
        };
        Ok(Account {
            store,
            user,
            config,
            json: common.json,
        })
    }

    /// Writes down what was done, and says it.
    fn done(&self, event: Event, what: &str, shown: Value) -> Result<(), CliError> {
        let audit = AuditLog::new(Arc::new(SystemClock), self.config.log.audit_rate);
        let fields = Fields {
            detail: Some(what),
            sub: Some(&self.user.id),
            ..Fields::default()
        };
        audit.write(event, &fields);
        match self.json {
            true => output::json(&shown),
            false => output::line(&format!("{}: {what}", self.user.email)),
        }
    }
}

async fn list(args: ListArgs) -> Result<(), CliError> {
    let config = args.common.config.load()?;
    let store = Database::existing(&config.database.url.0).await?;
    let users = store.users().await?;
    let now = SystemClock.now();
    if args.common.json {
        let users: Vec<Value> = users.iter().map(user_json).collect();
        return output::json(&json!({ "users": users }));
    }
    let rows: Vec<[String; 6]> = users
        .iter()
        .map(|user| {
            [
                user.email.clone(),
                user.id.clone(),
                user.name.clone(),
                or_dash(user.roles.join(" ")),
                match user.disabled_at {
                    Some(at) => format!("disabled {}", output::relative(at, now)),
                    None => "active".into(),
                },
                output::relative(user.created_at, now),
            ]
        })
        .collect();
    output::table(["EMAIL", "ID", "NAME", "ROLES", "STATE", "MADE"], &rows)
}

fn user_json(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "roles": user.roles,
        "scopes": user.scopes,
        "profile": user.profile,
        "disabled_at": user.disabled_at,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    })
}

async fn roles(args: RolesArgs) -> Result<(), CliError> {
    for role in &args.roles {
        if role.is_empty() || role.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(CliError::Usage(format!(
                "`{role}` is no role: a role has no spaces"
            )));
        }
    }
    let account = Account::find(&args.whom, &args.common).await?;
    let now = SystemClock.now();
    account
        .store
        .set_roles(&account.user.id, &args.roles, now)
        .await?;
    let what = format!("roles are now {}", or_dash(args.roles.join(" ")));
    account.done(Event::UserChanged, &what, json!({ "roles": args.roles }))
}

async fn scopes(args: ScopesArgs) -> Result<(), CliError> {
    let account = Account::find(&args.whom, &args.common).await?;
    let known: Vec<&String> = account
        .config
        .audience
        .iter()
        .flat_map(|a| &a.scopes)
        .collect();
    if let Some(scope) = args.scopes.iter().find(|scope| !known.contains(scope)) {
        return Err(CliError::Usage(format!(
            "no audience of the configuration knows the scope `{scope}`"
        )));
    }
    let scopes = (!args.default).then_some(&args.scopes[..]);
    let now = SystemClock.now();
    account
        .store
        .set_scopes(&account.user.id, scopes, now)
        .await?;
    let what = match scopes {
        Some(scopes) => format!("scopes are now {}", or_dash(scopes.join(" "))),
        None => "scopes are those that each audience gives to everyone".into(),
    };
    account.done(Event::UserChanged, &what, json!({ "scopes": scopes }))
}

async fn disable(args: DisableArgs) -> Result<(), CliError> {
    let account = Account::find(&args.whom, &args.common).await?;
    let ended = account
        .store
        .disable(&account.user.id, SystemClock.now())
        .await?;
    let ended = ended.unwrap_or(0);
    let what = format!("disabled; {ended} sessions ended");
    account.done(
        Event::UserChanged,
        &what,
        json!({ "disabled": true, "sessions_ended": ended }),
    )
}

async fn enable(args: EnableArgs) -> Result<(), CliError> {
    let account = Account::find(&args.whom, &args.common).await?;
    account
        .store
        .enable(&account.user.id, SystemClock.now())
        .await?;
    account.done(Event::UserChanged, "enabled", json!({ "disabled": false }))
}

async fn sessions(args: SessionsArgs) -> Result<(), CliError> {
    let account = Account::find(&args.whom, &args.common).await?;
    let now = SystemClock.now();
    let sessions = account.store.sessions_of(&account.user.id, now).await?;
    if account.json {
        let sessions: Vec<Value> = sessions.iter().map(session_json).collect();
        return output::json(&json!({ "sessions": sessions }));
    }
    let rows: Vec<[String; 5]> = sessions.iter().map(|session| row(session, now)).collect();
    output::table(["ID", "BEGAN", "EXPIRES", "ADDRESS", "CLIENT"], &rows)
}

fn session_json(session: &Session) -> Value {
    json!({
        "id": session.id,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
        "expires_at": session.expires_at,
        "ip_address": session.ip_address,
        "user_agent": session.user_agent,
        "status_list": session.status.list,
        "status_index": session.status.index,
    })
}

fn row(session: &Session, now: NumericDate) -> [String; 5] {
    [
        session.id.clone(),
        output::relative(session.created_at, now),
        output::relative(session.expires_at, now),
        or_dash(session.ip_address.clone()),
        or_dash(session.user_agent.clone()),
    ]
}

async fn sign_out(args: SignOutArgs) -> Result<(), CliError> {
    let account = Account::find(&args.whom, &args.common).await?;
    let which = args.session.as_deref().map_or(Which::All, Which::Id);
    let ended = account
        .store
        .end(&account.user.id, which, SystemClock.now())
        .await?;
    if let (Some(session), true) = (&args.session, ended.is_empty()) {
        return Err(CliError::No(format!(
            "{} has no living session {session}; `keywheel users sessions` shows those there are",
            account.user.email
        )));
    }
    let what = format!("{} sessions ended", ended.len());
    account.done(
        Event::SessionRevoked,
        &what,
        json!({ "sessions_ended": ended }),
    )
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}
