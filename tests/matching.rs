//! Patterns over steps, from text to rows: against a naive matcher, and by hand.

use std::fmt::Write;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use swirldb::codec::Family;
use swirldb::exchange::content_hash;
use swirldb::model::{
    Judge, JudgeKind, Label, LabelName, Message, Step, Target, ToolCall, Trajectory, role,
};
use swirldb::session::{Outcome, Session, SessionError, SessionOptions};
use swirldb::store::{Durability, Incoming};

use crate::session::Kept;

const OPTIONS: SessionOptions =
    SessionOptions { memory_bytes: 128 << 20, threads: 2, read_only: false };

/// A database with a trajectory for each word, whose steps call tools named by its letters; the
/// human label `process` of a step is 1 for capital letters, 0 for small ones, and missing for
/// digits.
fn words(folder: &Path, words: &[&str]) -> Session {
    let session = Session::open(&folder.join("db"), OPTIONS, true).unwrap();
    let step = |letter: char| Step {
        action: Message {
            role: role::ASSISTANT.to_owned(),
            tool_calls: vec![ToolCall {
                id: None,
                name: letter.to_lowercase().to_string(),
                arguments: format!("{{\"letter\": \"{letter}\"}}"),
            }],
            ..Message::default()
        },
        observation: vec![Message::new(role::TOOL, format!("it was {letter}"))],
        ..Step::default()
    };
    let label = |(letter, step): (char, u32)| {
        letter.is_alphabetic().then(|| Label {
            target: Target::Step(step),
            name: LabelName::process(),
            judge: "human".to_owned(),
            value: f64::from(u8::from(letter.is_uppercase())),
            raw: None,
            verdict: None,
            rationale: None,
            run_id: None,
        })
    };
    let incoming = |(number, word): (usize, &&str)| {
        let trajectory = Trajectory {
            source: "words".to_owned(),
            id: format!("{number}:{word}"),
            steps: word.chars().map(step).collect(),
            ..Trajectory::default()
        };
        let content_hash = content_hash(&trajectory);
        let labels = word.chars().zip(1..).filter_map(label).collect();
        Incoming { trajectory, content_hash, labels }
    };
    let batch: Vec<Incoming> = words.iter().enumerate().map(incoming).collect();
    let (name, kind) = ("human".to_owned(), JudgeKind::Human);
    let human = Judge { name, kind, definition: None, sees_gold: None };
    session.database().store().append(&batch, &[human], Durability::Later).unwrap();
    session
}

fn try_run(session: &Session, text: &str) -> Result<Vec<RecordBatch>, SessionError> {
    let mut kept = Kept::default();
    for statement in session.parse(text)? {
        session.run(&statement, text, &mut kept)?;
    }
    Ok(kept.batches)
}

fn run(session: &Session, text: &str) -> Vec<RecordBatch> {
    try_run(session, text).unwrap_or_else(|e| panic!("{text}\n{}", e.render()))
}

fn table(session: &Session, text: &str) -> String {
    pretty_format_batches(&run(session, text)).unwrap().to_string()
}

fn mistake(session: &Session, text: &str) -> String {
    match try_run(session, text) {
        Ok(_) => panic!("no mistake in {text}"),
        Err(error) => error.render(),
    }
}

fn integers(batches: &[RecordBatch], column: &str) -> Vec<i64> {
    let column = |b: &RecordBatch| {
        b.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec()
    };
    batches.iter().flat_map(column).collect()
}

