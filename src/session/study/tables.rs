//! The results of a study: what was kept, what was measured, what was compared.

use super::cells::Cell;
use super::config::Filter;
use super::measured::{Figure, Generated, Measured};
use super::plan::{BASE, Policy, WARM_START, evaluation_judge, judges_of};
use super::run::Study;
use crate::score::{Comparison, Estimate, holm};
use crate::session::error::SessionError;
use crate::session::host::PROGRAM_VERSION;
use crate::session::statement::Session;

/// A part of the results.
pub(super) struct Section {
    pub(super) heading: String,
    pub(super) parts: Vec<Part>,
}

/// A piece of a section.
pub(super) enum Part {
    Paragraph(String),
    Table(Table),
    /// Names and values.
    Facts(Vec<(String, String)>),
    /// A figure of estimates: group, name, estimate.
    Intervals {
        title: String,
        axis: &'static str,
        rows: Vec<(String, String, Estimate)>,
    },
}

/// A table; every row has an entry for each column.
pub(super) struct Table {
    pub(super) caption: String,
    pub(super) columns: Vec<(String, Holds)>,
    pub(super) rows: Vec<Vec<Entry>>,
}

/// What a column holds.
#[derive(Clone, Copy)]
pub(super) enum Holds {
    Name,
    Count,
    Share,
    Difference,
    PValue,
}

/// An entry of a table.
pub(super) enum Entry {
    Missing,
    Name(String),
    Number(f64),
    Estimate(Estimate),
}

impl Entry {
    fn name(name: impl Into<String>) -> Entry {
        Entry::Name(name.into())
    }

    fn count(count: u64) -> Entry {
        Entry::Number(count as f64)
    }

    fn estimate(estimate: Option<Estimate>) -> Entry {
        estimate.map_or(Entry::Missing, Entry::Estimate)
    }
}

fn column(name: impl Into<String>, holds: Holds) -> (String, Holds) {
    (name.into(), holds)
}

/// What cells differ in: a heading, what the column is called, which part of their names it is.
const FACTORS: [(&str, &str, usize); 4] = [
    ("Ways of training", "training", 0),
    ("Filters", "filter", 1),
    ("Sizes", "trajectories", 2),
    ("Mistakes of the judge", "verdicts turned", 3),
];

/// What all figures share.
const READING: &str = "Shares are means over questions, the seeds of a cell pooled by question, \
                       with an interval of .95 from a bootstrap that draws whole questions. \
                       Differences and their p-values are from a paired bootstrap over the same \
                       questions. Whether two intervals overlap says nothing of a difference.";

impl Study {
    /// Returns the results so far, from what is stored.
    ///
    /// # Errors
    /// What the disk says; two policies that were not asked the same questions.
    pub(super) fn sections(&self, session: &Session) -> Result<Vec<Section>, SessionError> {
        let judged = self.judged(session)?;
        let measured = Measured::of(session, &self.config, &self.plan, &judged)?;
        let results = Results { study: self, measured: &measured };
        let mut sections = vec![self.generated(session)?, results.answers()?, results.across()?];
        for factor in FACTORS {
            sections.extend(results.varied(factor)?);
        }
        sections.extend([results.steps()?, results.comparisons()?, results.made()]);
        Ok(sections)
    }

