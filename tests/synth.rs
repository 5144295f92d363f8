//! Data made from a seed: the same bytes for ever, and the mixture that training needs.

mod study;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use swirldb::exchange::{Imported, ReadOptions, Record, open};
use swirldb::model::{LabelName, Target};
use swirldb::synth::{ActionForm, Kind, Shape, StudyOptions, SynthOptions, World, bench, write};

fn made(shape: Shape, questions: usize, samples: usize) -> Vec<u8> {
    let options = SynthOptions { shape, questions, samples, ..SynthOptions::default() };
    let mut out = Vec::new();
    write(&options, &mut out).unwrap();
    out
}

fn imported(bytes: &[u8]) -> Vec<Imported> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    std::fs::write(&path, bytes).unwrap();
    let batches = open(&path, &ReadOptions::default()).unwrap();
    let records = batches.flat_map(|batch| batch.unwrap().records);
    let imported = records.map(|record| match record.unwrap() {
        Record::Trajectory(imported) => *imported,
        other => panic!("{other:?}"),
    });
    imported.collect()
}

#[test]
fn the_fixture_is_what_the_code_makes() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/world");
    let mut bytes = 0;
    for (shape, name) in [
        (Shape::World, "trajectories.jsonl"),
        (Shape::Documents, "documents.jsonl"),
        (Shape::Questions, "questions.jsonl"),
    ] {
        let text = made(shape, 40, 4);
        assert!(std::fs::read(fixtures.join(name)).unwrap() == text, "{name} differs");
        bytes += text.len();
    }
    assert!(bytes < 400_000);
}

#[test]
fn a_seed_gives_the_same_bytes_everywhere() {
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    assert_eq!(
        hash(&made(Shape::World, 100, 5)),
        "71d0aa406664756af63d10799ecb6130288aa3725c4ed82e1f7a32d099c1d01f"
    );
    assert_eq!(
        hash(&made(Shape::Documents, 100, 5)),
        "5562a4227fcfd2bc51fae8d12f17fc2fbedf3f566bca6bcfb9806665c74f72bd"
    );
    let mut bulk = Vec::new();
    bench(&mut bulk, 7, 2_000).unwrap();
    assert_eq!(hash(&bulk), "65578be5c1cab74dc992ef3f3f3d5d5dbe4730351923d32f3aab2b64368b4478");
    let mut other = Vec::new();
    bench(&mut other, 8, 2_000).unwrap();
    assert_ne!(bulk, other);
}

#[test]
fn goodness_of_steps_and_of_answers_come_in_every_combination() {
    for (questions, samples) in [(40, 4), (400, 5)] {
        let imported = imported(&made(Shape::World, questions, samples));
        assert_eq!(imported.len(), questions * samples);
        let mut counts: BTreeMap<(bool, bool), usize> = BTreeMap::new();
        for Imported { trajectory, labels, .. } in &imported {
            let is_process = |target: &Target| matches!(target, Target::Step(_));
            let steps: Vec<f64> =
                labels.iter().filter(|l| is_process(&l.target)).map(|l| l.value).collect();
            assert_eq!(steps.len(), trajectory.steps.len(), "{}", trajectory.id);
            let outcome = labels.iter().find(|l| l.name == LabelName::outcome()).unwrap();
            let right = trajectory.answer.as_ref().is_some_and(|a| trajectory.gold.contains(a));
            assert_eq!(right, outcome.value > 0.5, "{}", trajectory.id);
            let good = steps.iter().all(|value| *value > 0.5);
            *counts.entry((good, right)).or_default() += 1;
        }
        assert_eq!(counts.len(), 4);
        for (class, count) in counts {
            assert!(count * 10 >= imported.len(), "{class:?}: {count} of {}", imported.len());
        }
    }
}