#[test]
fn a_match_is_a_row_with_the_columns_that_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let session = words(folder.path(), &["sxsS", "ss", "xsxxSx", "sxxxxxS"]);
    let text = "FROM steps
        |> MATCH f:{tool = 's' AND process < .5} .* r:{tool = 's' AND process > .5} WITHIN 6 STEPS
        |> SELECT trajectory_id, f.step AS failed_at, r.step, r.arguments AS retry, match_length";
    let expected = "\
+---------------+-----------+--------+-----------------+--------------+
| trajectory_id | failed_at | r.step | retry           | match_length |
+---------------+-----------+--------+-----------------+--------------+
| 0:sxsS        | 1         | 4      | {\"letter\": \"S\"} | 4            |
| 2:xsxxSx      | 2         | 5      | {\"letter\": \"S\"} | 4            |
+---------------+-----------+--------+-----------------+--------------+";
    assert_eq!(table(&session, text), expected);
    let of_all = "FROM steps |> MATCH f:{tool = 's'} x:{tool = 'x'}+";
    let expected = "\
+---------------+--------------+------------+-----------+--------------+
| trajectory_id | match_number | first_step | last_step | match_length |
+---------------+--------------+------------+-----------+--------------+
| 0:sxsS        | 1            | 1          | 2         | 2            |
| 2:xsxxSx      | 1            | 2          | 4         | 3            |
| 2:xsxxSx      | 2            | 5          | 6         | 2            |
| 3:sxxxxxS     | 1            | 1          | 6         | 6            |
+---------------+--------------+------------+-----------+--------------+";
    assert_eq!(table(&session, of_all), expected);
}

#[test]
fn all_steps_of_a_match_keep_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let session = words(folder.path(), &["axxb", "ab", "ba"]);
    let text = "FROM steps |> WHERE tool <> 'q'
        |> MATCH first:{tool = 'a'} .*? last:{tool = 'b'} ALL STEPS
        |> SELECT trajectory_id, step, tool, variable, match_number, first.step AS began";
    let expected = "\
+---------------+------+------+----------+--------------+-------+
| trajectory_id | step | tool | variable | match_number | began |
+---------------+------+------+----------+--------------+-------+
| 0:axxb        | 1    | a    | first    | 1            | 1     |
| 0:axxb        | 2    | x    |          | 1            | 1     |
| 0:axxb        | 3    | x    |          | 1            | 1     |
| 0:axxb        | 4    | b    | last     | 1            | 1     |
| 1:ab          | 1    | a    | first    | 1            | 1     |
| 1:ab          | 2    | b    | last     | 1            | 1     |
+---------------+------+------+----------+--------------+-------+";
    assert_eq!(table(&session, text), expected);
    let saved = "FROM steps |> MATCH a:{tool = 'a'} ALL STEPS |> SAVE AS found";
    run(&session, saved);
    let count = run(&session, "FROM dataset.found |> SELECT step");
    assert_eq!(integers(&count, "step"), [1, 1, 2]);
}

#[test]
fn the_standard_form_navigates() {
    let folder = tempfile::tempdir().unwrap();
    let session = words(folder.path(), &["aAbBab", "bbb"]);
    let text = "SELECT * FROM steps MATCH_RECOGNIZE (
            PARTITION BY trajectory_id ORDER BY step
            MEASURES match_number() AS n, first(up.step) AS begin, last(up.step, 1) AS before_last,
                     prev(first(up.tool)) AS before, next(up.tool, 2) AS after,
                     count(*) AS length, count(up.*) AS ups, avg(process) AS mean,
                     classifier() AS ends_as
            ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
            PATTERN (low up+)
            DEFINE low AS process < .5,
                   up AS process >= prev(process) AND step - low.step < 3
        ) ORDER BY trajectory_id, n";
    let expected = "\
+---------------+---+-------+-------------+--------+-------+--------+-----+------+---------+
| trajectory_id | n | begin | before_last | before | after | length | ups | mean | ends_as |
+---------------+---+-------+-------------+--------+-------+--------+-----+------+---------+
| 0:aAbBab      | 1 | 2     |             | a      | b     | 2      | 1   | 0.5  | up      |
| 0:aAbBab      | 2 | 4     |             | b      | b     | 2      | 1   | 0.5  | up      |
| 0:aAbBab      | 3 | 6     |             | a      |       | 2      | 1   | 0.0  | up      |
| 1:bbb         | 1 | 2     | 2           | b      |       | 3      | 2   | 0.0  | up      |
+---------------+---+-------+-------------+--------+-------+--------+-----+------+---------+";
    assert_eq!(table(&session, text), expected);
    let asked = "FROM steps |> MATCH_RECOGNIZE (
            PARTITION BY trajectory_id ORDER BY step
            MEASURES last(x.step) AS at PATTERN (x)
            DEFINE x AS tool = 'b' AND classifier() = 'x' AND match_number() < 3)
        |> ORDER BY trajectory_id, at |> SELECT at";
    assert_eq!(integers(&run(&session, asked), "at"), [3, 4, 1, 2]);
    let overlapping = "FROM steps |> MATCH_RECOGNIZE (
            PARTITION BY trajectory_id ORDER BY step
            MEASURES first(x.step) AS at ONE ROW PER MATCH AFTER MATCH SKIP TO NEXT ROW
            PATTERN (x x) DEFINE x AS tool = 'b') |> ORDER BY trajectory_id, at |> SELECT at";
    assert_eq!(integers(&run(&session, overlapping), "at"), [3, 1, 2]);
}

