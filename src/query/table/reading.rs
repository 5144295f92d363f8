//! Reading rows of a scan: scalars, then filters, then records for what is left.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, Int64Array, ListBuilder,
    RecordBatch, RecordBatchOptions, StringViewBuilder, UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter, prep_null_mask_filter, take};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;

use super::columns::{LabelText, Origin, ScanTable, TableColumn, schema_of};
use super::comparisons::Conjunction;
use super::scan::RowFinder;
use super::text_predicates::TextPredicate;
use crate::codec::HeaderRecord;
use crate::diag::Progress;
use crate::model::{Json, Label, Step, Target, Trajectory};
use crate::store::{ColumnRef, Segment, StoreError, View, runs_of};

/// Rows looked at together: half a chunk, so that what each batch costs beside its rows is small.
const SLICE_ROWS: u64 = 32_768;

/// Texts fetched together end with the row that reaches this many characters.
const RUN_CHARS_MAX: i64 = 8 << 20;

/// A predicate, with the columns it reads.
pub(super) type Predicate = (Vec<TableColumn>, Arc<dyn PhysicalExpr>);

/// Who answers full-text predicates.
#[derive(Clone)]
pub(super) struct Finding(pub Arc<dyn RowFinder>);

impl std::fmt::Debug for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Finding")
    }
}

/// What a scan does, the same for all of its partitions.
#[derive(Debug, Clone)]
pub(super) struct ScanPlan {
    pub view: View,
    pub table: ScanTable,
    /// The columns that come out.
    pub output: Vec<TableColumn>,
    /// A predicate over scalar columns only, with those columns.
    pub scalar_filter: Option<Predicate>,
    /// The same, with its predicates over one text as columns of [`Origin::Holds`].
    pub by_codes: Option<Conjunction>,
    /// A predicate that needs records, with its columns.
    pub record_filter: Option<Predicate>,
    /// Rows that full-text predicates leave, ascending; all of the sets must hold a row.
    pub row_sets: Vec<Arc<Vec<u64>>>,
    /// Rows that full-text predicates inside expressions hold for, ascending.
    pub found: Vec<Arc<Vec<u64>>>,
    /// Predicates over one text that expressions and the scalar predicate ask.
    pub text_predicates: Vec<TextPredicate>,
    /// Answers full-text predicates.
    pub finder: Finding,
    /// Segments that statistics do not rule out.
    pub segments: Vec<Segment>,
    /// Rows after which a partition may end.
    pub limit: Option<usize>,
}

/// Returns the numbers of as many rows as are looked at together.
fn all_rows() -> UInt32Array {
    static ALL: LazyLock<UInt32Array> =
        LazyLock::new(|| UInt32Array::from_iter_values(0..SLICE_ROWS as u32));
    ALL.clone()
}

/// The rows of one partition, batch by batch.
pub(super) struct Reading {
    plan: Arc<ScanPlan>,
    schema: SchemaRef,
    slices: std::vec::IntoIter<(Segment, Range<u64>)>,
    ready: std::collections::VecDeque<RecordBatch>,
    left: usize,
    progress: Progress,
}

impl Reading {
    /// Returns a reader of the rows in `rows`, which moves `progress` on.
    pub fn new(plan: Arc<ScanPlan>, rows: Range<u64>, progress: Progress) -> Reading {
        let mut slices = Vec::new();
        for segment in &plan.segments {
            let end = rows.end.min(segment.first_row + segment.rows);
            let mut from = rows.start.max(segment.first_row);
            while from < end {
                let to = end.min(from + SLICE_ROWS);
                slices.push((*segment, from..to));
                from = to;
            }
        }
        let left = plan.limit.unwrap_or(usize::MAX);
        let schema = schema_of(&plan.output);
        let (slices, ready) = (slices.into_iter(), Default::default());
        Reading { plan, schema, slices, ready, left, progress }
    }

    /// Ends what nobody waits for any more: where no row is kept there is no other place to stop.
    fn go_on(&self) -> Result<()> {
        match self.plan.finder.0.is_cancelled() {
            true => Err(DataFusionError::Execution("cancelled".to_owned())),
            false => Ok(()),
        }
    }

    fn read(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            if let Some(batch) = self.ready.pop_front() {
                let batch = batch.slice(0, batch.num_rows().min(self.left));
                self.left -= batch.num_rows();
                return Ok(Some(batch));
            }
            let Some((segment, rows)) = self.slices.next() else { return Ok(None) };
            self.go_on()?;
            self.progress.advance(rows.end - rows.start);
            let slice = Slice { plan: &self.plan, segment, rows };
            let kept = slice.kept()?;
            if kept.is_empty() {
                continue;
            }
            // Rows behind the limit are not fetched, unless a later filter may drop earlier ones.
            let kept = match self.plan.record_filter {
                None => kept.slice(0, kept.len().min(self.left)),
                Some(_) => kept,
            };
            for run in slice.runs(&kept)? {
                self.go_on()?;
                let kept = kept.slice(run.start, run.len());
                if let Some(batch) = slice.batch(&kept, &self.schema)? {
                    self.ready.push_back(batch);
                }
            }
        }
    }
}

