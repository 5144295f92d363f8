//! JUDGE by models: words looked up, log-ratios of two models, what stays of a statement that was
//! stopped, and who judged with hindsight.

use std::path::{Path, PathBuf};

use serde_json::json;
use swirldb::model::{Json, Judge, JudgeKind};
use swirldb::session::{NewModel, Outcome, Session, SessionError, create_model};

use crate::chat::server::{Reply, Server};
use crate::rollouts::{demonstrated, judged};
use crate::session::{Kept, mistake, number, run, table, try_run};

fn model(session: &Session, path: PathBuf, new: NewModel) -> PathBuf {
    let small = NewModel { hidden_size: 32, n_layers: 1, n_heads: 2, context_length: 4_096, ..new };
    create_model(session, &path, &small).unwrap();
    path
}

fn small_model(session: &Session, folder: &Path) -> PathBuf {
    model(session, folder.join("model"), NewModel { vocab_size: 512, ..NewModel::default() })
}

/// Trains every weight on the answer of one trajectory.
fn trained(session: &Session, model: &str, options: &str, name: &str) {
    let text = format!(
        "FROM steps |> WHERE is_final |> SAMPLE 1 TRAJECTORIES SEED 1 |> TRAIN WITH (model = \
         '{model}', full = true, {options}) AS {name}"
    );
    assert!(matches!(run(session, &text).0, Outcome::Trained(_)));
}

#[test]
fn a_model_of_this_process_gives_the_probability_of_its_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let model = small_model(&session, folder.path());
    let statement = |options: &str| {
        format!(
            "FROM steps |> SAMPLE 5 TRAJECTORIES SEED 2 |> JUDGE AS process WITH (judge = \
             'process', model = '{}', ending = 'one_word'{options})",
            model.display()
        )
    };
    let summary = judged(&session, &statement(""));
    assert!(summary.added > 5 && summary.tally.verdicts == summary.added, "{:?}", summary.tally);
    let column = format!("\"process@{}\"", summary.judge);
    let differ = format!(
        "FROM labels |> WHERE judge = '{}' AND (value < 0 OR value > 1 OR raw NOT LIKE \
         '{{\"GOOD\":%,\"BAD\":%}}') |> AGGREGATE count(*)",
        summary.judge
    );
    assert_eq!(number(&session, &differ), 0.0);
    let words = format!(
        "FROM steps |> WHERE ({column} > .5) <> (\"process.verdict@{}\" = 'GOOD') |> AGGREGATE \
         count(*)",
        summary.judge
    );
    assert_eq!(number(&session, &words), 0.0);
    let short = judged(&session, &statement(", max_state_characters = 480"));
    assert!(short.tally.shortened > 0 && short.judge != summary.judge, "{:?}", short.tally);
    for (options, said) in [
        (", temperature = 0.5", "option 'temperature' has no effect on judge 'process'"),
        (", max_new_tokens = 9", "option 'max_new_tokens' has no effect"),
        (", beta = 0.1", "option 'beta' has no effect on judge 'process': drop it; it takes name"),
        (", revision = 'r'", "option 'revision' has no effect"),
    ] {
        let error = mistake(&session, &statement(options));
        assert!(error.contains(said), "{error}");
    }
    let answers = format!(
        "FROM trajectories |> JUDGE AS outcome WITH (judge = 'outcome', model = '{}', \
         max_state_characters = 10)",
        model.display()
    );
    let error = mistake(&session, &answers);
    assert!(error.contains("'max_state_characters' has no effect on judge 'outcome'"), "{error}");
    let error = mistake(
        &session,
        "FROM steps |> JUDGE AS process WITH (judge = 'not_repeated', model = 'm')",
    );
    assert!(error.contains("it takes no options but name"), "{error}");
}