/// A pattern of the language, and the regular expression over letters that means the same.
#[derive(Clone, Debug)]
struct Both {
    ours: String,
    regex: String,
    can_be_empty: bool,
}

fn both() -> impl Strategy<Value = Both> {
    let both = |ours: &str, regex: &str| Both {
        ours: ours.into(),
        regex: regex.into(),
        can_be_empty: false,
    };
    let leaf = prop_oneof![
        Just(both("a", "a")),
        Just(both("b", "b")),
        Just(both("c", "[ab]")),
        Just(both(".", ".")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let list = || prop::collection::vec(inner.clone(), 1..4);
        let joined = |parts: &[Both], ours: &str, regex: &str| {
            let part = |of: fn(&Both) -> &str| parts.iter().map(of).collect::<Vec<_>>();
            let ours = part(|p| p.ours.as_str()).join(ours);
            let regex = part(|p| p.regex.as_str()).join(regex);
            (format!("({ours})"), format!("(?:{regex})"))
        };
        let quantifiers = prop::sample::select(vec![
            "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{1,}", "{0,2}?",
        ]);
        prop_oneof![
            list().prop_map(move |parts| {
                let (ours, regex) = joined(&parts, " ", "");
                Both { ours, regex, can_be_empty: parts.iter().all(|p| p.can_be_empty) }
            }),
            list().prop_map(move |parts| {
                let (ours, regex) = joined(&parts, " | ", "|");
                Both { ours, regex, can_be_empty: parts.iter().any(|p| p.can_be_empty) }
            }),
            // A repetition of nothing ends elsewhere in regular expressions.
            (inner.clone(), quantifiers).prop_map(move |(inner, quantifier)| {
                if inner.can_be_empty {
                    return inner;
                }
                Both {
                    ours: format!("({}){quantifier}", inner.ours),
                    regex: format!("(?:{}){quantifier}", inner.regex),
                    can_be_empty: quantifier.starts_with(['*', '?']) || quantifier == "{0,2}?",
                }
            }),
        ]
    })
}

#[test]
fn generated_patterns_match_where_regular_expressions_do() {
    let folder = tempfile::tempdir().unwrap();
    let all = [
        "",
        "a",
        "b",
        "x",
        "ab",
        "ba",
        "aab",
        "abab",
        "xaxb",
        "aaabbb",
        "abxab",
        "bbbb",
        "xxxx",
        "abbaabba",
        "axbxaxb",
        "aaaaaaaaab",
        "xaaxbbxabx",
    ];
    let session = words(folder.path(), &all);
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&both(), |both| {
        // Names need a condition where they stand first: an alternative that never matches.
        let named = "a:{tool = 'a'} b:{tool = 'b'} c:{tool IN ('a', 'b')}";
        let text = format!(
            "FROM steps |> MATCH {} | ({named} never:{{false}}) |> SELECT trajectory_id, \
             first_step, last_step",
            both.ours,
        );
        let text = define_first(&text);
        let rows = run(&session, &text);
        let found = integers(&rows, "first_step").into_iter().zip(integers(&rows, "last_step"));
        let regex = regex::Regex::new(&both.regex).unwrap();
        let spans = all.iter().flat_map(|word| {
            let spans = spans(&regex, word);
            spans.into_iter().map(|(start, end)| (start as i64 + 1, end as i64))
        });
        prop_assert_eq!(found.collect::<Vec<_>>(), spans.collect::<Vec<_>>(), "{}", text);
        Ok(())
    });
    outcome.unwrap();
}

