//! Metrics: that the code, the page, the dashboards and the alerts mean the same ones, and that no input makes another series.
#![cfg(test)]
#![cfg(feature = "server")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use keywheel::{Claims, JwkSet, ManualClock, Metrics, Verifier};
use support::auth::Auth;
use support::tokens::{self, AUDIENCE, ISSUER, NOW, key};

/// Random tokens, and random requests; a million together.
const TOKENS: u64 = 960_000;
const REQUESTS: u64 = 40_000;

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

/// The metrics that a text names, without what histograms add to their names; what a rule records has a colon in its name.
fn named_in(text: &str, known: &BTreeMap<String, (String, String)>) -> BTreeSet<String> {
    let starts = text.match_indices("keywheel_").map(|(at, _)| at);
    let names = starts.map(|at| {
        let end = text[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
        &text[at..at + end.unwrap_or(text.len() - at)]
    });
    names
        .filter(|name| !name.contains(':'))
        .map(|name| {
            let bare = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                let bare = name.strip_suffix(suffix)?;
                known.contains_key(bare).then_some(bare)
            });
            bare.unwrap_or(name).to_owned()
        })
        .collect()
}

/// Name to type and labels.
fn catalogue() -> BTreeMap<String, (String, String)> {
    let metrics = Metrics::new().unwrap();
    let described = metrics.catalogue().iter();
    described
        .map(|metric| {
            let kind = metric.kind.name().to_owned();
            (metric.name.clone(), (kind, metric.labels.join(", ")))
        })
        .collect()
}

#[test]
fn the_page_lists_what_the_code_has() {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeMap<String, (String, String)> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let name = cells.next().unwrap().trim_end_matches('`');
            let kind = cells.next().unwrap().to_owned();
            let labels = cells.next().unwrap().replace('`', "");
            let mut labels: Vec<&str> = labels.split(", ").map(str::trim).collect();
            labels.sort_unstable();
            (format!("keywheel_{name}"), (kind, labels.join(", ")))
        })
        .collect();
    assert_eq!(listed, catalogue());
}

#[test]
fn every_help_says_what_a_reader_needs() {
    let metrics = Metrics::new().unwrap();
    for metric in metrics.catalogue() {
        assert!(
            metric.help.ends_with('.'),
            "{}: {}",
            metric.name,
            metric.help
        );
        if metric.name.contains("seconds") {
            let help = metric.help.to_lowercase();
            assert!(
                help.contains("seconds"),
                "{} says no unit: {help}",
                metric.name
            );
        }
        let is_total = metric.name.ends_with("_total");
        assert_eq!(is_total, metric.kind.name() == "counter", "{}", metric.name);
    }
}

#[test]
fn dashboards_show_every_metric_and_name_no_other() {
    let known = catalogue();
    let mut shown = BTreeSet::new();
    for path in files("grafana/dashboards") {
        shown.extend(named_in(&read(path), &known));
    }
    assert_eq!(shown, known.keys().cloned().collect());
}

#[test]
fn alerts_name_only_metrics_that_exist() {
    let known = catalogue();
    let named: BTreeSet<String> = files("grafana/alerts")
        .into_iter()
        .flat_map(|path| named_in(&read(path), &known))
        // The names of the alerts and the groups begin otherwise.
        .collect();
    assert!(named.len() > 10, "{named:?}");
    let unknown: Vec<_> = named
        .iter()
        .filter(|name| !known.contains_key(*name))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_page_of_the_audit_trail_lists_every_event() {
    let page = read("docs/audit.md");
    for event in keywheel::audit::Event::ALL {
        let name = format!("`{}`", event.name());
        assert!(page.contains(&name), "{name} is not in docs/audit.md");
    }
}

/// A generator of numbers that look random; the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn word(&mut self) -> String {
        format!("{:x}", self.next())
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> Option<&'a str> {
        let index = usize::try_from(self.next() % (words.len() as u64 + 1)).unwrap();
        words.get(index).copied()
    }
}

/// Names and labels of all series.
fn series(metrics: &Metrics) -> BTreeSet<String> {
    let rendered = metrics.render();
    let lines = rendered.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

fn hostile_token(random: &mut Random) -> String {
    let alg = random.one_of(&["EdDSA", "RS256", "HS256"]);
    let alg = alg.map_or_else(|| random.word(), String::from);
    let kid = random
        .one_of(&["a"])
        .map_or_else(|| random.word(), String::from);
    let iss = random
        .one_of(&[ISSUER])
        .map_or_else(|| random.word(), String::from);
    let header = format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"at+jwt"}}"#);
    let claims = format!(
        r#"{{"iss":"{iss}","sub":"{}","aud":"{AUDIENCE}","exp":{}}}"#,
        random.word(),
        NOW.seconds() + 60
    );
    let signature = [random.next().to_le_bytes(); 8].concat();
    let parts = [header.as_bytes(), claims.as_bytes(), &signature];
    parts.map(|part| BASE64URL.encode(part)).join(".")
}

#[tokio::test]
async fn a_million_random_issuers_kids_algorithms_and_routes_make_no_series() {
    let auth = Auth::new().await;
    let key = key("a");
    let verifier = Verifier::builder()
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .static_keys(JwkSet::parse(tokens::jwks(&[&key]).as_bytes()).unwrap())
        .clock(ManualClock::new(NOW))
        .metrics(&auth.metrics)
        .build()
        .unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut round = async |tokens: u64, requests: u64| {
        for _ in 0..tokens {
            let refused = verifier.try_verify::<Claims>(&hostile_token(&mut random));
            assert!(refused.is_err());
        }
        for _ in 0..requests {
            let method = random.one_of(&["GET", "POST", "BREW"]);
            let method = method.map_or_else(|| random.word().to_uppercase(), String::from);
            let path = match random.one_of(&["/api/auth/token", "/status/"]) {
                Some(known) => format!("{known}{}", random.next() % 100_000),
                None => format!(
                    "/{}/{}?audience={}",
                    random.word(),
                    random.word(),
                    random.word()
                ),
            };
            auth.send(&method, &path, &[], "").await;
        }
    };
    // Each kind has come up once after some thousand.
    round(4_000, 4_000).await;
    let before = series(&auth.metrics);
    round(TOKENS, REQUESTS).await;
    let after = series(&auth.metrics);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:?}");
}
