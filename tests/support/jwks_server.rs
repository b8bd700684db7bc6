//! A scripted HTTP server on loopback: answers what it is told to, and counts who asked.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers and closes.
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// As `Answer` with 200, but with 304 for anyone who has this entity tag.
    Tagged { etag: &'static str, body: Vec<u8> },
    /// Reads the request and says nothing more.
    Silence,
    /// Sends a head and then a body that never ends.
    Endless,
    /// Closes the connection at once.
    Reset,
}

// === impl Reply ===

impl Reply {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Reply::with(200, &[], body)
    }

    pub fn with(status: u16, headers: &[(&'static str, &str)], body: impl Into<Vec<u8>>) -> Self {
        Reply::Answer {
            status,
            headers: headers
                .iter()
                .map(|&(name, value)| (name, value.to_owned()))
                .collect(),
            body: body.into(),
        }
    }
}

/// One running server; it ends with its owner.
pub struct JwksServer {
    address: SocketAddr,
    reply: Arc<ArcSwap<Reply>>,
    requests: watch::Receiver<Vec<String>>,
    task: tokio::task::AbortHandle,
}

// === impl JwksServer ===

impl JwksServer {
    pub async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::on(listener, reply)
    }

    pub fn on(listener: TcpListener, reply: Reply) -> Self {
        let address = listener.local_addr().expect("an address");
        let reply = Arc::new(ArcSwap::from_pointee(reply));
        let (requests_in, requests) = watch::channel(Vec::new());
        let replies = reply.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, replies.clone(), requests_in.clone()));
            }
        });
        JwksServer {
            address,
            reply,
            requests,
            task: task.abort_handle(),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on the server answers this.
    pub fn reply(&self, reply: Reply) {
        self.reply.store(Arc::new(reply));
    }

    /// How many requests have come.
    pub fn count(&self) -> usize {
        self.requests.borrow().len()
    }

    /// The heads of all requests, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.requests.borrow().clone()
    }

    /// Ends when `count` requests have come in all.
    pub async fn asked(&self, count: usize) {
        super::eventually("a request", || self.count() >= count).await;
    }
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut stream: TcpStream,
    replies: Arc<ArcSwap<Reply>>,
    requests: watch::Sender<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    // The script as it stands when the request has come, before anyone is told that it has.
    let reply = replies.load_full();
    requests.send_modify(|heads| heads.push(head.clone()));
    // A client that has gone away is part of some scripts.
    let _ = match &*reply {
        Reply::Answer {
            status,
            headers,
            body,
        } => send(&mut stream, *status, headers, body).await,
        Reply::Tagged { etag, body } => {
            let headers = [("ETag", (*etag).to_owned())];
            let has_it = head.contains(&format!("if-none-match: {}", etag.to_ascii_lowercase()));
            match has_it {
                true => send(&mut stream, 304, &headers, b"").await,
                false => send(&mut stream, 200, &headers, body).await,
            }
        }
        Reply::Silence => std::future::pending().await,
        Reply::Endless => endless(&mut stream).await,
        Reply::Reset => Ok(()),
    };
}

async fn send(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&'static str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if status != 304 {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}

async fn endless(stream: &mut TcpStream) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await?;
    let chunk = [b"1000\r\n".as_slice(), &[b' '; 0x1000], b"\r\n"].concat();
    loop {
        stream.write_all(&chunk).await?;
    }
}