    /// Says what was generated and what filters keep of it.
    fn generated(&self, session: &Session) -> Result<Section, SessionError> {
        let mut parts = Vec::new();
        let columns = vec![
            column("judge of steps", Holds::Name),
            column("filter", Holds::Name),
            column("kept", Holds::Count),
            column("undecided", Holds::Count),
        ];
        let mut kept = Table {
            caption: "Trajectories that each filter keeps".to_owned(),
            columns,
            rows: Vec::new(),
        };
        let mut crossed = Table {
            caption: "Trajectories by their steps and their answer".to_owned(),
            columns: ["judge of steps", "steps"]
                .map(|name| column(name, Holds::Name))
                .into_iter()
                .chain(["right", "wrong", "undecided"].map(|name| column(name, Holds::Count)))
                .collect(),
            rows: Vec::new(),
        };
        for noise in &self.config.noise {
            let judges = judges_of(&self.config, *noise);
            let generated = Generated::of(session, &self.config, &judges)?;
            let filters =
                [Filter::None, Filter::Process, Filter::Outcome, Filter::ProcessAndOutcome];
            for filter in filters {
                kept.rows.push(vec![
                    Entry::name(&judges.process),
                    Entry::name(filter.as_str()),
                    Entry::count(generated.kept(filter)),
                    Entry::count(generated.undecided(filter)),
                ]);
            }
            let steps = [("all good", Some(true)), ("one bad", Some(false)), ("undecided", None)];
            for (name, process) in steps {
                let answers = [Some(true), Some(false), None];
                let counts = answers.map(|outcome| generated.count(process, outcome));
                let names = [Entry::name(&judges.process), Entry::name(name)];
                let counts = counts.map(Entry::count);
                crossed.rows.push(names.into_iter().chain(counts).collect());
            }
        }
        parts.push(Part::Table(kept));
        parts.push(Part::Paragraph(
            "A trajectory is undecided where a label is missing: of a step, or of the answer; no \
             filter that asks for the label keeps it. Whatever a filter leaves, each cell draws \
             the same number."
                .to_owned(),
        ));
        parts.push(Part::Table(crossed));
        Ok(Section { heading: "What was generated".to_owned(), parts })
    }
}

/// What was measured, beside what was planned.
struct Results<'a> {
    study: &'a Study,
    measured: &'a Measured,
}

