//! What the README shows is what there is: its snippets are taken from its own text, checked, and run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::documents::Document;
use support::process::{Home, Outcome, Service, get, keywheel, request, request_with, until};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The fenced blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let fence = format!("```{language}\n");
    let after = text.split(&fence).skip(1);
    after
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The `keywheel` command lines, continued lines joined, comments left out.
fn commands() -> Vec<String> {
    let joined = blocks("sh").concat().replace("\\\n", " ");
    let lines = joined
        .lines()
        .map(|line| line.split(" # ").next().unwrap().trim());
    lines
        .filter(|line| line.starts_with("keywheel "))
        .map(String::from)
        .collect()
}

#[test]
fn the_rust_quick_start_is_the_example_to_the_letter() {
    let example = std::fs::read_to_string(root().join("examples/axum_backend.rs")).unwrap();
    let (_, code) = example.split_once("\n\n").unwrap();
    assert_eq!(blocks("rust")[0], code);
}

#[test]
fn the_dependency_is_this_crate() {
    let toml: toml::Table = toml::from_str(&blocks("toml")[0]).unwrap();
    let version = toml["dependencies"]["keywheel"]["version"]
        .as_str()
        .unwrap();
    assert!(env!("CARGO_PKG_VERSION").starts_with(version));
}

#[test]
fn every_configuration_shown_is_a_good_one() {
    let home = Home::new();
    let file = home.path().join("shown.toml");
    let check = |text: &str, args: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let outcome = Outcome::from(keywheel(args).arg("--config").arg(&file).output().unwrap());
        assert_eq!(outcome.code, 0, "{text}\n{}", outcome.stderr);
    };
    check(&blocks("toml")[1], &["serve", "--check"]);
    for gate in ["examples/gate.toml", "examples/better-auth/gate.toml"] {
        let text = std::fs::read_to_string(root().join(gate)).unwrap();
        check(&text, &["gate", "--check"]);
    }
    let guide = std::fs::read_to_string(root().join("docs/migrate.md")).unwrap();
    let shown = guide.split("```toml\n").nth(1).unwrap();
    check(shown.split("```").next().unwrap(), &["gate", "--check"]);
}

#[test]
fn every_command_shown_exists() {
    let commands = commands();
    assert!(commands.len() >= 14, "{commands:?}");
    for command in commands {
        let words = command.split_whitespace().skip(1);
        let names: Vec<&str> = words
            .take_while(|word| {
                word.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            })
            .take_while(|word| !word.starts_with('-'))
            .collect();
        let help = Outcome::from(keywheel(&names).arg("--help").output().unwrap());
        assert_eq!(help.code, 0, "{command}: {}", help.stderr);
        for option in command
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
        {
            assert!(help.stdout.contains(option), "{command}: no {option}");
        }
    }
}

/// A program that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn example() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--example", "axum_backend"])
        .current_dir(root())
        .status();
    assert!(built.unwrap().success());
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().unwrap().parent().unwrap();
    target.join("examples/axum_backend")
}