impl Iterator for Reading {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.read().transpose()
    }
}

pub(super) fn external(error: StoreError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Some rows of one segment.
struct Slice<'a> {
    plan: &'a ScanPlan,
    segment: Segment,
    rows: Range<u64>,
}

impl Slice<'_> {
    /// Returns the rows that scalar predicates and row sets leave, counted from the slice's start.
    fn kept(&self) -> Result<UInt32Array> {
        let count = (self.rows.end - self.rows.start) as usize;
        let mut mask = self.there(count);
        for set in &self.plan.row_sets {
            let held = self.held(set, count).values().clone();
            mask = Some(match mask {
                Some(mask) => &mask & &held,
                None => held,
            });
        }
        if let Some(conjunction) = &self.plan.by_codes {
            let found = conjunction.holds(count, |origin| self.scalar(origin))?;
            mask = Some(match mask {
                Some(mask) => &mask & &found,
                None => found,
            });
        }
        let Some(mask) = mask.filter(|mask| mask.count_set_bits() < count) else {
            return Ok(all_rows().slice(0, count));
        };
        Ok(UInt32Array::from_iter_values(mask.set_indices_u32()))
    }

    /// Returns which rows of the slice are not deleted; `None`: all of them.
    fn there(&self, count: usize) -> Option<BooleanBuffer> {
        let table = self.plan.table.rows_of();
        let mut gone = self.plan.view.deleted(table, self.rows.clone()).peekable();
        gone.peek()?;
        let mut there = BooleanBufferBuilder::new(count);
        for run in gone {
            there.append_n((run.start - self.rows.start) as usize - there.len(), true);
            there.append_n((run.end - run.start) as usize, false);
        }
        there.append_n(count - there.len(), true);
        Some(there.finish())
    }

    fn held(&self, set: &[u64], count: usize) -> BooleanArray {
        let from = set.partition_point(|r| *r < self.rows.start);
        let to = set.partition_point(|r| *r < self.rows.end);
        let mut held = vec![false; count];
        for row in &set[from..to] {
            held[(row - self.rows.start) as usize] = true;
        }
        BooleanArray::from(held)
    }

    /// Returns a scalar column for every row of the slice.
    fn scalar(&self, origin: Origin) -> Result<ArrayRef> {
        let count = (self.rows.end - self.rows.start) as usize;
        let view = &self.plan.view;
        let whole = match origin {
            Origin::Own(column) => view.column(&self.segment, column).map_err(external)?,
            Origin::Widened(column) => view.widened(&self.segment, column).map_err(external)?,
            Origin::OwnCodes(column) => view.codes(&self.segment, column).map_err(external)?,
            Origin::WidenedCodes(column) => {
                view.widened_codes(&self.segment, column).map_err(external)?
            }
            Origin::Found(at) => {
                return Ok(Arc::new(self.held(&self.plan.found[at], count)));
            }
            Origin::Holds(at) => return self.holds(&self.plan.text_predicates[at]),
            Origin::RowNumber => {
                let rows = self.rows.start as i64..self.rows.end as i64;
                return Ok(Arc::new(Int64Array::from_iter_values(rows)));
            }
            _ => return Ok(Arc::new(Int64Array::from_value(0, count))),
        };
        Ok(whole.slice((self.rows.start - self.segment.first_row) as usize, count))
    }

    /// Returns for every row of the slice whether a predicate over one text holds.
    fn holds(&self, predicate: &TextPredicate) -> Result<ArrayRef> {
        let first = (self.rows.start - self.segment.first_row) as usize;
        let count = (self.rows.end - self.rows.start) as usize;
        let holds = match predicate.over_codes(&self.plan.view, &self.segment)? {
            Some(codes) => codes.rows(first, count)?,
            None => predicate.of(self.scalar(predicate.origin())?)?,
        };
        Ok(Arc::new(holds))
    }

    /// Splits kept rows so that the texts of each part fit in memory.
    fn runs(&self, kept: &UInt32Array) -> Result<Vec<Range<usize>>> {
        let filter = self.plan.record_filter.iter().flat_map(|(columns, _)| columns);
        let origins: Vec<Origin> =
            self.plan.output.iter().chain(filter).map(|c| c.origin).collect();
        if origins.iter().all(|o| o.is_scalar()) || self.plan.table == ScanTable::Trajectories {
            return Ok(std::iter::once(0..kept.len()).collect());
        }
        let mut chars = vec![0i64; kept.len()];
        let mut add = |name: &str| -> Result<()> {
            let table = self.plan.table.rows_of();
            let Some(column) = self.plan.view.stored(table, name) else { return Ok(()) };
            let lengths = self.scalar(Origin::Own(column))?;
            let lengths = lengths.as_primitive::<Int64Type>();
            for (sum, row) in chars.iter_mut().zip(kept.values()) {
                *sum += lengths.value(*row as usize);
            }
            Ok(())
        };
        if origins.contains(&Origin::State) {
            add("state_chars")?;
        }
        add("observation_chars")?;
        add("action_chars")?;
        Ok(runs_of(&chars, RUN_CHARS_MAX))
    }

    /// Returns the output columns of kept rows, less those the record predicate drops.
    fn batch(&self, kept: &UInt32Array, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let mut records = Records::new(self, kept)?;
        let mut mask = None;
        if let Some((columns, predicate)) = &self.plan.record_filter {
            let arrays: Result<Vec<ArrayRef>> =
                columns.iter().map(|c| self.column(c.origin, kept, &mut records)).collect();
            let found = evaluate(predicate, &batch(&schema_of(columns), arrays?, kept.len())?)?;
            if found.true_count() == 0 {
                return Ok(None);
            }
            mask = Some(found).filter(|m| m.true_count() < kept.len());
        }
        let survivors = match &mask {
            None => kept.clone(),
            Some(mask) => filter(kept, mask)?.as_primitive().clone(),
        };
        if mask.is_some() {
            records = Records::new(self, &survivors)?;
        }
        let output = &self.plan.output;
        let arrays: Result<Vec<ArrayRef>> =
            output.iter().map(|c| self.column(c.origin, &survivors, &mut records)).collect();
        Ok(Some(batch(schema, arrays?, survivors.len())?))
    }

    fn column(
        &self,
        origin: Origin,
        kept: &UInt32Array,
        records: &mut Records<'_>,
    ) -> Result<ArrayRef> {
        if !origin.is_scalar() {
            return records.column(origin);
        }
        let values = self.scalar(origin)?;
        // Kept rows ascend without repeating: as many as there are means all of them.
        if kept.len() == values.len() { Ok(values) } else { Ok(take(&values, kept, None)?) }
    }
}

