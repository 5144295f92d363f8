//! Studies: their files, their plans, and a small one stopped and gone on with.

use std::path::{Path, PathBuf};

use swirldb::session::{Doing, Outcome, Session, SessionError, Study, Work};

use crate::queries::golden;
use crate::session::{Kept, OPTIONS, number, table, try_run};

/// A study over the small world, as its file; the model and the report lie in `folder`.
fn file(folder: &Path) -> String {
    format!(
        r#"
name = "tiny"
world = "questions=30, held_out=20"
demonstrations = 2
filters = ["none"]
sizes = [3]
seeds = [1]
tests = ["test", "dev"]
comparisons = [["swirl/none/3", "sft/none/3"], ["swirl/none/3", "warm_start"]]
report = "{folder}/report"

[model]
path = "{folder}/model"
vocab_size = 512
hidden_size = 32
n_layers = 1
n_heads = 2
context_length = 2048

[warm_start]
full = true
max_steps = 3
tokens_per_step = 400

[generate]
n = 2
limit = 4
max_new_tokens = 8

[evaluate]
limit = 5
max_new_tokens = 6

[judge]
judge = "world"
flipped = 0.2

[evaluation_judge]
judge = "world"

[objectives.sft]
full = true
max_steps = 2
tokens_per_step = 400

[objectives.swirl]
objective = "swirl"
full = true
max_steps = 2
tokens_per_step = 400
num_generations = 2
max_completion_length = 6

[objectives.grpo]
objective = "grpo"
full = true
max_steps = 2
num_generations = 2
train_batch_size = 2
max_completion_length = 6
"#,
        folder = folder.display()
    )
}

