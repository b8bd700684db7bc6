//! Listeners: bound before anything is promised, served until the caller says stop, each with bounds for its connections.

mod connection;
mod connections;
mod descriptors;
mod stream;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::response::Response;
use http::Request;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tower_service::Service;

use crate::clock::{Clock, SystemClock};
use crate::config::Network;
use crate::metrics::{ConnectionEnd, ConnectionMetrics, Metrics};
use connection::{Connection, Stage};
use connections::Connections;
pub use descriptors::Descriptors;
use stream::PatientStream;

/// How long a client may take to send the head of a request, or to send another on a connection that it keeps.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Longest head. More is answered with 431 by hyper.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// What the system keeps of one connection's bytes, each way. Without a bound it keeps megabytes for a client that does not read.
const SOCKET_BYTES: u32 = 64 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Before the next attempt when a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", hint(source, *address))]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

fn hint(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "; port {} is taken by another process: stop it, or name another address",
            address.port()
        ),
        _ => String::new(),
    }
}

/// Listens on `address`; port 0 takes a free one.
///
/// # Errors
/// [`ListenError`] names the address, and says when the port is in use.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    listen(address).map_err(|source| ListenError { address, source })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Connections have their listener's. Where the system will not, its own bounds hold.
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How a listener treats its connections.
#[derive(Clone)]
pub struct Listening {
    /// What metrics and the log call it.
    pub name: &'static str,
    /// Most connections.
    pub max: usize,
    /// Most unfinished requests of one address, or /64 of IPv6.
    pub unfinished_per_network: usize,
    /// Whose connections have no such share, for everybody's come from there.
    pub proxies: Vec<Network>,
    clock: Arc<dyn Clock>,
    metrics: ConnectionMetrics,
}

/// A request's body, that tells its connection when it is here.
pub struct Received {
    body: Incoming,
    connection: Arc<Connection>,
    clock: Arc<dyn Clock>,
}

// === impl Listening ===

impl Listening {
    /// A listener with at most `max` connections.
    pub fn new(name: &'static str, max: usize, metrics: &Metrics) -> Self {
        Listening {
            name,
            max,
            unfinished_per_network: (max / 8).clamp(8, 256),
            proxies: Vec::new(),
            clock: Arc::new(SystemClock),
            metrics: metrics.http.connections(name),
        }
    }

    /// Behind these proxies.
    #[must_use]
    pub fn behind(mut self, proxies: &[Network]) -> Self {
        self.proxies = proxies.to_vec();
        self
    }
}

// === impl Received ===

