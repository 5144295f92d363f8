//! SEARCH and score(): steps ranked by what their texts hold.

use swirldb::exchange::content_hash;
use swirldb::model::{Message, Step, Trajectory, role};
use swirldb::query::parameters::given;
use swirldb::store::{Durability, Incoming};
use swirldb::text::runs_of_pattern;

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
fn runs_are_what_every_text_with_the_pattern_has_in_its_words() {
    let cases: [(&str, &[&str]); 9] = [
        ("%permission%", &["permissio"]),
        ("%Permission denied", &["permission", "denie"]),
        ("%(Permission)%", &["permission"]),
        ("%ab%", &[]),
        ("%perm\u{303}x%", &["per"]),
        ("%a_long_name%", &["lon", "nam"]),
        (r"%a\_long\_name.%", &["long", "name"]),
        (r"100\%", &["100"]),
        ("%first,second,third,fourth,%", &["fourth", "second", "first"]),
    ];
    for (pattern, runs) in cases {
        assert_eq!(runs_of_pattern(pattern), runs, "{pattern}");
    }
}

/// Texts and patterns are made of these: capitals, marks that join the letter before them, signs
/// that are letters in another form, characters without a shape, words too long to be kept.
const PIECES: [&str; 22] = [
    "perm",
    "ission",
    "Permission",
    "permissio",
    "n",
    "n\u{303}",
    "\u{301}",
    "per\u{AD}mission",
    "\u{212A}",
    "\u{17F}",
    "KS",
    "北京",
    "é",
    "É",
    "-",
    "_",
    " ",
    "'",
    "\u{FF50}erm",
    "1e",
    "mis",
    "\n",
];

#[test]
fn a_pattern_finds_the_same_rows_with_the_index_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let mut state = 7u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut text = |wild: bool| {
        let mut text = String::new();
        for _ in 0..1 + draw(6) {
            match draw(if wild { 40 } else { 26 }) {
                drawn @ 0..22 => text.push_str(PIECES[drawn]),
                22 => text.push_str(&"perm".repeat(80)),
                23 if wild => text.push_str("\\%"),
                24 if wild => text.push_str("\\_"),
                33.. => text.push(if draw(4) == 0 { '_' } else { '%' }),
                _ => text.push('%'),
            }
        }
        text
    };
    let step = |text: String| Step {
        action: Message { content: Some("look".to_owned()), ..Message::new(role::ASSISTANT, "") },
        observation: vec![Message::new(role::USER, text)],
        ..Step::default()
    };
    let trajectory = Trajectory {
        source: "odd".to_owned(),
        id: "odd".to_owned(),
        steps: (0..1_500).map(|_| step(text(false))).collect(),
        ..Trajectory::default()
    };
    let content_hash = content_hash(&trajectory);
    let incoming = Incoming { trajectory, content_hash, labels: Vec::new() };
    session.database().store().append(&[incoming], &[], Durability::Later).unwrap();
    let founded = "FROM steps |> WHERE observation LIKE '%was founded%' |> AGGREGATE count(*) AS n";
    assert!(!table_of_plan(&session, founded).contains("full_text="), "there is no index yet");
    let without = number(&session, founded);
    let words = "FROM steps |> WHERE matches(observation, 'founded') |> AGGREGATE count(*) AS n";
    assert!(without > 0.0 && number(&session, words) >= without);
    assert!(table_of_plan(&session, founded).contains("full_text="));
    assert_eq!(number(&session, founded), without);
    let (mut found, mut narrowed) = (0.0, 0);
    for _ in 0..400 {
        let pattern = format!("%{}%", text(true)).replace('\'', "''");
        for like in ["LIKE", "ILIKE"] {
            let by = |column: &str| {
                format!(
                    "FROM steps |> WHERE {column} {like} '{pattern}' |> AGGREGATE count(*) AS n"
                )
            };
            let expected = number(&session, &by("observation || ''"));
            assert_eq!(number(&session, &by("observation")), expected, "{like} {pattern}");
            found += expected;
            let plan = table_of_plan(&session, &by("observation"));
            narrowed += usize::from(plan.contains("full_text="));
        }
    }
    assert!(found > 1_000.0 && narrowed > 200, "{found} found, {narrowed} by the index");
}

#[test]
fn an_index_catches_up_while_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    assert!(!session.database().text_lags(), "it is made where a statement asks for words");
    let none = "FROM steps |> WHERE matches(action, 'zyzzyva') |> AGGREGATE count(*) AS n";
    assert_eq!(number(&session, none), 0.0);
    assert!(!session.database().text_lags());
    let steps = (0..6_000).map(|_| Step {
        action: Message::new(role::ASSISTANT, "the zyzzyva is a weevil"),
        ..Step::default()
    });
    let trajectory = Trajectory {
        source: "later".to_owned(),
        id: "z".to_owned(),
        steps: steps.collect(),
        ..Trajectory::default()
    };
    let content_hash = content_hash(&trajectory);
    let incoming = Incoming { trajectory, content_hash, labels: Vec::new() };
    session.database().store().append(&[incoming], &[], Durability::Later).unwrap();
    assert!(session.database().text_lags());
    // Far behind, it is no help to LIKE, which does not wait for it.
    let like = "FROM steps |> WHERE action LIKE '%zyzzyva is%' |> AGGREGATE count(*) AS n";
    assert!(!table_of_plan(&session, like).contains("full_text="));
    assert_eq!(number(&session, like), 6_000.0);
    session.idle().finish();
    assert!(!session.database().text_lags());
    assert!(table_of_plan(&session, like).contains("full_text=6000 rows"));
    assert_eq!(number(&session, like), 6_000.0);
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
