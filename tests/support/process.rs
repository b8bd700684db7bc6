//! The `keywheel` program as a process, and plain HTTP to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use tempfile::TempDir;

#[allow(unused_imports, reason = "not every file waits")]
pub use super::waiting::until;

/// A folder with a configuration for a service on free ports, whose keys may rotate after two seconds.
pub struct Home {
    folder: TempDir,
}

// === impl Home ===

impl Home {
    pub fn new() -> Self {
        Self::with("jwks_max_age = \"1s\"\nclock_skew = \"1s\"")
    }

    /// `keys` is the content of the section `[keys]`.
    pub fn with(keys: &str) -> Self {
        let home = Home {
            folder: TempDir::new().expect("a folder"),
        };
        let config = format!(
            "issuer = \"http://issuer.test\"\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
             [keys]\nstore = \"{}\"\n{keys}\n[[audience]]\nname = \"legacy\"\nalgorithm = \"RS256\"\n\
             [database]\nurl = \"sqlite://{}\"\n",
            home.keys().display(),
            home.path().join("data/keywheel.db").display()
        );
        std::fs::write(home.config(), config).expect("a config");
        home
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("keywheel.toml")
    }

    pub fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// Runs a command that ends, by this home's configuration.
    pub fn run(&self, args: &[&str]) -> Outcome {
        let output = self.command(args).output().expect("keywheel runs");
        Outcome::from(output)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = keywheel(args);
        command.arg("--config").arg(self.config());
        command
    }

    pub fn serve(&self) -> Service {
        Service::start(self.command(&["serve"]))
    }

    /// The keys as `keys list --json` shows them.
    pub fn list(&self) -> Vec<serde_json::Value> {
        let outcome = self.run(&["keys", "list", "--json"]);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        let listed: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
        listed["keys"].as_array().expect("keys").clone()
    }

    /// The kids of the keys of `alg` in `stage`.
    pub fn kids(&self, alg: &str, stage: &str) -> Vec<String> {
        let keys = self.list().into_iter();
        keys.filter(|key| key["alg"] == alg && key["stage"] == stage)
            .map(|key| key["kid"].as_str().expect("a kid").to_owned())
            .collect()
    }
}

/// The program, with nothing of this process' environment that could configure it.
pub fn keywheel(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keywheel"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let outcome = Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        };
        assert_eq!(secret_in(&outcome.stderr), None, "on stderr");
        outcome
    }
}

/// A running `keywheel serve` or `gate`; ends with its owner, who fails if its log holds a secret.
pub struct Service {
    child: Child,
    log: Option<JoinHandle<Vec<u8>>>,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    /// What it said on stderr until it was up.
    pub started: String,
}

// === impl Service ===

impl Service {
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("keywheel starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut started = String::new();
        let announced = loop {
            let mut line = String::new();
            let read = stderr.read_line(&mut line).expect("stderr");
            started.push_str(&line);
            assert!(read > 0, "ended before it was up: {started}");
            if line.starts_with("keywheel serves ") || line.starts_with("keywheel gate serves ") {
                break line;
            }
        };
        // Drained, so that the service never waits for a reader.
        let log = std::thread::spawn(move || {
            let mut log = Vec::new();
            // What could be read before it broke off is the log.
            let _ = stderr.read_to_end(&mut log);
            log
        });
        let mut addresses = announced
            .split("http://")
            .skip(1)
            .filter_map(|rest| rest.split([',', '\n']).next()?.parse().ok());
        // The first is the issuer's, which is no address.
        let mut next = || addresses.next().expect("an address");
        Service {
            public: next(),
            admin: next(),
            child,
            log: Some(log),
            started,
        }
    }

    /// The process, as the system names it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as a supervisor would.
    pub fn terminate(mut self) -> Option<i32> {
        // Not by the program `kill`, which not every machine has.
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
        self.child.wait().expect("it ends").code()
    }

    /// Ends it; gives all that it said on stderr since it was up.
    pub fn into_log(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_log()
    }

    fn read_log(&mut self) -> String {
        let log = self.log.take().map(|log| log.join().unwrap_or_default());
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Gone already, in tests that end it themselves.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.read_log();
        if !std::thread::panicking() {
            assert_eq!(secret_in(&log), None, "in the log of a service");
        }
    }
}

/// What the tests sign in with.
pub const PASSWORD: &str = "correct horse";

/// What a log must never hold, if it does: a token, a cookie, a private key, a password of these tests.
pub fn secret_in(log: &str) -> Option<&str> {
    const PLAIN: [&str; 6] = [
        "session_token=",
        "set-cookie",
        "PRIVATE KEY-----",
        "\"d\":\"",
        PASSWORD,
        "Bearer ey",
    ];
    let plain = PLAIN.iter().find_map(|secret| log.find(secret));
    let token = log.match_indices("eyJ").map(|(at, _)| at).find(|&at| {
        let is_of_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let end = log[at..].find(|c| !is_of_token(c));
        let token = &log[at..at + end.unwrap_or(log.len() - at)];
        // A header, claims and a signature; a header alone is no secret.
        token.len() > 80 && token.matches('.').count() >= 2
    });
    let at = plain.or(token)?;
    let shown = log[at..]
        .char_indices()
        .nth(120)
        .map_or(log.len(), |(i, _)| at + i);
    Some(&log[at..shown])
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

// === impl Answer ===

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, &[])
}

pub fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    request_with(address, method, path, headers, "")
}

pub fn request_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    head.push_str(body);
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    let is_chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    Answer {
        status: status.parse().expect("a number"),
        head: head.to_owned(),
        body: match is_chunked {
            true => unchunked(body),
            false => body.to_owned(),
        },
    }
}

/// RFC 9112 §7.1, without trailers.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
