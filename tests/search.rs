//! SEARCH and score(): steps ranked by what their texts hold.

use swirldb::exchange::content_hash;
use swirldb::model::{Message, Step, Trajectory, role};
use swirldb::query::parameters::given;
use swirldb::store::{Durability, Incoming};

use crate::session::{mistake, number, table, table_of_plan, world};

#[test]
fn a_search_ranks_steps() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let search = "FROM steps |> SEARCH 'founded \"flows through\"' IN observation, action";
    let scores = "|> EXTEND score(observation, 'founded \"flows through\"') \
        + score(action, 'founded \"flows through\"') AS again";
    let found = number(&session, &format!("{search} |> AGGREGATE count(*) AS n"));
    let either = "FROM steps |> WHERE matches(observation, 'founded OR \"flows through\"')
        OR matches(action, 'founded OR \"flows through\"') |> AGGREGATE count(*) AS n";
    assert!(found > 0.0);
    assert_eq!(found, number(&session, either));
    let same = format!("{search} {scores} |> WHERE score <> again |> AGGREGATE count(*) AS n");
    assert_eq!(number(&session, &same), 0.0);
    // The same score three times: then by trajectory and step.
    let best = "FROM steps |> SEARCH 'Stustaen' IN action
        |> SELECT trajectory_id, step, round(score, 3) AS score |> LIMIT 3";
    let expected = "\
+---------------+------+-------+
| trajectory_id | step | score |
+---------------+------+-------+
| q0018:0       | 5    | 4.772 |
| q0018:1       | 5    | 4.772 |
| q0018:2       | 3    | 4.772 |
+---------------+------+-------+";
    assert_eq!(table(&session, best), expected);
    // Windows that say no order number the rows as they come.
    let ranked = "FROM steps |> SEARCH 'Stustaen' IN action |> EXTEND row_number() OVER () AS rank
        |> SELECT rank, trajectory_id, step |> LIMIT 2";
    let expected = "\
+------+---------------+------+
| rank | trajectory_id | step |
+------+---------------+------+
| 1    | q0018:0       | 5    |
| 2    | q0018:1       | 5    |
+------+---------------+------+";
    assert_eq!(table(&session, ranked), expected);
    let plan = table_of_plan(&session, &format!("{search} |> SELECT step"));
    assert!(plan.contains("full_text="), "{plan}");
    assert!(!plan.contains("records="), "{plan}");
    // No gap may open between what is committed and what is found.
    let none = "FROM steps |> SEARCH 'zyzzyva' |> AGGREGATE count(*) AS n";
    assert_eq!(number(&session, none), 0.0);
    let word = "FROM steps |> WHERE trajectory_id = 'z' |> SEARCH $words |> SELECT score";
    session.set_parameter("words", Some(given("zyzzyva")));
    let action = Message {
        role: role::ASSISTANT.to_owned(),
        content: Some("the zyzzyva is a weevil".to_owned()),
        ..Message::default()
    };
    let trajectory = Trajectory {
        source: "later".to_owned(),
        id: "z".to_owned(),
        steps: vec![Step { action, ..Step::default() }],
        ..Trajectory::default()
    };
    let content_hash = content_hash(&trajectory);
    let incoming = Incoming { trajectory, content_hash, labels: Vec::new() };
    session.database().store().append(&[incoming], &[], Durability::Later).unwrap();
    assert_eq!(number(&session, none), 1.0);
    assert!(number(&session, word) > 1.0);
}

#[test]
fn a_search_says_what_it_cannot_do() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    for (text, told) in [
        ("FROM steps |> SEARCH 'a (b' IN action", "not closed"),
        ("FROM steps |> SEARCH 'NOT b'", "nothing is"),
        ("FROM steps |> SEARCH founded", "in single quotes"),
        ("FROM steps |> SEARCH 'a' IN tool", "'tool' has no full-text index"),
        ("FROM steps |> SEARCH 'a' IN observatoin", "did you mean 'observation'?"),
        ("FROM steps |> SEARCH 'a' IN action LIMIT 3", "found 'LIMIT'"),
        ("FROM trajectories |> SEARCH 'a' IN action", "unknown column 'action'"),
        (
            "FROM steps |> AGGREGATE count(*) AS n GROUP BY action |> SEARCH 'a' IN action",
            "rank steps, and these rows are none",
        ),
        ("FROM steps |> SELECT score(action)", "a column of text, and words"),
        ("FROM steps |> SELECT score(upper(action), 'a')", "a column of text, and words"),
        ("FROM steps |> SELECT score(action, tool)", "a column of text, and words"),
        ("FROM steps |> WHERE matches(action, 'b \"a')", "no closing quote"),
        ("FROM steps |> SEARCH $nothing", "$nothing"),
    ] {
        let found = mistake(&session, text);
        assert!(found.contains(told) && found.contains('^'), "{text}\n{found}");
    }
}
