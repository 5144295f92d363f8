//! Intervals and p-values: against closed forms, brute force, and data of which the truth is known.

use swirldb::score::{
    Resampling, StatisticsError, bootstrap, holm, mcnemar, normal, paired_bootstrap, wilson,
};

/// Numbers of 0 to 1 from a generator of congruences, other than the one under test.
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}

fn close(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() <= within, "{found} is not {expected}");
}

#[test]
fn intervals_of_shares_are_their_formulas() {
    const Z: f64 = 1.959_963_984_540_054;
    let found = normal(195, 300, 0.95).unwrap();
    close(found.value, 0.65, 0.0);
    close(found.high - found.value, Z * (0.65_f64 * 0.35 / 300.0).sqrt(), 1e-14);
    // The ends of Wilson's interval are the p at which (share - p)^2 = z^2 p (1 - p) / n.
    for (successes, trials) in [(0, 10), (1, 10), (7, 13), (195, 300), (299, 300), (5, 5)] {
        let found = wilson(successes, trials, 0.95).unwrap();
        for end in [found.low, found.high] {
            let off = (found.value - end).powi(2) - Z * Z * end * (1.0 - end) / trials as f64;
            let at_the_end = end == found.value && (end == 0.0 || end == 1.0);
            assert!(off.abs() < 1e-12 || at_the_end, "{found:?}");
        }
        assert!(found.low <= found.value && found.value <= found.high);
        assert!(found.low >= 0.0 && found.high <= 1.0);
    }
    // z of .99 is 2.5758, of .6827 it is 1.
    close(normal(1, 2, 0.99).unwrap().high, 0.5 + 2.575_829_303_548_9 * 0.125_f64.sqrt(), 1e-12);
    close(normal(1, 2, 0.682_689_492_137_086).unwrap().high, 0.5 + 0.125_f64.sqrt(), 1e-12);
    assert_eq!(wilson(3, 2, 0.95).unwrap_err(), StatisticsError::Share { successes: 3, trials: 2 });
    assert!(matches!(wilson(0, 0, 0.95), Err(StatisticsError::Share { .. })));
    assert!(matches!(normal(1, 2, 95.0), Err(StatisticsError::Level { .. })));
    assert!(matches!(normal(1, 2, f64::NAN), Err(StatisticsError::Level { .. })));
}

#[test]
fn wilson_covers_a_small_share_as_the_level_says() {
    // The exact coverage at n = 40 and p = .05, over every number of successes.
    let (n, p) = (40_u64, 0.05_f64);
    let mut chance = (1.0 - p).powi(40);
    let (mut by_wilson, mut by_normal) = (0.0, 0.0);
    for successes in 0..=n {
        let holds = |interval: swirldb::score::Estimate| interval.low <= p && p <= interval.high;
        by_wilson += f64::from(u8::from(holds(wilson(successes, n, 0.95).unwrap()))) * chance;
        by_normal += f64::from(u8::from(holds(normal(successes, n, 0.95).unwrap()))) * chance;
        chance *= (n - successes) as f64 / (successes + 1) as f64 * p / (1.0 - p);
    }
    assert!(by_wilson > 0.93, "{by_wilson}");
    assert!(by_normal < 0.88, "{by_normal}");
}

/// 60 questions with 3 samples each, of which a question is answered always or never.
fn clustered(state: &mut u64) -> Vec<(String, f64)> {
    let question = |number: usize, right: f64| {
        (0..3).map(move |_| (format!("q{number}"), right)).collect::<Vec<_>>()
    };
    (0..60).flat_map(|n| question(n, f64::from(u8::from(uniform(state) < 0.5)))).collect()
}

fn rows(rows: &[(String, f64)]) -> impl Iterator<Item = (&str, f64)> {
    rows.iter().map(|(question, value)| (question.as_str(), *value))
}

#[test]
fn a_bootstrap_by_question_covers_what_one_by_row_would_miss() {
    let mut state = 5;
    let (mut covered, mut width) = (0, 0.0);
    for seed in 0..200 {
        let data = clustered(&mut state);
        let drawn = Resampling { seed, resamples: 400, ..Resampling::default() };
        let found = bootstrap(rows(&data), drawn).unwrap();
        covered += usize::from(found.low <= 0.5 && 0.5 <= found.high);
        width += (found.high - found.low) / 200.0;
    }
    assert!((181..=198).contains(&covered), "{covered} of 200");
    // 2 * 1.96 * sqrt(.25 / 60), where rows would give sqrt(.25 / 180).
    close(width, 0.253, 0.02);
}

#[test]
fn the_same_seed_gives_the_same_bits_in_any_order() {
    let data = clustered(&mut 3);
    let mut mixed: Vec<(String, f64)> = data.iter().rev().cloned().collect();
    mixed.rotate_left(41);
    let drawn = Resampling { seed: 9, resamples: 500, ..Resampling::default() };
    let found = bootstrap(rows(&data), drawn).unwrap();
    assert_eq!(found, bootstrap(rows(&mixed), drawn).unwrap());
    assert_ne!(found, bootstrap(rows(&data), Resampling { seed: 10, ..drawn }).unwrap());
    // Sums of thirds and tenths depend on their order; the means of a question must not.
    let some = [("a", 0.1), ("a", 0.2), ("a", 0.3), ("b", 0.7)];
    let same = [("b", 0.7), ("a", 0.3), ("a", 0.1), ("a", 0.2)];
    let (some, same) = (bootstrap(some, drawn).unwrap(), bootstrap(same, drawn).unwrap());
    assert_eq!(some.value.to_bits(), same.value.to_bits());
    close(some.value, 0.45, 1e-15);
}

