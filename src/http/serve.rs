//! Listeners: bound before anything is promised, served until the caller says stop.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

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

/// Serves `router` until `stop` holds `true` or its sender is gone, then lets requests under way end.
///
/// # Errors
/// What the listener says if it breaks.
pub async fn run(
    listener: TcpListener,
    router: Router,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            // An error is a sender that is gone, which means stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .await
}
