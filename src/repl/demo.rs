//! The demo: the whole line once, in a folder of its own.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use super::console::{Console, say};
use super::format::Format;
use super::import_view::{ImportOptions, import_files};
use crate::session::{NewModel, Session, SessionError, SessionOptions, create_model};
use crate::synth::{self, SynthOptions};

/// What the demo asks, in order: a title and a statement.
const QUERIES: [(&str, &str); 3] = [
    (
        "How good are the steps, by tool?",
        "FROM steps\n\
         |> AGGREGATE count(*) AS n, avg(process) AS process GROUP BY tool\n\
         |> ORDER BY n DESC",
    ),
    (
        "Does a right answer need good steps?",
        "FROM steps\n\
         |> AGGREGATE every(process > .5) AS all_good, max(outcome) AS outcome\n\
         \x20  GROUP BY trajectory_id\n\
         |> AGGREGATE count(*) AS trajectories GROUP BY all_good, outcome\n\
         |> ORDER BY all_good, outcome",
    ),
    (
        "Full text: which searches found nothing, and were they judged bad?",
        "FROM steps\n\
         |> WHERE matches(observation, '\"no document found\"')\n\
         |> SELECT trajectory_id, step, arguments, process\n\
         |> LIMIT 5",
    ),
];

/// What is saved: the paper's process filter for training, and held-out steps of both kinds.
const DATASETS: [&str; 3] = [
    "FROM subtrajectories |> WHERE split = 'train'\n\
     |> WHERE every(process > .5) |> SAVE AS good_train",
    "FROM subtrajectories |> WHERE split = 'dev' AND process > .5 |> SAVE AS good_heldout",
    "FROM subtrajectories |> WHERE split = 'dev' AND process <= .5 |> SAVE AS bad_heldout",
];

/// Runs the demo in `directory`.
///
/// # Errors
/// The folder is in the way, or a part of the demo fails.
pub fn demo(directory: &Path) -> Result<(), SessionError> {
    let environment = |e: std::io::Error| SessionError::Environment(e.to_string());
    let database = directory.join("db");
    if database.exists() {
        let message = format!(
            "{} is there already: remove the folder, or name another (swirl demo DIR)",
            database.display()
        );
        return Err(SessionError::mistake("demo", message));
    }
    std::fs::create_dir_all(directory).map_err(environment)?;
    let world = directory.join("world.jsonl");
    step("A small world: questions, tools, and trajectories with judged steps");
    let file = File::create(&world).map_err(environment)?;
    let mut out = BufWriter::new(file);
    synth::write(&SynthOptions::default(), &mut out).map_err(environment)?;
    out.flush().map_err(environment)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = SessionOptions { memory_bytes: 1 << 30, threads, read_only: false };
    let session = Session::open(&database, options, true)?;
    super::interrupt(session.cancel())?;
    shown(&format!("swirl import {} {}", database.display(), world.display()));
    import_files(&session, &[world], &ImportOptions { threads, ..ImportOptions::default() })?;
    let mut console = Console::new(Format::Table);
    for (title, query) in QUERIES {
        step(title);
        statement(&session, &mut console, query)?;
    }
    step("The process filter of the paper: trajectories whose every step is good");
    for query in DATASETS {
        statement(&session, &mut console, query)?;
    }
    step("A small decoder from nothing, trained on them");
    let model = directory.join("model");
    shown(&format!("swirl model {} {}", database.display(), model.display()));
    let weights = create_model(&session, &model, &NewModel::default())?;
    say(&format!("{}: {weights} weights", model.display()));
    let train = format!(
        "FROM dataset.good_train\n\
         |> TRAIN WITH (model = '{}', objective = 'sft', full = true,\n\
         \x20              learning_rate = 0.002, warmup_ratio = 0.05, max_steps = 80,\n\
         \x20              tokens_per_step = 4096, logging_steps = 10,\n\
         \x20              eval_dataset = 'good_heldout, bad_heldout') AS first",
        model.display().to_string().replace('\'', "''")
    );
    statement(&session, &mut console, &train)?;
    step("The run is data too");
    let metrics = "FROM metrics |> WHERE name = 'nll' AND step % 20 = 0\n\
                   |> SELECT run, step, round(value, 3) AS nll |> ORDER BY step";
    statement(&session, &mut console, metrics)?;
    say(&format!("\nNow look around yourself: swirl {}", database.display()));
    Ok(())
}

fn step(title: &str) {
    say(&format!("\n── {title}"));
}

fn shown(command: &str) {
    say(&format!("$ {command}"));
}

fn statement(session: &Session, console: &mut Console, text: &str) -> Result<(), SessionError> {
    say(text);
    console.run(session, text)
}
