//! Judges that are programs.

use swirldb::model::{JudgeKind, Message, ToolCall, role};
use swirldb::rollout::judge::{
    ExecutedStep, GoldFacts, OutcomeInput, ProgramJudge, StepProgram, UnreadableReason,
};

fn outcome(judge: ProgramJudge, answer: &str, gold: &[&str]) -> Option<f64> {
    let gold: Vec<String> = gold.iter().map(|text| (*text).to_owned()).collect();
    let input = OutcomeInput { question: None, gold: &gold, answer };
    match judge.judge(&input) {
        Ok(verdict) => Some(verdict.value),
        Err(unreadable) => {
            assert_eq!(unreadable.reason, UnreadableReason::NoGround);
            None
        }
    }
}

#[test]
fn answers_are_held_against_the_best_gold_answer() {
    use ProgramJudge::{ExactMatch, F1, NumericEqual};
    for (judge, answer, gold, expected) in [
        (ExactMatch, "The Tower!", &["bridge", "tower"][..], Some(1.0)),
        (ExactMatch, "towers", &["tower"], Some(0.0)),
        (ExactMatch, "", &["tower"], Some(0.0)),
        (ExactMatch, "tower", &[], None),
        (F1, "red tower", &["bridge", "tower"], Some(2.0 / 3.0)),
        (F1, "red tower", &[], None),
        (NumericEqual, "50%", &["1/2"], Some(1.0)),
        (NumericEqual, "1,000", &["many", "1e3"], Some(1.0)),
        (NumericEqual, "many", &["1e3"], Some(0.0)),
        // No number can be compared with a gold answer that is none.
        (NumericEqual, "3", &["three"], None),
    ] {
        assert_eq!(outcome(judge, answer, gold), expected, "{judge:?} {answer}");
    }
}

fn call(name: &str, arguments: &str) -> Message {
    let (name, arguments) = (name.to_owned(), arguments.to_owned());
    Message {
        role: role::ASSISTANT.to_owned(),
        tool_calls: vec![ToolCall { id: None, name, arguments }],
        ..Message::default()
    }
}

fn result(text: &str, error: Option<bool>) -> Message {
    Message { error, ..Message::new(role::TOOL, text) }
}

/// Returns the value of each program, in their order.
fn values(
    state: &[Message],
    action: &Message,
    observation: &[Message],
    answers: &[&str],
    titles: &[&str],
) -> [Option<f64>; 4] {
    let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let (answers, titles) = (own(answers), own(titles));
    let gold = GoldFacts { answers: &answers, supporting_titles: &titles };
    let step = ExecutedStep { state, action, observation };
    StepProgram::ALL.map(|program| program.judge(&step, gold).ok().map(|verdict| verdict.value))
}

#[test]
fn executed_steps_are_judged_by_what_came_back() {
    let action = call("search", "{\"q\": 1}");
    let found = [result("Eiffel Tower: built in 1889 by Eiffel", Some(false))];
    let (one, none) = (Some(1.0), Some(0.0));
    assert_eq!(values(&[], &action, &found, &["1889"], &["Eiffel tower"]), [one, one, one, one]);
    assert_eq!(values(&[], &action, &found, &["188"], &["Louvre"]), [none, one, none, one]);
    let failed = [result("found", Some(false)), result("no such tool", Some(true))];
    assert_eq!(values(&[], &action, &failed, &["1889"], &[]), [none, none, None, one]);
    // Where nothing says it, nobody knows.
    let silent = [result("1889", None)];
    assert_eq!(values(&[], &action, &silent, &["1889"], &["x"]), [one, None, none, one]);
    let answer = Message::new(role::ASSISTANT, "1889");
    assert_eq!(values(&[], &answer, &[], &["1889"], &["x"]), [None; 4]);
}

#[test]
fn a_call_is_repeated_when_its_arguments_mean_the_same() {
    let state = [call("search", "{\"q\": \"a\", \"n\": 1}"), result("a", None)];
    let repeated = |name: &str, arguments: &str| {
        let step = ExecutedStep { state: &state, action: &call(name, arguments), observation: &[] };
        let verdict = StepProgram::NotRepeated.judge(&step, GoldFacts::default()).unwrap();
        assert_eq!(verdict.rationale.is_some(), verdict.value == 0.0);
        verdict.value == 0.0
    };
    assert!(repeated("search", "{\"n\": 1.0, \"q\": \"a\"}"));
    assert!(!repeated("search", "{\"n\": 2, \"q\": \"a\"}"));
    assert!(!repeated("other", "{\"n\": 1, \"q\": \"a\"}"));
    assert!(!repeated("search", "no JSON"));
    // Within one action too.
    let mut twice = call("search", "x");
    twice.tool_calls.push(twice.tool_calls[0].clone());
    let step = ExecutedStep { state: &[], action: &twice, observation: &[] };
    let verdict = StepProgram::NotRepeated.judge(&step, GoldFacts::default()).unwrap();
    assert_eq!(verdict.value, 0.0);
}

#[test]
fn a_program_depends_on_what_it_says_it_sees_and_on_nothing_else() {
    let state = [call("search", "{\"q\": 1}"), result("1889", Some(false))];
    let (same, other) = (call("search", "{\"q\": 1}"), call("search", "{\"q\": 2}"));
    let good = [result("Tower 1889", Some(false))];
    let bad = [result("nothing", Some(true))];
    let base = values(&state, &same, &bad, &["1889"], &["Tower"]);
    let changes = [
        ("gold", values(&state, &same, &bad, &["nothing"], &["nothing"])),
        ("observation", values(&state, &same, &good, &["1889"], &["Tower"])),
        ("action", values(&state, &other, &bad, &["1889"], &["Tower"])),
        ("state", values(&[], &same, &bad, &["1889"], &["Tower"])),
    ];
    for (index, program) in StepProgram::ALL.into_iter().enumerate() {
        let sees = program.sees();
        for (what, changed) in &changes {
            let is_seen = match *what {
                "gold" => sees.gold,
                "observation" => sees.observation,
                "action" => sees.action,
                _ => sees.state,
            };
            assert_eq!(base[index] != changed[index], is_seen, "{program:?} {what}");
        }
        let judge = program.to_judge();
        assert_eq!((judge.kind, judge.sees_gold), (JudgeKind::Program, Some(sees.gold)));
        assert_eq!(StepProgram::parse(&judge.name), Some(program));
    }
    for program in ProgramJudge::ALL {
        assert_eq!(program.to_judge().sees_gold, Some(true));
        assert_eq!(ProgramJudge::parse(program.as_str()), Some(program));
    }
}
