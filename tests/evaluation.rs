//! Measures of rankings: by hand, by trec_eval's rules, and their names.

use swirldb::score::{Evaluation, Measure, Qrels, RankingError, Run, Topics, evaluate};

fn qrels(judgements: &[(&str, &str, i64)]) -> Qrels {
    let mut qrels = Qrels::default();
    for (topic, document, relevance) in judgements {
        qrels.add(topic, document, *relevance).unwrap();
    }
    qrels
}

fn run(ranking: &[(&str, &str, f64)]) -> Run {
    let mut run = Run::default();
    for (topic, document, score) in ranking {
        run.add(topic, document, *score).unwrap();
    }
    run
}

fn measure(qrels: &Qrels, run: &Run, names: &[&str], topics: Topics) -> Evaluation {
    let measures: Vec<Measure> = names.iter().map(|name| Measure::parse(name).unwrap()).collect();
    evaluate(qrels, run, &measures, topics).unwrap()
}

fn assert_close(found: &[f64], expected: &[f64]) {
    let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(close && found.len() == expected.len(), "{found:?} != {expected:?}");
}

#[test]
fn measures_are_their_formulas() {
    let judged =
        qrels(&[("1", "a", 1), ("1", "b", 0), ("1", "c", 3), ("1", "d", 1), ("1", "e", -1)]);
    // Relevance in order: 1, none, 3, negative.
    let ranked = run(&[("1", "a", 4.0), ("1", "x", 3.0), ("1", "c", 2.0), ("1", "e", 1.0)]);
    let names = ["nDCG", "nDCG@1", "nDCG@2", "R@2", "R@100", "AP", "AP@2", "RR", "P@2", "P@30"];
    let ideal = 3.0 + 1.0 / 3_f64.log2() + 1.0 / 4_f64.log2();
    let expected = [
        (1.0 + 3.0 / 4_f64.log2()) / ideal,
        1.0 / 3.0,
        1.0 / (3.0 + 1.0 / 3_f64.log2()),
        1.0 / 3.0,
        2.0 / 3.0,
        (1.0 + 2.0 / 3.0) / 3.0,
        1.0 / 3.0,
        1.0,
        0.5,
        2.0 / 30.0,
    ];
    assert_close(&measure(&judged, &ranked, &names, Topics::Judged).means, &expected);
    let names = ["AP(rel=2)", "RR(rel=2)", "RR(rel=2)@2", "P(rel=2)@3", "R(rel=3)@3", "R(rel=4)@3"];
    let expected = [1.0 / 3.0, 1.0 / 3.0, 0.0, 1.0 / 3.0, 1.0, 0.0];
    assert_close(&measure(&judged, &ranked, &names, Topics::Judged).means, &expected);
}

#[test]
fn ties_go_by_document_descending_and_scores_have_single_precision() {
    let judged = qrels(&[("1", "b", 1)]);
    let place = |scores: &[(&str, f64)]| {
        let ranking: Vec<_> =
            scores.iter().map(|(document, score)| ("1", *document, *score)).collect();
        1.0 / measure(&judged, &run(&ranking), &["RR"], Topics::Judged).means[0]
    };
    assert_close(&[place(&[("a", 1.0), ("b", 1.0), ("c", 1.0)])], &[2.0]);
    assert_close(&[place(&[("b", 1.0 + 1e-12), ("c", 1.0)])], &[2.0]);
    assert_close(&[place(&[("b", 1.0 + 1e-6), ("c", 1.0)])], &[1.0]);
    assert_close(&[place(&[("b", -0.0), ("c", 0.0), ("a", -1.0)])], &[2.0]);
    assert_close(&[place(&[("b", 1.0), ("B", 1.0), ("é", 1.0)])], &[2.0]);
}

