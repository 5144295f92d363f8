//! The world of a study: parts without leaks, tools that answer, a judge that is right.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;
use swirldb::model::{Message, ToolCall, role};
use swirldb::synth::{
    ActionForm, Edition, JudgeNoise, Operation, Split, StudyKind, StudyOptions, StudyQuestion,
    StudyWorld, WorldJudge,
};

fn small() -> StudyOptions {
    StudyOptions { questions: 600, held_out: 60, samples: 3, ..StudyOptions::default() }
}

fn lines(write: impl Fn(&mut Vec<u8>) -> std::io::Result<()>) -> Vec<Value> {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn trajectories(options: &StudyOptions) -> (StudyWorld, Vec<Value>) {
    let world = StudyWorld::new(options);
    let lines = lines(|out| world.write_trajectories(out));
    (world, lines)
}

fn message(value: &Value) -> Message {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let calls = value["tool_calls"].as_array().into_iter().flatten();
    let call = |call: &Value| ToolCall {
        id: call["id"].as_str().map(str::to_owned),
        name: call["function"]["name"].as_str().unwrap().to_owned(),
        arguments: call["function"]["arguments"].as_str().unwrap().to_owned(),
    };
    Message {
        role: text("role").unwrap(),
        content: text("content"),
        tool_calls: calls.map(call).collect(),
        tool_call_id: text("tool_call_id"),
        ..Message::default()
    }
}

fn of_split(world: &StudyWorld, split: Split) -> Vec<&StudyQuestion> {
    world.questions().iter().filter(|question| question.split == split).collect()
}

/// Everything a question's chain visits, in order: names, relations and what they lead to.
fn chains(question: &StudyQuestion) -> Vec<String> {
    let of_path = |path: &Vec<swirldb::synth::StudyHop>| {
        let hop = |hop: &swirldb::synth::StudyHop| format!("{} {} ", hop.subject, hop.relation);
        let end = path.last().unwrap().value.clone();
        path.iter().map(hop).collect::<String>() + &end
    };
    question.paths.iter().map(of_path).collect()
}

#[test]
fn every_part_has_its_questions_and_no_two_are_alike() {
    let world = StudyWorld::new(&small());
    let texts: HashSet<&str> = world.questions().iter().map(|q| q.question.as_str()).collect();
    assert_eq!(texts.len(), world.questions().len());
    let ids: HashSet<&str> = world.questions().iter().map(|q| q.id.as_str()).collect();
    assert_eq!(ids.len(), world.questions().len());
    for split in Split::ALL {
        let questions = of_split(&world, split);
        assert_eq!(questions.len(), if split == Split::Train { 600 } else { 60 }, "{split:?}");
        assert_eq!(Split::parse(split.as_str()), Some(split));
        let hops: BTreeSet<usize> =
            questions.iter().flat_map(|q| q.paths.iter().map(Vec::len)).collect();
        let arithmetic = questions.iter().filter(|q| q.kind == StudyKind::Arithmetic).count();
        match split {
            Split::Train | Split::Dev | Split::Test => {
                assert_eq!(hops, BTreeSet::from([1, 2, 3]));
                let share = arithmetic * 100 / questions.len();
                assert!((12..40).contains(&share), "{split:?}: {share}");
            }
            Split::TestHops => assert_eq!((hops, arithmetic), (BTreeSet::from([4]), 0)),
            Split::TestArithmetic => assert_eq!(arithmetic, questions.len()),
            Split::TestTool | Split::TestCounterfactual => assert_eq!(arithmetic, 0),
        }
        for question in questions {
            let atlas = question.paths.iter().flatten().any(|hop| hop.tool == "atlas");
            assert_eq!(atlas, split == Split::TestTool, "{}", question.question);
            let three = question.paths.len() == 3 || question.paths[0].len() == 2;
            let harder = split == Split::TestArithmetic;
            assert!(question.kind == StudyKind::Chain || three == harder);
        }
    }
    // A world that is too small ends all the same.
    let tiny = StudyWorld::new(&StudyOptions { questions: 2, held_out: 2, ..small() });
    assert_eq!(of_split(&tiny, Split::Train).len(), 2);
    let none = StudyWorld::new(&StudyOptions { arithmetic_percent: 0, ..small() });
    assert!(of_split(&none, Split::Train).iter().all(|q| q.kind == StudyKind::Chain));
    assert!(of_split(&none, Split::TestArithmetic).iter().all(|q| q.operation.is_some()));
}

#[test]
fn nothing_that_is_tested_is_told_in_training() {
    let world = StudyWorld::new(&small());
    let train = of_split(&world, Split::Train);
    let known: HashSet<String> = train.iter().flat_map(|q| chains(q)).collect();
    let names = |question: &&StudyQuestion| {
        let hops = question.paths.iter().flatten();
        hops.flat_map(|hop| [hop.subject.clone(), hop.value.clone()]).collect::<Vec<_>>()
    };
    let of_train: HashSet<String> = train.iter().flat_map(names).collect();
    let last = |q: &&StudyQuestion| {
        let hop = q.paths[0].last().unwrap();
        ((hop.subject.clone(), hop.relation), hop.value.clone())
    };
    let told: BTreeMap<_, _> = train.iter().filter(|q| q.operation.is_none()).map(last).collect();
    for question in world.questions().iter().filter(|q| q.split != Split::Train) {
        assert!(chains(question).iter().all(|chain| !known.contains(chain)), "{}", question.id);
        let is_number = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
        if question.split == Split::TestCounterfactual {
            // What training asks for is now otherwise.
            let (fact, value) = last(&question);
            assert_ne!(told[&fact], value, "{}", question.id);
            assert_eq!(question.split.edition(), Edition::Counterfactual);
        } else {
            let shared: Vec<String> = names(&question)
                .into_iter()
                .filter(|name| of_train.contains(name) && !is_number(name))
                .collect();
            assert_eq!(shared, Vec::<String>::new(), "{}", question.id);
        }
    }
}

#[test]
fn the_same_options_give_the_same_bytes() {
    let hash = |options: &StudyOptions| {
        let world = StudyWorld::new(options);
        let mut out = Vec::new();
        world.write_questions(&mut out).unwrap();
        for edition in Edition::ALL {
            world.write_documents(&mut out, edition, None).unwrap();
        }
        world.write_trajectories(&mut out).unwrap();
        blake3::hash(&out).to_hex().to_string()
    };
    let options = StudyOptions { questions: 100, held_out: 20, samples: 2, ..small() };
    assert_eq!(hash(&options), "fc568026accdf05cc5419c43304fa0d3ab97ee5afbaa4578a37a427e7015f8f1");
    assert_ne!(hash(&options), hash(&StudyOptions { seed: 8, ..options.clone() }));
}

#[test]
fn goodness_and_rightness_come_in_every_combination() {
    for (seed, noise_permille, expected) in
        [(7, 120, 0.85), (7, 160, 0.8), (7, 200, 0.75), (8, 160, 0.8)]
    {
        let (_, made) = trajectories(&StudyOptions { seed, noise_permille, ..small() });
        assert_eq!(made.len(), 660 * 3);
        let mut counts: BTreeMap<(bool, bool), usize> = BTreeMap::new();
        let (mut process, mut right_ones) = (0.0, 0);
        for record in &made {
            let labels: Vec<i64> = record["step_labels"]
                .as_object()
                .unwrap()
                .values()
                .flat_map(Value::as_i64)
                .collect();
            let good = labels.iter().filter(|label| **label > 0).count();
            process += good as f64 / labels.len() as f64;
            let right = record["final_label"] == 1;
            right_ones += usize::from(right);
            *counts.entry((good == labels.len(), right)).or_default() += 1;
        }
        let process = process / made.len() as f64;
        let exact_match = right_ones as f64 / made.len() as f64;
        let what = format!("{seed} {noise_permille}: {process} {exact_match} {counts:?}");
        assert!(counts.len() == 4 && counts.values().all(|n| n * 10 >= made.len()), "{what}");
        assert!((process - expected).abs() < 0.03, "{what}");
        assert!((0.45..0.7).contains(&exact_match), "{what}");
    }
}

#[test]
fn the_judge_says_what_the_labels_say() {
    for form in ActionForm::ALL {
        let (world, made) = trajectories(&StudyOptions { form, ..small() });
        let judge = WorldJudge::new(world.questions(), JudgeNoise::default());
        let mut steps = 0;
        for record in &made {
            let messages: Vec<Message> =
                record["messages"].as_array().unwrap().iter().map(message).collect();
            for (index, label) in record["step_labels"].as_object().unwrap() {
                let index: usize = index.parse().unwrap();
                let state: Vec<&Message> = messages[..index].iter().collect();
                let by_id = judge
                    .judge(record["question_id"].as_str().unwrap(), &state, &messages[index])
                    .unwrap();
                let text = record["question"].as_str().unwrap();
                assert_eq!(by_id, judge.judge(text, &state, &messages[index]).unwrap());
                let found = (by_id.good, label == 1);
                assert_eq!(found.0, found.1, "{}: {messages:#?} {index} {by_id:?}", record["id"]);
                steps += 1;
            }
        }
        assert!(steps > 5_000, "{steps}");
    }
}

#[test]
fn a_given_part_of_verdicts_is_flipped_for_ever() {
    let (world, made) = trajectories(&small());
    let flips = |noise: JudgeNoise| {
        let judge = WorldJudge::new(world.questions(), noise);
        let (mut flips, mut seen) = (Vec::new(), HashSet::new());
        for record in &made {
            let messages: Vec<Message> =
                record["messages"].as_array().unwrap().iter().map(message).collect();
            for (index, label) in record["step_labels"].as_object().unwrap() {
                let index: usize = index.parse().unwrap();
                let state: Vec<&Message> = messages[..index].iter().collect();
                let id = record["question_id"].as_str().unwrap();
                // Samples of one question begin with the same states and actions.
                if seen.insert(format!("{id} {:?}", &messages[..=index])) {
                    let verdict = judge.judge(id, &state, &messages[index]).unwrap();
                    flips.push(verdict.good != (label == 1));
                }
            }
        }
        flips
    };
    for flipped in [0.0, 0.05, 0.15, 0.3] {
        let noise = JudgeNoise { flipped, seed: 1 };
        let found = flips(noise);
        assert_eq!(found, flips(noise));
        let share = found.iter().filter(|flip| **flip).count() as f64 / found.len() as f64;
        assert!((share - flipped).abs() < 0.02, "{share} for {flipped}");
        if flipped == 0.3 {
            assert_ne!(found, flips(JudgeNoise { seed: 2, ..noise }));
        }
    }
}

/// Goes the right way by hand: the searches in order, the calculation, the answer; returns the
/// state behind the searches.
fn searched(world: &StudyWorld, question: &StudyQuestion) -> Option<Vec<Message>> {
    let edition = question.split.edition();
    let mut state = world.prompt(question);
    for hop in question.paths.iter().flatten() {
        let query = format!("{} {}", hop.subject, hop.relation);
        let found = world.observe(edition, hop.tool, &query);
        let sentence = format!("The {} of {} is {}.", hop.relation, hop.subject, hop.value);
        if !found.contains(&sentence) || found.contains("almanac") {
            return None;
        }
        let tag = format!("{}_query", hop.tool);
        state.push(Message::new(role::ASSISTANT, format!("<{tag}>{query}</{tag}>")));
        state.push(Message::new(role::USER, found));
    }
    Some(state)
}

#[test]
fn the_right_way_is_good_and_its_answer_is_the_gold_one() {
    let world = StudyWorld::new(&small());
    let judge = WorldJudge::new(world.questions(), JudgeNoise::default());
    let good = |question: &StudyQuestion, state: &[Message], action: &str| {
        let state: Vec<&Message> = state.iter().collect();
        judge.judge_text(&question.id, &state, action).unwrap().good
    };
    let mut walked = BTreeMap::new();
    for question in world.questions() {
        let Some(state) = searched(&world, question) else { continue };
        *walked.entry(question.split).or_insert(0) += 1;
        for at in (2..state.len()).step_by(2) {
            assert!(good(question, &state[..at], state[at].text()), "{}", question.question);
        }
        let answer = format!("<answer>{}</answer>", question.answer);
        assert!(good(question, &state, &answer), "{} {}", question.question, question.answer);
        assert!(!good(question, &state, "<answer>Nobody</answer>"));
        assert!(!good(question, &state, "<answer>unknown</answer>"));
        assert!(!good(question, &state[..state.len() - 2], &answer), "{}", question.question);
        assert!(!good(question, &state, state[2].text()), "a repeated query");
    }
    // Enough of every part is told as it is to be answered rightly by the right way.
    let least = |split: &Split| if *split == Split::Train { 300 } else { 12 };
    assert_eq!(walked.len(), Split::ALL.len());
    assert!(walked.iter().all(|(split, count)| count >= &least(split)), "{walked:?}");
}

#[test]
fn actions_of_any_wording_are_judged_by_what_they_ask() {
    let world = StudyWorld::new(&small());
    let judge = WorldJudge::new(world.questions(), JudgeNoise::default());
    let question = (world.questions().iter())
        .find(|q| q.operation == Some(Operation::Difference) && searched(&world, q).is_some())
        .unwrap();
    let subject = &question.paths[0][0].subject;
    let state = world.prompt(question);
    let at_start: Vec<&Message> = state.iter().collect();
    let judged = |action: &str| judge.judge_text(&question.id, &at_start, action).unwrap();
    let tag = |query: &str| format!("<search_query>{query}</search_query>");
    for query in [
        format!("{subject} founding"),
        format!("founding of {subject}"),
        format!("What is the founding of {}?", subject.to_uppercase()),
    ] {
        assert!(judged(&tag(&query)).good, "{query}");
        assert!(judged(&format!("First this. {}", tag(&query))).good);
        let call = format!(
            "<tool_call>\n{{\"name\": \"search\", \"arguments\": {{\"query\": \"{query}\"}}}}\n\
             </tool_call>"
        );
        assert!(judged(&call).good, "{call}");
    }
    for bad in [
        format!("<records_query>{subject} founding</records_query>"),
        tag(subject),
        tag(&format!("{subject} founding weather")),
        tag(&format!("{subject} mayor")),
        tag("founding"),
        tag(""),
        format!("{subject} founding"),
        format!("{}{}", tag(&format!("{subject} founding")), tag(&format!("{subject} founding"))),
        format!("{}<answer>{}</answer>", tag(&format!("{subject} founding")), question.answer),
        format!("<search_query>{subject} founding"),
        format!("{subject} founding</search_query>"),
        format!("<answer>{}</answer>", question.answer),
        "<answer>unknown</answer>".to_owned(),
        "<math_exp>1400 - 1300</math_exp>".to_owned(),
        "<tool_call>search</tool_call>".to_owned(),
        "<".to_owned(),
        String::new(),
    ] {
        let verdict = judged(&bad);
        assert!(!verdict.good && verdict.rationale.ends_with('.'), "{bad}: {verdict:?}");
    }
    let state = searched(&world, question).unwrap();
    let found: Vec<&Message> = state.iter().collect();
    let judged = |action: &str| judge.judge_text(&question.id, &found, action).unwrap().good;
    let number = |path: usize| question.paths[path][0].value.parse::<i64>().unwrap();
    let (more, less) = (number(0).max(number(1)), number(0).min(number(1)));
    assert!(judged(&format!("<math_exp>{more} - {less}</math_exp>")));
    assert!(judged(&format!("<math_exp>{more}.0-{less}</math_exp>")));
    assert!(!judged(&format!("<math_exp>{less} - {more}</math_exp>")) || less == more);
    assert!(!judged(&format!("<math_exp>{more} + {less}</math_exp>")));
    assert!(!judged(&format!("<math_exp>{more} - {}</math_exp>", less + 1)));
    assert!(!judged("<math_exp>many</math_exp>"));
    assert!(judged(&format!("<answer>{}.0</answer>", question.answer)));
    let error = judge.judge_text("no such question", &found, "").unwrap_err();
    assert!(error.to_string().contains("'no such question' is none of this world's"), "{error}");
}

#[test]
fn what_a_query_says_is_not_a_result() {
    let world = StudyWorld::new(&small());
    let judge = WorldJudge::new(world.questions(), JudgeNoise::default());
    let question = of_split(&world, Split::Train)[0];
    let hop = &question.paths[0][0];
    let mut state = world.prompt(question);
    let mut claim = String::new();
    for hop in &question.paths[0] {
        claim.push_str(&format!("The {} of {} is {}. ", hop.relation, hop.subject, hop.value));
    }
    state.push(Message::new(role::ASSISTANT, format!("<search_query>{claim}</search_query>")));
    state.push(Message::new(role::USER, world.observe(Edition::Base, "calculator", &claim)));
    let state: Vec<&Message> = state.iter().collect();
    let answer = format!("<answer>{}</answer>", question.paths[0].last().unwrap().value);
    assert!(!judge.judge_text(&question.id, &state, &answer).unwrap().good, "{}", hop.subject);
}

#[test]
fn sums_of_three_may_be_made_in_any_order() {
    let world = StudyWorld::new(&small());
    let judge = WorldJudge::new(world.questions(), JudgeNoise::default());
    let question = (of_split(&world, Split::TestArithmetic).into_iter())
        .find(|q| q.operation == Some(Operation::Sum) && searched(&world, q).is_some())
        .unwrap();
    let numbers: Vec<u64> = question.paths.iter().map(|p| p[0].value.parse().unwrap()).collect();
    let mut state = searched(&world, question).unwrap();
    let good = |state: &[Message], text: String| {
        let state: Vec<&Message> = state.iter().collect();
        judge.judge_text(&question.id, &state, &text).unwrap().good
    };
    let sum = |terms: &[u64]| {
        let terms: Vec<String> = terms.iter().map(u64::to_string).collect();
        format!("<math_exp>{}</math_exp>", terms.join(" + "))
    };
    let [a, b, c] = numbers[..] else { panic!("{numbers:?}") };
    assert!(good(&state, sum(&[c, a, b])) && good(&state, sum(&[c, a])));
    assert!(!good(&state, sum(&[a, a, b])) || [b, c].contains(&a));
    state.push(Message::new(role::ASSISTANT, sum(&[a, c])));
    let expression = format!("{a} + {c}");
    assert_eq!(world.call(Edition::Base, "calculator", &expression), format!("{}.0", a + c));
    state.push(Message::new(role::USER, world.observe(Edition::Base, "calculator", &expression)));
    assert!(good(&state, sum(&[a + c, b])) && !good(&state, sum(&[a, c])));
    assert!(good(&state, format!("<answer>{}</answer>", a + b + c)));
}

#[test]
fn tools_answer_as_their_documents_say() {
    let world = StudyWorld::new(&small());
    for edition in Edition::ALL {
        let ids: HashSet<&str> = world.documents(edition).iter().map(|d| d.id.as_str()).collect();
        assert_eq!(ids.len(), world.documents(edition).len());
    }
    let call = |tool: &str, argument: &str| world.call(Edition::Base, tool, argument);
    assert_eq!(call("calculator", "2 + 3 * 4 - 1"), "13.0");
    assert_eq!(call("calculator", "48 / 5"), "9.6");
    assert_eq!(call("calculator", "1 / 0"), "cannot be calculated");
    assert_eq!(call("calculator", "two"), "cannot be calculated");
    assert_eq!(call("search", "nobody at all"), "nothing found");
    assert_eq!(call("oracle", "anything"), "no such tool");
    // A fact told wrongly leads to a wrong answer, one told twice to either.
    let told = world.documents(Edition::Base);
    let almanacs = told.iter().filter(|document| document.title.contains("almanac")).count();
    assert!(almanacs * 20 > told.len() && almanacs * 4 < told.len(), "{almanacs}");
    let one = &told[0];
    assert_eq!(world.documents(Edition::Base).iter().filter(|d| d.text == one.text).count(), 1);
}

#[test]
fn actions_are_short_and_questions_files_are_whole() {
    let (world, made) = trajectories(&small());
    for record in &made {
        for message in record["messages"].as_array().unwrap() {
            let text = message["content"].as_str().unwrap();
            let words = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
            let limit = if message["role"] == "assistant" { 8 } else { 60 };
            assert!(words.count() <= limit, "{text}");
        }
    }
    let lines = lines(|out| world.write_questions(out));
    assert_eq!(lines.len(), world.questions().len());
    for (line, question) in lines.iter().zip(world.questions()) {
        assert_eq!(line["id"], question.id.as_str());
        assert_eq!(line["answer"], serde_json::json!([question.answer]));
        assert_eq!(line["hops"], question.hops());
        assert_eq!(line["split"], question.split.as_str());
        assert_eq!(line["prompt"][1]["content"], question.question.as_str());
        let offers_atlas = line["tools"].as_array().unwrap().iter().any(|tool| tool == "atlas");
        assert_eq!(offers_atlas, question.split == Split::TestTool);
        for title in line["supporting_titles"].as_array().unwrap() {
            let title = title.as_str().unwrap();
            let mut documents = world.documents(question.split.edition()).iter();
            assert!(documents.any(|d| d.title.starts_with(title)), "{title}");
        }
    }
    for split in Split::ALL {
        assert_eq!(world.tags(split).last().unwrap(), "answer");
    }
}

#[test]
fn no_text_is_too_odd_for_the_judge() {
    let world = StudyWorld::new(&StudyOptions { questions: 40, held_out: 10, ..small() });
    let judge = WorldJudge::new(world.questions(), JudgeNoise::default());
    let pieces = "(<search_query>|</search_query>|<math_exp>|</math_exp>|<answer>|</answer>|\
                  <tool_call>|</tool_call>|\\{\"name\": \"search\"\\}|The |mayor of | is | -> |\
                  [0-9]{1,4}|[-+*/.<>é ]){0,9}";
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (0..world.questions().len(), [pieces, pieces, pieces]);
    let ran = runner.run(&strategy, |(at, [first, result, action])| {
        let question = &world.questions()[at];
        let mut state = world.prompt(question);
        state.push(Message::new(role::ASSISTANT, first));
        state.push(Message::new(role::USER, result));
        let state: Vec<&Message> = state.iter().collect();
        let verdict = judge.judge_text(&question.id, &state, &action).unwrap();
        // Whatever is written, nobody is right by chance here: no piece names what is asked for.
        proptest::prop_assert!(!verdict.good, "{} {:?} {:?}", action, state, verdict);
        let _ = world.call(Edition::Base, "calculator", &action);
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn lines_to_copy_say_every_name_twice() {
    let world = StudyWorld::new(&StudyOptions { questions: 25, held_out: 10, ..small() });
    let all = lines(|out| world.write_copying(out));
    assert_eq!(all.len(), 25);
    assert_eq!(all, lines(|out| world.write_copying(out)));
    for line in all {
        let (asked, said) = (&line["messages"][0]["content"], &line["messages"][1]["content"]);
        assert_eq!(asked.as_str().unwrap().strip_prefix("Repeat: "), said.as_str());
        // Names of two words.
        let words = said.as_str().unwrap().split(' ').count();
        assert!((8..=20).contains(&words) && words % 2 == 0, "{words}");
    }
}