/// Moves the conditions to where the names stand first.
fn define_first(text: &str) -> String {
    let mut out = text.to_owned();
    for (name, condition) in
        [("a", "{tool = 'a'}"), ("b", "{tool = 'b'}"), ("c", "{tool IN ('a', 'b')}")]
    {
        let defined = format!("{name}:{condition}");
        let plain = out.replace(&defined, name);
        let pattern = plain.find("MATCH ").unwrap() + "MATCH ".len();
        let is_name = |(at, _): &(usize, &str)| {
            let byte = |at: usize| plain.as_bytes().get(at).copied().unwrap_or(b' ');
            *at >= pattern
                && !byte(at - 1).is_ascii_alphanumeric()
                && !byte(at + 1).is_ascii_alphanumeric()
                && byte(at - 1) != b'\''
        };
        let at = plain.match_indices(name).find(is_name).map(|(at, _)| at).unwrap();
        out = plain;
        out.replace_range(at..at + 1, &defined);
    }
    out
}

/// The leftmost matches that are not empty, each behind the one before: where the preferred match
/// at a place is empty, the search goes on behind that place.
fn spans(regex: &regex::Regex, word: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut at = 0;
    while at < word.len() {
        match regex.find_at(word, at) {
            Some(found) if found.start() < word.len() => {
                if !found.is_empty() {
                    spans.push((found.start(), found.end()));
                }
                at = found.end().max(found.start() + 1);
            }
            _ => break,
        }
    }
    spans
}

#[test]
fn mistakes_in_patterns_are_shown_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let session = words(folder.path(), &["ab"]);
    let mut shown = String::new();
    for text in [
        "FROM steps |> MATCH",
        "FROM steps |> MATCH a",
        "FROM steps |> MATCH first:{tool = 'a'} frist",
        "FROM steps |> MATCH a:{tool = 'a'} a:{tool = 'b'}",
        "FROM steps |> MATCH a:{}",
        "FROM steps |> MATCH a:{tol = 'a'}",
        "FROM steps |> MATCH a:{tool = 'a'}{3,2}",
        "FROM steps |> MATCH a:{tool = 'a'} WITHIN 0 STEPS",
        "FROM steps |> MATCH a:{tool = 'a'} WITHIN 5",
        "FROM steps |> MATCH (a:{tool = 'a'}",
        "FROM steps |> MATCH a:{tool = 'a'} |> SELECT a.stpe",
        "FROM steps |> MATCH a:{step}",
        "FROM steps |> AGGREGATE count(*) AS n GROUP BY tool |> MATCH a:{n > 1}",
        "FROM steps |> MATCH_RECOGNIZE (ORDER BY step PATTERN (a b) DEFINE c AS true)",
        "FROM steps |> MATCH_RECOGNIZE (ORDER BY step MEASURES last(a.step) AS s \
         AFTER MATCH SKIP TO LAST b PATTERN (a) DEFINE a AS true)",
        "FROM steps |> MATCH_RECOGNIZE (ORDER BY step MEASURES last(a.step + b.step) AS s \
         PATTERN (a b) DEFINE a AS true)",
    ] {
        writeln!(shown, "{}", mistake(&session, text)).unwrap();
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/matching/mistakes.txt");
    if std::env::var("GOLDENS").is_ok_and(|v| v == "write") {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::write(&golden, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(&golden).unwrap());
}

#[test]
fn full_text_in_a_pattern_comes_from_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let session = words(folder.path(), &["sxsS", "ss", "xsxxSx", "sxxxxxS"]);
    let of = |observation: &str| {
        format!(
            "FROM steps |> MATCH f:{{matches({observation}, 'was s') AND process < .5}} .*? \
             r:{{NOT matches({observation}, 'x')}} |> SELECT trajectory_id, first_step, last_step"
        )
    };
    let (by_index, by_row) = (of("observation"), of("observation || ''"));
    let expected = table(&session, &by_row);
    assert!(expected.contains("0:sxsS"), "{expected}");
    let store = session.database().store();
    // The index is brought up to date, which reads texts, before what is counted.
    assert_eq!(table(&session, &by_index), expected);
    let read = || [Family::Step, Family::Body].map(|family| store.reads(family));
    let before = read();
    assert_eq!(table(&session, &by_index), expected);
    assert_eq!(read(), before, "no text is fetched");
}