pub(super) fn batch(schema: &SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?)
}

/// Returns for which rows a predicate is true; null is not.
pub(in crate::query) fn evaluate(
    predicate: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
) -> Result<BooleanArray> {
    let values = predicate.evaluate(batch)?.into_array(batch.num_rows())?;
    let found = values.as_boolean_opt().ok_or_else(|| {
        DataFusionError::Internal(format!("a filter of type {}", values.data_type()))
    })?;
    if found.null_count() == 0 { Ok(found.clone()) } else { Ok(prep_null_mask_filter(found)) }
}

/// The records of some rows, each kind fetched once and only when a column asks for it.
struct Records<'a> {
    view: &'a View,
    places: Vec<(u64, u32)>,
    /// Whether a column asks for the observation's text.
    texts: bool,
    headers: Option<HashMap<u64, HeaderRecord>>,
    steps: Option<Vec<Step>>,
    labels: HashMap<u64, Vec<Label>>,
}

impl<'a> Records<'a> {
    fn new(slice: &Slice<'a>, kept: &UInt32Array) -> Result<Records<'a>> {
        let plan = slice.plan;
        let filter = plan.record_filter.iter().flat_map(|(columns, _)| columns);
        let mut columns = plan.output.iter().chain(filter);
        let texts = columns.any(|c| c.origin == Origin::Step("observation"));
        let steps = plan.table != ScanTable::Trajectories;
        let ordinals = match steps {
            true => slice.scalar(Origin::Own(ColumnRef::Stored(plan.table.rows_of(), 0)))?,
            false => slice.scalar(Origin::RowNumber)?,
        };
        let numbers = match plan.view.stored(plan.table.rows_of(), "step").filter(|_| steps) {
            Some(column) => slice.scalar(Origin::Own(column))?,
            None => slice.scalar(Origin::Zero)?,
        };
        let ordinals = ordinals.as_primitive::<Int64Type>();
        let numbers = numbers.as_primitive::<Int64Type>();
        let place = |row: &u32| {
            let row = *row as usize;
            (ordinals.value(row) as u64, numbers.value(row) as u32)
        };
        let places = kept.values().iter().map(place).collect();
        let view = &plan.view;
        Ok(Records { view, places, texts, headers: None, steps: None, labels: HashMap::new() })
    }

    fn column(&mut self, origin: Origin) -> Result<ArrayRef> {
        match origin {
            Origin::Step(name) => self.step_column(name),
            Origin::Header(name) => self.header_column(name),
            Origin::Label(at, text) => self.label_column(at, text),
            _ => self.states(),
        }
    }

    fn step_column(&mut self, name: &str) -> Result<ArrayRef> {
        let steps = match self.steps.take() {
            Some(steps) => steps,
            None => self.view.steps(&self.places, self.texts).map_err(external)?,
        };
        let mut builder = StringViewBuilder::with_capacity(steps.len());
        for step in &steps {
            match name {
                "arguments" => {
                    let first = step.action.tool_calls.first();
                    builder.append_option(first.map(|c| c.arguments.as_str()));
                }
                "reasoning" => builder.append_option(step.action.reasoning.as_deref()),
                "action" => builder.append_value(step.action.text()),
                _ => builder.append_value(step.observation_text()),
            }
        }
        self.steps = Some(steps);
        Ok(Arc::new(builder.finish()))
    }

    fn header_column(&mut self, name: &str) -> Result<ArrayRef> {
        if self.headers.is_none() {
            let ordinals = self.ordinals();
            let headers = self.view.headers(&ordinals).map_err(external)?;
            self.headers = Some(ordinals.into_iter().zip(headers).collect());
        }
        if name == "meta" {
            return self.metas();
        }
        let headers = self.headers.as_ref();
        let of_rows = self.places.iter().map(|(ordinal, _)| headers.and_then(|h| h.get(ordinal)));
        if name == "gold" {
            let mut builder = ListBuilder::new(StringViewBuilder::new());
            for header in of_rows {
                for gold in header.map(|h| h.gold.as_slice()).unwrap_or_default() {
                    builder.values().append_value(gold);
                }
                builder.append(true);
            }
            return Ok(Arc::new(builder.finish()));
        }
        let mut builder = StringViewBuilder::new();
        for header in of_rows {
            let text = header.and_then(|h| match name {
                "question" => h.question.as_deref(),
                _ => h.answer.as_deref(),
            });
            builder.append_option(text);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Returns the `meta` of each row's trajectory, once its header is there, with what labels lay
    /// over it.
    fn metas(&self) -> Result<ArrayRef> {
        let patches = self.view.meta_patches(&self.ordinals()).map_err(external)?;
        let mut builder = StringViewBuilder::new();
        for (ordinal, _) in &self.places {
            let header = self.headers.as_ref().and_then(|headers| headers.get(ordinal));
            let came = header.and_then(|header| header.meta.as_deref());
            match patches.get(ordinal) {
                None => builder.append_option(came),
                Some(patches) => {
                    let came = came.map(|meta| Json::stored(meta.to_owned()));
                    builder.append_option(Json::laid(came, patches).as_ref().map(Json::as_str));
                }
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    fn label_column(&mut self, at: u16, text: LabelText) -> Result<ArrayRef> {
        let mut builder = StringViewBuilder::with_capacity(self.places.len());
        let Some(column) = self.view.labels().get(usize::from(at)) else {
            builder.extend(self.places.iter().map(|_| None::<&str>));
            return Ok(Arc::new(builder.finish()));
        };
        for (ordinal, step) in &self.places {
            if !self.labels.contains_key(ordinal) {
                let labels = self.view.current_labels(*ordinal).map_err(external)?;
                self.labels.insert(*ordinal, labels);
            }
            let target = match column.on_steps {
                true => Target::Step(*step),
                false => Target::Trajectory,
            };
            let is_asked = |l: &&Label| {
                l.target == target && l.name.as_str() == column.name && l.judge == column.judge
            };
            let label = self.labels.get(ordinal).and_then(|labels| labels.iter().find(is_asked));
            builder.append_option(label.and_then(|label| text.of(label)));
        }
        Ok(Arc::new(builder.finish()))
    }

    fn states(&mut self) -> Result<ArrayRef> {
        let ordinals = self.ordinals();
        let whole = self.view.trajectories(&ordinals).map_err(external)?;
        let whole: HashMap<u64, Trajectory> = ordinals.into_iter().zip(whole).collect();
        let mut builder = StringViewBuilder::with_capacity(self.places.len());
        for (ordinal, step) in &self.places {
            let state = whole.get(ordinal).map(|t| t.state(*step));
            let json = state.map(|s| serde_json::to_string(&s)).transpose();
            let json = json.map_err(|e| DataFusionError::External(Box::new(e)))?;
            builder.append_option(json);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Returns the ordinals of the rows, each once.
    fn ordinals(&self) -> Vec<u64> {
        let mut ordinals: Vec<u64> = self.places.iter().map(|(ordinal, _)| *ordinal).collect();
        ordinals.dedup();
        ordinals
    }
}
