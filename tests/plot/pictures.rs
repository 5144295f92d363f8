//! What pictures look like: goldens of the text and of the SVG, and pixels that are not blank.

use std::path::Path;

use swirldb::plot::{
    Axis, Chart, Interval, PlotError, Scale, Series, Sheet, cut, draw, fixed, png, readable, scene,
    scene_on, shown_width, svg, svg_inline,
};

fn number(name: &str) -> Axis {
    Axis::new(name, Scale::Number)
}

fn histogram(name: &str, values: Vec<f64>) -> Chart {
    Chart::histogram(number(name), values).unwrap()
}

fn bars(rows: &[(&str, f64)]) -> Chart {
    let rows = rows.iter().map(|(label, value)| ((*label).to_owned(), *value)).collect();
    Chart::bars("tool", number("n"), rows).unwrap()
}

fn lines(series: Vec<(&str, Vec<(f64, f64)>)>) -> Chart {
    let series =
        series.into_iter().map(|(name, points)| Series { name: name.to_owned(), points }).collect();
    Chart::lines(number("step"), number("mean"), series).unwrap()
}

fn matrix(cells: &[(&str, &str, f64)]) -> Result<Chart, PlotError> {
    let owned = |(row, column, value): &(&str, &str, f64)| {
        ((*row).to_owned(), (*column).to_owned(), *value)
    };
    Chart::matrix("tool", "next", "n", cells.iter().map(owned).collect())
}

fn intervals(rows: &[(&str, &str, [f64; 3])]) -> Chart {
    let row = |(group, name, [low, value, high]): &(&str, &str, [f64; 3])| Interval {
        group: (*group).to_owned(),
        name: (*name).to_owned(),
        value: *value,
        low: *low,
        high: *high,
        told: format!("{value} [{low}, {high}]"),
    };
    Chart::intervals(number("accuracy"), rows.iter().map(row).collect()).unwrap()
}

fn before_and_after() -> Chart {
    intervals(&[
        ("hotpotqa", "before", [0.38, 0.412, 0.444]),
        ("gsm8k", "before", [0.55, 0.6, 0.65]),
        ("hotpotqa", "after", [0.48, 0.512, 0.544]),
        ("gsm8k", "after", [0.61, 0.66, 0.71]),
    ])
}

fn differences() -> Chart {
    intervals(&[
        ("hotpotqa", "", [0.04, 0.1, 0.16]),
        ("musique", "", [-0.05, 0.01, 0.07]),
        ("a name of a data set that is longer than any deserves <&>", "", [-0.02, -0.01, 0.0]),
        ("one\nnumber", "", [0.05, 0.05, 0.05]),
    ])
}

/// Numbers between 0 and 1 that look random and are the same for ever.
fn noise(count: usize) -> impl Iterator<Item = f64> {
    let mut state = 7_u64;
    std::iter::repeat_with(move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1_u64 << 24) as f64
    })
    .take(count)
}

fn long_tail() -> Chart {
    let mut values: Vec<f64> = noise(3_000).map(|u| (-400.0 * (1.0 - u).ln()).floor()).collect();
    values.extend([68_412.0, 54_000.0, -9_000.0]);
    histogram("observation_chars", values)
}

fn transitions() -> Chart {
    let cells = [
        ("search", "search", 794.0),
        ("get_reservation_details", "get_reservation_details", 189.0),
        ("get_reservation_details", "think", 15.0),
        ("read_section", "read_section", 66.0),
        ("read_section", "search", 18.0),
        ("think", "get_reservation_details", 2.0),
        ("think", "calculate", 36.0),
        ("calculate", "calculate", 27.0),
        ("calculate", "think", 2.0),
        ("update_reservation_flights", "think", 1.0),
        ("think", "transfer_to_human_agents", 2.0),
    ];
    matrix(&cells).unwrap()
}

fn three_lines() -> Chart {
    let curve = |from: f64, by: f64| -> Vec<(f64, f64)> {
        (1..=12).map(|step| (f64::from(step), from - by * f64::from(step))).collect()
    };
    lines(vec![
        ("verifiers", curve(0.4, 0.01)),
        ("hotpotqa", curve(0.9, 0.05)),
        ("日本語 <&>", curve(0.2, -0.03)),
    ])
}

fn many_bars() -> Chart {
    let rows = (0..60).map(|at| (format!("tool {at}"), f64::from(600 - at * 7))).collect();
    Chart::bars("tool", number("n"), rows).unwrap()
}