/// Writes the file of a study.
fn written(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("study.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Does what a study asks for; a training run ends after `stop_at` steps.
fn perform(session: &Session, doing: &Doing<'_>, stop_at: Option<u64>) -> Result<(), SessionError> {
    let mut kept = Kept { stop_at, ..Kept::default() };
    let outcome = match doing.work {
        Work::Preparation => return Ok(()),
        Work::Statement(text) => try_run(session, text, &mut kept)?,
        Work::Resume(run) => session.resume(run, &mut kept)?,
    };
    match outcome {
        Outcome::Trained(summary) if !summary.complete => Err(SessionError::Cancelled),
        _ => Ok(()),
    }
}

/// Carries a study out to its end; returns what was done.
fn carried_out(study: &Study, session: &Session) -> Vec<String> {
    let mut done = Vec::new();
    let ended = study.carry_out(session, &mut |doing| {
        done.push(doing.what.to_owned());
        perform(session, doing, None)
    });
    ended.unwrap_or_else(|error| panic!("{:?}\n{}", done.last(), error.render()));
    done
}

#[test]
fn mistakes_in_a_file_are_told_with_file_key_and_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let right = file(folder.path());
    let mistakes = [
        ("sizes = [3]", "size = [3]", "unknown field `size`"),
        ("sizes = [3]", "", "missing field `sizes`"),
        ("sizes = [3]", "sizes = []", "sizes: it is empty"),
        ("seeds = [1]", "seeds = [1, 1]", "seeds: a value stands in it twice"),
        ("filters = [\"none\"]", "filters = [\"half\"]", "unknown variant `half`"),
        ("name = \"tiny\"", "name = \"a/b\"", "name: 'a/b' is no name"),
        ("held_out=20\"", "held_out=x\"", "world: world: held_out is 'x'"),
        ("world = \"questions=30, held_out=20\"", "", "one of 'world' and 'questions'"),
        ("\"test\", \"dev\"", "\"tets\"", "did you mean 'test'"),
        ("\"warm_start\"]]", "\"warm\"]]", "comparisons: there is no cell 'warm'"),
        ("seeds = [1]", "seeds = [1]\ncells = [\"kto/*/3\"]", "cells: 'kto/*/3' is no cell"),
        ("seeds = [1]", "seeds = [1]\nmatch = \"tokens\"", "unknown variant `tokens`"),
        ("\"test\", \"dev\"", "\"tets/without_tools\"", "did you mean 'test'"),
        ("[model]", "[models.\"A b\"]", "models: 'A b' is no name here"),
        ("[model]", "[models.small]\npath = \"small\"\n\n[model]", "one of [model], and [models"),
        ("[generate]", "[sources.other]\nn = 3\n\n[generate]", "sources.other: it lacks 'model'"),
        ("[judge]", "[judges.same]\njudge = \"world\"\n\n[judge]", "evaluation_judge: it is the"),
        (
            "[judge]",
            "[judges.b]\njudge = \"random\"\nname = \"a\"\n\n[judge]\nname = \"a\"",
            "judges.b.name: another judge has it",
        ),
        ("[judge]", "[rounds]\n\"sft/*/4\" = 2\n\n[judge]", "rounds: 'sft/*/4' is no cell"),
        ("[judge]", "[rounds]\n\"sft/*/*\" = 1\n\n[judge]", "rounds: 1 of 'sft/*/*': expected 2"),
        ("seeds = [1]", "seeds = [1]\nnoise = [1.5]", "noise: 1.5 is no share"),
        ("seeds = [1]", "seeds = [1]\nnoise = [0.1]", "judge.flipped: 'noise' says it"),
        ("flipped = 0.2", "", "evaluation_judge: it is the judge that is trained with"),
        ("[generate]", "[generate]\nsplit = \"dev\"", "generate.split: the study sets it"),
        ("[warm_start]\nfull = true", "[warm_start]", "warm_start: expected full = true"),
        (
            "[objectives.sft]",
            "[objectives.sft]\nseed = 3",
            "objectives.sft.seed: the study sets it",
        ),
    ];
    for (from, to, told) in mistakes {
        assert!(right.contains(from), "{from}");
        let path = written(folder.path(), &right.replacen(from, to, 1));
        let Err(error) = Study::read(&path) else { panic!("no mistake: {told}") };
        let error = error.render();
        assert!(error.contains(told) && error.contains("study.toml"), "{told}\n{error}");
    }
    let same = right.replacen("flipped = 0.2", "", 1);
    let same = same.replacen("seeds = [1]", "seeds = [1]\nsame_judge = true", 1);
    assert!(Study::read(&written(folder.path(), &same)).is_ok());
}

#[test]
fn options_are_checked_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    let right = file(folder.path());
    for (from, to, told) in [
        ("n = 2\nlimit = 4", "n = 2\nlimmit = 4", "did you mean 'limit'"),
        ("num_generations = 2", "num_generation = 2", "num_generation"),
        ("judge = \"world\"\nflipped", "judge = \"world\"\nfliped", "did you mean 'flipped'"),
    ] {
        let path = written(folder.path(), &right.replacen(from, to, 1));
        let study = Study::read(&path).unwrap();
        let done = study.carry_out(&session, &mut |doing| panic!("{doing:?}"));
        let error = done.unwrap_err().render();
        assert!(error.contains(told) && error.contains("study.toml"), "{told}\n{error}");
    }
    assert_eq!(number(&session, "FROM runs |> AGGREGATE count(*)"), 0.0);
}

