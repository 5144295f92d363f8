//! Branch points, preference pairs, and what is written beside labels.

use std::path::Path;

use swirldb::exchange::content_hash;
use swirldb::model::{
    Judge, JudgeKind, Label, LabelName, Message, Step, Target, ToolCall, Trajectory, role,
};
use swirldb::session::{Session, SessionOptions};
use swirldb::store::{Durability, Incoming};

use crate::session::{mistake, number, table};

/// A database with a trajectory for each word, all of one question. A letter is an action: its
/// content is the letter, its tool the small letter. The human label `process` is 1 for c, .5 for
/// a, else 0.
pub fn letters(folder: &Path, words: &[&str]) -> Session {
    let options = SessionOptions { memory_bytes: 128 << 20, threads: 2, read_only: false };
    let session = Session::open(&folder.join("db"), options, true).unwrap();
    let step = |(letter, number): (char, usize)| Step {
        action: Message {
            role: role::ASSISTANT.to_owned(),
            content: Some(letter.to_string()),
            tool_calls: vec![ToolCall {
                id: Some(format!("drawn anew {number}")),
                name: letter.to_lowercase().to_string(),
                arguments: "{}".to_owned(),
            }],
            ..Message::default()
        },
        observation: vec![Message::new(role::TOOL, "done")],
        ..Step::default()
    };
    let label = |(letter, step): (char, u32)| Label {
        target: Target::Step(step),
        name: LabelName::process(),
        judge: "human".to_owned(),
        value: [('a', 0.5), ('c', 1.0)].iter().find(|(l, _)| *l == letter).map_or(0.0, |f| f.1),
        raw: None,
        verdict: Some(letter.to_uppercase().to_string()),
        rationale: (letter != 'b').then(|| format!("since it is {letter}")),
        run_id: None,
    };
    let incoming = |(number, word): (usize, &&str)| {
        let trajectory = Trajectory {
            source: "letters".to_owned(),
            id: (*word).to_owned(),
            question_id: Some("q".to_owned()),
            prompt: vec![Message::new(role::USER, "spell")],
            steps: word.chars().map(|letter| step((letter, number))).collect(),
            ..Trajectory::default()
        };
        let content_hash = content_hash(&trajectory);
        Incoming { trajectory, content_hash, labels: word.chars().zip(1..).map(label).collect() }
    };
    let batch: Vec<Incoming> = words.iter().enumerate().map(incoming).collect();
    let human = Judge {
        name: "human".to_owned(),
        kind: JudgeKind::Human,
        definition: None,
        sees_gold: None,
    };
    session.database().store().append(&batch, &[human], Durability::Later).unwrap();
    session
}

#[test]
fn trajectories_branch_where_they_act_differently_in_one_state() {
    let folder = tempfile::tempdir().unwrap();
    let session = letters(folder.path(), &["abc", "abd", "aBd", "b"]);
    let of = |call: &str| {
        let text = format!(
            "FROM {call} |> SELECT trajectory_id, step, branch, choice, choices, members, takers"
        );
        table(&session, &text)
    };
    // Ordered by trajectory and step, as rows that are steps are.
    let by_action = "\
+---------------+------+--------+--------+---------+---------+--------+
| trajectory_id | step | branch | choice | choices | members | takers |
+---------------+------+--------+--------+---------+---------+--------+
| abc           | 1    | 1      | 1      | 2       | 4       | 3      |
| abc           | 2    | 2      | 1      | 2       | 3       | 2      |
| abc           | 3    | 3      | 1      | 2       | 2       | 1      |
| abd           | 1    | 1      | 1      | 2       | 4       | 3      |
| abd           | 2    | 2      | 1      | 2       | 3       | 2      |
| abd           | 3    | 3      | 2      | 2       | 2       | 1      |
| aBd           | 1    | 1      | 1      | 2       | 4       | 3      |
| aBd           | 2    | 2      | 2      | 2       | 3       | 1      |
| b             | 1    | 1      | 2      | 2       | 4       | 1      |
+---------------+------+--------+--------+---------+---------+--------+";
    assert_eq!(of("branch_points()"), by_action);
    assert_eq!(of("branch_points('action')"), by_action);
    let by_call = "\
+---------------+------+--------+--------+---------+---------+--------+
| trajectory_id | step | branch | choice | choices | members | takers |
+---------------+------+--------+--------+---------+---------+--------+
| abc           | 1    | 1      | 1      | 2       | 4       | 3      |
| abc           | 3    | 2      | 1      | 2       | 3       | 1      |
| abd           | 1    | 1      | 1      | 2       | 4       | 3      |
| abd           | 3    | 2      | 2      | 2       | 3       | 2      |
| aBd           | 1    | 1      | 1      | 2       | 4       | 3      |
| aBd           | 3    | 2      | 2      | 2       | 3       | 2      |
| b             | 1    | 1      | 2      | 2       | 4       | 1      |
+---------------+------+--------+--------+---------+---------+--------+";
    assert_eq!(of("branch_points('call')"), by_call);
    // Rows that are steps can be saved.
    table(&session, "FROM branch_points('call') |> WHERE takers = 1 |> SAVE AS rare");
    assert_eq!(number(&session, "FROM dataset.rare |> AGGREGATE count(*) AS n"), 2.0);
}