fn odd_bars() -> Chart {
    bars(&[
        ("a", -5.0),
        ("", 3.0),
        ("汉字汉字", 10.25),
        ("a name that is longer than any tool deserves, and then some", 7.0),
        ("two\nlines\tand\u{1b}[31m", -0.5),
        ("nothing", 0.0),
    ])
}

fn many_points() -> Chart {
    let wave = |(at, u): (usize, f64)| {
        let x = at as f64 / 100.0;
        (x, (x / 5.0).sin() + 0.2 * u)
    };
    lines(vec![("", noise(20_000).enumerate().map(wave).collect())])
}

fn times() -> Chart {
    let point = |at: i32| (1_715_000_000.0 + f64::from(at) * 18_000.0, f64::from(at % 7));
    let series = Series { name: String::new(), points: (0..60).map(point).collect() };
    Chart::lines(Axis::new("created_at", Scale::Time), number("n"), vec![series]).unwrap()
}

fn days() -> Chart {
    let values = (0..60).map(|at| 1_715_000_000.0 + f64::from(at) * 18_000.0).collect();
    Chart::histogram(Axis::new("created_at", Scale::Time), values).unwrap()
}

fn truths() -> Chart {
    let axis = Axis::new("observation_error", Scale::Truth);
    Chart::histogram(axis, vec![0.0, 1.0, 0.0, 0.0]).unwrap()
}

fn large_matrix() -> Chart {
    let cell = |row: usize, column: usize| (format!("row {row}"), format!("column {column}"));
    let mut cells = Vec::new();
    for row in 0..50 {
        for column in 0..30 {
            let (name, head) = cell(row, column);
            cells.push((name, head, ((row * column) % 17) as f64));
        }
    }
    Chart::matrix("a", "b", "n", cells).unwrap()
}

/// Every chart that is looked at, with what it shows.
fn charts() -> Vec<(&'static str, Chart)> {
    let agreement = [
        ("0", "0", 50.0),
        ("0", "0.5", 3.0),
        ("0.5", "1", 4.0),
        ("1", "0", -2.0),
        ("1", "1", 160.0),
        ("10", "1", 7.5),
    ];
    vec![
        ("a long tail on both sides", long_tail()),
        ("fractions", histogram("score", noise(500).map(|u| u * u - 0.25).collect())),
        ("whole numbers of a small range", histogram("steps", vec![3.0, 1.0, 4.0, 1.0, 5.0])),
        ("all equal", histogram("n", vec![7.0; 12])),
        ("all equal and no whole number", histogram("score", vec![0.1; 5])),
        ("one value below zero", histogram("delta", vec![-7.25])),
        ("neither NaN nor infinite ones", histogram("x", vec![f64::NAN, 1.0, f64::INFINITY, 2.0])),
        ("the largest numbers", histogram("x", vec![-1.7e308, 0.0, 1.7e308])),
        ("the smallest numbers", histogram("x", vec![5e-324, 0.0])),
        ("booleans", truths()),
        ("days", days()),
        ("one line", lines(vec![("", vec![(3.0, 0.2), (1.0, 0.9), (2.0, 0.4)])])),
        ("lines with names", three_lines()),
        ("one point", lines(vec![("", vec![(3.0, 4.0)])])),
        ("a level line", lines(vec![("", vec![(1.0, 5.0), (2.0, 5.0), (3.0, 5.0)])])),
        ("the longest line", lines(vec![("", vec![(-1.7e308, -1.7e308), (1.7e308, 1.7e308)])])),
        ("more points than dots", many_points()),
        ("times", times()),
        ("bars", bars(&[("search", 174.0), ("lookup", 12.0), ("finish", 1.0)])),
        ("odd names and numbers below zero", odd_bars()),
        ("nothing but zero", bars(&[("a", 0.0), ("b", 0.0)])),
        ("below zero only", bars(&[("a", -3.0), ("b", -1.5), ("c", 0.0)])),
        ("more bars than are drawn", many_bars()),
        ("intervals by group", before_and_after()),
        ("differences", differences()),
        ("an interval of no width", intervals(&[("", "", [0.0, 0.0, 0.0])])),
        ("transitions", transitions()),
        ("names that are numbers, and one below zero", matrix(&agreement).unwrap()),
        ("a single cell", matrix(&[("汉字", "", 0.0)]).unwrap()),
        ("more cells than fit", large_matrix()),
    ]
}

