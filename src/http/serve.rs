//! Listeners: bound before anything is promised, served until the caller says stop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower_service::Service;

use crate::clock::{Clock as _, SystemClock};

/// How long a client may take to send the head of a request, or to send another on a connection that it keeps.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Longest head. More is answered with 431 by hyper.
const MAX_HEAD_BYTES: usize = 64 * 1024;
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
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Serves `service`, a router or a gate, until `stop` holds `true` or its sender is gone, then lets requests under way end.
///
/// # Errors
/// What the listener says if it breaks.
pub async fn run<S>(
    listener: TcpListener,
    service: S,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // An error is a sender that is gone, which means stop as well.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A client that went away, or no file descriptor left: the next may do better.
                tracing::debug!(%error, "a connection could not be accepted");
                SystemClock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers that nobody waits for: without this, the last bytes of each could.
        let _ = stream.set_nodelay(true);
        let connection = graceful.watch(connection(stream, address, service.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "a connection ended badly");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

fn connection<S>(
    stream: TcpStream,
    address: SocketAddr,
    service: S,
) -> impl GracefulConnection<Error = hyper::Error> + Send
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        // Ready at any time, as routers and the gate are.
        service.clone().call(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
}
