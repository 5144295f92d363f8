//! Audits, against counting one by one.

use swirldb::score::{Audit, AuditGroup, AuditRow, AuditedStep};

/// Steps in a fixed disorder: some labelled by one judge only, some by none.
fn steps() -> Vec<AuditedStep> {
    let mut state = 12_345_u64;
    let mut next = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (state >> 33) % n
    };
    let mut value = |missing: u64| match next(10) {
        roll if roll < missing => None,
        roll => Some([0.0, 0.25, 0.5, 0.75, 1.0][(roll + next(3)) as usize % 5]),
    };
    let tools = [None, Some("search"), Some("sum")];
    (0..400)
        .map(|n| AuditedStep {
            tool: tools[n % 3].map(str::to_owned),
            step: 1 + (n / 3 % 4) as u32,
            judge: value(2),
            reference: value(3),
        })
        .collect()
}

/// The row of some steps, counted one by one.
fn counted(group: AuditGroup, steps: &[&AuditedStep]) -> AuditRow {
    let pairs: Vec<(bool, bool)> =
        steps.iter().filter_map(|step| Some((step.judge? > 0.5, step.reference? > 0.5))).collect();
    let count = |judge: bool, reference: bool| {
        pairs.iter().filter(|pair| **pair == (judge, reference)).count() as f64
    };
    let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    let (good, bad) = (count(true, true), count(false, false));
    let (false_good, false_bad) = (count(true, false), count(false, true));
    let all = pairs.len() as f64;
    let chance = ((good + false_good) * (good + false_bad)
        + (bad + false_bad) * (bad + false_good))
        / (all * all);
    let only = |one: bool| {
        steps.iter().filter(|s| s.judge.is_some() == one && s.reference.is_some() != one).count()
    };
    let agreement = share(good + bad, all);
    AuditRow {
        group,
        both: pairs.len() as u64,
        only_judge: only(true) as u64,
        only_reference: only(false) as u64,
        agreement,
        kappa: agreement.filter(|_| chance < 1.0).map(|found| (found - chance) / (1.0 - chance)),
        false_good: share(false_good, false_good + bad),
        false_bad: share(false_bad, false_bad + good),
    }
}

#[test]
fn an_audit_is_what_counting_one_by_one_gives() {
    let steps = steps();
    let mut audit = Audit::default();
    steps.iter().for_each(|step| audit.add(step));
    let tool = |name: &str| AuditGroup::Tool(name.to_owned());
    let mut groups = vec![AuditGroup::All, AuditGroup::NoTool, tool("search"), tool("sum")];
    groups.extend((1..=4).map(AuditGroup::Step));
    let rows = audit.rows();
    assert_eq!(rows.iter().map(|row| row.group.clone()).collect::<Vec<_>>(), groups);
    for (row, group) in rows.into_iter().zip(groups) {
        let of_group = |step: &&AuditedStep| match &group {
            AuditGroup::All => true,
            AuditGroup::NoTool => step.tool.is_none(),
            AuditGroup::Tool(name) => step.tool.as_ref() == Some(name),
            AuditGroup::Step(number) => step.step == *number,
        };
        let chosen: Vec<&AuditedStep> = steps.iter().filter(of_group).collect();
        let expected = counted(group.clone(), &chosen);
        let close = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => (one - other).abs() < 1e-12,
            (one, other) => one.is_none() && other.is_none(),
        };
        assert!(close(row.kappa, expected.kappa), "{row:?} {expected:?}");
        assert!(row.both > 20 && row.only_judge > 5 && row.only_reference > 5, "{row:?}");
        assert_eq!(AuditRow { kappa: expected.kappa, ..row }, expected);
    }
}

#[test]
fn nothing_is_said_of_what_was_not_labelled() {
    let step = |judge, reference| AuditedStep { tool: None, step: 1, judge, reference };
    let mut audit = Audit::default();
    audit.add(&step(None, None));
    assert!(audit.rows().is_empty());
    audit.add(&step(Some(1.0), None));
    let row = audit.rows().remove(0);
    assert_eq!((row.both, row.only_judge, row.only_reference), (0, 1, 0));
    assert_eq!((row.agreement, row.kappa, row.false_good, row.false_bad), Default::default());
    // The middle of the scale is not GOOD.
    audit.add(&step(Some(0.5), Some(1.0)));
    let row = audit.rows().remove(0);
    assert_eq!((row.false_good, row.false_bad, row.agreement), (None, Some(1.0), Some(0.0)));
}
