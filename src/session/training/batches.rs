//! A run's tokens in the order of training, as JSON lines: for another trainer, or to see what
//! exactly was trained on.
//!
//! ```text
//! {"swirldb":"tokens 1","run":"first","model":"m.gguf","options":{..},"steps_total":40,
//!  "adapter":"first.adapter"}
//! {"step":1,"sequences":[{"tokens":[1,2,3],"actions":[
//!   {"source":"s","trajectory_id":"7","step":1,"start":1,"end":3,"weight":1.0}]}]}
//! ```
//! Each line behind the first is a forward pass; several with one `step` are summed before the
//! optimiser moves. An action's tokens are `start..end`, its end of turn included; `weight` is what
//! the loss takes: reward less baseline, or advantage; of a pair 1 and -1. `adapter` is a folder
//! beside the file with the adapters at the start, null where whole weights are trained.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::examples::saved;
use super::material::Material;
use super::model::load;
use super::request::RunConfig;
use super::runs::training_run;
use crate::exchange::create;
use crate::session::error::SessionError;
use crate::session::statement::Session;
use crate::train::{Objective, Prepared, cut_by_tokens};

/// Writes the tokens of a run to `path`, compressed as its name says; returns the number of forward
/// passes.
///
/// # Errors
/// There is no such run, its model is gone, or what the disk says.
pub fn export_batches(session: &Session, run: &str, path: &Path) -> Result<u64, SessionError> {
    let store = session.database().store();
    let record = training_run(store, run)?;
    let mut config = RunConfig::stored(run, &record.config)?;
    let dataset = record.dataset.clone().unwrap_or_default();
    let rows: Vec<_> = store.dataset_rows(&dataset)?.iter().map(saved).collect();
    let view = session.database().view();
    let model = load(session, &mut config)?;
    if config.options.objective == Objective::Grpo {
        let message = format!(
            "run '{run}' plays what it is trained on: there are no tokens before it is made again"
        );
        return Err(SessionError::mistake("run", message));
    }
    let Material { ready, .. } = Material::of(session, &view, &model, &config, &rows)?;
    let adapter = match model.decoder.lora() {
        None => Value::Null,
        Some(_) => {
            let folder = path.with_extension("adapter");
            model.decoder.save(&folder, None)?;
            Value::from(folder.display().to_string())
        }
    };
    let header = json!({
        "swirldb": "tokens 1",
        "run": run,
        "model": config.model,
        "options": config.options,
        "steps_total": ready.plan.steps_total,
        "adapter": adapter,
    });
    let mut file = create(path)?;
    let mut write = |line: Value| writeln!(file, "{line}").map_err(SessionError::Output);
    write(header)?;
    let mut course = ready.course(&config.options);
    let mut passes = 0;
    for step in 1..=course.steps_total {
        if session.cancel().is_cancelled() {
            return Err(SessionError::Cancelled);
        }
        let chosen = course.advance();
        let budget = config.options.tokens_per_batch;
        for batch in cut_by_tokens(&ready.sequences, &chosen, budget) {
            let sequences: Vec<Value> = batch.iter().map(|at| sequence(&ready, *at)).collect();
            write(json!({"step": step, "sequences": sequences}))?;
            passes += 1;
        }
    }
    file.finish()?;
    Ok(passes)
}

fn sequence(ready: &Prepared, at: usize) -> Value {
    let sequence = &ready.sequences[at];
    let actions = sequence.actions.iter().zip(&ready.weights[at]).map(|(action, weight)| {
        json!({
            "source": &*action.row.source,
            "trajectory_id": &*action.row.id,
            "step": action.row.step,
            "start": action.start,
            "end": action.end,
            "weight": weight,
        })
    });
    let actions: Vec<Value> = actions.collect();
    json!({"tokens": sequence.tokens, "actions": actions, "pair": sequence.pair})
}
