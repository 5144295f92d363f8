//! Which columns a table has in a statement, and where each is read from.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};

use crate::codec::{
    Catalogue, Column, ColumnPlace, ColumnType, LabelColumn, STEP_COLUMNS, TRAJECTORY_COLUMNS,
    TableId,
};
use crate::model::Label;
use crate::store::{ColumnRef, View};

/// A table read by the scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScanTable {
    /// A row a trajectory.
    Trajectories,
    /// A row a step.
    Steps,
    /// A row a step, with its state.
    Subtrajectories,
}

impl ScanTable {
    /// Every table read by the scan.
    pub const ALL: [ScanTable; 3] =
        [ScanTable::Trajectories, ScanTable::Steps, ScanTable::Subtrajectories];

    /// Returns the name in statements.
    pub fn name(self) -> &'static str {
        match self {
            ScanTable::Trajectories => "trajectories",
            ScanTable::Steps => "steps",
            ScanTable::Subtrajectories => "subtrajectories",
        }
    }

    /// Returns the stored table whose rows it has.
    pub fn rows_of(self) -> TableId {
        match self {
            ScanTable::Trajectories => TableId::Trajectories,
            ScanTable::Steps | ScanTable::Subtrajectories => TableId::Steps,
        }
    }
}

/// Where the values of a column come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// A column of the same table.
    Own(ColumnRef),
    /// A column of trajectories, for steps.
    Widened(ColumnRef),
    /// A text column of the same table, as codes.
    OwnCodes(ColumnRef),
    /// A text column of trajectories, for steps, as codes.
    WidenedCodes(ColumnRef),
    /// The row number itself: the ordinal of a trajectory.
    RowNumber,
    /// Whether the scan's row set of this number holds the row.
    Found(usize),
    /// Whether the scan's predicate over one text of this number holds for the row.
    Holds(usize),
    /// Always 0: the `_step` of a trajectory.
    Zero,
    /// The step's record.
    Step(&'static str),
    /// The trajectory's record.
    Header(&'static str),
    /// The messages before the action.
    State,
    /// What is written beside a label, by its place in the catalogue.
    Label(u16, LabelText),
}

/// What may be written beside the value of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LabelText {
    /// Why.
    Rationale,
    /// The verdict in the judge's word.
    Verdict,
    /// The source's own value.
    Raw,
}

impl LabelText {
    const ALL: [LabelText; 3] = [LabelText::Rationale, LabelText::Verdict, LabelText::Raw];

    /// Returns the word behind the label's name and a dot.
    fn as_str(self) -> &'static str {
        match self {
            LabelText::Rationale => "rationale",
            LabelText::Verdict => "verdict",
            LabelText::Raw => "raw",
        }
    }

    /// Returns the text of a label.
    pub(super) fn of(self, label: &Label) -> Option<&str> {
        match self {
            LabelText::Rationale => label.rationale.as_deref(),
            LabelText::Verdict => label.verdict.as_deref(),
            LabelText::Raw => label.raw.as_deref(),
        }
    }

    /// Splits `process.rationale` into the label's name and what is asked of it. No name of a label
    /// has a dot.
    pub fn split(name: &str) -> (&str, Option<LabelText>) {
        let parts = name.rsplit_once('.');
        let found = parts.and_then(|(label, word)| {
            LabelText::ALL.into_iter().find(|t| t.as_str() == word).map(|text| (label, Some(text)))
        });
        found.unwrap_or((name, None))
    }
}

impl Origin {
    /// Whether the column is read without fetching a record.
    pub(super) fn is_scalar(self) -> bool {
        !matches!(self, Origin::Step(_) | Origin::Header(_) | Origin::State | Origin::Label(..))
    }
}

impl TableColumn {
    /// Returns the same column as codes into the texts of its chunk, if it is a text that is read
    /// without fetching a record.
    pub(super) fn coded(&self) -> Option<TableColumn> {
        let origin = match self.origin {
            Origin::Own(column) => Origin::OwnCodes(column),
            Origin::Widened(column) => Origin::WidenedCodes(column),
            _ => return None,
        };
        (self.kind == ColumnType::Text).then(|| TableColumn { origin, ..self.clone() })
    }
}