#[test]
fn the_plan_of_a_study_is_its_statements() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"
name = "small"
world = "questions=30, held_out=20"
filters = ["none", "process"]
sizes = [0]
seeds = [1]
cells = ["sft/process/all", "swirl/*/all"]
comparisons = [["swirl/process/all", "sft/process/all"]]
report = "small"
model = {path = "models/small", hidden_size = 32}
warm_start = {full = true, max_steps = 2}
generate = {n = 2}
evaluate = {limit = 10}
judge = {judge = "world", flipped = 0.2}
evaluation_judge = {judge = "world"}
objectives.sft = {full = true}
objectives.swirl = {objective = "swirl", num_generations = 2}
"#;
    let study = Study::read(&written(folder.path(), text)).unwrap();
    golden("study_plan.txt", &study.plan());
    // A reward of nothing does not look at the judge: noise makes no other cell of it.
    let noisy = text
        .replace("flipped = 0.2", "seed = 1")
        .replace("sizes = [0]", "sizes = [0]\nnoise = [0.0, 0.3]");
    let cells = "cells = [\"sft/process/all\", \"swirl/*/all\"]";
    let noisy = noisy.replace(cells, "").replace(
        "objectives.swirl =",
        "objectives.chance = {objective = \"swirl\", judge = \"random\"}\nobjectives.swirl =",
    );
    let plan = Study::read(&written(folder.path(), &noisy)).unwrap().plan();
    assert!(plan.contains("train swirl/none/all/flipped_0.3"), "{plan}");
    assert!(plan.contains("train chance/process/all/flipped_0.3"), "{plan}");
    assert!(!plan.contains("train chance/none/all/flipped_0.3"), "{plan}");
    assert!(!plan.contains("train sft/none/all/flipped_0.3"), "{plan}");
    assert!(plan.contains("judge.flipped = 0.3") && plan.contains("flipped = 0.3,"), "{plan}");
}

#[test]
fn models_judges_sources_and_rounds_are_varied() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"
name = "wide"
world = "questions=30, held_out=20"
filters = ["process"]
sizes = [0]
match = "action_tokens"
seeds = [1]
tests = ["test/without_tools"]
cells = ["swirl/process/all", "small/*/process/all/*"]
rounds = {"small/swirl/process/all" = 2}
comparisons = [["small/swirl/process/all/round_2", "large/swirl/process/all"]]
report = "wide"
models.small = {path = "small.gguf"}
models.large = {path = "large.gguf"}
warm_start = {full = true, max_steps = 2}
generate = {n = 2}
sources.stronger = {model = "large", n = 1}
judge = {judge = "world", flipped = 0.2}
judges.itself = {judge = "process", model = "{policy}"}
evaluation_judge = {judge = "world"}
objectives.swirl = {objective = "swirl", num_generations = 2}
"#;
    let study = Study::read(&written(folder.path(), text)).unwrap();
    golden("study_plan_varied.txt", &study.plan());
}

/// A study whose filters are held equal by tokens, with rounds and without tools.
#[test]
fn a_round_trains_on_what_the_round_before_generates() {
    let folder = tempfile::tempdir().unwrap();
    let right = file(folder.path());
    let (head, _) = right.split_once("[objectives.grpo]").unwrap();
    let text = head
        .replace("sizes = [3]", "sizes = [0]\nmatch = \"action_tokens\"")
        .replace("none/3", "none/all")
        .replace("\"test\", \"dev\"", "\"test\", \"test/without_tools\"")
        .replace("[generate]", "[rounds]\n\"sft/none/all\" = 2\n\n[generate]");
    let study = Study::read(&written(folder.path(), &text)).unwrap();
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    carried_out(&study, &session);
    let lineage = "FROM trajectories |> WHERE source LIKE 'tiny/generated%' \
                   |> AGGREGATE count(*) AS n GROUP BY source, round |> ORDER BY source";
    let found = table(&session, lineage);
    assert!(found.contains("tiny/generated/sft/none/all/round_2/seed_1"), "{found}");
    let asked = "FROM runs |> WHERE run LIKE '%round_2/seed_1' AND kind IN ('train', 'rollout', \
                 'generate') |> SELECT run, statement |> ORDER BY run";
    let asked = table(&session, asked);
    assert!(asked.contains("model = 'run:tiny/train/sft/none/all/seed_1'"), "{asked}");
    // Without tools a call finds none, and nothing is offered.
    let offered = |runs: &str| {
        let asked = format!(
            "FROM subtrajectories |> WHERE source LIKE 'tiny/eval/{runs}' AND step = 1 \
             AND state LIKE '%records:%' |> AGGREGATE count(*)"
        );
        number(&session, &asked)
    };
    assert_eq!(offered("%/without_tools"), 0.0);
    assert!(offered("%/test") > 0.0);
    let report = study.markdown(&session).unwrap();
    for told in ["round_2", "test/without_tools", "Rounds: exact match", "sft/none/all, seed 1"] {
        assert!(report.contains(told), "{told}\n{report}");
    }
    // Fewer tokens than one trajectory has are none.
    let few = text.replace("sizes = [0]", "sizes = [1]").replace("none/all", "none/1");
    let few = Study::read(&written(folder.path(), &few)).unwrap();
    let ended = few.carry_out(&session, &mut |doing| perform(&session, doing, None));
    let error = ended.unwrap_err().render();
    assert!(error.contains("no trajectory of filter 'none'"), "{error}");
}

