//! Addresses that are known before anybody listens there. "Free a moment ago" is a race: another test may take the port meanwhile.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::TcpSocket;

/// An address that refuses connections while the socket lives: bound, so that nobody else gets it, and not listening.
pub fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind((Ipv4Addr::LOCALHOST, 0).into())
        .expect("a port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

/// An address for a program that has to be told one. Below the ports that Linux gives to whoever asks for any, which begin at
/// 32768, and of other ports in each process of tests: so nobody takes it before the program does.
pub fn free() -> SocketAddr {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 15_000;
    const COUNT: u32 = 17_000;
    for _ in 0..COUNT {
        let own = std::process::id().wrapping_mul(8);
        let place = own.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + place).expect("a port");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("every port is taken");
}