impl Received {
    fn is_here(&self) {
        if self.connection.wait().stage == Stage::Receiving {
            self.connection
                .enter(Stage::Working, self.clock.monotonic());
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.is_here();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.is_here();
    }
}

/// Serves `service`, a router or a gate, until `stop` holds `true` or its sender is gone, then lets requests under way end.
///
/// # Errors
/// What the listener says if it breaks.
pub async fn run<S>(
    listener: TcpListener,
    service: S,
    listening: Listening,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()>
where
    S: Service<Request<Received>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let graceful = GracefulShutdown::new();
    let clock = listening.clock.clone();
    let metrics = listening.metrics.clone();
    let mut connections = Connections::new(listening);
    loop {
        let accepted = tokio::select! {
            accepted = async {
                connections.room().await;
                listener.accept().await
            } => accepted,
            // An error is a sender that is gone, which means stop as well.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A client that went away is none of our business; a descriptor that cannot be had is.
                if is_exhausted(&error) {
                    connections.none_left(&error);
                }
                tracing::debug!(%error, "a connection could not be accepted");
                clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers that nobody waits for: without this, the last bytes of each could.
        let _ = stream.set_nodelay(true);
        let place = connections.open(address.ip());
        let connection = connection(
            PatientStream::new(stream, place.connection.clone(), clock.clone()),
            address,
            service.clone(),
            &place.connection,
            &clock,
        );
        let connection = graceful.watch(connection);
        let metrics = metrics.clone();
        tokio::spawn(async move {
            tokio::select! {
                // Dropped, and with it the socket.
                () = place.connection.closed() => {}
                ended = connection => if let Err(error) = ended {
                    metrics.ended(end_of(&error));
                    tracing::trace!(%error, "a connection ended badly");
                }
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

fn end_of(error: &hyper::Error) -> ConnectionEnd {
    use std::error::Error as _;
    let source = error.source().and_then(|source| source.downcast_ref());
    let io_kind = source.map(io::Error::kind);
    match io_kind {
        Some(io::ErrorKind::TimedOut) => ConnectionEnd::SlowReader,
        _ if error.is_timeout() => ConnectionEnd::SlowRequest,
        _ => ConnectionEnd::Broken,
    }
}

fn connection<S>(
    stream: PatientStream<TcpStream>,
    address: SocketAddr,
    service: S,
    connection: &Arc<Connection>,
    clock: &Arc<dyn Clock>,
) -> impl GracefulConnection<Error = hyper::Error> + Send + use<S>
where
    S: Service<Request<Received>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let (connection, clock) = (connection.clone(), clock.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        if request.body().is_end_stream() {
            connection.enter(Stage::Working, clock.monotonic());
        }
        let mut request = request.map(|body| Received {
            body,
            connection: connection.clone(),
            clock: clock.clone(),
        });
        request.extensions_mut().insert(ConnectInfo(address));
        // Ready at any time, as routers and the gate are.
        let answer = service.clone().call(request);
        let (connection, clock) = (connection.clone(), clock.clone());
        async move {
            let answer = answer.await;
            // From now on it waits for its client again: to take the answer, and to ask for more.
            connection.enter(Stage::Idle, clock.monotonic());
            answer
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{ManualClock, NumericDate};

    const ANSWER_BYTES: usize = 4 << 20;

    /// Answers `/large` at once and anything else never.
    #[derive(Clone)]
    struct Answers;

    impl Service<Request<Received>> for Answers {
        type Response = Response;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Received>) -> Self::Future {
            Box::pin(async move {
                if request.uri() != "/large" {
                    std::future::pending::<()>().await;
                }
                Ok(Response::new(vec![0; ANSWER_BYTES].into()))
            })
        }
    }

    async fn until(mut is_so: impl FnMut() -> bool) {
        for _ in 0..1_000_000 {
            if is_so() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("never came true");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_its_answers_is_let_go_and_one_that_waits_is_not() {
        let clock = ManualClock::new(NumericDate::EPOCH);
        let metrics = Metrics::new().unwrap();
        let mut listening = Listening::new("public", 100, &metrics);
        listening.clock = Arc::new(clock.clone());
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(run(listener, Answers, listening, stopped));

        let mut held = TcpStream::connect(address).await.unwrap();
        held.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        // A small buffer of its own, so that what it reads is what the service may go on with.
        let reader = tokio::net::TcpSocket::new_v4().unwrap();
        reader.set_recv_buffer_size(16 * 1024).unwrap();
        let mut reader = reader.connect(address).await.unwrap();
        let mut deaf = TcpStream::connect(address).await.unwrap();
        // One asks once, and reads. The other asks a hundred times, and does not.
        let large = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
        reader.write_all(large.as_bytes()).await.unwrap();
        deaf.write_all(large.repeat(100).as_bytes()).await.unwrap();
        let is_slow = |count: u32| {
            let line = format!("{{listener=\"public\",reason=\"slow_reader\"}} {count}\n");
            metrics.render().contains(&line)
        };
        let open = |count: u32| {
            let line = format!("keywheel_connections{{listener=\"public\"}} {count}\n");
            metrics.render().contains(&line)
        };
        until(|| open(3)).await;
        let mut taken = vec![0; 64 * 1024];
        let mut seconds = 0;
        while !is_slow(1) {
            assert!(seconds < 3600, "let go at last");
            reader.read_exact(&mut taken[..32 * 1024]).await.unwrap();
            clock.advance(Duration::from_secs(1));
            seconds += 1;
            // Sockets are looked at every few dozen turns.
            for _ in 0..300 {
                tokio::task::yield_now().await;
            }
        }
        until(|| open(2)).await;
        assert!(seconds >= 30, "{seconds}");
        // Answers to none of the hundred are left in the system's memory: the connection was reset.
        let mut last = Ok(1);
        while matches!(last, Ok(1..)) {
            last = deaf.read(&mut taken).await;
        }
        assert_eq!(last.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        // The reader gets all of it, however long it takes; and the held request is held.
        let mut rest = ANSWER_BYTES - usize::try_from(seconds).unwrap() * 32 * 1024;
        while rest > 64 * 1024 {
            reader.read_exact(&mut taken).await.unwrap();
            // The system's buffers hold two such pieces: three are no 30 s.
            clock.advance(Duration::from_secs(8));
            rest -= taken.len();
            for _ in 0..300 {
                tokio::task::yield_now().await;
            }
        }
        assert!(is_slow(1) && open(2));
        assert_eq!(
            held.try_read(&mut taken).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }
}