#[test]
fn other_worlds_are_read_while_warming_up() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        file(folder.path()).replace("demonstrations =", "reading_worlds = 2\ndemonstrations =");
    let study = Study::read(&written(folder.path(), &text)).unwrap();
    let plan = study.plan();
    let rows = "WHERE source IN ('tiny/demonstrator', 'tiny/reading/1', 'tiny/reading/2') \
                AND split = 'train'";
    assert!(plan.contains("and of 2 others") && plan.contains(rows), "{plan}");
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    let stopped = study.carry_out(&session, &mut |doing| match doing.work {
        Work::Preparation => Ok(()),
        _ => Err(SessionError::Cancelled),
    });
    assert!(matches!(stopped, Err(SessionError::Cancelled)), "{stopped:?}");
    let others = "FROM trajectories |> WHERE source LIKE 'tiny/reading/%' \
                  |> AGGREGATE count(DISTINCT source)";
    assert_eq!(number(&session, others), 2.0);
}

#[test]
fn objectives_say_what_they_are_trained_with() {
    let folder = tempfile::tempdir().unwrap();
    let text = file(folder.path())
        + r#"
[objectives.dpo]
objective = "dpo"

[objectives.played]
objective = "grpo"
num_generations = 2
max_queries = 3
judge = {judge = "f1"}

[objectives.whole]
objective = "grpo"

[objectives.kto]
objective = "kto"

[objectives.reinforce]
objective = "reinforce"
reward = "{process} + {outcome} - 1"

[objectives.answers]
objective = "swirl"
judge = {judge = "exact_match", name = "gold"}
rows = "is_final AND {process} > .5"
"#;
    let plan = Study::read(&written(folder.path(), &text)).unwrap().plan();
    for told in [
        "FROM preference_pairs('process@tiny/process')\n|> WHERE source = 'tiny/generated' AND \
         chosen_id IN (SELECT trajectory_id FROM dataset.\"tiny/data/none/3/seed_1\")",
        "objective = 'kto', reward = '\"process@tiny/process\"'",
        "reward = '\"process@tiny/process\" + \"outcome@tiny/outcome\" - 1'",
        "|> WHERE is_final AND \"process@tiny/process\" > .5",
        "judge = 'exact_match', judge.name = 'gold'",
        "judge = 'f1', max_queries = 3, num_generations = 2, objective = 'grpo', world = \
         'questions=30, held_out=20')",
        "seed = 1, objective = 'grpo', judge = 'exact_match', world = 'questions=30, held_out=20')",
    ] {
        assert!(plan.contains(told), "{told}\n{plan}");
    }
    let tags = text.replace("demonstrations =", "action_form = \"tags\"\ndemonstrations =");
    let tags = Study::read(&written(folder.path(), &tags)).unwrap().plan();
    for objective in ["swirl", "grpo"] {
        let told = format!("objective = '{objective}', action_form = 'tags'");
        assert!(tags.contains(&told), "{told}\n{tags}");
    }
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    let study = Study::read(&written(folder.path(), &text)).unwrap();
    let stopped = study.carry_out(&session, &mut |_| Err(SessionError::Cancelled));
    assert!(matches!(stopped, Err(SessionError::Cancelled)), "{stopped:?}");
}

