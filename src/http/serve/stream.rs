//! A client's stream that is not waited for without end: a client that does not take its answers is let go.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Connection, Stage, Wait};
use crate::clock::{Clock, Sleep};

/// How long a client may take nothing of its answers.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// What a client must take a second, else it uses up that time although it takes something. A modem takes five times as much.
pub(super) const MIN_BYTES_PER_SECOND: u64 = 1024;

/// What a connection is made of.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Lets what was written and not taken go with the connection, where the system would keep it.
    fn abort(&self) {}
}

impl Socket for tokio::net::TcpStream {
    fn abort(&self) {
        // Fails for a connection that is gone already.
        let _ = self.set_zero_linger();
    }
}

#[cfg(test)]
impl Socket for tokio::io::DuplexStream {}

/// A socket whose writes must get on, and that tells its connection what it waits for.
pub(super) struct PatientStream<S> {
    socket: S,
    connection: Arc<Connection>,
    clock: Arc<dyn Clock>,
    stalled: Option<Stalled>,
}

/// Bytes that the client does not take.
struct Stalled {
    deadline: Duration,
    sleep: Sleep,
    /// What the connection waited for otherwise.
    before: Wait,
    is_waiting: bool,
}

// === impl PatientStream ===

impl<S: Socket> PatientStream<S> {
    pub(super) fn new(socket: S, connection: Arc<Connection>, clock: Arc<dyn Clock>) -> Self {
        PatientStream {
            socket,
            connection,
            clock,
            stalled: None,
        }
    }

    /// A write could not get on: until when it is waited for.
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let now = self.clock.monotonic();
        let clock = &self.clock;
        let connection = &self.connection;
        let stalled = self.stalled.get_or_insert_with(|| Stalled {
            deadline: now + WRITE_WITHIN,
            sleep: clock.sleep(WRITE_WITHIN),
            before: connection.wait(),
            is_waiting: false,
        });
        if connection.wait().stage != Stage::Sending {
            stalled.before = connection.enter(Stage::Sending, now);
        }
        stalled.is_waiting = true;
        loop {
            ready!(stalled.sleep.as_mut().poll(context));
            let now = self.clock.monotonic();
            if now >= stalled.deadline {
                self.socket.abort();
                return Poll::Ready(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client does not take its answers",
                ));
            }
            stalled.sleep = self.clock.sleep(stalled.deadline - now);
        }
    }

    /// A write got on: a client that takes enough a second is waited for without end.
    fn progressed(&mut self, bytes: usize) {
        let Some(stalled) = &mut self.stalled else {
            return;
        };
        if stalled.is_waiting {
            stalled.is_waiting = false;
            if self.connection.wait().stage == Stage::Sending {
                self.connection.restore(stalled.before);
            }
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let earned = Duration::from_millis(bytes.saturating_mul(1000) / MIN_BYTES_PER_SECOND);
        let latest = self.clock.monotonic() + WRITE_WITHIN;
        stalled.deadline = stalled.deadline.saturating_add(earned).min(latest);
    }

    fn poll_written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.poll_stalled(context).map(Err),
            Poll::Ready(Ok(bytes)) => {
                self.progressed(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: Socket> AsyncRead for PatientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        if buffer.filled().len() > before && self.connection.wait().stage == Stage::Idle {
            let now = self.clock.monotonic();
            self.connection.enter(Stage::Receiving, now);
        }
        read
    }
}

impl<S: Socket> AsyncWrite for PatientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.poll_written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.poll_written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// All is written: the next answer has its whole time again.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(context))?;
        self.stalled = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{ManualClock, NumericDate};

    /// A stream that takes 1 KiB before it stalls, its other end, and the clock.
    fn stream() -> (
        PatientStream<tokio::io::DuplexStream>,
        tokio::io::DuplexStream,
        ManualClock,
    ) {
        let clock = ManualClock::new(NumericDate::EPOCH);
        let (ours, theirs) = tokio::io::duplex(1024);
        let connection = Arc::new(Connection::new(Duration::ZERO, None));
        let stream = PatientStream::new(ours, connection, Arc::new(clock.clone()));
        (stream, theirs, clock)
    }

    /// Writes without end; the client takes `bytes` every second, for so many seconds.
    async fn outcome(bytes: usize, seconds: u64) -> Option<io::ErrorKind> {
        let (mut stream, mut client, clock) = stream();
        let writing = async move {
            loop {
                if let Err(error) = stream.write_all(&[0; 512]).await {
                    return error.kind();
                }
            }
        };
        tokio::pin!(writing);
        let mut taken = vec![0; bytes.max(1)];
        for _ in 0..seconds {
            // As far as it gets: one poll per second is enough, since it ends in a wait.
            let ended = std::future::poll_fn(|context| {
                Poll::Ready(match writing.as_mut().poll(context) {
                    Poll::Ready(kind) => Some(kind),
                    Poll::Pending => None,
                })
            });
            if let Some(kind) = ended.await {
                return Some(kind);
            }
            if bytes > 0 {
                client.read_exact(&mut taken).await.unwrap();
            }
            clock.advance(Duration::from_secs(1));
            // A turn has a budget of reads and writes.
            tokio::task::yield_now().await;
        }
        None
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go_after_half_a_minute() {
        assert_eq!(outcome(0, 30).await, None);
        assert_eq!(outcome(0, 32).await, Some(io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn a_client_that_takes_a_byte_now_and_then_is_let_go_as_well() {
        assert_eq!(outcome(1, 35).await, Some(io::ErrorKind::TimedOut));
        assert_eq!(outcome(100, 60).await, Some(io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn a_slow_client_that_gets_on_is_waited_for_without_end() {
        assert_eq!(outcome(1024, 3600).await, None);
    }
}
