//! Training on trajectories that are played, from statements to weights.

use std::path::Path;

use serde_json::json;
use swirldb::session::{Outcome, Session, TrainSummary};

use crate::rollouts::{WORLD, demonstrated, small_model};
use crate::session::{Kept, load, mistake, number, run, table, try_run, world};

/// Returns a statement that trains two steps on two questions at a time.
fn text(model: &Path, more: &str, name: &str) -> String {
    format!(
        "FROM trajectories |> WHERE split = 'train' |> SAMPLE 5 TRAJECTORIES SEED 3 \
         |> TRAIN WITH (model = '{}', objective = 'grpo', full = true, num_generations = 3, \
         train_batch_size = 2, max_completion_length = 8, max_steps = 2, save_steps = 1{more}) \
         AS {name}",
        model.display()
    )
}

fn world_of(more: &str) -> String {
    format!(", world = '{WORLD}', max_queries = 2{more}")
}

fn trained(session: &Session, text: &str) -> TrainSummary {
    match run(session, text).0 {
        Outcome::Trained(summary) => *summary,
        outcome => panic!("{outcome:?}"),
    }
}

/// Returns the metrics of a run that no clock is in, as a table.
fn metrics(session: &Session, name: &str) -> String {
    let text = format!(
        "FROM metrics |> WHERE run = '{name}' AND name NOT IN ('tokens_per_s', 'data_ms') \
         |> ORDER BY step, name |> SELECT step, name, value"
    );
    table(session, &text)
}

#[test]
fn questions_of_the_selection_are_played_and_the_answers_rewarded() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let model = small_model(&session, folder.path());
    let before = number(&session, "FROM trajectories |> AGGREGATE count(*)");
    let summary = trained(&session, &text(&model, &world_of(""), "g"));
    assert!(summary.complete && summary.steps == 2 && summary.plan.action_tokens == 0);
    assert_eq!((summary.idle_steps, summary.rewards), (2, vec![0.0, 0.0]));
    assert!(summary.losses.is_empty());
    // Nothing that was played is stored.
    assert_eq!(number(&session, "FROM trajectories |> AGGREGATE count(*)"), before);
    let of = |name: &str| {
        number(
            &session,
            &format!(
                "FROM metrics |> WHERE run = 'g' AND name = '{name}' AND step = 2 |> SELECT value"
            ),
        )
    };
    // A model of random weights gives no answer: no trajectory is judged, none is better.
    assert_eq!((of("reward"), of("judged"), of("frac_reward_zero_std")), (0.0, 0.0, 1.0));
    let ended = of("episodes/answered") + of("episodes/error") + of("episodes/limit");
    assert!((ended - 1.0).abs() < 1e-9, "{ended}");
    assert!(
        of("completions/mean_length") > 0.0 && of("tools/call_frequency") == of("episodes/calls")
    );

    // The same in another database, stopped after the first step and gone on with.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = demonstrated(elsewhere.path());
    let mut kept = Kept { stop_at: Some(1), ..Kept::default() };
    let with = text(&model, &world_of(", beta = 0.01"), "h");
    let stopped = try_run(&other, &with, &mut kept).unwrap();
    assert!(matches!(&stopped, Outcome::Trained(s) if !s.complete && s.steps == 1), "{stopped:?}");
    let gone_on = trained(&other, "FROM steps |> TRAIN WITH (resume = true) AS h");
    assert!(gone_on.complete && gone_on.steps == 2);
    trained(&session, &with);
    assert_eq!(metrics(&other, "h"), metrics(&session, "h"));
}

#[test]
fn a_plan_tells_what_will_be_played() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let model = small_model(&session, folder.path());
    let statement = text(&model, &world_of(", judge = 'f1'"), "g");
    let (outcome, _) = run(&session, &format!("EXPLAIN {}", statement.replace(" AS g", "")));
    let Outcome::Text(plan) = outcome else { panic!("{outcome:?}") };
    for told in [
        "2 questions, 3 trajectories of each, 1 optimiser step on them",
        "the final answer, by judge 'f1'",
        &format!("those of the world '{WORLD}'; 2 calls at most"),
        "dapo, scale_rewards = group, beta = 0",
        "optimiser steps  2",
    ] {
        assert!(plan.contains(told), "{told}\n{plan}");
    }
}

#[test]
fn what_cannot_be_played_or_judged_is_refused_before_anything_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let model = small_model(&session, folder.path());
    for (more, told) in [
        (world_of(", judge = 'world', judge.world = 'default'"), "judges steps"),
        (world_of(", judge = 'gold'"), "judge = 'gold' is none"),
        (world_of(", reward = 'process'"), "no effect on objective 'grpo'"),
        (world_of(", corpora = 'wiki'"), "the world has its own tools"),
        (world_of(", max_querys = 2"), "max_querys"),
        (world_of(", on_both = 'maybe'"), "option 'on_both'"),
        (", corpora = 'wiki'".to_owned(), "wiki"),
        (", world = 'seed=7, questions=10'".to_owned(), "has no question"),
        (world_of(", num_iterations = 2"), "save_steps has to be a multiple"),
        (world_of(", eval_dataset = 'none'"), "unknown dataset 'none'"),
    ] {
        let error = mistake(&session, &text(&model, &more, "g"));
        assert!(error.contains(told), "{told}\n{error}");
    }
    let sft =
        format!("FROM steps |> TRAIN WITH (model = '{}', world = '{WORLD}')", model.display());
    let error = mistake(&session, &sft);
    assert!(error.contains("option 'world' has no effect on objective 'sft'"), "{error}");
    assert_eq!(number(&session, "FROM runs |> AGGREGATE count(*)"), 0.0);
    assert_eq!(number(&session, "FROM datasets |> AGGREGATE count(*)"), 0.0);
}

#[test]
fn questions_without_gold_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let model = small_model(&session, folder.path());
    let path = folder.path().join("open.jsonl");
    let line = json!({"swirl": 1, "trajectory": {
        "source": "open",
        "id": "1",
        "question_id": "q1",
        "question": "Who?",
        "prompt": [{"role": "user", "content": "Who?"}],
        "steps": [{"action": {"role": "assistant", "content": "I"}}],
    }});
    std::fs::write(&path, format!("{line}\n")).unwrap();
    load(&session, &path, None);
    let statement = text(&model, "", "g").replace("split = 'train'", "source = 'open'");
    let error = mistake(&session, &statement);
    assert!(error.contains("1 of 1 questions have no gold answer, such as 'q1'"), "{error}");
}

/// Without a world the questions are asked as GENERATE asks them, and tools are those of corpora.
#[test]
fn questions_of_any_trajectories_can_be_played() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let model = small_model(&session, folder.path());
    let statement = |more: &str| {
        format!(
            "FROM trajectories |> WHERE question IS NOT NULL AND gold IS NOT NULL \
             |> SAMPLE 3 TRAJECTORIES SEED 1 \
             |> TRAIN WITH (model = '{}', objective = 'grpo', num_generations = 2, \
             max_completion_length = 6, max_steps = 1, instructions = 'Be brief.', \
             tools = '{more}', num_iterations = 1) AS any_{more}",
            model.display()
        )
    };
    let summary = trained(&session, &statement("none"));
    assert!(summary.complete);
    let calculator = trained(&session, &statement("calculator"));
    assert!(calculator.plan.longest > summary.plan.longest, "the tool stands in the prompt");
}