/// As a reader would: the service with nothing configured, and every snippet pasted.
#[test]
#[ignore = "takes the default ports, and needs Python and Node with what tests/interop/run installs: ./test readme"]
fn the_snippets_run_against_a_service_with_nothing_configured() {
    let folder = tempfile::TempDir::new().unwrap();
    let interop = root().join("tests/interop");
    let shell = |line: &str| {
        let binaries = Path::new(env!("CARGO_BIN_EXE_keywheel")).parent().unwrap();
        let mut command = Command::new("sh");
        // Nothing of this process' environment could configure it but the path, and that gains the program.
        command
            .args(["-c", &format!("PATH={}:$PATH; {line}", binaries.display())])
            .current_dir(folder.path())
            .stdin(Stdio::null());
        Outcome::from(command.output().unwrap())
    };
    let said = |line: &str| {
        let outcome = shell(line);
        assert_eq!(outcome.code, 0, "{line}: {}", outcome.stderr);
        outcome.stdout.trim().to_owned()
    };
    let mut serve = keywheel(&["serve"]);
    serve.current_dir(folder.path());
    std::fs::write(
        folder.path().join("keywheel.toml"),
        "[[audience]]\nname = \"orders-api\"\nalgorithm = \"RS256\"\n",
    )
    .unwrap();
    let service = Service::start(serve);
    until("it is ready", || {
        (get(service.admin, "/readyz").status == 200).then_some(())
    });
    let token = |scope: &str| {
        said(&format!(
            "keywheel token --sub user-1 --aud api --scope '{scope}'"
        ))
    };
    let (reader, other) = (token("orders:read"), token("else"));

    // Rust
    let backend = "127.0.0.1:8000".parse().unwrap();
    let _backend = Running(Command::new(example()).spawn().unwrap());
    until("the backend listens", || {
        std::net::TcpStream::connect(backend).ok()
    });
    let orders = |token: Option<&str>| {
        let bearer = format!("Bearer {}", token.unwrap_or_default());
        let headers = [("Authorization", bearer.as_str())];
        let headers = if token.is_some() { &headers[..] } else { &[] };
        request(backend, "GET", "/orders", headers)
    };
    assert_eq!(orders(Some(&reader)).body, "orders of user-1");
    assert_eq!(orders(Some(&other)).status, 403);
    assert_eq!(orders(None).status, 401);

    // Python and Node
    let forged = format!("{}AAAAAA", &reader[..reader.len() - 6]);
    let python = interop.join(".venv/bin/python");
    let script = folder.path().join("quick_start.py");
    let code = format!(
        "{}\nimport sys\nprint(verify(sys.argv[1])['sub'])\n",
        blocks("python")[0]
    );
    std::fs::write(&script, code).unwrap();
    let run = |token: &str| {
        shell(&format!(
            "{} {} {token}",
            python.display(),
            script.display()
        ))
    };
    assert_eq!(run(&reader).stdout, "user-1\n", "{}", run(&reader).stderr);
    assert_ne!(run(&forged).code, 0);
    // The guide's way to tell tokens of a shared secret from ours.
    let guide = Document::read("docs/migrate.md");
    let mut shown = guide.blocks().into_iter();
    let shown = shown.find(|block| block.language == "python").unwrap().text;
    let script = folder.path().join("both.py");
    let code = format!(
        "SHARED_SECRET = 'the old secret, of 32 bytes or more'\n{}\nimport sys\n\
         old = jwt.encode({{'sub': 'old-user'}}, sys.argv[1], 'HS256')\n\
         print(verify(old)['sub'], verify(sys.argv[2])['sub'])\n",
        shown.replace("https://auth.example.com", "http://localhost:3001")
    );
    std::fs::write(&script, code).unwrap();
    let both = |secret: &str, token: &str| {
        let (python, script) = (python.display(), script.display());
        shell(&format!("{python} {script} '{secret}' {token}"))
    };
    let secret = "the old secret, of 32 bytes or more";
    let outcome = both(secret, &reader);
    assert_eq!(outcome.stdout, "old-user user-1\n", "{}", outcome.stderr);
    assert_ne!(both("another secret, of 32 bytes or more", &reader).code, 0);
    assert_ne!(both(secret, &forged).code, 0);
    // Where Node finds jose.
    let modules = interop.join("node_modules/.readme");
    std::fs::create_dir_all(&modules).unwrap();
    let script = modules.join("quick_start.mjs");
    let code = format!(
        "{}\nconsole.log((await verify(process.argv[2])).sub);\n",
        blocks("js")[0]
    );
    std::fs::write(&script, code).unwrap();
    let run = |token: &str| shell(&format!("node {} {token}", script.display()));
    assert_eq!(run(&reader).stdout, "user-1\n", "{}", run(&reader).stderr);
    assert_ne!(run(&forged).code, 0);

    // The command lines
    let signed_up = request_with(
        service.public,
        "POST",
        "/api/auth/sign-up/email",
        &[("Content-Type", "application/json")],
        r#"{"name":"Ada","email":"ada@example.com","password":"correct horse"}"#,
    );
    assert_eq!(signed_up.status, 200, "{signed_up:?}");
    let (_, pkcs8) = keywheel::jose::SigningKey::generate(keywheel::Algorithm::EdDSA).unwrap();
    let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.to_vec()));
    std::fs::write(folder.path().join("old-issuer.pem"), pem).unwrap();
    let mut ran = 0;
    for command in commands() {
        if command == "keywheel serve" || command.starts_with("keywheel doctor") {
            continue;
        }
        let examples = root().join("examples");
        let mut line = command.replace("examples/", &format!("{}/", examples.display()));
        if line.ends_with("TOKEN") {
            line = line.replace("TOKEN", &token("orders:read"));
        }
        if line.contains("KID") {
            let listed = said("keywheel keys list --json");
            let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
            let keys = listed["keys"].as_array().unwrap().iter();
            let mut signing = keys.filter(|key| key["stage"] == "signing" && key["alg"] == "EdDSA");
            line = line.replace("KID", signing.next().unwrap()["kid"].as_str().unwrap());
        }
        if line.starts_with("keywheel gate --issuer") {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            let gate = Service::start(keywheel(&words));
            until("the gate has keys", || {
                (get(gate.admin, "/readyz").status == 200).then_some(())
            });
            let bearer = format!("Bearer {}", token("orders:read"));
            let headers = [("Authorization", bearer.as_str())];
            assert_eq!(request(gate.public, "GET", "/verify", &headers).status, 200);
            assert_eq!(request(gate.public, "GET", "/verify", &[]).status, 401);
        } else {
            let outcome = shell(&line);
            // A service this young refuses to rotate, and says until when.
            let expected = if line.starts_with("keywheel keys rotate") {
                2
            } else {
                0
            };
            assert_eq!(
                outcome.code, expected,
                "{line}: {}{}",
                outcome.stdout, outcome.stderr
            );
        }
        ran += 1;
    }
    assert!(ran >= 13, "{ran} commands");
}
