//! Training runs: made, gone on with, compared, made again, taken elsewhere; models that score.

use std::path::{Path, PathBuf};

use serde_json::Value;
use swirldb::lm::{self, Device, Training};
use swirldb::session::{
    ConfigVerb, NewModel, Outcome, SampleOptions, Session, TrainSummary, bundle, config_statement,
    create_model, export_batches, merge, rerun, sample,
};

use crate::branching::letters;
use crate::session::{Kept, OPTIONS, mistake, number, run, table, try_run, world};

/// Makes a model of some thousand weights.
fn small_model(session: &Session, folder: &Path) -> PathBuf {
    let path = folder.join("model");
    let new = NewModel {
        vocab_size: 512,
        hidden_size: 32,
        n_layers: 1,
        n_heads: 2,
        ..NewModel::default()
    };
    create_model(session, &path, &new).unwrap();
    path
}

fn trained(session: &Session, text: &str) -> (TrainSummary, Kept) {
    match run(session, text) {
        (Outcome::Trained(summary), kept) => (*summary, kept),
        (outcome, _) => panic!("{outcome:?}"),
    }
}

/// Trains for some steps on a few trajectories of the world.
fn train(model: &Path, options: &str, name: &str) -> String {
    format!(
        "FROM subtrajectories |> WHERE split = 'train' AND process > .5 \
         |> SAMPLE 6 TRAJECTORIES SEED 1 \
         |> TRAIN WITH (model = '{}', learning_rate = 0.01, tokens_per_step = 1024, {options}) \
         AS {name}",
        model.display()
    )
}

fn explained(session: &Session, text: &str) -> String {
    match run(session, &format!("EXPLAIN {text}")).0 {
        Outcome::Text(text) => text,
        outcome => panic!("{outcome:?}"),
    }
}

/// Returns a line of a plan, by its first words.
fn line<'a>(plan: &'a str, name: &str) -> Option<&'a str> {
    plan.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[test]
fn tokens_are_kept_between_runs() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    let text = train(&model, "full = true, max_steps = 1", "first");
    let (summary, _) = trained(&session, &text);
    assert_eq!(summary.plan.cached, 0);
    let again = train(&model, "full = true, max_steps = 1, seed = 4", "second");
    let (second, _) = trained(&session, &again);
    assert_eq!((second.plan.cached, second.plan.tokens), (6, summary.plan.tokens));
    assert!(line(&explained(&session, &again), "cached").unwrap().starts_with("6 "));
    // Another rule of length, or another choice of steps, is other tokens.
    let shorter = train(&model, "max_length = 1000, truncation = 'drop', max_steps = 1", "third");
    let plan = explained(&session, &shorter);
    assert_eq!(line(&plan, "cached"), None, "{plan}");
    let other = text.replace("process > .5", "process > .5 AND step > 1");
    assert_eq!(line(&explained(&session, &other), "cached"), None);
    // A reader keeps nothing and reads what is kept.
    drop(session);
    let options = swirldb::session::SessionOptions { read_only: true, ..OPTIONS };
    let reader = Session::open(&folder.path().join("db"), options, false).unwrap();
    assert!(line(&explained(&reader, &again), "cached").unwrap().starts_with("6 "));
}

