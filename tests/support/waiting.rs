//! Waiting for what other tasks, threads and processes are doing. No wait counts tries or yields: how many of them a second has
//! differs between machines a thousandfold, while a socket, a handshake or a process takes the time that it takes.

use std::time::Duration;

use keywheel::{Clock as _, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Real time after which a wait has failed. Only a defect takes so long, on a machine that is slow and busy too; and a test that
/// waits in vain ends with the name of what it waited for, before its runner ends it.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// So long a task only gives way to others of its runtime: most waits are over by then. After it, the processor is left to other
/// threads and processes between two looks.
const BRIEFLY: Duration = Duration::from_millis(2);
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// Ends when `condition` holds. Gives way meanwhile, and fails instead of hanging.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    eventually_async(what, async || condition()).await;
}

/// As [`eventually`], for a condition that has to be asked for.
pub async fn eventually_async(what: &str, condition: impl AsyncFn() -> bool) {
    let started = SystemClock.monotonic();
    while !condition().await {
        let waited = SystemClock.monotonic().saturating_sub(started);
        assert!(waited < PATIENCE, "never came true: {what}");
        match waited < BRIEFLY {
            true => tokio::task::yield_now().await,
            false => SystemClock.sleep(BETWEEN_LOOKS).await,
        }
    }
}

/// Ends when a value of the channel fulfils `condition`; nothing is missed between two looks.
pub async fn eventually_seen<T>(
    what: &str,
    mut values: tokio::sync::watch::Receiver<T>,
    condition: impl FnMut(&T) -> bool,
) {
    tokio::select! {
        seen = values.wait_for(condition) => {
            assert!(seen.is_ok(), "cannot come true any more: {what}");
        }
        () = SystemClock.sleep(PATIENCE) => panic!("never came true: {what}"),
    }
}

/// Runs `attempt` until it gives something, with another process or thread at work meanwhile.
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = SystemClock.monotonic();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        let waited = SystemClock.monotonic().saturating_sub(started);
        assert!(waited < PATIENCE, "never came true: {what}");
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
}

/// As long as twenty exchanges over loopback take, on this machine and right now. For what must **not** happen: one exchange is
/// what it would take to happen. What must happen is waited for by [`eventually`].
pub async fn meanwhile() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    for _ in 0..20 {
        let (near, far) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        let (mut near, mut far) = (near.expect("a connection"), far.expect("a connection").0);
        near.write_all(b"?").await.expect("sent");
        far.read_exact(&mut [0]).await.expect("received");
        far.write_all(b"!").await.expect("sent");
        near.read_exact(&mut [0]).await.expect("received");
    }
}
