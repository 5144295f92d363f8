//! GENERATE, EVALUATE, RESAMPLE, JUDGE and training with sampled actions, from statements to rows.

use std::path::{Path, PathBuf};

use swirldb::codec::TableId;
use swirldb::exchange::content_hash;
use swirldb::rollout::Counts;
use swirldb::session::{
    JudgeSummary, NewModel, Outcome, RolloutSummary, Session, SessionError, create_model,
};
use swirldb::synth::{self, ActionForm, Shape, StudyOptions, SynthOptions};

use crate::session::{Kept, OPTIONS, load, mistake, number, run, table, try_run};

/// A world of few questions, as statements name it.
pub const WORLD: &str = "questions=30, held_out=20";

/// Returns a database with the demonstrator's trajectories over the small world.
pub fn demonstrated(folder: &Path) -> Session {
    let study = StudyOptions {
        questions: 30,
        held_out: 20,
        samples: 2,
        form: ActionForm::Calls,
        ..StudyOptions::default()
    };
    let mut lines = Vec::new();
    let options = SynthOptions { shape: Shape::Study, study, ..SynthOptions::default() };
    synth::write(&options, &mut lines).unwrap();
    let path = folder.join("study.jsonl");
    std::fs::write(&path, lines).unwrap();
    let session = Session::open(&folder.join("db"), OPTIONS, true).unwrap();
    load(&session, &path, None);
    session
}

/// Makes a model of some thousand weights.
pub fn small_model(session: &Session, folder: &Path) -> PathBuf {
    let path = folder.join("model");
    let new = NewModel {
        vocab_size: 512,
        hidden_size: 32,
        n_layers: 1,
        n_heads: 2,
        context_length: 768,
        ..NewModel::default()
    };
    create_model(session, &path, &new).unwrap();
    path
}

pub fn rolled(session: &Session, text: &str) -> RolloutSummary {
    match run(session, text).0 {
        Outcome::Rolled(summary) => *summary,
        outcome => panic!("{outcome:?}"),
    }
}

pub fn judged(session: &Session, text: &str) -> JudgeSummary {
    match run(session, text).0 {
        Outcome::Judged(summary) => *summary,
        outcome => panic!("{outcome:?}"),
    }
}

fn generate(model: &Path, options: &str) -> String {
    format!(
        "GENERATE WITH (model = '{}', world = '{WORLD}', n = 2, max_new_tokens = 12, {options}) \
         AS played",
        model.display()
    )
}

/// Returns the content hashes of a run's trajectories, by their ids.
fn contents(session: &Session, source: &str) -> Vec<(String, [u8; 32])> {
    let view = session.database().view();
    let all: Vec<u64> = (0..view.rows(TableId::Trajectories)).collect();
    let trajectories = view.trajectories(&all).unwrap();
    let of_run = trajectories.into_iter().filter(|of| of.source == source);
    let mut contents: Vec<_> = of_run.map(|of| (of.id.clone(), content_hash(&of))).collect();
    contents.sort();
    contents
}

#[test]
fn the_same_seed_plays_the_same_episodes_in_any_slots() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let model = small_model(&session, folder.path());
    let summary = rolled(&session, &generate(&model, "slots = 7, limit = 6"));
    assert_eq!((summary.questions, summary.counts.episodes, summary.earlier), (6, 12, 0));
    let first = contents(&session, "played");
    assert_eq!(first.len(), 12);
    assert_eq!(
        number(&session, "FROM trajectories |> WHERE run_id = 'played' |> AGGREGATE count(*)"),
        12.0
    );
    let again = mistake(&session, &generate(&model, "slots = 7, limit = 6"));
    assert!(again.contains("has finished already"), "{again}");
    let other = mistake(&session, &generate(&model, "slots = 7, limit = 6, temperature = 0.5"));
    assert!(other.contains("differ in temperature"), "{other}");
    // Elsewhere, in other slots. What they are stored with says how many there were.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = demonstrated(elsewhere.path());
    rolled(&other, &generate(&model, "slots = 3, limit = 6"));
    assert_eq!(contents(&other, "played"), first);
}

