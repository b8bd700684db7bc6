//! That the counting itself can fail: else every other test here could pass by accident.

use crate::tally::{Stand, Tally};

const REFUSED: &[Stand] = &[Stand {
    id: "case",
    ours: "malformed",
    why: "for the sake of argument",
}];

#[test]
fn what_agrees_and_what_a_stand_is_taken_on_passes() {
    let mut tally = Tally::new("counting", REFUSED);
    tally.case("case", "accept", "malformed", false);
    tally.case("other", "accept", "accept", false);
    tally.case("third", "reject", "expired", false);
    tally.finish(&[]);
}

#[test]
#[should_panic(expected = "case: expected accept, ours is malformed")]
fn a_verdict_that_disagrees_without_a_stand_fails() {
    let mut tally = Tally::new("counting", &[]);
    tally.case("case", "accept", "malformed", false);
    tally.finish(&[]);
}

#[test]
#[should_panic(expected = "case: debatable, ours is malformed, and no stand is taken")]
fn a_debatable_case_without_a_stand_fails() {
    let mut tally = Tally::new("counting", &[]);
    tally.case("case", "reject", "malformed", true);
    tally.finish(&[]);
}

#[test]
#[should_panic(expected = "case: the stand is malformed, ours is accept")]
fn a_verdict_that_leaves_its_stand_fails() {
    let mut tally = Tally::new("counting", REFUSED);
    tally.case("case", "reject", "accept", true);
    tally.finish(&[]);
}

#[test]
#[should_panic(expected = "case: the stand is stale: nobody disagrees")]
fn a_stand_that_nobody_disagrees_with_fails() {
    let mut tally = Tally::new("counting", REFUSED);
    tally.case("case", "reject", "malformed", false);
    tally.finish(&[]);
}

#[test]
#[should_panic(expected = r#"stands on cases that are not there: ["case"]"#)]
fn a_stand_on_a_case_that_is_gone_fails() {
    let mut tally = Tally::new("counting", REFUSED);
    tally.case("other", "reject", "malformed", false);
    tally.finish(&[]);
}
