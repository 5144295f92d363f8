//! `judge_audit('label', 'judge', 'reference')`: how far a judge of steps agrees with another.

use super::columns::LabelNames;
use super::streamed::{Rows, Spec, Value};
use crate::codec::ColumnType::{Boolean, Float, Integer, Text};
use crate::codec::TableId;
use crate::diag::{Diagnostic, nearest};
use crate::model::{Label, Target};
use crate::score::{Audit, AuditGroup, AuditedStep};
use crate::store::{StoreError, View};

/// Trajectories whose labels are read together.
const TOGETHER: usize = 256;

pub(super) const JUDGE_AUDIT: &[Spec] = &[
    ("steps_are", Text, "which steps the row speaks of: all, those of a tool, those of a number"),
    ("both", Integer, "steps that both labelled"),
    ("only_judge", Integer, "steps that only the judge labelled"),
    ("only_reference", Integer, "steps that only the reference labelled"),
    ("agreement", Float, "the share of steps with one verdict, GOOD above one half"),
    ("kappa", Float, "Cohen's kappa of the verdicts; null where both always gave the same one"),
    ("false_good", Float, "the share of the reference's BAD steps that the judge calls GOOD"),
    ("false_bad", Float, "the share of the reference's GOOD steps that the judge calls BAD"),
    (
        "reference_hindsight",
        Boolean,
        "whether the reference saw gold answers or later steps; null if unknown",
    ),
];

/// Who is compared, on which label.
pub(super) struct Compared {
    label: String,
    judges: [String; 2],
}

impl Compared {
    /// Returns what the arguments of a call name.
    pub(super) fn of(
        view: &View,
        given: &[Option<String>],
    ) -> Result<Compared, (Diagnostic, Option<usize>)> {
        let form = "FROM judge_audit('process', 'judge', 'human')";
        let [Some(label), Some(judge), Some(reference)] = given else {
            let message = "judge_audit() takes a label, a judge and the judge it is held against";
            return Err((Diagnostic::new("table-function", message).help(form), None));
        };
        let names = LabelNames::new(view.catalogue());
        let judges: Vec<String> =
            names.judges(label, true).into_iter().map(|judge| judge.to_owned()).collect();
        for (at, name) in [(1, judge), (2, reference)] {
            if !judges.contains(name) {
                let message = format!("no step has the label '{label}' of judge '{name}'");
                let help = nearest(name, &judges, "judges", "|> JUDGE AS process WITH (...)");
                return Err((Diagnostic::new("unknown-label", message).help(help), Some(at)));
            }
        }
        Ok(Compared { label: label.clone(), judges: [judge.clone(), reference.clone()] })
    }

    fn value(&self, labels: &[Label], step: u32, which: usize) -> Option<f64> {
        let is_it = |label: &&Label| {
            label.target == Target::Step(step)
                && label.name.as_str() == self.label
                && label.judge == self.judges[which]
        };
        labels.iter().find(is_it).map(|label| label.value)
    }
}

pub(super) fn write_audit(
    view: &View,
    rows: &mut Rows,
    compared: &Compared,
) -> Result<(), StoreError> {
    let mut audit = Audit::default();
    let all: Vec<u64> = view.ordinals(0..view.rows(TableId::Trajectories)).collect();
    for part in all.chunks(TOGETHER) {
        for (ordinal, header) in part.iter().zip(view.headers(part)?) {
            let labels = view.current_labels(*ordinal)?;
            let values = |step| [0, 1].map(|which| compared.value(&labels, step, which));
            let judged: Vec<(u32, [Option<f64>; 2])> = (1..=header.n_steps)
                .map(|step| (step, values(step)))
                .filter(|(_, values)| values.iter().any(Option::is_some))
                .collect();
            let keys: Vec<(u64, u32)> = judged.iter().map(|(step, _)| (*ordinal, *step)).collect();
            for ((step, [judge, reference]), stored) in
                judged.into_iter().zip(view.steps(&keys, false)?)
            {
                let tool = stored.action.tool_calls.first().map(|call| call.name.clone());
                audit.add(&AuditedStep { tool, step, judge, reference });
            }
        }
    }
    let judges = view.catalogue().judges.iter().filter_map(|record| record.judge().ok());
    let reference = judges.into_iter().find(|judge| judge.name == compared.judges[1]);
    let hindsight = reference.and_then(|judge| judge.has_hindsight());
    for row in audit.rows() {
        let group = match &row.group {
            AuditGroup::All => "all".to_owned(),
            AuditGroup::NoTool => "without a call".to_owned(),
            AuditGroup::Tool(tool) => format!("calls of {tool}"),
            AuditGroup::Step(step) => format!("step {step}"),
        };
        let open = rows.push(&[
            Value::Text(Some(&group)),
            Value::Integer(Some(row.both as i64)),
            Value::Integer(Some(row.only_judge as i64)),
            Value::Integer(Some(row.only_reference as i64)),
            Value::Float(row.agreement),
            Value::Float(row.kappa),
            Value::Float(row.false_good),
            Value::Float(row.false_bad),
            Value::Boolean(hindsight),
        ])?;
        if !open {
            break;
        }
    }
    Ok(())
}
