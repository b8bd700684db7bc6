//! A scripted HTTP server on loopback: answers what it is told to, and counts who asked.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::waiting::eventually_seen;

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
    Tagged { etag: String, body: Vec<u8> },
    /// As `Tagged`; a request that prefers to wait (RFC 7240) is held until the script changes, or [`JwksServer::release`].
    Push { etag: String, body: Vec<u8> },
    /// As `Tagged`, and claims to hold requests, yet answers each at once.
    Boast { etag: String, body: Vec<u8> },
    /// A head that goes on and on: one more line whenever [`JwksServer::release`] is called.
    Dribble,
    /// Redirects one path to another, and serves the set there.
    Moved {
        from: String,
        to: String,
        body: Vec<u8>,
    },
    /// Reads the request and says nothing more.
    Silence,
    /// Answers as `then` says, but not before [`JwksServer::release`], and whatever the script is by then.
    Delayed { then: Box<Reply> },
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
    reply: watch::Sender<Arc<Reply>>,
    requests: watch::Receiver<Vec<String>>,
    held: watch::Sender<usize>,
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
        let reply = watch::Sender::new(Arc::new(reply));
        let (requests_in, requests) = watch::channel(Vec::new());
        let held = watch::Sender::new(0);
        let connection = Connection {
            reply: reply.subscribe(),
            requests: requests_in,
            held: held.clone(),
        };
        let task = tokio::spawn(async move {
            // Connections end with the server: a crash would take them down too.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection.clone().answer(stream));
                while connections.try_join_next().is_some() {}
            }
        });
        JwksServer {
            address,
            reply,
            requests,
            held,
            task: task.abort_handle(),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on the server answers this.
    pub fn reply(&self, reply: Reply) {
        self.reply.send_replace(Arc::new(reply));
    }

    /// Wakes every request that is held or delayed, without a change of the script.
    pub fn release(&self) {
        self.reply.send_modify(|_| {});
    }

    /// How many requests are being held.
    pub fn held(&self) -> usize {
        *self.held.borrow()
    }

    /// Ends when `count` requests are being held.
    pub async fn holds(&self, count: usize) {
        let held = self.held.subscribe();
        eventually_seen("requests are held", held, |&held| held == count).await;
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
        let requests = self.requests.clone();
        eventually_seen("a request", requests, |heads| heads.len() >= count).await;
    }
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Connection {
    reply: watch::Receiver<Arc<Reply>>,
    requests: watch::Sender<Vec<String>>,
    held: watch::Sender<usize>,
}

/// One held request, counted while it lasts.
struct HeldOne<'a>(&'a watch::Sender<usize>);

impl<'a> HeldOne<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        HeldOne(count)
    }
}

impl Drop for HeldOne<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Connection {
    async fn answer(mut self, mut stream: TcpStream) {
        while self.answer_one(&mut stream).await {}
    }

    /// `true`: the connection is good for another request.
    async fn answer_one(&mut self, stream: &mut TcpStream) -> bool {
        // Nobody sends a body, so what has come up to the empty line is all.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut head).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
            // No HTTP, such as a TLS handshake: refused in plain words, as servers do.
            if !head[0].is_ascii_uppercase() {
                let _ = send(stream, 400, &[], b"this is plain HTTP").await;
                return false;
            }
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        // The script as it stands when the request has come, before anyone is told that it has.
        let mut reply = self.reply.borrow_and_update().clone();
        self.requests.send_modify(|heads| heads.push(head.clone()));
        if let Reply::Delayed { then } = &*reply {
            let then = Arc::new(Reply::clone(then));
            let _ = self.reply.changed().await;
            reply = then;
        }
        // A client that has gone away is part of some scripts.
        self.play(stream, &head, reply).await.unwrap_or(false)
    }

    async fn play(
        &mut self,
        stream: &mut TcpStream,
        head: &str,
        mut reply: Arc<Reply>,
    ) -> std::io::Result<bool> {
        let has =
            |etag: &str| head.contains(&format!("if-none-match: {}", etag.to_ascii_lowercase()));
        let waits = head.contains("prefer: wait=");
        if let Reply::Push { etag, .. } = &*reply
            && waits
            && !head.contains("prefer: wait=0")
            && has(etag)
        {
            let _held = HeldOne::new(&self.held);
            let mut nothing = [0];
            tokio::select! {
                changed = self.reply.changed() => {
                    if changed.is_err() {
                        return Ok(false);
                    }
                }
                // The client has hung up.
                _ = stream.read(&mut nothing) => return Ok(false),
            }
            reply = self.reply.borrow_and_update().clone();
        }
        match &*reply {
            Reply::Answer {
                status,
                headers,
                body,
            } => send(stream, *status, headers, body).await?,
            Reply::Tagged { etag, body }
            | Reply::Push { etag, body }
            | Reply::Boast { etag, body } => {
                let mut headers = vec![("ETag", etag.clone())];
                if waits && !matches!(&*reply, Reply::Tagged { .. }) {
                    headers.push(("Preference-Applied", "wait=50".into()));
                }
                // Kept open, as a service would: a thousand connections at once are more than a queue of them takes.
                match has(etag) {
                    true => keep(stream, 304, &headers, b"").await?,
                    false => keep(stream, 200, &headers, body).await?,
                }
                return Ok(true);
            }
            Reply::Moved { from, to, body } => match head.contains(&format!("get {from} ")) {
                true => send(stream, 301, &[("Location", to.clone())], b"").await?,
                false => send(stream, 200, &[], body).await?,
            },
            Reply::Dribble => {
                stream.write_all(b"HTTP/1.1 200 X\r\n").await?;
                while self.reply.changed().await.is_ok() {
                    stream.write_all(b"X-More: 1\r\n").await?;
                }
            }
            Reply::Silence | Reply::Delayed { .. } => std::future::pending().await,
            Reply::Endless => endless(stream).await?,
            Reply::Reset => {}
        }
        Ok(false)
    }
}

async fn send(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&'static str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let closing = [headers, &[("Connection", "close".into())]].concat();
    keep(stream, status, &closing, body).await?;
    stream.shutdown().await
}

async fn keep(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&'static str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut answer = format!("HTTP/1.1 {status} X\r\n");
    for (name, value) in headers {
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    if status != 304 {
        answer.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    answer.push_str("\r\n");
    let mut answer = answer.into_bytes();
    answer.extend_from_slice(body);
    stream.write_all(&answer).await
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