#[test]
fn questions_are_unlike_and_answered_by_documents() {
    let world = World::new(7, 200);
    let texts: HashSet<&str> = world.questions().iter().map(|q| q.question.as_str()).collect();
    assert_eq!(texts.len(), 200);
    let documents: BTreeMap<&str, &str> =
        world.documents().iter().map(|d| (d.title.as_str(), d.text.as_str())).collect();
    assert_eq!(documents.len(), world.documents().len(), "a title stands twice");
    for question in world.questions() {
        let hops = question.hops.len();
        match question.kind {
            Kind::Chain => assert!((2..=4).contains(&hops)),
            Kind::Arithmetic => assert!((1..=2).contains(&hops) && question.expression.is_some()),
        }
        for hop in &question.hops {
            let text = documents[hop.subject.as_str()];
            assert_eq!(text, hop.text);
            assert!(text.contains(&hop.found), "{}: {text}", hop.found);
        }
        assert_ne!(question.rumour.answer, question.answer);
    }
    let splits: BTreeMap<&str, usize> =
        world.questions().iter().fold(BTreeMap::new(), |mut counts, question| {
            *counts.entry(question.split).or_default() += 1;
            counts
        });
    assert_eq!(splits, BTreeMap::from([("train", 140), ("dev", 30), ("test", 30)]));
}

#[test]
fn a_split_holds_whole_questions() {
    let mut splits: BTreeMap<String, String> = BTreeMap::new();
    for Imported { trajectory, .. } in imported(&made(Shape::World, 40, 4)) {
        let (question, split) = (trajectory.question_id.unwrap(), trajectory.split.unwrap());
        let first = splits.entry(question).or_insert_with(|| split.clone());
        assert_eq!(*first, split);
    }
    assert_eq!(splits.len(), 40);
}

#[test]
fn bulk_data_has_the_steps_that_were_asked_for() {
    let mut bytes = Vec::new();
    bench(&mut bytes, 7, 3_000).unwrap();
    let imported = imported(&bytes);
    let steps: usize = imported.iter().map(|i| i.trajectory.steps.len()).sum();
    assert_eq!(steps, 3_000);
    assert!((5.0..7.5).contains(&(steps as f64 / imported.len() as f64)));
    assert!((2_000..2_600).contains(&(bytes.len() / steps)), "{} a step", bytes.len() / steps);
    let labelled = imported.iter().filter(|i| i.labels.len() > 1).count();
    assert!((50..70).contains(&(100 * labelled / imported.len())), "{labelled}");
    let rewards = imported.iter().flat_map(|i| i.labels.iter()).filter(|l| l.judge == "source");
    assert!(rewards.clone().count() == imported.len());
    assert!(rewards.into_iter().all(|l| (0.0..=1.0).contains(&l.value)));
    let models: HashSet<_> = imported.iter().map(|i| i.trajectory.model.clone()).collect();
    assert_eq!(models.len(), 5);
    let failed = imported.iter().flat_map(|i| &i.trajectory.steps);
    assert!(failed.flat_map(|s| &s.observation).any(|m| m.error == Some(true)));
}

#[test]
fn trajectories_of_the_study_are_read_with_their_labels() {
    for form in ActionForm::ALL {
        let study = StudyOptions {
            questions: 60,
            held_out: 20,
            samples: 2,
            form,
            ..StudyOptions::default()
        };
        let options = SynthOptions { shape: Shape::Study, study, ..SynthOptions::default() };
        let mut out = Vec::new();
        write(&options, &mut out).unwrap();
        let imported = imported(&out);
        assert_eq!(imported.len(), 160);
        for Imported { trajectory, labels, .. } in imported {
            let steps = labels.iter().filter(|l| matches!(l.target, Target::Step(_))).count();
            assert_eq!(steps, trajectory.steps.len(), "{}", trajectory.id);
            assert_eq!((trajectory.prompt.len(), trajectory.gold.len()), (2, 1));
            let calls = trajectory.steps.iter().filter(|s| !s.observation.is_empty()).count();
            assert_eq!(trajectory.n_tool_calls(), calls as u64, "{}", form.as_str());
            let outcome = labels.iter().find(|l| l.name == LabelName::outcome()).unwrap();
            let right = trajectory.answer.as_ref().is_some_and(|a| trajectory.gold.contains(a));
            assert_eq!(right, outcome.value > 0.5, "{}", trajectory.id);
        }
    }
}

#[test]
fn shapes_have_words() {
    for shape in Shape::ALL {
        assert_eq!(Shape::parse(shape.as_str()), Some(shape));
    }
    assert_eq!(Shape::parse("cube"), None);
}