impl Results<'_> {
    fn policies(&self) -> &[Policy] {
        &self.study.plan.policies
    }

    fn tests(&self) -> &[String] {
        &self.study.config.tests
    }

    fn policy(&self, label: &str) -> Option<&Policy> {
        self.policies().iter().find(|policy| policy.label == label)
    }

    /// Returns the model that cells begin with.
    fn start(&self) -> Option<&Policy> {
        self.policy(WARM_START).or_else(|| self.policy(BASE))
    }

    /// Says what every policy did on every test.
    fn answers(&self) -> Result<Section, SessionError> {
        let mut parts = vec![Part::Paragraph(READING.to_owned())];
        let start = self.start();
        for test in self.tests() {
            let begins = start.map_or(BASE, |policy| policy.label.as_str());
            let mut table = Table {
                caption: format!("Answers on {test}"),
                columns: vec![
                    column("policy", Holds::Name),
                    column("episodes", Holds::Count),
                    column("exact match", Holds::Share),
                    column("F1", Holds::Share),
                    column(format!("exact match less {begins}'s"), Holds::Difference),
                ],
                rows: Vec::new(),
            };
            for policy in self.policies() {
                let episodes = self.measured.values(policy, test, Figure::ExactMatch).len();
                let is_start = start.is_some_and(|start| start.label == policy.label);
                let difference = match start.filter(|_| !is_start) {
                    None => None,
                    Some(start) => {
                        self.measured.compare((start, policy), test, Figure::ExactMatch)?
                    }
                };
                table.rows.push(vec![
                    Entry::name(&policy.label),
                    Entry::count(episodes as u64),
                    self.entry(policy, test, Figure::ExactMatch)?,
                    self.entry(policy, test, Figure::F1)?,
                    Entry::estimate(difference.map(|found| found.difference)),
                ]);
            }
            parts.push(Part::Table(table));
        }
        Ok(Section { heading: "Answers".to_owned(), parts })
    }

    fn entry(&self, policy: &Policy, test: &str, figure: Figure) -> Result<Entry, SessionError> {
        self.measured.estimate(policy, test, figure).map(Entry::estimate)
    }

    /// Returns an entry for each test.
    fn by_test(&self, policy: &Policy, figure: Figure) -> Result<Vec<Entry>, SessionError> {
        self.tests().iter().map(|test| self.entry(policy, test, figure)).collect()
    }

    /// Returns a table with a column for each test behind others.
    fn tested(&self, caption: String, names: &[&str]) -> Table {
        let names = names.iter().map(|name| column(*name, Holds::Name));
        let tests = self.tests().iter().map(|test| column(test, Holds::Share));
        Table { caption, columns: names.chain(tests).collect(), rows: Vec::new() }
    }

    /// Puts the tests beside each other.
    fn across(&self) -> Result<Section, SessionError> {
        let mut table = self.tested("Exact match on all tests".to_owned(), &["policy"]);
        let mut drawn = Vec::new();
        for policy in self.policies() {
            let mut row = vec![Entry::name(&policy.label)];
            row.extend(self.by_test(policy, Figure::ExactMatch)?);
            table.rows.push(row);
            for test in self.tests() {
                let estimate = self.measured.estimate(policy, test, Figure::ExactMatch)?;
                drawn.extend(estimate.map(|found| (test.clone(), policy.label.clone(), found)));
            }
        }
        let mut parts = vec![Part::Table(table)];
        if !drawn.is_empty() {
            drawn.sort_by_key(|(test, ..)| self.tests().iter().position(|known| known == test));
            let title = "Exact match on all tests".to_owned();
            parts.push(Part::Intervals { title, axis: "exact match", rows: drawn });
        }
        Ok(Section { heading: "Across tests".to_owned(), parts })
    }

    /// Puts cells beside each other that differ in one thing only; `None` where there are none.
    fn varied(
        &self,
        (heading, name, part): (&str, &str, usize),
    ) -> Result<Option<Section>, SessionError> {
        let cells: Vec<(&Policy, [String; 4])> = self
            .policies()
            .iter()
            .filter_map(|policy| Some((policy, parts_of(policy.cell.as_ref()?))))
            .collect();
        let others = |parts: &[String; 4]| {
            let mut held = parts.clone();
            held[part] = "*".to_owned();
            held.join("/").trim_end_matches("/-").to_owned()
        };
        let mut groups: Vec<String> = Vec::new();
        for (_, parts) in &cells {
            let group = others(parts);
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        let mut table = self.tested(format!("{heading}: exact match"), &["cells", name]);
        for group in groups {
            let members: Vec<_> = cells.iter().filter(|(_, p)| others(p) == group).collect();
            if members.len() < 2 {
                continue;
            }
            for (policy, parts) in members {
                let mut row = vec![Entry::name(&group), Entry::name(&parts[part])];
                row.extend(self.by_test(policy, Figure::ExactMatch)?);
                table.rows.push(row);
            }
        }
        let parts = vec![Part::Table(table)];
        let is_empty = matches!(&parts[..], [Part::Table(table)] if table.rows.is_empty());
        Ok((!is_empty).then(|| Section { heading: heading.to_owned(), parts }))
    }

    /// Says how good steps are as the evaluating judge sees them.
    fn steps(&self) -> Result<Section, SessionError> {
        let mut table = self.tested("Mean label of steps".to_owned(), &["policy"]);
        table.columns.push(column("steps without a label", Holds::Count));
        for policy in self.policies() {
            let mut row = vec![Entry::name(&policy.label)];
            row.extend(self.by_test(policy, Figure::Process)?);
            let tests = self.tests().iter();
            row.push(Entry::count(tests.map(|test| self.measured.unjudged(policy, test)).sum()));
            table.rows.push(row);
        }
        let about = format!(
            "Labels of judge '{}': the mean within a trajectory, then over samples and questions.",
            evaluation_judge(&self.study.config)
        );
        let parts = vec![Part::Paragraph(about), Part::Table(table)];
        Ok(Section { heading: "Steps".to_owned(), parts })
    }

    /// Compares what the file says is compared, whatever comes of it.
    fn comparisons(&self) -> Result<Section, SessionError> {
        let heading = "Comparisons named before".to_owned();
        let mut found: Vec<(&[String; 2], &String, Option<Comparison>)> = Vec::new();
        for pair in &self.study.config.comparisons {
            for test in self.tests() {
                let policies = (self.policy(&pair[1]), self.policy(&pair[0]));
                let comparison = match policies {
                    (Some(second), Some(first)) => {
                        self.measured.compare((second, first), test, Figure::ExactMatch)?
                    }
                    _ => None,
                };
                found.push((pair, test, comparison));
            }
        }
        if found.is_empty() {
            let parts = vec![Part::Paragraph("The file names none.".to_owned())];
            return Ok(Section { heading, parts });
        }
        // What is not measured yet counts in the family as if it showed nothing.
        let p_values: Vec<f64> =
            found.iter().map(|(.., of)| of.map_or(1.0, |of| of.p_value)).collect();
        let adjusted =
            holm(&p_values).map_err(|e| SessionError::mistake("study", e.to_string()))?;
        let mut table = Table {
            caption: "Exact match of the first less that of the second".to_owned(),
            columns: vec![
                column("first", Holds::Name),
                column("second", Holds::Name),
                column("test", Holds::Name),
                column("difference", Holds::Difference),
                column("p", Holds::PValue),
                column("p, Holm", Holds::PValue),
            ],
            rows: Vec::new(),
        };
        for ((pair, test, comparison), adjusted) in found.into_iter().zip(adjusted) {
            let number = |value: f64| comparison.map_or(Entry::Missing, |_| Entry::Number(value));
            table.rows.push(vec![
                Entry::name(&pair[0]),
                Entry::name(&pair[1]),
                Entry::name(test),
                Entry::estimate(comparison.map(|found| found.difference)),
                number(comparison.map_or(1.0, |found| found.p_value)),
                number(adjusted),
            ]);
        }
        let about = format!(
            "{} comparisons were named before anything was measured, and all are here; the last \
             column holds for all of them together (Holm).",
            table.rows.len()
        );
        let parts = vec![Part::Paragraph(about), Part::Table(table)];
        Ok(Section { heading, parts })
    }

    /// Says how it was made, and what is not there yet.
    fn made(&self) -> Section {
        let config = &self.study.config;
        let list = |words: Vec<String>| words.join(", ");
        let statements = blake3::hash(self.study.plan().as_bytes()).to_hex();
        let numbers = |numbers: &[u64]| list(numbers.iter().map(u64::to_string).collect());
        let mut facts = vec![
            ("study".to_owned(), config.name.clone()),
            ("file".to_owned(), self.study.path().display().to_string()),
            (
                "statements".to_owned(),
                format!("{} {}", self.study.plan.jobs.len(), &statements[..16]),
            ),
            ("model".to_owned(), config.model.path.clone()),
            ("questions".to_owned(), config.world.clone().unwrap_or_else(|| list(config.files()))),
            ("seeds".to_owned(), numbers(&config.seeds)),
            ("judge that trains".to_owned(), judges_of(config, 0.0).process),
            ("judge that evaluates".to_owned(), evaluation_judge(config)),
            ("program".to_owned(), PROGRAM_VERSION.to_owned()),
        ];
        let all = self.policies().iter().flat_map(|policy| &policy.evaluations);
        let missing = all.filter_map(|evaluation| match self.measured.has(&evaluation.run) {
            (true, true) => None,
            (true, false) => Some(format!("{} (its steps)", evaluation.run)),
            _ => Some(evaluation.run.clone()),
        });
        let missing = list(missing.collect());
        let missing = if missing.is_empty() { "nothing".to_owned() } else { missing };
        facts.push(("not there yet".to_owned(), missing));
        Section { heading: "How it was made".to_owned(), parts: vec![Part::Facts(facts)] }
    }
}

/// Returns what a cell differs in from others, as words; `-` where it has none.
fn parts_of(cell: &Cell) -> [String; 4] {
    let noise = if cell.noise > 0.0 { cell.noise.to_string() } else { "-".to_owned() };
    [cell.objective.clone(), cell.filter.as_str().to_owned(), cell.size_word(), noise]
}