#[test]
fn of_two_actions_in_one_state_the_better_is_preferred() {
    let folder = tempfile::tempdir().unwrap();
    let session = letters(folder.path(), &["abc", "abd", "aBd", "b"]);
    let columns = "step, chosen_id, rejected_id, chosen_value, rejected_value, margin, chosen \
                   ->> 0 ->> 'content' AS better, rejected ->> 0 ->> 'content' AS worse, \
                   json_length(prompt) AS n";
    let text = format!("FROM preference_pairs('process', 'call') |> SELECT {columns}");
    let expected = "\
+------+-----------+-------------+--------------+----------------+--------+--------+-------+---+
| step | chosen_id | rejected_id | chosen_value | rejected_value | margin | better | worse | n |
+------+-----------+-------------+--------------+----------------+--------+--------+-------+---+
| 1    | abc       | b           | 0.5          | 0.0            | 0.5    | a      | b     | 1 |
| 3    | abc       | abd         | 1.0          | 0.0            | 1.0    | c      | d     | 5 |
+------+-----------+-------------+--------------+----------------+--------+--------+-------+---+";
    assert_eq!(table(&session, &text), expected);
    for (text, told) in [
        ("FROM branch_points", "it is called, with parentheses"),
        ("FROM branch_point()", "did you mean 'branch_points'?"),
        ("FROM branch_points('calls')", "actions are compared by 'action'"),
        ("FROM branch_points(1)", "takes texts in single quotes"),
        ("FROM branch_points('call', 'call')", "takes 0 to 1 arguments, found 2"),
        ("FROM preference_pairs()", "takes 1 to 2 arguments, found 0"),
        ("FROM preference_pairs('proces')", "did you mean 'process'?"),
        ("FROM preference_pairs('process@nobody')", "there is no label 'process@nobody'"),
    ] {
        let found = mistake(&session, text);
        assert!(found.contains(told) && found.contains('^'), "{text}\n{found}");
    }
}

#[test]
fn what_a_judge_wrote_is_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let session = letters(folder.path(), &["ab", "c"]);
    let text = "FROM steps |> SELECT \"process.rationale@human\" AS why, \"process.verdict\" AS \
                word, \"process.raw@human\" AS raw |> WHERE word <> 'Z'";
    let expected = "\
+---------------+------+-----+
| why           | word | raw |
+---------------+------+-----+
| since it is a | A    |     |
|               | B    |     |
| since it is c | C    |     |
+---------------+------+-----+";
    assert_eq!(table(&session, text), expected);
    let saved = "FROM steps |> WHERE \"process.rationale@human\" IS NOT NULL |> SAVE AS explained";
    table(&session, saved);
    let judges = "FROM datasets |> SELECT judges";
    assert!(table(&session, judges).contains("process@human"));
}