#[test]
fn pairs_are_saved_trained_on_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let session = letters(folder.path(), &["abc", "abd", "aBd", "b"]);
    let model = small_model(&session, folder.path());
    let pairs = "FROM preference_pairs('process')";
    let (Outcome::Saved(saved), _) = run(&session, &format!("{pairs} |> SAVE AS pairs")) else {
        panic!("not saved")
    };
    let count = number(&session, "SELECT count(*) FROM preference_pairs('process')");
    assert_eq!(saved.rows as f64, 2.0 * count);
    let shown = table(
        &session,
        "FROM dataset_pairs('pairs') |> SELECT pair, step, chosen_id, rejected_id |> LIMIT 2",
    );
    let rows = table(
        &session,
        &format!(
            "{pairs} |> SELECT row_number() OVER () - 1 AS pair, step, chosen_id, \
                  rejected_id |> LIMIT 2"
        ),
    );
    assert_eq!(shown, rows);
    let Outcome::Verified(verified) = run(&session, "VERIFY DATASET pairs").0 else {
        panic!("not verified")
    };
    assert!(verified[0].rerun == swirldb::session::Rerun::Same, "{verified:?}");
    let text = format!(
        "FROM dataset_pairs('pairs') |> TRAIN WITH (model = '{}', objective = 'dpo', full = true, \
         learning_rate = 0.01, max_steps = 8, eval_dataset = 'pairs') AS preferred",
        model.display()
    );
    // The letters have no question that could be held apart: the same pairs are measured.
    let refused = mistake(&session, &text);
    assert!(refused.contains("are trained on"), "{refused}");
    let text = text.replace(", eval_dataset = 'pairs'", "");
    let (summary, _) = trained(&session, &text);
    assert_eq!(summary.plan.pairs as f64, count);
    let metric = |name: &str, step: u64| {
        number(
            &session,
            &format!(
                "SELECT value FROM metrics WHERE run = 'preferred' AND name = '{name}' \
                 AND step = {step}"
            ),
        )
    };
    assert_eq!(metric("rewards/margins", 1), 0.0);
    assert!(metric("rewards/margins", 8) > 0.0);
    assert!(metric("rewards/accuracies", 8) >= 0.5);
    let reference = "SELECT count(log_prob_reference), count(DISTINCT pair) FROM examples";
    assert!(
        table(&session, reference).contains(&format!("{count}")),
        "{}",
        table(&session, reference)
    );
    let steps = mistake(
        &session,
        &text.replace("FROM dataset_pairs('pairs')", "FROM steps").replace("preferred", "no"),
    );
    assert!(steps.contains("'dpo' takes pairs") && steps.contains('^'), "{steps}");
    let single = mistake(&session, &text.replace("'dpo'", "'sft'").replace("preferred", "no"));
    assert!(single.contains("set objective = 'dpo'"), "{single}");
    let labels = mistake(&session, &format!("{pairs} |> LABEL AS x BY 'y' = 1"));
    assert!(labels.contains("pairs of actions"), "{labels}");
}

#[test]
fn pairs_held_out_are_measured_by_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    let of = |split: &str| {
        format!(
            "FROM preference_pairs('process', 'action') |> WHERE question_id IN \
             (SELECT question_id FROM trajectories WHERE split = '{split}')"
        )
    };
    run(&session, &format!("{} |> LIMIT 6 |> SAVE AS held", of("dev")));
    let text = format!(
        "{} |> LIMIT 12 |> TRAIN WITH (model = '{}', objective = 'dpo', full = true, \
         learning_rate = 0.01, max_steps = 4, eval_steps = 2, eval_dataset = 'held') AS ranked",
        of("train"),
        model.display()
    );
    trained(&session, &text);
    let of = |name: &str| {
        table(
            &session,
            &format!("SELECT step, value FROM metrics WHERE name = '{name}' ORDER BY 1"),
        )
    };
    let accuracies = of("eval_held_rewards/accuracies");
    assert!(accuracies.contains("| 0    | 0.0 "), "{accuracies}");
    assert!(accuracies.contains("| 4    |"), "{accuracies}");
}

