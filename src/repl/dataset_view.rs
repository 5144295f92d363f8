//! What became of datasets, on the screen.

use super::console::{plural, say};
use crate::codec::DatasetRecord;
use crate::db::DbError;
use crate::diag::hexadecimal;
use crate::session::{Outcome, Rerun, SessionError, Verified, counts};

/// Tells what a statement about datasets did.
///
/// # Errors
/// [`DbError::NotAsSaved`] where a dataset is not what was saved.
pub(super) fn report(outcome: &Outcome) -> Result<(), SessionError> {
    match outcome {
        Outcome::DatasetExported { dataset, path } => print_export(dataset, path),
        Outcome::Compared { difference, .. } => say(&counts(difference)),
        Outcome::Dropped(dataset) => {
            let rows = plural(dataset.rows, "sub-trajectory", "sub-trajectories");
            say(&format!("dropped '{}', {rows}; the trajectories stay", dataset.name));
        }
        Outcome::Deleted { trajectories, steps, datasets } => {
            let gone = plural(*trajectories, "trajectory", "trajectories");
            let steps = plural(*steps, "step", "steps");
            let help =
                if *trajectories > 0 { "; swirl compact gives their space back" } else { "" };
            say(&format!("deleted {gone} of {steps}{help}"));
            for dropped in datasets {
                say(&format!("dropped dataset '{}'", dropped.dataset));
            }
        }
        Outcome::Verified(all) => return verified(all),
        _ => {}
    }
    Ok(())
}

/// Tells what was written of a dataset.
pub fn print_export(dataset: &DatasetRecord, path: &str) {
    let rows = plural(dataset.rows, "sub-trajectory", "sub-trajectories");
    let of = plural(dataset.trajectories, "trajectory", "trajectories");
    let hash = hexadecimal(&dataset.hash);
    say(&format!("{path}: dataset '{}', {rows} of {of}, hash {hash}", dataset.name));
}

fn verified(all: &[Verified]) -> Result<(), SessionError> {
    for Verified { dataset, rerun, .. } in all.iter().filter(|one| !one.differs()) {
        match rerun {
            Rerun::NotCompared(reason) => say(&format!(
                "'{dataset}': what was saved is unchanged; the statement was not compared: {reason}"
            )),
            _ => say(&format!("'{dataset}': same hash again")),
        }
    }
    let differing: Vec<&Verified> = all.iter().filter(|one| one.differs()).collect();
    let Some(first) = differing.first() else {
        return Ok(());
    };
    let told = match differing.len() {
        1 => format!("dataset '{}' differs", first.dataset),
        many => format!("{many} of {} datasets differ", all.len()),
    };
    let broken = differing.iter().any(|one| !one.content_is_same || !one.hash_is_same);
    let told = match broken {
        true => format!("{told} from what was saved"),
        false => format!("{told}: its rows are as saved, its statement gives others"),
    };
    Err(SessionError::Database(DbError::NotAsSaved(told)))
}