#[test]
fn partitions_of_a_scan_serve_patterns_and_windows_without_another() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<&str> = std::iter::repeat_n("abaxabbaxab", 4_000).collect();
    let session = words(folder.path(), &all);
    for text in [
        "FROM steps |> MATCH a:{tool = 'a'} b:{tool = 'b'} |> AGGREGATE count(*)",
        "FROM steps |> WHERE every(process < .5) |> AGGREGATE count(*)",
        "SELECT max(next) FROM (SELECT lead(tool) OVER (PARTITION BY trajectory_id ORDER BY step) \
         AS next FROM steps WHERE step > 0)",
        "FROM steps |> EXTEND row_number() OVER (PARTITION BY trajectory_id ORDER BY step) AS n \
         |> WHERE n <> step |> AGGREGATE count(*)",
    ] {
        let plan = plan(&session, text);
        assert!(plan.contains("partitions=2"), "{plan}");
        assert!(!plan.contains("RepartitionExec") && !plan.contains("SortExec"), "{plan}");
    }
    let renamed = "SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY trajectory_id) AS n \
                   FROM (SELECT tool AS trajectory_id FROM steps))";
    assert!(plan(&session, renamed).contains("RepartitionExec"), "another trajectory_id");
    let count = "FROM steps |> MATCH a:{tool = 'a'} b:{tool = 'b'} |> AGGREGATE count(*) AS n";
    assert_eq!(integers(&run(&session, count), "n"), [12_000]);
    let last = "FROM steps |> MATCH a:{tool = 'a'} b:{tool = 'b'} $ |> AGGREGATE count(*) AS n";
    assert_eq!(integers(&run(&session, last), "n"), [4_000]);
}

fn plan(session: &Session, text: &str) -> String {
    let explain = format!("EXPLAIN {text}");
    let statement = session.parse(&explain).unwrap().pop().unwrap();
    match session.run(&statement, &explain, &mut Kept::default()).unwrap() {
        Outcome::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn judges_and_answers_are_scored_in_statements() {
    let folder = tempfile::tempdir().unwrap();
    let session = words(folder.path(), &["aB", "Ab"]);
    let text = "SELECT em('the Fox', 'fox') AS em, f1('big fox', 'fox') AS f1,
                numeric_equal('1,000', '1e3') AS number, gold_in('a red fox', 'Red') AS gold";
    let expected = "\
+-----+--------------------+--------+------+
| em  | f1                 | number | gold |
+-----+--------------------+--------+------+
| 1.0 | 0.6666666666666666 | true   | true |
+-----+--------------------+--------+------+";
    assert_eq!(table(&session, text), expected);
    let agreement = "FROM steps |> AGGREGATE agree(process, process) AS same,
                     agree(process, 1 - process) AS other, kappa(process, 1 - process) AS kappa";
    let expected = "\
+------+-------+-------+
| same | other | kappa |
+------+-------+-------+
| 1.0  | 0.0   | -1.0  |
+------+-------+-------+";
    assert_eq!(table(&session, agreement), expected);
    let of_rows = "FROM trajectories |> SELECT gold_in(question) AS found, em(answer, gold) AS em";
    assert_eq!(run(&session, of_rows).iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
}

#[test]
fn what_may_be_typed_has_the_names_of_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let session = words(folder.path(), &["aBxx"]);
    run(&session, "FROM steps |> LIMIT 1 |> SAVE AS first_one");
    for (text, offered) in [
        ("FROM st", "steps"),
        ("FROM dataset.f", "first_one"),
        ("from steps |> wh", "where"),
        ("FROM steps |> WH", "WHERE"),
        ("FROM steps |> WHERE to", "tool"),
        ("FROM steps |> WHERE tool = 'x", "x"),
        ("FROM steps |> SELECT agr", "agree("),
        ("FROM steps |> WHERE \"pro", "\"process@human\""),
        ("FROM steps |> TRAIN WITH (lear", "learning_rate"),
    ] {
        let found = session.completions(text, text.len()).candidates;
        assert!(found.iter().any(|f| f == offered), "{text}: {found:?}");
    }
    assert!(session.completions("FROM nothing |> WHERE zzz", 25).candidates.is_empty());
    for cut in 0.."FROM steps |> WHERE é = 'ü' AND \"process@human\" > 0".len() {
        session.completions("FROM steps |> WHERE é = 'ü' AND \"process@human\" > 0", cut);
    }
}