#[test]
fn the_value_of_a_step_is_its_log_ratio() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let start = small_model(&session, folder.path()).display().to_string();
    trained(&session, &start, "learning_rate = 0.01, max_steps = 3", "first");
    let rows = "FROM steps |> SAMPLE 6 TRAJECTORIES SEED 3";
    let judge = |label: &str, options: &str| {
        format!(
            "{rows} |> JUDGE AS {label} WITH (judge = 'implicit', model = 'run:first', reference \
             = '{start}'{options})"
        )
    };
    run(&session, &format!("{rows} |> SCORE AS lp WITH (model = 'run:first')"));
    run(&session, &format!("{rows} |> SCORE AS lq WITH (model = '{start}')"));
    run(&session, &format!("{rows} |> SCORE AS mp WITH (model = 'run:first', normalize = 'mean')"));
    run(&session, &format!("{rows} |> SCORE AS mq WITH (model = '{start}', normalize = 'mean')"));
    let summary = judged(&session, &judge("gain", ""));
    assert!(summary.judge.starts_with("implicit:run:first:"), "{}", summary.judge);
    let off = |column: &str, expected: &str| {
        let rows = format!(
            "FROM steps |> WHERE {column} IS NOT NULL |> AGGREGATE max(abs({column} - \
             ({expected}))) AS far, count(*) AS n, max(abs({column})) AS size"
        );
        assert_eq!(number(&session, &format!("{rows} |> SELECT n")), summary.added as f64);
        assert!(number(&session, &format!("{rows} |> SELECT size")) > 1e-3);
        number(&session, &format!("{rows} |> SELECT far"))
    };
    assert!(off("gain", "0.05 * (lp - lq)") < 1e-4);
    judged(&session, &judge("wide", ", beta = 2, normalize = 'mean'"));
    assert!(off("wide", "2 * (mp - mq)") < 1e-4);
    // A verdict is from 0 to 1.
    judged(&session, &judge("process", ", name = 'odds'"));
    assert!(off("\"process@odds\"", "1 / (1 + exp(-0.05 * (lp - lq)))") < 1e-4);
    let signs = judged(&session, &judge("process", ", scale = 'sign', name = 'signs'"));
    let differ = "FROM steps |> WHERE (\"process@signs\" = 1) <> (gain > 0) |> AGGREGATE count(*)";
    assert_eq!(number(&session, differ), 0.0);
    assert_eq!(signs.tally.good, summary.tally.good);
    let again = judged(&session, &judge("gain", ""));
    assert_eq!((again.added, again.earlier), (0, summary.added));
    let definition = table(&session, "FROM judges |> WHERE judge = 'odds' |> SELECT definition");
    for part in ["\"beta\":0.05", "\"blake3\":", "run:first", "\"scale\":\"sigmoid\""] {
        assert!(definition.contains(part), "{part} in {definition}");
    }
    let other = NewModel { vocab_size: 400, ..NewModel::default() };
    let other = model(&session, folder.path().join("other"), other).display().to_string();
    for (label, options, said) in [
        ("process", ", scale = 'real'", "scale = 'sigmoid' or 'sign', or another label"),
        ("gain", ", scale = 'odd'", "expected 'real', 'sigmoid' or 'sign'"),
        ("gain", ", device = 'abacus'", "abacus"),
        ("gain", ", beta = 0", "beta = 0: expected a number above 0"),
        ("gain", ", normalize = 'max'", "expected 'sum' or 'mean'"),
        ("gain", ", ending = 'graded'", "option 'ending' has no effect on judge 'implicit'"),
    ] {
        let error = mistake(&session, &judge(label, options));
        assert!(error.contains(said), "{error}");
    }
    let against = |reference: &str| judge("gain", "").replace(&start, reference);
    let error = mistake(&session, &against("run:first"));
    assert!(error.contains("the same weights: every value would be 0"), "{error}");
    let error = mistake(&session, &against(&other));
    assert!(error.contains("it has 400 tokens, and the model 512"), "{error}");
    let error = mistake(&session, &against(""));
    assert!(error.contains("'implicit' needs reference = '"), "{error}");
}

