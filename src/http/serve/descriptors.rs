//! How the process' file descriptors are shared out: connections of the public listener never take what the admin listener, the
//! database and the key files need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where the system sets no limit.
const UNLIMITED: usize = 1 << 20;

/// How many connections each listener may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// The public listener.
    pub public: usize,
    /// The admin listener: a scraper, a probe, somebody who looks.
    pub admin: usize,
}

// === impl Descriptors ===

impl Descriptors {
    /// Raises the limit of open files as far as the system allows this process, not as far as a shell does by default, and shares it
    /// out: every held request is an open connection.
    pub fn raise() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
        Self::of(getrlimit(Resource::Nofile).current)
    }

    fn of(limit: Option<u64>) -> Self {
        let limit = limit.map_or(UNLIMITED, |limit| {
            usize::try_from(limit).unwrap_or(UNLIMITED)
        });
        // SQLite's nine connections have three files each; keys, sockets to other services, the runtime's own.
        let files = (limit / 4).clamp(16, 256);
        let admin = (limit / 16).clamp(4, 64);
        Descriptors {
            public: limit.saturating_sub(files + admin).max(8),
            admin,
        }
    }

    /// Long polls that may be held of one document: so many that all of them leave room for other requests.
    pub const fn held(&self) -> usize {
        self.public / 8 * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_leaves_descriptors_for_files_and_the_admin_listener() {
        for (limit, public, admin) in [
            (Some(64), 44, 4),
            (Some(256), 176, 16),
            (Some(1024), 704, 64),
            (Some(1 << 19), (1 << 19) - 320, 64),
            (None, UNLIMITED - 320, 64),
        ] {
            let shared = Descriptors::of(limit);
            assert_eq!((shared.public, shared.admin), (public, admin), "{limit:?}");
            assert!(2 * shared.held() < shared.public);
        }
    }

    /// What the runbook says of `LimitNOFILE`.
    #[test]
    fn as_many_verifiers_are_held_as_the_runbook_says() {
        for (limit, held) in [(1024, 264), (65_536, 24_456), (133_656, 50_001)] {
            assert_eq!(Descriptors::of(Some(limit)).held(), held, "{limit}");
            // One that follows status lists too holds two; and there is room for others.
            assert!(2 * held <= Descriptors::of(Some(limit)).public / 4 * 3);
        }
    }
}
