//! What holds of pictures of any data.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use swirldb::plot::{
    Axis, Body, Chart, Grid, Interval, Scale, Series, draw, outline, scene, shown_width, svg,
};

/// Numbers of every size.
fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -1000.0..1000.0_f64,
        3 => (-5000_i32..5000).prop_map(f64::from),
        1 => any::<f64>(),
        1 => (-300_i32..300, -10_i32..10)
            .prop_map(|(power, digit)| f64::from(digit) * 10_f64.powi(power)),
    ]
}

fn finite() -> impl Strategy<Value = f64> {
    numbers().prop_filter("finite", |value| value.is_finite())
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{0,12}", "[a-z汉字é\\n\\t ]{0,40}", any::<String>()]
}

fn charts() -> impl Strategy<Value = Chart> {
    let number = || Axis::new("some_number", Scale::Number);
    let scale = prop_oneof![Just(Scale::Number), Just(Scale::Time)];
    let histogram = (vec(numbers(), 1..120), scale)
        .prop_map(|(values, scale)| Chart::histogram(Axis::new("value", scale), values));
    let series = (names(), vec((numbers(), numbers()), 0..40))
        .prop_map(|(name, points)| Series { name, points });
    let lines = vec(series, 1..10)
        .prop_map(move |series| Chart::lines(Axis::new("x", Scale::Number), number(), series));
    let bars = vec((names(), numbers()), 1..60)
        .prop_map(|rows| Chart::bars("name", Axis::new("value", Scale::Number), rows));
    let interval = (names(), names(), numbers(), numbers(), numbers(), names()).prop_map(
        |(group, name, low, value, high, told)| Interval { group, name, value, low, high, told },
    );
    let intervals = vec(interval, 1..100)
        .prop_map(|rows| Chart::intervals(Axis::new("value", Scale::Number), rows));
    let matrix = vec((names(), names(), numbers()), 1..60)
        .prop_map(|cells| Chart::matrix("row", "column", "value", cells));
    prop_oneof![histogram, lines, bars, intervals, matrix]
        .prop_filter_map("has something to draw", |chart| chart.ok())
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

fn digits(value: f64) -> String {
    let text = format!("{value:e}");
    text.split('e').next().unwrap().replace('.', "")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_grid_encloses_its_range_in_round_steps(
        one in finite(), other in finite(), parts in 1..30_usize, is_whole: bool,
    ) {
        let (low, high) = (one.min(other), one.max(other));
        let grid = Grid::new(low, high, parts, Scale::Number, is_whole);
        let values: Vec<f64> = grid.marks.iter().map(|mark| mark.value).collect();
        prop_assert!(values[0] <= low && values[values.len() - 1] >= high);
        prop_assert!(values.windows(2).all(|two| two[0] < two[1]));
        prop_assert!(values.len() <= parts + 3, "{} marks", values.len());
        // No smaller grid would do: the range reaches into the first and the last part.
        prop_assert!(values.len() == 2 || (values[1] > low && values[values.len() - 2] < high));
        if is_whole {
            prop_assert!(values.iter().all(|value| value.fract() == 0.0));
        }
        let mut labels: Vec<&str> = grid.marks.iter().map(|mark| mark.label.as_str()).collect();
        for mark in &grid.marks {
            let read: f64 = mark.label.replace(',', "").parse().unwrap();
            prop_assert!(read == mark.value || mark.value.abs() == f64::MAX, "{mark:?}");
        }
        labels.dedup();
        prop_assert_eq!(labels.len(), values.len());
    }

    #[test]
    fn steps_are_one_two_two_and_a_half_or_five(extent in 1e-9..1e9_f64, parts in 1..30_usize) {
        let grid = Grid::new(0.0, extent, parts, Scale::Number, false);
        let step = grid.marks[1].value;
        prop_assert!(["1", "2", "25", "5"].contains(&digits(step).as_str()), "{step}");
        // Neither larger than needed.
        prop_assert!(step >= extent / parts as f64 && step < 2.5 * extent / parts as f64 * 1.001);
    }

    #[test]
    fn a_grid_of_times_encloses_its_range(
        low in -6e10..6e10_f64, extent in 0.0..1e10_f64, shrink in 0..10_i32, parts in 2..12_usize,
    ) {
        let high = low + extent / 10_f64.powi(shrink);
        let grid = Grid::new(low, high, parts, Scale::Time, false);
        let values: Vec<f64> = grid.marks.iter().map(|mark| mark.value).collect();
        prop_assert!(values[0] <= low && values[values.len() - 1] >= high);
        prop_assert!(values.windows(2).all(|two| two[0] < two[1]));
        prop_assert!(values.len() <= parts + 4, "{} marks", values.len());
    }

    #[test]
    fn a_histogram_counts_every_value_once(values in vec(finite(), 1..400)) {
        let chart = Chart::histogram(Axis::new("x", Scale::Number), values.clone()).unwrap();
        let Body::Histogram(histogram) = &chart.body else { panic!("no histogram") };
        let bins = &histogram.bins;
        let counted: u64 = bins.iter().map(|bin| bin.count).sum();
        prop_assert_eq!(counted, values.len() as u64);
        prop_assert!(bins.windows(2).all(|two| two[0].high == two[1].low));
        prop_assert!(bins.len() <= 25, "{} bins", bins.len());
        for bin in bins {
            let inside = |value: &&f64| {
                let is_last = bin.high == f64::MAX || (bin.is_tail && bin.low >= bins[0].high);
                **value >= bin.low && (**value < bin.high || is_last)
            };
            prop_assert_eq!(values.iter().filter(inside).count() as u64, bin.count, "{:?}", bin);
        }
    }

    #[test]
    fn an_outline_covers_what_all_points_cover(
        mut points in vec((0.0..100.0_f64, finite()), 1..3000), columns in 1..40_usize,
    ) {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let shown = outline(&points, 0.0, 100.0, columns);
        prop_assert!(shown.len() <= 4 * columns);
        prop_assert_eq!(shown.first(), points.first());
        prop_assert_eq!(shown.last(), points.last());
        for column in 0..columns {
            let range = |points: &[(f64, f64)]| {
                let inside = points.iter().filter(|(x, _)| {
                    (x / 100.0 * columns as f64).floor() as usize == column
                });
                inside.fold((f64::MAX, f64::MIN), |(low, high), (_, y)| (low.min(*y), high.max(*y)))
            };
            prop_assert_eq!(range(&shown), range(&points), "column {}", column);
        }
    }

    #[test]
    fn text_keeps_to_the_terminal(chart in charts(), width in 40..170_usize) {
        let text = draw(&chart, width, false);
        for line in text.lines() {
            prop_assert!(shown_width(line) <= width, "{} columns: {line}", shown_width(line));
            prop_assert!(!line.contains(char::is_control), "{line:?}");
        }
        prop_assert!(text.lines().count() < 70, "{text}");
        let coloured = draw(&chart, width, true);
        prop_assert!(coloured.lines().count() <= text.lines().count() + 1);
    }

    #[test]
    fn shapes_are_at_numbers(chart in charts()) {
        let scene = scene(&chart);
        prop_assert!(scene.width > 0.0 && scene.width < 4_000.0, "{}", scene.width);
        prop_assert!(scene.height > 0.0 && scene.height < 4_000.0, "{}", scene.height);
        let text = svg(&scene);
        for wrong in ["\"NaN", "\"inf", "\"-inf"] {
            prop_assert!(!text.contains(wrong), "{wrong} in {text}");
        }
    }
}