#[test]
fn means_are_over_the_topics_asked_for() {
    // Topic 2 has nothing relevant, topic 3 no documents, topic 4 no judgements.
    let judged = qrels(&[("1", "a", 1), ("2", "a", 0), ("3", "a", 1)]);
    let ranked = run(&[("1", "a", 1.0), ("2", "a", 1.0), ("4", "a", 1.0)]);
    let all = measure(&judged, &ranked, &["AP", "nDCG@10", "R@5"], Topics::Judged);
    assert_close(&all.means, &[1.0 / 3.0; 3]);
    assert_eq!((all.topics_count, all.topics.len()), (3, 2));
    assert_eq!(all.topics[1], ("2".to_owned(), vec![0.0; 3]));
    assert_eq!((all.unanswered, all.unjudged), (vec!["3".to_owned()], vec!["4".to_owned()]));
    let answered = measure(&judged, &ranked, &["AP", "nDCG@10", "R@5"], Topics::Answered);
    assert_close(&answered.means, &[0.5; 3]);
    assert_eq!(answered.topics_count, 2);
}

#[test]
fn what_cannot_be_measured_is_said() {
    let mut judged = qrels(&[("1", "a", 1)]);
    let twice = judged.add("1", "a", 1).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "topic '1': document 'a' is judged twice; keep one of the judgements"
    );
    let ap = [Measure::parse("AP").unwrap()];
    let ranked = run(&[("1", "a", 1.0), ("1", "b", 1.0), ("1", "a", 0.5)]);
    let twice = evaluate(&judged, &ranked, &ap, Topics::Judged).unwrap_err();
    assert!(matches!(&twice, RankingError::RankedTwice { document, .. } if document == "a"));
    for score in [f64::NAN, f64::INFINITY, 1e300] {
        let refused = Run::default().add("1", "a", score).unwrap_err();
        assert!(refused.to_string().contains("expected a number"), "{refused}");
    }
    let other = evaluate(&judged, &run(&[("001", "a", 1.0)]), &ap, Topics::Answered).unwrap_err();
    assert!(other.to_string().contains("the run has 001, the judgements 1;"), "{other}");
    assert!(evaluate(&judged, &Run::default(), &ap, Topics::Judged).is_err());
}

#[test]
fn measures_have_the_names_of_ir_measures_and_trec_eval() {
    for (name, printed) in [
        ("nDCG@10", "nDCG@10"),
        ("ndcg_cut_10", "nDCG@10"),
        ("ndcg_cut.10", "nDCG@10"),
        ("ndcg", "nDCG"),
        ("recall_100", "R@100"),
        ("R@100", "R@100"),
        ("map", "AP"),
        ("map_cut_5", "AP@5"),
        ("recip_rank", "RR"),
        ("RR@10", "RR@10"),
        ("P_30", "P@30"),
        ("P.5", "P@5"),
        ("P(rel=2)@5", "P(rel=2)@5"),
        ("AP(rel=1)", "AP"),
    ] {
        assert_eq!(Measure::parse(name).unwrap().to_string(), printed, "{name}");
        assert_eq!(Measure::parse(printed).unwrap(), Measure::parse(name).unwrap());
    }
    for (name, problem) in [
        ("MAP", "did you mean 'AP'?"),
        ("mrr@10", "did you mean 'RR@10'?"),
        ("NDCG@10", "did you mean 'nDCG@10'?"),
        ("Recall@100", "did you mean 'R@100'?"),
        ("recal", "did you mean 'R@10'?"),
        ("P", "did you mean 'P@10'?"),
        ("R@0", "found the cutoff '0'"),
        ("R@many", "found the cutoff 'many'"),
        ("nDCG(rel=2)@10", "leave (rel=..) out"),
        ("P(rel=x)@5", "expected (rel=N)"),
        ("bpref", "expected nDCG@10, R@100"),
        ("", "expected nDCG@10, R@100"),
    ] {
        let said = Measure::parse(name).unwrap_err().to_string();
        assert!(said.contains(problem), "{name}: {said}");
    }
}