#[test]
fn the_implicit_judge_rewards_sampled_actions() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let start = small_model(&session, folder.path()).display().to_string();
    // So many steps on one answer that it is what the model says.
    trained(&session, &start, "learning_rate = 0.02, max_steps = 120", "warm");
    trained(&session, "run:warm", "learning_rate = 0.005, max_steps = 3", "judging");
    let text = "FROM steps |> WHERE is_final |> SAMPLE 1 TRAJECTORIES SEED 1 |> TRAIN WITH (model \
                = 'run:warm', objective = 'swirl', judge = 'implicit', judge.model = \
                'run:judging', judge.reference = 'run:warm', full = true, num_generations = 3, \
                temperature = 0.3, max_completion_length = 64, max_steps = 1) AS w";
    assert!(matches!(run(&session, text).0, Outcome::Trained(_)));
    let judged = "FROM samples |> WHERE run_id = 'w' AND verdict > 0 AND verdict < 1";
    let count = number(&session, &format!("{judged} |> AGGREGATE count(*)"));
    assert!(
        count > 0.0,
        "{}",
        table(&session, "FROM samples |> SELECT action, malformed, verdict")
    );
    let real = text.replace("judge.model", "judge.scale = 'real', judge.model");
    let error = mistake(&session, &real.replace("AS w", "AS real"));
    assert!(error.contains("rewards of sampled actions are from 0 to 1"), "{error}");
}

#[test]
fn what_was_judged_before_a_stop_stays() {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let cancel = session.cancel().clone();
    let server = Server::with(move |_, number| {
        if number == 5 {
            cancel.cancel();
        }
        Reply::text("GOOD")
    });
    let text = format!(
        "FROM steps |> SAMPLE 4 TRAJECTORIES SEED 1 |> JUDGE AS process WITH (judge = 'process', \
         model = 'm', base_url = '{}', concurrency = 1, name = 'elsewhere')",
        server.base_url()
    );
    let stopped = try_run(&session, &text, &mut Kept::default());
    assert!(matches!(stopped, Err(SessionError::Cancelled)), "{stopped:?}");
    session.cancel().clear();
    let labels = "FROM labels |> WHERE judge = 'elsewhere' |> AGGREGATE count(*)";
    let kept = number(&session, labels);
    assert!((5.0..=6.0).contains(&kept), "{kept}");
    let asked = server.requests().len();
    let summary = judged(&session, &text);
    assert_eq!(summary.earlier as f64, kept);
    assert_eq!(server.requests().len() - asked, summary.added as usize);
    assert_eq!(number(&session, labels), kept + summary.added as f64);
}

#[test]
fn hindsight_is_told_where_it_is_known() {
    let judge = |sees_gold, sees| Judge {
        name: "j".to_owned(),
        kind: JudgeKind::Human,
        definition: Some(Json::of(&json!({ "sees": sees }))),
        sees_gold,
    };
    for (sees_gold, sees, expected) in [
        (None, json!(null), None),
        (Some(true), json!(null), Some(true)),
        (Some(false), json!(null), Some(false)),
        (Some(false), json!({"later_steps": true}), Some(true)),
        (None, json!({"later_steps": true}), Some(true)),
        (None, json!({"gold": false, "later_steps": false}), Some(false)),
    ] {
        assert_eq!(judge(sees_gold, sees.clone()).has_hindsight(), expected, "{sees}");
    }
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    judged(
        &session,
        "FROM steps |> JUDGE AS process WITH (judge = 'world', world = 'questions=30, \
         held_out=20')",
    );
    let told = |reference: &str| {
        let audit = format!("FROM judge_audit('process', 'human', '{reference}')");
        table(
            &session,
            &format!("{audit} |> WHERE steps_are = 'all' |> SELECT reference_hindsight"),
        )
    };
    assert!(told("world").contains("| false "), "{}", told("world"));
    assert!(!told("human").contains("true") && !told("human").contains("false"));
}
