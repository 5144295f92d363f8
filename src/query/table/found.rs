//! Predicates inside expressions that the scan can answer.
//!
//! A WHERE hands its `matches(column, 'words')` to the scan, which asks the index. Where the
//! predicate is part of something else, as in the condition of a pattern, it stands in a projection
//! over the scan; there the scan brings a column that says for each row what the index says, and
//! the text itself need not be fetched. The same goes for predicates over a column of few texts.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::scan::ScanExec;
use super::text_predicates::only_used;

/// Has the scan answer the predicates of projections over it that it can.
#[derive(Debug)]
pub struct PredicatesInScan;

impl PhysicalOptimizerRule for PredicatesInScan {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let by_index = |node: Arc<dyn ExecutionPlan>| {
            let projection = node.downcast_ref::<ProjectionExec>();
            let parts = projection.and_then(|p| Some((p, p.input().downcast_ref::<ScanExec>()?)));
            let changed = match parts {
                Some((projection, scan)) => projected(projection, scan)?,
                None => None,
            };
            Ok(changed.map_or_else(|| Transformed::no(node), Transformed::yes))
        };
        plan.transform_up(by_index).data()
    }

    fn name(&self) -> &str {
        "predicates_in_scan"
    }

    fn schema_check(&self) -> bool {
        // What the index says is never null.
        false
    }
}

/// Returns the projection over a scan that leaves predicates to it, if there are any.
fn projected(
    projection: &ProjectionExec,
    scan: &ScanExec,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut scan = scan.clone();
    let mut exprs: Vec<ProjectionExpr> = projection.expr().to_vec();
    let mut asked = false;
    for projected in &mut exprs {
        let by_index = |expr: Arc<dyn PhysicalExpr>| {
            let Some((column, words)) = predicate(&expr) else { return Ok(Transformed::no(expr)) };
            Ok(match scan.with_found(column, words)? {
                Some((with_column, at)) => {
                    asked = true;
                    let name = with_column.schema().field(at).name().clone();
                    scan = with_column;
                    Transformed::yes(Arc::new(Column::new(&name, at)) as Arc<dyn PhysicalExpr>)
                }
                None => Transformed::no(expr),
            })
        };
        projected.expr = projected.expr.clone().transform_up(by_index).data()?;
    }
    if let Some(with_columns) = scan.asked_of_texts(&mut exprs)? {
        asked = true;
        scan = with_columns;
    }
    if !asked {
        return Ok(None);
    }
    // What nothing reads any more is not brought.
    let mut read: Vec<_> = exprs.iter_mut().map(|projected| &mut projected.expr).collect();
    let scan = scan.only(&only_used(&mut read)?);
    Ok(Some(Arc::new(ProjectionExec::try_new(exprs, Arc::new(scan))?)))
}

/// Returns the column and the words of `matches(column, 'words')`.
fn predicate(expr: &Arc<dyn PhysicalExpr>) -> Option<(usize, &str)> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>().filter(|call| call.name() == "matches")?;
    let [column, words] = call.args() else { return None };
    let column = column.downcast_ref::<Column>()?.index();
    match words.downcast_ref::<Literal>()?.value() {
        ScalarValue::Utf8(Some(words)) | ScalarValue::Utf8View(Some(words)) => {
            Some((column, words.as_str()))
        }
        _ => None,
    }
}
