//! A table of which cases ran against whom, and which passed.

use std::collections::BTreeMap;

use super::Case;
use crate::interop::Outcome;
use crate::services::Caller;

/// What came of each case that ran: nothing, or why it failed.
pub type Results = BTreeMap<String, Option<String>>;

/// A fault of a peer that is known, and cannot be mended here.
#[derive(Debug)]
pub struct Defect {
    /// How the name of the row begins.
    pub row: &'static str,
    /// The cases that it can make fail.
    pub cases: &'static [&'static str],
    /// What it is.
    pub why: &'static str,
}

/// Prints its rows as they come. A case that fails for no known reason fails the table.
#[derive(Debug)]
pub struct Table {
    defects: &'static [Defect],
    failures: Vec<String>,
}

impl Table {
    /// A table in which these defects explain failures.
    #[must_use]
    pub const fn new(defects: &'static [Defect]) -> Self {
        Self {
            defects,
            failures: Vec::new(),
        }
    }

    /// Plays cases and prints what came of them. What a defect explains is played once more.
    ///
    /// # Errors
    ///
    /// When they could not be played.
    pub async fn row(
        &mut self,
        name: &str,
        cases: &[&str],
        play: impl AsyncFn(&[&str]) -> Outcome<Results>,
    ) -> Outcome {
        let playing = async |cases: &[&str]| {
            let results = play(cases).await;
            results.map_err(|error| format!("{name}: {error}"))
        };
        let mut failed = playing(cases).await?;
        for case in cases {
            let missing = || Some("it did not run".to_owned());
            failed.entry((*case).to_owned()).or_insert_with(missing);
        }
        failed.retain(|_, why| why.is_some());
        let mut notes = Vec::new();
        for (case, why) in &failed {
            let why = why.as_deref().unwrap_or_default();
            let explains = |defect: &&Defect| {
                name.starts_with(defect.row) && defect.cases.contains(&case.as_str())
            };
            let Some(defect) = self.defects.iter().find(explains) else {
                self.failures.push(format!("{name}: {case}: {why}"));
                notes.push(format!("{case}: {why}"));
                continue;
            };
            let again = match playing(&[case]).await?.get(case) {
                Some(None) => "passed when it was repeated",
                _ => "failed again when it was repeated",
            };
            notes.push(format!("{case}: {again}; the peer: {} ({why})", defect.why));
        }
        let (all, passed) = (cases.len(), cases.len() - failed.len());
        println!("{name:<60} {passed:>2} of {all:>2} passed");
        for note in notes {
            println!("    {}", note.lines().next().unwrap_or_default());
        }
        Ok(())
    }

    /// Ends the table.
    ///
    /// # Errors
    ///
    /// What failed for no known reason.
    pub fn finish(self) -> Outcome {
        if self.failures.is_empty() {
            return Ok(());
        }
        Err(self.failures.join("\n").into())
    }
}

/// The names of cases.
pub fn names(cases: impl IntoIterator<Item = Case>) -> Vec<&'static str> {
    cases.into_iter().map(Case::name).collect()
}

/// Reads `ok NAME` and `FAILED NAME: WHY` out of the lines of a program.
#[must_use]
pub fn results_of(said: &str) -> Results {
    let line = |line: &str| match line.split_once(' ')? {
        ("ok", name) => Some((name.to_owned(), None)),
        ("FAILED", rest) => {
            let (name, why) = rest.split_once(": ")?;
            Some((name.to_owned(), Some(why.to_owned())))
        }
        _ => None,
    };
    said.lines().filter_map(line).collect()
}

/// Plays cases here.
///
/// # Errors
///
/// When there is no such case.
pub async fn play<T: Caller>(channel: T, cases: &[&str]) -> Outcome<Results> {
    let mut results = Results::new();
    for name in cases {
        let case: Case = name.parse()?;
        results.insert((*name).to_owned(), case.play(channel.clone()).await.err());
    }
    Ok(results)
}