#[test]
fn a_study_that_was_stopped_goes_on_to_the_same_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), &file(folder.path()));
    let study = Study::read(&path).unwrap();
    let whole = Session::open(&folder.path().join("whole"), OPTIONS, true).unwrap();
    let done = carried_out(&study, &whole);
    assert!(done.contains(&"train swirl/none/3, seed 1".to_owned()), "{done:?}");
    let report = study.markdown(&whole).unwrap();
    for told in [
        "swirl/none/3",
        "grpo/none/3",
        "warm_start",
        "Trajectories that each filter keeps",
        "nothing",
    ] {
        assert!(report.contains(told), "{told}\n{report}");
    }
    assert_eq!(carried_out(&study, &whole), Vec::<String>::new(), "all is there");

    // The same in another database, with the same model: stopped within the first training, before
    // an evaluation, and by the session's own switch.
    let parts = Session::open(&folder.path().join("parts"), OPTIONS, true).unwrap();
    let stopped = study.carry_out(&parts, &mut |doing| perform(&parts, doing, Some(1)));
    assert!(matches!(stopped, Err(SessionError::Cancelled)), "{stopped:?}");
    let status = "FROM runs |> WHERE run IN ('tiny', 'tiny/warm_start') |> SELECT run, status \
                  |> ORDER BY run";
    assert_eq!(table(&parts, status).matches("stopped").count(), 2, "{}", table(&parts, status));
    let mut resumed = false;
    let stopped = study.carry_out(&parts, &mut |doing| {
        resumed |= doing.work == Work::Resume("tiny/warm_start");
        if doing.what == "sft/none/3/seed_1 on test" {
            parts.cancel().cancel();
        }
        perform(&parts, doing, None)
    });
    assert!(matches!(stopped, Err(SessionError::Cancelled)) && resumed, "{stopped:?}");
    parts.cancel().clear();
    let early = study.markdown(&parts).unwrap();
    assert!(early.contains("tiny/eval/sft/none/3/seed_1/test") && early != report, "{early}");
    let rest = carried_out(&study, &parts);
    assert_eq!(rest.first().map(String::as_str), Some("sft/none/3/seed_1 on test"));
    assert_eq!(study.markdown(&parts).unwrap(), report);

    // The report is made of what is stored, and nothing is done for it.
    let [markdown, html] = study.write_report(&parts).unwrap();
    assert_eq!(std::fs::read_to_string(markdown).unwrap(), report);
    assert!(std::fs::read_to_string(html).unwrap().contains("swirl/none/3"));
}

#[test]
fn a_name_is_not_taken_by_another_study() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    let text = file(folder.path());
    let study = Study::read(&written(folder.path(), &text)).unwrap();
    let mut is_trained = false;
    let stopped = study.carry_out(&session, &mut |doing| match is_trained {
        true => Err(SessionError::Cancelled),
        false => {
            is_trained = doing.what == "warm start";
            perform(&session, doing, None)
        }
    });
    assert!(matches!(stopped, Err(SessionError::Cancelled)), "{stopped:?}");
    let other = text.replacen("max_steps = 3", "max_steps = 2", 1);
    let other = Study::read(&written(folder.path(), &other)).unwrap();
    let error = other.carry_out(&session, &mut |doing| panic!("{doing:?}")).unwrap_err().render();
    assert!(error.contains("'tiny/warm_start' was made by another statement"), "{error}");
    assert!(error.contains("max_steps = 3") && error.contains("max_steps = 2"), "{error}");
    // Fewer trajectories than are to be drawn would make filters differ in number.
    let many = text.replacen("sizes = [3]", "sizes = [3000]", 1).replace("none/3\"", "none/3000\"");
    let many = Study::read(&written(folder.path(), &many)).unwrap();
    let ended = many.carry_out(&session, &mut |doing| perform(&session, doing, None));
    let error = ended.unwrap_err().render();
    assert!(
        error.contains("filter 'none' leaves 8 trajectories of 'tiny/generated', and 3000"),
        "{error}"
    );
}