/// One column of a table in a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct TableColumn {
    /// The name.
    pub name: String,
    /// The type.
    pub kind: ColumnType,
    /// What it says.
    pub about: String,
    /// Whether it is carried along but not shown.
    pub hidden: bool,
    pub(super) origin: Origin,
}

/// Which label a name means.
pub struct LabelNames<'a> {
    catalogue: &'a Catalogue,
}

impl<'a> LabelNames<'a> {
    /// Returns the names of a catalogue.
    pub fn new(catalogue: &'a Catalogue) -> LabelNames<'a> {
        LabelNames { catalogue }
    }

    /// Returns the judges of a label, in order of arrival.
    pub fn judges(&self, name: &str, on_steps: bool) -> Vec<&'a str> {
        let same = |c: &&LabelColumn| c.name == name && c.on_steps == on_steps;
        self.catalogue.labels.iter().filter(same).map(|c| c.judge.as_str()).collect()
    }

    /// Returns the judge that a bare name means: the only one, or the one chosen.
    pub fn default_judge(&self, name: &str, on_steps: bool) -> Option<&'a str> {
        let judges = self.judges(name, on_steps);
        if let [one] = judges.as_slice() {
            return Some(one);
        }
        let chosen = self.catalogue.default_judges.iter().find(|(label, _)| label == name);
        chosen.map(|(_, judge)| judge.as_str()).filter(|j| judges.contains(j))
    }

    fn position(&self, name: &str, judge: &str, on_steps: bool) -> Option<u16> {
        let same = |c: &LabelColumn| c.name == name && c.judge == judge && c.on_steps == on_steps;
        self.catalogue.labels.iter().position(same).map(|at| at as u16)
    }

    /// Returns the names of the labels on steps, or on trajectories, each once.
    pub fn names(&self, on_steps: bool) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for label in self.catalogue.labels.iter().filter(|c| c.on_steps == on_steps) {
            if !names.contains(&label.name.as_str()) {
                names.push(&label.name);
            }
        }
        names
    }
}

/// Returns the columns of `table`. `named` are the names the statement uses: of the columns
/// `"name@judge"`, `"trajectory.name"` and `"name.rationale"` (`.verdict`, `.raw`; `@judge` behind)
/// only those join the table.
pub fn table_columns(view: &View, table: ScanTable, named: &[String]) -> Vec<TableColumn> {
    let mut columns = hidden_columns(view, table);
    if table != ScanTable::Trajectories {
        columns.extend(from_spec(view, STEP_COLUMNS, table));
    }
    if table == ScanTable::Subtrajectories {
        let about = "messages before the action, as a JSON array".to_owned();
        columns.push(column("state", ColumnType::Text, about, Origin::State));
    }
    columns.extend(from_spec(view, TRAJECTORY_COLUMNS, table));
    if table != ScanTable::Trajectories {
        // `trajectory_id` is what a step is called by: it comes first.
        let at = columns.iter().position(|c| c.name == "trajectory_id");
        if let Some(at) = at {
            let id = columns.remove(at);
            columns.insert(2, id);
        }
    }
    label_columns(view, table, named, &mut columns);
    columns
}

/// Returns the different values of a text column that is read without fetching records, sorted,
/// unless they are more than `max`.
pub fn text_values(view: &View, table: ScanTable, name: &str, max: usize) -> Option<Vec<String>> {
    let column = table_columns(view, table, &[]).into_iter().find(|c| c.name == name)?;
    let mut values = BTreeSet::new();
    for segment in view.segments(table.rows_of()) {
        let codes = match column.coded()?.origin {
            Origin::OwnCodes(column) => view.codes(&segment, column),
            Origin::WidenedCodes(column) => view.widened_codes(&segment, column),
            _ => return None,
        };
        let codes = codes.ok()?;
        let texts = codes.as_dictionary::<UInt32Type>().values().as_string_view().clone();
        values.extend(texts.iter().flatten().map(str::to_owned));
        if values.len() > max {
            return None;
        }
    }
    Some(values.into_iter().collect())
}

fn column(name: impl Into<String>, kind: ColumnType, about: String, origin: Origin) -> TableColumn {
    TableColumn { name: name.into(), kind, about, hidden: false, origin }
}