#[test]
fn a_run_that_was_stopped_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let model = small_model(&session, folder.path());
    let text = generate(&model, "slots = 2, limit = 4");
    session.cancel().cancel();
    let stopped = try_run(&session, &text, &mut Kept::default());
    assert!(matches!(stopped, Err(SessionError::Cancelled)), "{stopped:?}");
    session.cancel().clear();
    let status = "FROM runs |> WHERE run = 'played' |> SELECT kind, status";
    assert!(
        table(&session, status).contains("| generate | stopped |"),
        "{}",
        table(&session, status)
    );
    // One episode is there already: as if the rest had been lost with the power.
    let whole = tempfile::tempdir().unwrap();
    let unbroken = demonstrated(whole.path());
    rolled(&unbroken, &text);
    let view = unbroken.database().view();
    let all: Vec<u64> = (0..view.rows(TableId::Trajectories)).collect();
    let played = view.trajectories(&all).unwrap();
    let one = played.into_iter().find(|of| of.source == "played").unwrap();
    let incoming = swirldb::store::Incoming {
        content_hash: content_hash(&one),
        trajectory: one,
        labels: Vec::new(),
    };
    let store = session.database().store();
    store.append(&[incoming], &[], swirldb::store::Durability::Now).unwrap();
    let summary = rolled(&session, &text);
    assert_eq!((summary.earlier, summary.counts.episodes), (1, 8));
    assert_eq!(contents(&session, "played"), contents(&unbroken, "played"));
    assert!(table(&session, status).contains("| generate | finished |"));
}

#[test]
fn answers_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let model = small_model(&session, folder.path());
    let text = format!(
        "EVALUATE WITH (model = '{}', world = '{WORLD}', max_new_tokens = 8, limit = 10) AS e",
        model.display()
    );
    let summary = rolled(&session, &text);
    let evaluation = summary.evaluation.unwrap();
    let all = evaluation.measurements.iter().filter(|one| one.group == "all");
    let names: Vec<&str> = all.map(|one| one.metric.as_str()).collect();
    assert_eq!(names, ["exact_match", "f1", "precision", "recall", "answered", "calls"]);
    assert!(summary.report.is_none() && summary.judged.is_empty());
    let exact = &evaluation.measurements[0];
    assert_eq!((exact.interval, exact.questions, exact.estimate.value), ("wilson", 10, 0.0));
    assert!(exact.estimate.high > 0.2 && exact.estimate.low == 0.0, "{:?}", exact.estimate);
    assert!(evaluation.measurements.iter().any(|one| one.group.starts_with("hops ")));
    let labels = "FROM trajectories |> WHERE run_id = 'e' |> AGGREGATE count(\"outcome@hotpotqa\")";
    assert_eq!(number(&session, labels), 10.0);
    let metric = "FROM metrics |> WHERE run = 'e' AND name = 'exact_match.high' |> SELECT value";
    assert_eq!(number(&session, metric), exact.estimate.high);
    // Greedy: the same again.
    let again = rolled(&session, &text.replace("AS e", "AS f"));
    assert_eq!(again.evaluation, Some(evaluation));
    let error = mistake(
        &session,
        &format!(
            "FROM trajectories |> EVALUATE WITH (model = '{}', max_new_tokens = 2, limit = 1, \
             metric = 'squad') AS g",
            model.display()
        ),
    );
    assert!(error.contains("unknown variant `squad`") && error.contains("^"), "{error}");
}

#[test]
fn judges_label_what_they_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let judge = |flipped: &str| {
        format!("FROM steps |> JUDGE AS process WITH (judge = 'world', world = '{WORLD}'{flipped})")
    };
    let steps = number(&session, "FROM steps |> AGGREGATE count(*)");
    let summary = judged(&session, &judge(""));
    assert_eq!((summary.judge.as_str(), summary.added as f64), ("world", steps));
    // The demonstrator knows what it does.
    let differ = "FROM steps |> WHERE \"process@world\" <> \"process@human\" |> AGGREGATE count(*)";
    assert_eq!(number(&session, differ), 0.0);
    let again = judged(&session, &judge(""));
    assert_eq!((again.added, again.earlier as f64), (0, steps));
    let flipped = judged(&session, &judge(", flipped = 0.3"));
    assert_eq!(flipped.judge, "world:0.3");
    let part =
        "FROM steps |> WHERE \"process@world\" <> \"process@world:0.3\" |> AGGREGATE count(*)";
    let share = number(&session, part) / steps;
    assert!((0.2..0.4).contains(&share), "{share}");
    let audit = "FROM judge_audit('process', 'world:0.3', 'world') |> WHERE steps_are = 'all'";
    assert_eq!(number(&session, &format!("{audit} |> SELECT both")), steps);
    let agreement = number(&session, &format!("{audit} |> SELECT agreement"));
    assert!((agreement - (1.0 - share)).abs() < 1e-12, "{agreement} {share}");
    let error = mistake(&session, "FROM judge_audit('process', 'wold', 'world')");
    assert!(error.contains("no step has the label") && error.contains("'world'"), "{error}");
    let error = mistake(&session, &judge(", flipped = 0.2, name = 'world:0.3'"));
    assert!(error.contains("a judge never changes"), "{error}");
    let answers = "FROM trajectories |> JUDGE AS outcome WITH (judge = 'exact_match')";
    let summary = judged(&session, answers);
    let trajectories = number(&session, "FROM trajectories |> AGGREGATE count(*)");
    assert_eq!(summary.added as f64, trajectories);
    let repeated = judged(&session, "FROM steps |> JUDGE AS fresh WITH (judge = 'not_repeated')");
    assert!(repeated.tally.unreadable_count() > 0, "answers repeat no call: {:?}", repeated.tally);
    assert_eq!(repeated.added, repeated.tally.verdicts);
}