/// Compares with a golden, or writes it where the environment says so.
fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/plot").join(name);
    if std::env::var("GOLDENS").is_ok_and(|v| v == "write") {
        std::fs::write(&path, found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(found == golden, "{name} differs; found:\n{found}");
}

#[test]
fn text_for_a_terminal_without_colours() {
    let mut text = String::new();
    for (what, chart) in charts() {
        text.push_str(&format!("== {what}\n{}\n", draw(&chart, 80, false)));
    }
    assert_golden("terminal.txt", &(text.trim_end().to_owned() + "\n"));
}

#[test]
fn text_for_a_narrow_terminal_with_colours() {
    let mut text = String::new();
    for chart in [long_tail(), three_lines(), odd_bars(), transitions()] {
        text.push_str(&draw(&chart, 50, true).replace('\x1b', "\\e"));
        text.push('\n');
    }
    assert_golden("terminal_colours.txt", &(text.trim_end().to_owned() + "\n"));
}

#[test]
fn colours_change_no_letter_but_the_signs_of_series_and_shades() {
    let plain = |text: &str| {
        let mut out = String::new();
        let mut parts = text.split('\x1b');
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            out.push_str(part.split_once('m').unwrap().1);
        }
        out
    };
    for (what, chart) in charts() {
        let coloured = draw(&chart, 80, true);
        let has_signs = ["lines with names", "transitions", "a single cell"].contains(&what)
            || what.contains("cells")
            || what.contains("names that are numbers");
        if !has_signs {
            assert_eq!(plain(&coloured), draw(&chart, 80, false), "{what}");
        }
        assert!(draw(&chart, 80, false).find('\x1b').is_none(), "{what}");
    }
}

#[test]
fn shapes_for_paper() {
    for (name, chart) in [
        ("histogram.svg", long_tail()),
        ("line.svg", three_lines()),
        ("bar.svg", odd_bars()),
        ("matrix.svg", transitions()),
        ("intervals.svg", before_and_after()),
    ] {
        assert_golden(name, &svg(&scene(&chart)));
    }
}

