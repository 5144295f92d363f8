//! How far a judge agrees with a reference, and in which direction it errs.
//!
//! Values are compared as verdicts: GOOD above one half, else BAD. *False GOOD* is the share of the
//! reference's BAD steps that the judge calls GOOD, *false BAD* the share of its GOOD steps that
//! the judge calls BAD. Kappa is Cohen's, of the same verdicts. Steps that only one of them
//! labelled are counted and compared with nothing.

use std::collections::BTreeMap;

use super::agreement::Agreement;

/// One step with what both judges say of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditedStep {
    /// The tool that it calls first; `None` for one that calls none.
    pub tool: Option<String>,
    /// Its number, from 1.
    pub step: u32,
    /// The value of the judge under audit, if it has one.
    pub judge: Option<f64>,
    /// The value of the reference, if it has one.
    pub reference: Option<f64>,
}

/// Which steps a row speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditGroup {
    /// All.
    All,
    /// Those that call no tool.
    NoTool,
    /// Those that call this tool first.
    Tool(String),
    /// Those with this number.
    Step(u32),
}

/// One row of an audit.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// Which steps it speaks of.
    pub group: AuditGroup,
    /// Steps that both labelled.
    pub both: u64,
    /// Steps that only the judge labelled.
    pub only_judge: u64,
    /// Steps that only the reference labelled.
    pub only_reference: u64,
    /// The share of steps with one verdict; `None` without steps, as below.
    pub agreement: Option<f64>,
    /// Cohen's kappa; `None` also where both always gave one and the same verdict.
    pub kappa: Option<f64>,
    /// The share of the reference's BAD steps that the judge calls GOOD.
    pub false_good: Option<f64>,
    /// The share of the reference's GOOD steps that the judge calls BAD.
    pub false_bad: Option<f64>,
}

/// An audit as far as it has come.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    groups: BTreeMap<AuditGroup, Counts>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    agreement: Agreement,
    only_judge: u64,
    only_reference: u64,
}

impl Audit {
    /// Adds a step. One that neither labelled counts nowhere.
    pub fn add(&mut self, step: &AuditedStep) {
        let by_tool = step.tool.clone().map_or(AuditGroup::NoTool, AuditGroup::Tool);
        for group in [AuditGroup::All, by_tool, AuditGroup::Step(step.step)] {
            let counts = match (step.judge, step.reference) {
                (None, None) => continue,
                _ => self.groups.entry(group).or_default(),
            };
            match (step.judge, step.reference) {
                (Some(judge), Some(reference)) => counts.agreement.add(judge, reference, 1),
                (Some(_), None) => counts.only_judge += 1,
                (None, _) => counts.only_reference += 1,
            }
        }
    }

    /// Returns the rows: all steps, then by tool, then by number.
    pub fn rows(&self) -> Vec<AuditRow> {
        let row = |(group, counts): (&AuditGroup, &Counts)| {
            let verdicts = counts.agreement.verdicts();
            AuditRow {
                group: group.clone(),
                both: verdicts.count(),
                only_judge: counts.only_judge,
                only_reference: counts.only_reference,
                agreement: verdicts.share(),
                kappa: verdicts.kappa(),
                false_good: verdicts.false_good(),
                false_bad: verdicts.false_bad(),
            }
        };
        self.groups.iter().map(row).collect()
    }
}