#[test]
fn actions_are_scored_once() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    let score = |rows: &str, options: &str| {
        format!("FROM steps |> {rows} |> SCORE AS lp WITH (model = '{}'{options})", model.display())
    };
    let labelled = |text: &str| match run(&session, text).0 {
        Outcome::Labelled { added, same, .. } => (added, same),
        outcome => panic!("{outcome:?}"),
    };
    let some = score("SAMPLE 3 TRAJECTORIES SEED 5", "");
    let (added, same) = labelled(&some);
    assert!(added > 3 && same == 0);
    assert_eq!(labelled(&some), (0, added));
    let (more, known) = labelled(&score("SAMPLE 4 TRAJECTORIES SEED 5", ""));
    assert!(more > 0 && known == added, "what has a score is not computed again");
    assert!(number(&session, "SELECT max(lp) FROM steps") < 0.0);
    // A score is what a run of no effect says of the same actions.
    let (summary, _) = trained(
        &session,
        &format!(
            "FROM steps |> WHERE lp IS NOT NULL |> TRAIN WITH (model = '{}', full = true, \
             learning_rate = 1e-30, log_examples = true, tokens_per_step = 1000000) AS still",
            model.display()
        ),
    );
    assert_eq!(summary.plan.actions as u64, added + more);
    let worst = number(
        &session,
        "SELECT max(abs(lp - log_prob_end)) FROM examples JOIN steps \
         ON steps.trajectory_id = examples.trajectory_id AND steps.step = examples.step",
    );
    assert!(worst < 1e-3, "{worst}");
    let judge = table(&session, "SELECT judge, kind FROM judges WHERE kind = 'model'");
    assert!(judge.contains("| model:"), "{judge}");
    // The mean over tokens is another judge's.
    labelled(&score("SAMPLE 1 TRAJECTORIES SEED 5", ", normalize = 'mean', judge = 'mean'"));
    assert!(number(&session, "SELECT min(\"lp@mean\") FROM steps") > -20.0);
    let other = mistake(&session, &score("LIMIT 1", ", judge = 'mean'"));
    assert!(other.contains("another one"), "{other}");
    let verdict = mistake(&session, &some.replace("AS lp", "AS process"));
    assert!(verdict.contains("verdict"), "{verdict}");
    let unknown = mistake(&session, &score("LIMIT 1", ", modell = 'x'"));
    assert!(unknown.contains("did you mean 'model'?") && unknown.contains('^'), "{unknown}");
}

#[test]
fn runs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    for (name, options) in [
        ("one", "full = true, max_steps = 2"),
        ("two", "full = true, max_steps = 2"),
        ("three", "full = true, max_steps = 2, seed = 1"),
    ] {
        trained(&session, &train(&model, options, name));
    }
    let (_, kept) = run(&session, "DIFF RUNS one two");
    let rows: usize = kept.batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
    assert_eq!(
        rows,
        1,
        "only the statement's name of the run: {}",
        table(&session, "DIFF RUNS one two")
    );
    let shown = table(&session, "DIFF RUNS one, three");
    for part in ["| option    | seed ", "| metric    | nll ", "differ from step "] {
        assert!(shown.contains(part), "{shown}");
    }
    let unknown = mistake(&session, "DIFF RUNS one thre");
    assert!(unknown.contains("did you mean 'three'?") && unknown.contains('^'), "{unknown}");
    assert!(mistake(&session, "DIFF RUNS one").contains("DIFF RUNS first second"));
}