fn hidden_columns(view: &View, table: ScanTable) -> Vec<TableColumn> {
    let own = |name| view.stored(table.rows_of(), name).map(Origin::Own);
    let (ordinal, step) = match table {
        ScanTable::Trajectories => (Origin::RowNumber, Origin::Zero),
        _ => (own("_trajectory").unwrap_or(Origin::RowNumber), own("step").unwrap_or(Origin::Zero)),
    };
    let hidden = |name: &str, origin| TableColumn {
        hidden: true,
        ..column(name, ColumnType::Integer, String::new(), origin)
    };
    vec![hidden("_trajectory", ordinal), hidden("_step", step)]
}

fn from_spec(view: &View, spec: &'static [Column], table: ScanTable) -> Vec<TableColumn> {
    let of_steps = std::ptr::eq(spec, STEP_COLUMNS);
    let origin = |c: &Column| match (c.place, of_steps) {
        (ColumnPlace::Record, true) => Some(Origin::Step(c.name)),
        (ColumnPlace::Record, false) => Some(Origin::Header(c.name)),
        (ColumnPlace::Stored, true) => view.stored(TableId::Steps, c.name).map(Origin::Own),
        (ColumnPlace::Stored, false) => {
            let stored = view.stored(TableId::Trajectories, c.name);
            match table {
                ScanTable::Trajectories => stored.map(Origin::Own),
                _ => stored.map(Origin::Widened),
            }
        }
    };
    let with_origin =
        |c: &Column| origin(c).map(|origin| column(c.name, c.kind, c.about.to_owned(), origin));
    spec.iter().filter_map(with_origin).collect()
}

fn label_columns(view: &View, table: ScanTable, named: &[String], columns: &mut Vec<TableColumn>) {
    let names = LabelNames::new(view.catalogue());
    let levels: &[bool] = if table == ScanTable::Trajectories { &[false] } else { &[true, false] };
    let mut add = |shown: &str, name: &str, judge: &str, on_steps: bool| {
        let taken = columns.iter().any(|c| c.name == shown);
        let (name, text) = LabelText::split(name);
        let Some(at) = names.position(name, judge, on_steps).filter(|_| !taken) else { return };
        let label = ColumnRef::Label(at);
        let widened = !on_steps && table != ScanTable::Trajectories;
        let of = if on_steps { "step" } else { "trajectory" };
        let about = format!("label '{name}' of the {of} by judge '{judge}'");
        columns.push(match text {
            Some(text) => {
                let about = format!("{} of {about}", text.as_str());
                column(shown, ColumnType::Text, about, Origin::Label(at, text))
            }
            None if widened => column(shown, ColumnType::Float, about, Origin::Widened(label)),
            None => column(shown, ColumnType::Float, about, Origin::Own(label)),
        });
    };
    for on_steps in levels {
        for name in names.names(*on_steps) {
            if let Some(judge) = names.default_judge(name, *on_steps) {
                add(name, name, judge, *on_steps);
            }
        }
    }
    for shown in named {
        let (scope, rest) = match shown.strip_prefix("trajectory.") {
            Some(rest) => (&[false][..], rest),
            None => (levels, shown.as_str()),
        };
        for on_steps in scope {
            match rest.split_once('@') {
                Some((name, judge)) => add(shown, name, judge, *on_steps),
                None if rest != shown || LabelText::split(rest).1.is_some() => {
                    let (name, _) = LabelText::split(rest);
                    if let Some(judge) = names.default_judge(name, *on_steps) {
                        add(shown, rest, judge, *on_steps);
                    }
                }
                None => {}
            }
        }
    }
}

/// Returns the Arrow schema of columns.
pub(super) fn schema_of(columns: &[TableColumn]) -> SchemaRef {
    let field = |c: &TableColumn| Field::new(&c.name, data_type(c), !c.hidden);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Returns the Arrow type of a column.
pub(super) fn data_type(column: &TableColumn) -> DataType {
    let values = column.kind.data_type();
    match column.origin {
        Origin::OwnCodes(_) | Origin::WidenedCodes(_) => {
            DataType::Dictionary(Box::new(DataType::UInt32), Box::new(values))
        }
        _ => values,
    }
}
