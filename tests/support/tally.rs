//! Counts verdicts against what a set of cases expects, and holds every debatable one to a stand that is written down.

use std::collections::BTreeSet;

/// What Keywheel decides where a set leaves room, or where Keywheel says otherwise, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand {
    /// The case, by the set's own name.
    pub(crate) id: &'static str,
    /// Our verdict: `accept`, or the reason for refusing.
    pub(crate) ours: &'static str,
    pub(crate) why: &'static str,
}

/// What a set has and no verdict can be asked about, and why.
#[derive(Debug, Clone)]
pub(crate) struct LeftOut {
    pub(crate) id: String,
    pub(crate) why: &'static str,
}

/// One set of cases, being counted.
pub(crate) struct Tally {
    set: String,
    stands: &'static [Stand],
    taken: BTreeSet<&'static str>,
    cases: usize,
    wrong: Vec<String>,
}

impl Tally {
    pub(crate) fn new(set: impl Into<String>, stands: &'static [Stand]) -> Self {
        Tally {
            set: set.into(),
            stands,
            taken: BTreeSet::new(),
            cases: 0,
            wrong: Vec::new(),
        }
    }

    /// Counts one case: `expected` and `ours` are `accept` or a reason; an `expected` of `reject` is met by any reason.
    /// A `debatable` case needs a stand even where the set and Keywheel happen to agree.
    pub(crate) fn case(&mut self, id: &str, expected: &str, ours: &str, debatable: bool) {
        self.cases += 1;
        let agrees = ours == expected || (expected == "reject" && ours != "accept");
        let stand = self.stands.iter().find(|stand| stand.id == id);
        let complaint = match stand {
            None if debatable => format!("debatable, ours is {ours}, and no stand is taken"),
            None if agrees => return,
            None => format!("expected {expected}, ours is {ours}"),
            Some(stand) => {
                if !self.taken.insert(stand.id) {
                    format!("two cases of this name, one stand: {}", stand.ours)
                } else if stand.ours != ours {
                    format!("the stand is {}, ours is {ours}", stand.ours)
                } else if agrees && !debatable {
                    "the stand is stale: nobody disagrees".to_owned()
                } else {
                    return;
                }
            }
        };
        self.wrong.push(format!("{id}: {complaint}"));
    }

    /// Prints the counts, the stands, and what is left out; fails if a verdict is wrong or a stand is about nothing.
    #[expect(clippy::print_stdout, reason = "the counts are the report")]
    pub(crate) fn finish(self, left_out: &[LeftOut]) {
        let Tally { set, cases, .. } = &self;
        let stale = self
            .stands
            .iter()
            .filter(|stand| !self.taken.contains(stand.id));
        let stale: Vec<_> = stale.map(|stand| stand.id).collect();
        let (wrong, by_policy) = (self.wrong.len(), self.taken.len());
        let right = cases - wrong;
        let mut line =
            format!("{set}: {cases} cases, {right} right, {wrong} wrong, {by_policy} by policy");
        if !left_out.is_empty() {
            line.push_str(&format!(", {} left out", left_out.len()));
        }
        for Stand { id, ours, why } in self.stands {
            line.push_str(&format!("\n  stand {id}: {ours}: {why}"));
        }
        for LeftOut { id, why } in left_out {
            line.push_str(&format!("\n  left out {id}: {why}"));
        }
        // At once, since other tests print too.
        println!("{line}");
        assert!(cases > &0, "{set}: no cases at all");
        assert!(
            self.wrong.is_empty(),
            "{set}:\n  {}",
            self.wrong.join("\n  ")
        );
        assert!(
            stale.is_empty(),
            "{set}: stands on cases that are not there: {stale:?}"
        );
    }
}