#[test]
fn a_bundle_is_made_again_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    run(
        &session,
        "FROM subtrajectories |> WHERE split = 'dev' |> SAMPLE 9 STEPS SEED 1 \
                   |> SAVE AS held",
    );
    let options = "r = 4, max_steps = 3, eval_dataset = 'held', save_steps = 1";
    trained(&session, &train(&model, options, "taken"));
    let path = folder.path().join("taken.bundle");
    bundle(&session, "taken", &path, true).unwrap();
    drop(session);
    std::fs::remove_dir_all(&model).unwrap();
    // Another database, in which other trajectories come first.
    let elsewhere = folder.path().join("elsewhere");
    let other = Session::open(&elsewhere, OPTIONS, true).unwrap();
    crate::session::load(&other, &crate::session::fixture("chat/traps.jsonl"), Some("other"));
    let again = rerun(&other, &path, None, &mut Kept::default()).unwrap();
    assert!(again.is_same(), "{again:?}");
    assert!(again.numbers > 20 && again.made_with.is_empty(), "{again:?}");
    // A second time it is another run, and a changed number is found.
    let metrics = path.join("metrics.jsonl");
    let text = std::fs::read_to_string(&metrics).unwrap();
    let changed = text.replacen("\"name\":\"loss\",\"value\":", "\"name\":\"loss\",\"value\":1", 1);
    assert_ne!(changed, text);
    std::fs::write(&metrics, changed).unwrap();
    let again = rerun(&other, &path, None, &mut Kept::default()).unwrap();
    assert_eq!(again.run, "taken_2");
    assert!(!again.is_same() && again.same_weights, "{again:?}");
    assert!(again.first_difference.unwrap().1 == "loss");
    // Another model is refused.
    let wrong = folder.path().join("wrong");
    create_model(
        &other,
        &wrong,
        &NewModel { vocab_size: 400, hidden_size: 16, ..NewModel::default() },
    )
    .unwrap();
    let error = rerun(&other, &path, Some(&wrong), &mut Kept::default()).unwrap_err().render();
    assert!(error.contains("the run began with"), "{error}");
    let missing = bundle(&other, "nothing", &path, false).unwrap_err().render();
    assert!(missing.contains("no training run 'nothing'"), "{missing}");
}

#[test]
fn a_merged_model_is_the_adapted_one() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    let (summary, _) = trained(&session, &train(&model, "r = 4, max_steps = 3", "adapted"));
    let card = std::fs::read_to_string(summary.checkpoint.join("README.md")).unwrap();
    for part in
        ["library_name: peft", "sub-trajectories of 6 trajectories", "| nll | 1 |", "\"r\": 4"]
    {
        assert!(card.contains(part), "{part}\n{card}");
    }
    let target = folder.path().join("merged");
    assert_eq!(merge(&session, "adapted", None, &target).unwrap(), 3);
    let card = std::fs::read_to_string(target.join("README.md")).unwrap();
    assert!(card.contains("library_name: transformers"), "{card}");
    let merged = lm::load(&target, &Training::Frozen, 0, &Device::Cpu).unwrap();
    let adapter = lm::AdapterFiles::read(&summary.checkpoint).unwrap();
    assert_eq!(adapter.base.as_deref(), Some(model.as_path()));
    let adapted = lm::load_adapted(&summary.checkpoint, &adapter, &model, &Device::Cpu).unwrap();
    let packed =
        lm::Packed { tokens: vec![5, 9, 40, 7], lengths: vec![4], ..lm::Packed::default() };
    let logits = |decoder: &lm::Decoder| {
        let hidden = decoder.hidden(&packed).unwrap();
        decoder.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let (a, b) = (logits(&merged.decoder), logits(&adapted.decoder));
    let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
    // The adapter scores, and is not trained further.
    let checkpoint = summary.checkpoint.display().to_string();
    run(&session, &format!("FROM steps |> LIMIT 2 |> SCORE AS lp WITH (model = '{checkpoint}')"));
    let refused = mistake(&session, &train(&summary.checkpoint, "max_steps = 1", "more"));
    assert!(refused.contains("swirl merge"), "{refused}");
    // An adapter of another model is named by what does not fit.
    let other = folder.path().join("other");
    create_model(
        &session,
        &other,
        &NewModel { vocab_size: 512, hidden_size: 16, ..NewModel::default() },
    )
    .unwrap();
    let config = summary.checkpoint.join("adapter_config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    json["base_model_name_or_path"] = Value::from(other.display().to_string());
    std::fs::write(&config, json.to_string()).unwrap();
    let error = mistake(
        &session,
        &format!("FROM steps |> LIMIT 2 |> SCORE AS q WITH (model = '{checkpoint}')"),
    );
    assert!(error.contains("lora_") && error.contains("adapter_model.safetensors"), "{error}");
    let occupied = merge(&session, "adapted", None, &target).unwrap_err().render();
    assert!(occupied.contains("not empty"), "{occupied}");
    let none = merge(&session, "adapted", Some(2), &folder.path().join("x")).unwrap_err().render();
    assert!(none.contains("there are: 3"), "{none}");
}

#[test]
fn a_file_says_what_a_statement_does() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    let path = folder.path().join("run.toml");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("query = 'FROM subtrajectories'\nname = 'it''s'\n");
    assert!(config_statement(&path, ConfigVerb::Train).is_err(), "no TOML");
    write(&format!(
        "query = \"FROM subtrajectories |> SAMPLE 2 TRAJECTORIES SEED 3;\"\nname = \"by file\"\n\
         model = '{}'\nlearning_rate = 2e-3\nmax_steps = 1\n\
         target_modules = ['q_proj', 'v_proj']\nlog_examples = true\n",
        model.display()
    ));
    let statement = config_statement(&path, ConfigVerb::Train).unwrap();
    let (summary, _) = trained(&session, &statement);
    assert_eq!(summary.run, "by file");
    let config = number(
        &session,
        "SELECT count(*) FROM runs WHERE run = 'by file' AND config LIKE '%\"v_proj\"%'",
    );
    assert_eq!(config, 1.0);
    for (text, told) in [
        ("model = 'm'\n", "neither 'query' nor 'dataset'"),
        ("query = 'FROM steps'\ndataset = 'a'\n", "one of them"),
        ("query = 3\n", "'query' is a integer"),
        ("query = 'FROM steps'\n[lora]\nr = 4\n", "'lora' is a table"),
        ("query = 'FROM steps'\n\nr = \n", "line 3"),
    ] {
        write(text);
        let error = config_statement(&path, ConfigVerb::Train).unwrap_err().render();
        assert!(error.contains(told) && error.contains("run.toml"), "{text}\n{error}");
    }
}