#[test]
fn a_paired_bootstrap_sees_a_difference_and_no_other() {
    let drawn = Resampling { seed: 1, resamples: 999, ..Resampling::default() };
    let first = clustered(&mut 8);
    let same = paired_bootstrap(rows(&first), rows(&first), drawn).unwrap();
    assert_eq!((same.difference.value, same.p_value, same.questions), (0.0, 1.0, 60));
    let better: Vec<(String, f64)> = first.iter().map(|(q, v)| (q.clone(), v + 0.25)).collect();
    let found = paired_bootstrap(rows(&first), rows(&better), drawn).unwrap();
    close(found.difference.low, 0.25, 1e-12);
    close(found.difference.high, 0.25, 1e-12);
    close(found.p_value, 1.0 / 1000.0, 1e-12);
    let back = paired_bootstrap(rows(&better), rows(&first), drawn).unwrap();
    close(back.difference.value, -0.25, 1e-12);
    let fewer = paired_bootstrap(rows(&first), rows(&first[3..]), drawn).unwrap_err();
    assert!(fewer.to_string().contains("'q0' is in the first run only"), "{fewer}");
    let more = paired_bootstrap(rows(&first[3..]), rows(&first), drawn).unwrap_err();
    assert!(more.to_string().contains("'q0' is in the second run only"), "{more}");
}

#[test]
fn a_paired_bootstrap_errs_as_often_as_its_level_says() {
    // Two runs that are equally good: p is below .05 in about 5 of 100.
    let mut state = 77;
    let mut found = 0;
    for seed in 0..300 {
        let drawn = Resampling { seed, resamples: 199, ..Resampling::default() };
        let mut run = || -> Vec<(String, f64)> {
            (0..50)
                .map(|n| (format!("{n}"), f64::from(u8::from(uniform(&mut state) < 0.4))))
                .collect()
        };
        let (first, second) = (run(), run());
        let compared = paired_bootstrap(rows(&first), rows(&second), drawn).unwrap();
        found += usize::from(compared.p_value <= 0.05);
    }
    assert!((5..=28).contains(&found), "{found} of 300");
}

#[test]
fn a_bootstrap_refuses_what_it_cannot_do() {
    let drawn = Resampling::default();
    assert_eq!(bootstrap([("a", 1.0)], drawn), Err(StatisticsError::TooFew { found: 1 }));
    let none = Resampling { resamples: 0, ..drawn };
    let two = [("a", 1.0), ("b", 0.0)];
    assert_eq!(bootstrap(two, none), Err(StatisticsError::Resamples { found: 0 }));
    let level = Resampling { level: 1.0, ..drawn };
    assert_eq!(bootstrap(two, level), Err(StatisticsError::Level { found: 1.0 }));
    let error = bootstrap([("a", f64::NAN)], drawn).unwrap_err();
    assert!(error.to_string().contains("question 'a' has the value NaN"), "{error}");
}

/// Holm's procedure step by step: whether each of a family is significant at alpha.
fn rejected(p_values: &[f64], alpha: f64) -> Vec<bool> {
    let mut open: Vec<usize> = (0..p_values.len()).collect();
    let mut out = vec![false; p_values.len()];
    while let Some(at) = open.iter().copied().min_by(|a, b| p_values[*a].total_cmp(&p_values[*b])) {
        if p_values[at] * open.len() as f64 > alpha {
            break;
        }
        out[at] = true;
        open.retain(|other| *other != at);
    }
    out
}

#[test]
fn holm_rejects_what_the_procedure_rejects() {
    assert_eq!(holm(&[]).unwrap(), Vec::<f64>::new());
    let found = holm(&[0.01, 0.04, 0.03, 0.005]).unwrap();
    for (found, expected) in found.into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
        close(found, expected, 1e-15);
    }
    let mut state = 2;
    for size in 1..40 {
        let family: Vec<f64> = (0..size).map(|_| uniform(&mut state).powi(4)).collect();
        let adjusted = holm(&family).unwrap();
        for alpha in [0.001, 0.01, 0.05, 0.2, 0.7] {
            let significant: Vec<bool> = adjusted.iter().map(|p| *p <= alpha).collect();
            assert_eq!(significant, rejected(&family, alpha), "{family:?} at {alpha}");
        }
    }
    let error = holm(&[0.5, 1.5]).unwrap_err();
    assert_eq!(error, StatisticsError::Probability { number: 2, found: 1.5 });
    assert!(holm(&[f64::NAN]).is_err());
}

#[test]
fn mcnemar_is_the_binomial_tail() {
    assert_eq!(mcnemar(0, 0), 1.0);
    assert_eq!(mcnemar(5, 5), 1.0);
    // 2 (1 + 10 + 45) / 2^10.
    close(mcnemar(8, 2), 2.0 * 56.0 / 1024.0, 1e-12);
    close(mcnemar(2, 8), mcnemar(8, 2), 0.0);
    close(mcnemar(0, 10), 2.0 / 1024.0, 1e-15);
    // Near the normal distribution where there are many: z = 100 / sqrt(5000), with its correction.
    close(mcnemar(2450, 2550), 0.1615, 0.001);
}
