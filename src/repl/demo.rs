//! The demo: one round of step-wise RL, whole, in a folder of its own.

use std::path::Path;

use super::console::{Console, say};
use super::format::Format;
use crate::session::{Session, SessionError, SessionOptions};

/// The policy: a decoder of 2.3 million weights that has read the demonstrator's trajectories of 25
/// small worlds, as the warm start of benches/study/small-world.toml makes it.
const POLICY: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../../fixtures/small-world/config.json")),
    ("model.safetensors", include_bytes!("../../fixtures/small-world/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../fixtures/small-world/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../fixtures/small-world/tokenizer_config.json")),
];

/// What the demo says, in order: a title and a statement. `MODEL` is the policy.
const ROUND: [(&str, &str); 11] = [
    (
        "Generate: a small policy answers questions with two search tools and a calculator",
        "GENERATE WITH (model = 'MODEL', world = 'default', split = 'train', limit = 300, n = 4,\n\
         \x20              action_form = 'tags', max_new_tokens = 40, slots = 32) AS played",
    ),
    (
        "Judge: every step by what the small world knows, every answer against gold",
        "FROM steps |> WHERE source = 'played'\n\
         |> JUDGE AS process WITH (judge = 'world', world = 'default')",
    ),
    (
        "",
        "FROM trajectories |> WHERE source = 'played'\n\
         |> JUDGE AS outcome WITH (judge = 'exact_match')",
    ),
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
         |> WHERE matches(observation, '\"nothing found\"')\n\
         |> SELECT trajectory_id, step, arguments, process\n\
         |> LIMIT 5",
    ),
    (
        "Filter: the paper's process filter, trajectories whose every step is good",
        "FROM subtrajectories\n\
         |> WHERE source = 'played'\n\
         |> WHERE every(process > .5)\n\
         |> SAVE AS good",
    ),
    (
        "Before: the policy answers 300 questions of another part of the world",
        "EVALUATE WITH (model = 'MODEL', world = 'default', split = 'test', limit = 300,\n\
         \x20              action_form = 'tags', max_new_tokens = 40, slots = 32,\n\
         \x20              judge = 'world', judge.world = 'default') AS before",
    ),
    (
        "Train: actions are sampled at the states of the good trajectories, judged, never executed",
        "FROM dataset.good\n\
         |> TRAIN WITH (model = 'MODEL', objective = 'swirl', full = true,\n\
         \x20              judge = 'world', judge.world = 'default', action_form = 'tags',\n\
         \x20              num_generations = 4, max_completion_length = 40,\n\
         \x20              learning_rate = 3e-4, max_steps = 40, num_train_epochs = 50,\n\
         \x20              tokens_per_step = 2048, logging_steps = 10) AS swirl",
    ),
    (
        "After: the same questions",
        "EVALUATE WITH (model = 'run:swirl', world = 'default', split = 'test', limit = 300,\n\
         \x20              action_form = 'tags', max_new_tokens = 40, slots = 32,\n\
         \x20              judge = 'world', judge.world = 'default', same_judge = true) AS after",
    ),
    (
        "Before and after, with intervals of 95%",
        "FROM metrics\n\
         |> WHERE run IN ('before', 'after')\n\
         |> SET value = round(value, 3)\n\
         |> AGGREGATE max(value) FILTER (WHERE name = 'exact_match') AS exact_match,\n\
         \x20            max(value) FILTER (WHERE name = 'exact_match.low') AS low,\n\
         \x20            max(value) FILTER (WHERE name = 'exact_match.high') AS high,\n\
         \x20            max(value) FILTER (WHERE name = 'process@world') AS process\n\
         \x20  GROUP BY run\n\
         |> ORDER BY exact_match",
    ),
];

/// Runs the demo in `directory`.
///
/// # Errors
/// The folder is in the way, or a part of the demo fails.
pub fn demo(directory: &Path) -> Result<(), SessionError> {
    let environment = |e: std::io::Error| SessionError::Environment(e.to_string());
    let (database, model) = (directory.join("db"), directory.join("model"));
    if let Some(there) = [&database, &model].into_iter().find(|path| path.exists()) {
        let message = format!(
            "{} is there already: remove it, or name another folder (swirl demo DIR)",
            there.display()
        );
        return Err(SessionError::mistake("demo", message));
    }
    std::fs::create_dir_all(&model).map_err(environment)?;
    for (name, content) in POLICY {
        std::fs::write(model.join(name), content).map_err(environment)?;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = SessionOptions { memory_bytes: 1 << 30, threads, read_only: false };
    let session = Session::open(&database, options, true)?;
    super::interrupt(session.cancel())?;
    let mut console = Console::new(Format::Table);
    let model = model.display().to_string().replace('\'', "''");
    for (title, statement) in ROUND {
        if !title.is_empty() {
            say(&format!("\n── {title}"));
        }
        let statement = statement.replace("MODEL", &model);
        say(&statement);
        console.run(&session, &statement)?;
    }
    let database = database.display();
    say(&format!("\nNow look around yourself: swirl {database}"));
    say("and there, for instance: DIFF RUNS before after;");
    Ok(())
}