#[test]
fn samples_of_stored_states() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    let options = SampleOptions {
        model: model.clone(),
        n: 3,
        distribution: lm::Distribution::default(),
        max_new_tokens: 6,
        stop: vec![],
        seed: 7,
        slots: 5,
        renderer: swirldb::render::RendererChoice::Auto,
    };
    let query = "FROM steps |> SAMPLE 2 TRAJECTORIES SEED 1";
    let drawn = |query: &str, options: &SampleOptions| {
        let mut lines = Vec::new();
        let report = sample(&session, query, options, &mut |line| {
            lines.push(line);
            Ok(())
        });
        (report.unwrap(), lines)
    };
    let (report, lines) = drawn(query, &options);
    assert_eq!(report.samples, 3 * report.states);
    assert_eq!(lines.len() as u64, report.samples);
    // Alone, in other company and in other slots each is the same.
    let one = format!("{query} |> LIMIT 1");
    let (_, alone) = drawn(&one, &SampleOptions { slots: 1, n: 2, ..options.clone() });
    assert_eq!(alone, lines[..2]);
    assert_ne!(alone[0]["token_ids"], alone[1]["token_ids"]);
    assert_eq!(alone[0]["token_ids"].as_array().unwrap().len(), 6);
    // The states of a trajectory are read once: all of them take what the last one takes, and a
    // token of each request to go on from.
    let (last, _) = drawn(&format!("{query} |> WHERE is_final"), &options);
    assert!(last.states < report.states);
    assert!(report.counts.prompt_tokens <= last.counts.prompt_tokens + report.samples);
    let (_, greedy) =
        drawn(&one, &SampleOptions { distribution: lm::Distribution::greedy(), ..options.clone() });
    assert!(greedy.iter().all(|line| line["token_ids"] == greedy[0]["token_ids"]));
    let error = sample(&session, "FROM steps |> SAVE AS x", &options, &mut |_| Ok(()));
    assert!(error.unwrap_err().render().contains("sample takes one query"));
    let huge = SampleOptions { max_new_tokens: 1 << 30, ..options };
    let error = sample(&session, query, &huge, &mut |_| Ok(())).unwrap_err().render();
    assert!(error.contains("--memory-limit"), "{error}");
}