#[test]
fn every_svg_is_well_formed_and_keeps_inside_its_frame() {
    let attribute = regex::Regex::new(r#" (x|y|cx|cy|width|height)="([^"]*)""#).unwrap();
    let element = regex::Regex::new("^<(/?)([a-z]+)((?: [a-zA-Z-]+=\"[^\"<>]*\")*)(/?)>").unwrap();
    for (what, chart) in charts() {
        let scene = scene(&chart);
        let text = svg(&scene);
        let mut open = Vec::new();
        for at in text.match_indices('<').map(|(at, _)| at) {
            let found = element.captures(&text[at..]);
            let found = found.unwrap_or_else(|| panic!("{what}: {}", &text[at..at + 60]));
            match (&found[1], &found[4]) {
                ("/", _) => assert_eq!(open.pop().unwrap(), found[2].to_owned(), "{what}"),
                (_, "/") => {}
                _ => open.push(found[2].to_owned()),
            }
        }
        assert!(open.is_empty(), "{what}: {open:?}");
        for found in attribute.captures_iter(&text) {
            let value: f64 = found[2].parse().unwrap();
            let most = scene.width.max(scene.height);
            assert!((0.0..=most).contains(&value), "{what}: {}", &found[0]);
        }
        let controls = |c: char| c.is_control() && c != '\n';
        assert!(text.find(controls).is_none(), "{what}");
        assert!(!text.contains("\"NaN") && !text.contains("inf\""), "{what}");
    }
}

#[test]
fn a_picture_within_a_page_has_words_and_no_ground() {
    for (what, chart) in charts() {
        let sheet = Sheet { width: 480.0, has_title: false };
        let text = svg_inline(&scene_on(&chart, sheet), "figure-1", "in <words> & \"marks\"");
        assert!(text.starts_with("<svg xmlns="), "{what}");
        assert!(text.contains("aria-labelledby=\"figure-1-title figure-1-description\""), "{what}");
        assert!(text.contains("in &lt;words&gt; &amp; &quot;marks&quot;</desc>"), "{what}");
        assert!(!text.contains("<rect width=\"480\""), "{what}");
        assert!(!text.contains(" font-size=\"14\""), "{what}: the title stands in the page");
    }
}

#[test]
fn every_png_is_a_picture_of_its_size_and_not_blank() {
    for (what, chart) in charts() {
        let scene = scene(&chart);
        let drawn = png(&scene).unwrap();
        let decoder = png::Decoder::new(std::io::Cursor::new(drawn.bytes.as_slice()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let size = (f64::from(info.width), f64::from(info.height));
        assert_eq!(size, ((2.0 * scene.width).ceil(), (2.0 * scene.height).ceil()), "{what}");
        assert_eq!(pixels.len(), 3 * (info.width * info.height) as usize, "{what}");
        let dark = pixels.chunks(3).filter(|p| p.iter().all(|part| *part < 80)).count();
        assert!(dark > 500, "{what}: {dark} dark pixels are hardly letters");
        // The outermost pixels are white: nothing is cut off.
        let row = 3 * info.width as usize;
        let edge = |line: &[u8]| line.iter().all(|part| *part == 255);
        assert!(edge(&pixels[..row]) && edge(&pixels[pixels.len() - row..]), "{what}");
        let sides = pixels.chunks(row).all(|line| edge(&line[..3]) && edge(&line[row - 3..]));
        assert!(sides, "{what}");
    }
}

#[test]
fn letters_that_the_font_lacks_are_boxes_and_counted() {
    let boxes = |name: &str| png(&scene(&bars(&[(name, 1.0)]))).unwrap().boxes;
    assert_eq!(boxes("Zürich, São Paulo, Łódź, Αθήνα, Москва … “” – 50 €"), 0);
    assert_eq!(boxes("汉字"), 2);
    assert_eq!(boxes("汉字 und Straße"), 2);
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let empty = Err(PlotError::Empty);
    assert_eq!(Chart::histogram(number("x"), vec![]), empty);
    assert_eq!(Chart::histogram(number("x"), vec![f64::NAN, f64::NEG_INFINITY]), empty);
    assert_eq!(Chart::lines(number("x"), number("y"), vec![Series::default()]), empty);
    assert_eq!(Chart::bars("tool", number("n"), vec![]), empty);
    assert_eq!(matrix(&[("a", "b", f64::NAN)]), empty);
    let unknown = Interval { high: f64::NAN, ..Interval::default() };
    assert_eq!(Chart::intervals(number("x"), vec![unknown]), empty);
    let twice = matrix(&[("a", "b", 1.0), ("a", "c", 1.0), ("a", "b", 2.0)]).unwrap_err();
    assert_eq!(twice.to_string(), "two rows are for the same cell: tool 'a', next 'b'");
}

#[test]
fn what_is_left_out_is_noted() {
    let notes = |chart: Chart| chart.notes;
    let values = histogram("x", vec![f64::NAN, f64::INFINITY, 1.0]);
    assert_eq!(notes(values), ["2 rows left out: NaN or infinite"]);
    assert_eq!(notes(many_bars()), ["the 40 largest of 60 bars; 'sum' adds up n of the rest"]);
    let series = (0..11).map(|at| {
        let points = (0..=at).map(|x| (f64::from(x), 1.0)).collect();
        Series { name: format!("line {at}"), points }
    });
    let chart = Chart::lines(number("x"), number("y"), series.collect()).unwrap();
    assert_eq!(notes(chart), ["the 8 series with the most points; 3 more with 6 points not drawn"]);
    let row = |at: usize| {
        let (group, name) = (format!("group {}", at / 2), format!("run {}", at % 2));
        Interval { group, name, high: if at == 7 { f64::NAN } else { 1.0 }, ..Interval::default() }
    };
    let chart = Chart::intervals(number("x"), (0..100).map(row).collect()).unwrap();
    let expected = ["1 row left out: NaN or infinite", "the first 39 of 99 intervals"];
    assert_eq!(notes(chart), expected);
}

#[test]
fn numbers_of_fixed_digits() {
    for (value, digits, told) in [
        (0.5, 3, "0.500"),
        (-0.0004, 3, "0.000"),
        (12_345.678, 1, "12,345.7"),
        (-2.5, 0, "-2"),
        (f64::NAN, 2, "NaN"),
        (f64::NEG_INFINITY, 2, "-inf"),
        (1e300, 2, "1e300"),
    ] {
        assert_eq!(fixed(value, digits), told);
    }
}

#[test]
fn numbers_and_names_read_well() {
    for (value, told) in [
        (0.0, "0"),
        (-0.0, "0"),
        (7.0, "7"),
        (-1234.0, "-1,234"),
        (1_234_567.0, "1,234,567"),
        (0.333_333_3, "0.3333"),
        (12.345_6, "12.35"),
        (1_234.567, "1,235"),
        (0.000_123_456, "0.0001235"),
        (1e-7, "1e-7"),
        (999_999_999.0, "999,999,999"),
        (-1_234_567_890.0, "-1.235e9"),
        (1.5e20, "1.5e20"),
    ] {
        assert_eq!(readable(value), told);
    }
    assert_eq!(cut("abcdef", 4), "abc…");
    assert_eq!(cut("汉字汉字", 5), "汉字…");
    assert_eq!(cut("汉字汉字", 4), "汉…");
    assert_eq!(cut("abc", 3), "abc");
    assert_eq!(shown_width("汉a"), 3);
}