#[test]
fn actions_are_sampled_at_stored_states() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let model = small_model(&session, folder.path());
    let text = |n: u32, name: &str| {
        format!(
            "FROM steps |> SAMPLE 3 TRAJECTORIES SEED 1 \
             |> RESAMPLE WITH (model = '{}', n = {n}, max_new_tokens = 6, slots = 5) AS {name}",
            model.display()
        )
    };
    let Outcome::Resampled(summary) = run(&session, &text(3, "s")).0 else { panic!("no samples") };
    assert_eq!(summary.samples, 3 * summary.states);
    let rows = "FROM samples |> WHERE run_id = 's' |> AGGREGATE count(*)";
    assert_eq!(number(&session, rows), summary.samples as f64);
    // A state is read once however many actions are sampled there: alone each is the same.
    run(&session, &text(1, "alone"));
    let same = "FROM samples AS a JOIN samples AS b ON a.trajectory_id = b.trajectory_id \
                AND a.source = b.source AND a.step = b.step AND a.sample = b.sample \
                |> WHERE a.run_id = 's' AND b.run_id = 'alone' \
                |> WHERE a.action = b.action |> AGGREGATE count(*)";
    assert_eq!(number(&session, same), summary.states as f64);
}

#[test]
fn training_samples_judges_and_keeps_what_it_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let model = small_model(&session, folder.path());
    let text = |judge: &str, name: &str| {
        format!(
            "FROM steps |> SAMPLE 4 TRAJECTORIES SEED 2 |> TRAIN WITH (model = '{}', \
             objective = 'swirl', judge = {judge}, full = true, num_generations = 2, \
             max_completion_length = 6, max_steps = 2, tokens_per_step = 400) AS {name}",
            model.display()
        )
    };
    let world = format!("'world', judge.world = '{WORLD}'");
    let (outcome, _) = run(&session, &text(&world, "w"));
    let Outcome::Trained(summary) = outcome else { panic!("{outcome:?}") };
    assert!(summary.complete && summary.steps == 2);
    let samples = number(&session, "FROM samples |> WHERE run_id = 'w' |> AGGREGATE count(*)");
    assert!(samples >= 4.0, "{samples}");
    // A model of random weights writes no actions: all are malformed, none is judged.
    let unjudged = "FROM samples \
                    |> WHERE run_id = 'w' AND malformed IS NOT NULL AND verdict IS NULL \
                    |> AGGREGATE count(*)";
    assert_eq!(number(&session, unjudged), samples);
    assert_eq!(
        number(
            &session,
            "FROM metrics |> WHERE run = 'w' AND name = 'reward' |> AGGREGATE count(*)"
        ),
        2.0
    );
    let (outcome, _) = run(&session, &text("'random'", "r"));
    assert!(matches!(outcome, Outcome::Trained(_)));
    let error = mistake(&session, &text("'no_tool_error'", "n"));
    assert!(error.contains("not executed"), "{error}");
    let error = mistake(&session, &text("'world', judge.wold = 'default'", "n"));
    assert!(error.contains("did you mean 'world'"), "{error}");
}

#[test]
fn counts_add_up() {
    let mut all = Counts { episodes: 1, calls: 2, cut: 1, ..Counts::default() };
    all.add(&Counts { episodes: 2, calls: 3, repeated: 4, ..Counts::default() });
    assert_eq!(all, Counts { episodes: 3, calls: 5, cut: 1, repeated: 4, ..Counts::default() });
}