#[test]
fn a_run_writes_a_log_and_its_batches() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    let options = "full = true, max_steps = 5, save_steps = 1, logging_steps = 2, \
                   tokens_per_batch = 300";
    let mut stopping = Kept { stop_at: Some(3), ..Kept::default() };
    try_run(&session, &train(&model, options, "logged"), &mut stopping).unwrap();
    session.resume("logged", &mut Kept::default()).unwrap();
    let log = std::fs::read_to_string(folder.path().join("db/runs/logged/log.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let steps: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [2, 4, 5]);
    assert!(lines.iter().all(|line| line["loss"].as_f64().unwrap() > 0.0));
    let tokens = number(&session, "SELECT max(value) FROM metrics WHERE name = 'num_tokens'");
    let path = folder.path().join("logged.jsonl");
    let passes = export_batches(&session, "logged", &path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let header = lines.next().unwrap();
    assert_eq!((&header["swirldb"], &header["steps_total"]), (&"tokens 1".into(), &5.into()));
    let batches: Vec<Value> = lines.collect();
    assert_eq!(batches.len() as u64, passes);
    assert!(passes > 5, "steps are cut into several passes");
    let sequences = || batches.iter().flat_map(|batch| batch["sequences"].as_array().unwrap());
    let written: usize = sequences().map(|s| s["tokens"].as_array().unwrap().len()).sum();
    assert_eq!(written as f64, tokens);
    for sequence in sequences() {
        for action in sequence["actions"].as_array().unwrap() {
            let (start, end) = (action["start"].as_u64(), action["end"].as_u64());
            assert!(start < end && action["weight"] == 1.0, "{action}");
        }
    }
}

#[test]
fn training_is_recorded_and_resumes_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    let train = |name: &str| {
        format!(
            "FROM subtrajectories |> WHERE split = 'train' AND process > .5 \
             |> SAMPLE 12 TRAJECTORIES SEED 1 \
             |> TRAIN WITH (model = '{}', full = true, learning_rate = 0.01, max_steps = 6, \
                            tokens_per_step = 512, save_steps = 2) AS {name}",
            model.display()
        )
    };
    let (outcome, whole) = run(&session, &train("whole"));
    let Outcome::Trained(summary) = outcome else { panic!("{outcome:?}") };
    assert!(summary.complete && summary.steps == 6);
    assert!(whole.losses[5] < whole.losses[0], "{:?}", whole.losses);
    let stored =
        number(&session, "SELECT count(*) FROM metrics WHERE run = 'whole' AND name = 'nll'");
    assert_eq!(stored, 6.0);
    let mut stopping = Kept { stop_at: Some(3), ..Kept::default() };
    let outcome = try_run(&session, &train("halted"), &mut stopping).unwrap();
    let Outcome::Trained(halted) = outcome else { panic!("{outcome:?}") };
    assert!(!halted.complete);
    let status = table(&session, "SELECT run, status FROM runs ORDER BY run");
    assert!(
        status.contains("halted | stopped") && status.contains("whole  | finished"),
        "{status}"
    );
    let Outcome::Trained(resumed) = session.resume("halted", &mut Kept::default()).unwrap() else {
        panic!("not trained")
    };
    assert!(resumed.complete);
    let weights = |path: &Path| std::fs::read(path.join("model.safetensors")).unwrap();
    assert_eq!(weights(&resumed.checkpoint), weights(&summary.checkpoint));
    // What became of each action; a resumed run has seen the same.
    let seen = |run: &str, of: &str| {
        number(&session, &format!("SELECT {of} FROM examples WHERE run = '{run}'"))
    };
    assert!(seen("whole", "count(*)") > 0.0);
    assert_eq!(seen("whole", "max(training_step)"), 6.0);
    for of in ["count(*)", "sum(log_prob_start)", "sum(tokens)"] {
        assert_eq!(seen("whole", of), seen("halted", of), "{of}");
    }
    assert_eq!(seen("whole", "count(log_prob_end)"), 0.0);
    let taken = mistake(&session, &train("whole"));
    assert!(taken.contains("run 'whole' is there already"), "{taken}");
    let error = mistake(&session, "FROM steps |> TRAIN WITH (model = 'm', learning_rat = 1)");
    assert!(error.contains("did you mean 'learning_rate'?"), "{error}");
    let no_reward =
        mistake(&session, "FROM steps |> TRAIN WITH (model = 'm', objective = 'reinforce')");
    assert!(no_reward.contains("needs reward"), "{no_reward}");
    let no_model = mistake(&session, "FROM steps |> TRAIN WITH (model = 'missing.gguf')");
    assert!(no_model.contains("missing.gguf"), "{no_model}");
}

#[test]
fn labels_train_by_kto_and_examples_say_what_was_learned() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    let train = |options: &str| {
        format!(
            "FROM subtrajectories |> SAMPLE 8 TRAJECTORIES SEED 2 |> TRAIN WITH (model = '{}', \
             full = true, learning_rate = 0.01, num_train_epochs = 2, {options}) AS labelled",
            model.display()
        )
    };
    let pairs = mistake(&session, &train("objective = 'dpo'"));
    assert!(pairs.contains("takes pairs"), "{pairs}");
    let none = mistake(&session, &train("objective = 'kto'"));
    assert!(none.contains("needs reward"), "{none}");
    let shades = mistake(&session, &train("objective = 'kto', reward = 'process * 0.7 + 0.1'"));
    assert!(shades.contains("label"), "{shades}");
    let labels = "objective = 'kto', reward = 'CASE WHEN process > .5 THEN 1 ELSE 0 END', \
                  log_examples = true";
    let (outcome, _) = run(&session, &train(labels));
    let Outcome::Trained(summary) = outcome else { panic!("{outcome:?}") };
    assert!(summary.complete);
    let count = |of: &str| number(&session, &format!("SELECT {of} FROM examples"));
    assert_eq!(count("count(*)"), 2.0 * summary.plan.actions as f64);
    assert_eq!(count("count(log_prob_end)"), count("count(*)"));
    assert_eq!(count("count(DISTINCT weight)"), 2.0);
    // Good actions became likelier than the others did.
    let learned = |weight: u8| {
        count(&format!(
            "avg((log_prob_end - log_prob_start) / tokens) FILTER (WHERE weight = {weight})"
        ))
    };
    assert!(learned(1) > learned(0), "{} {}", learned(1), learned(0));
    // They are rows of steps: what was not learned can be selected again.
    run(&session, "FROM examples |> WHERE epoch = 1 AND weight = 1 |> SAVE AS again");
    assert!(number(&session, "SELECT count(*) FROM dataset.again") > 0.0);
}

#[test]
fn questions_of_the_evaluation_are_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    run(&session, "FROM subtrajectories |> WHERE sample_index = 0 |> SAVE AS held_out");
    let text = format!(
        "FROM subtrajectories |> WHERE sample_index = 1 |> TRAIN WITH (model = '{}', full = true, \
         max_steps = 1, eval_dataset = 'held_out')",
        model.display()
    );
    let shown = mistake(&session, &text);
    assert!(shown.contains("questions of eval_dataset 'held_out' are trained on"), "{shown}");
    let runs = number(&session, "SELECT count(*) FROM runs");
    assert_eq!(runs, 0.0, "what is refused leaves nothing behind");
}
