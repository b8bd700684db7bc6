//! Promises in real time. A number of seconds promised is promised of a machine that has nothing else to do: what it can do at this
//! moment is measured beside it, so that a busy machine is not taken for a slow product, nor a slow product for a busy machine.

use std::time::Duration;

use keywheel::{Claims, Clock as _, SystemClock, Verifier};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::waiting::PATIENCE;

/// What an idle machine takes for the control, and a little more: 152 to 163 ms on two cores (Zen 4), 177 to 245 ms with two busy
/// loops beside it.
const IDLE: Duration = Duration::from_millis(200);
/// However busy the machine is, a promise is stretched no further: ten times as long is no second any more.
const MOST: f64 = 10.0;
const CONNECTIONS: usize = 100;
const EXCHANGES: usize = 400;
/// Looking at a thousand verifiers without a pause would take one core from those who are looked at.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// How long the machine took for something plain, before what is promised began.
pub struct Machine {
    before: Duration,
}

// === impl Machine ===

impl Machine {
    /// Measures the machine as it is. Nothing that is to be measured may be at work already.
    pub async fn measured() -> Self {
        Machine {
            before: quickest().await,
        }
    }

    /// Fails if `took` is more than the promise, unless the machine, measured again, was slower than an idle one to the same
    /// extent.
    pub async fn holds(&self, promise: Duration, took: Duration) {
        let control = self.before.max(quickest().await);
        let slower = control.div_duration_f64(IDLE).clamp(1.0, MOST);
        println!(
            "took {took:?} of {promise:?}; the machine {control:?} for what takes an idle one {IDLE:?}"
        );
        assert!(
            took <= promise.mul_f64(slower),
            "{took:?}, where {promise:?} is promised of an idle machine; this one took {control:?} for what takes an idle one {IDLE:?}"
        );
    }
}

/// The quickest of three: what has just been measured may still be at work in the first.
async fn quickest() -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        quickest = quickest.min(control().await);
    }
    quickest
}

/// A hundred connections over loopback, on which a word goes to and fro four hundred times, for about as long as what is promised
/// takes: waking tasks and passing bytes, as whatever
/// reaches a verifier must.
async fn control() -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut pairs = Vec::new();
    for _ in 0..CONNECTIONS {
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        pairs.push((near.expect("a connection"), far.expect("a connection").0));
    }
    let started = SystemClock.monotonic();
    let mut tasks = tokio::task::JoinSet::new();
    for (near, far) in pairs {
        for (mut stream, begins) in [(near, true), (far, false)] {
            tasks.spawn(async move {
                let mut word = [0; 512];
                for _ in 0..EXCHANGES {
                    if begins {
                        stream.write_all(&word).await.expect("sent");
                    }
                    stream.read_exact(&mut word).await.expect("received");
                    if !begins {
                        stream.write_all(&word).await.expect("sent");
                    }
                }
                // Closed once both are done with it.
                stream
            });
        }
    }
    let done = tasks.join_all().await;
    let took = SystemClock.monotonic().saturating_sub(started);
    drop(done);
    took
}

/// How long after `since` each of the verifiers refused the token, in order.
pub async fn refusals(verifiers: &[Verifier], token: &str, since: Duration) -> Vec<Duration> {
    let elapsed = || SystemClock.monotonic().saturating_sub(since);
    let mut waits = Vec::with_capacity(verifiers.len());
    let mut left: Vec<&Verifier> = verifiers.iter().collect();
    while !left.is_empty() {
        left.retain(|verifier| {
            let refused = verifier.try_verify::<Claims>(token).is_err();
            if refused {
                waits.push(elapsed());
            }
            !refused
        });
        assert!(
            elapsed() < PATIENCE,
            "{} of them never refuse it",
            left.len()
        );
        SystemClock.sleep(BETWEEN_LOOKS).await;
    }
    waits.sort();
    let at = |share: usize| waits[(waits.len() * share / 100).min(waits.len() - 1)];
    println!(
        "refused by {} verifiers: p50 {:?}, p99 {:?}, all {:?}",
        verifiers.len(),
        at(50),
        at(99),
        at(100)
    );
    waits
}

/// Lets this process and those that it starts have as many open files as the system allows them: a thousand verifiers have a
/// connection each, and a shell's limit is often 1,024.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("as many files as the system allows");
}
