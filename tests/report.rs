//! Documents: goldens of both forms, the page read back, numbers, and text that stays text.

mod markup;

use std::path::Path;

use markup::{Page, read_markdown, read_row};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use swirldb::plot::Series;
use swirldb::report::{
    Align, Block, Cell, Column, Fact, Figure, Kind, Measured, Report, ReportError, Section, Table,
    Text, html, markdown, print_estimate, print_p_value, print_share, print_signed,
};
use swirldb::score::Estimate;

fn estimate(low: f64, value: f64, high: f64) -> Estimate {
    Estimate { value, low, high }
}

fn accuracies() -> Table {
    let columns = [
        Column::new("data set", Kind::Text),
        Column::new("questions", Kind::Number { digits: 0 }),
        Column::new("before", Kind::Share { digits: 3 }),
        Column::new("after", Kind::Share { digits: 3 }),
        Column::new("difference", Kind::Difference { digits: 3 }),
        Column::new("p", Kind::PValue),
    ];
    let mut table = Table::new("Exact match before and after training", columns);
    let rows = [
        (
            "hotpotqa",
            1_000.0,
            estimate(0.38, 0.412, 0.444),
            estimate(0.48, 0.512, 0.544),
            estimate(0.061, 0.1, 0.139),
            0.0002,
        ),
        (
            "musique",
            12_034.0,
            estimate(0.2, 0.211, 0.222),
            estimate(0.198, 0.209, 0.22),
            estimate(-0.012, -0.002, 0.008),
            0.694,
        ),
    ];
    for (name, questions, before, after, difference, p) in rows {
        let cells = [
            name.into(),
            questions.into(),
            before.into(),
            after.into(),
            difference.into(),
            p.into(),
        ];
        table.push(cells).unwrap();
    }
    let unknown = [Cell::Missing, Cell::Missing, Cell::Missing, Cell::Missing, Cell::Missing];
    table.push([Cell::from("frames")].into_iter().chain(unknown)).unwrap();
    table
}

fn rewards() -> Figure {
    let curve = |name: &str, gain: f64| Series {
        name: name.to_owned(),
        points: (0..=10).map(|at| (f64::from(at * 20), 0.2 + gain * f64::from(at))).collect(),
    };
    Figure::lines(
        "Mean reward of a batch",
        "step",
        "reward",
        [curve("seed 1", 0.05), curve("seed 2", 0.04), curve("seed 3", 0.045)],
    )
}

fn study() -> Report {
    let measured = [
        Measured::new("hotpotqa", "before", estimate(0.38, 0.412, 0.444)),
        Measured::new("hotpotqa", "after", estimate(0.48, 0.512, 0.544)),
        Measured::new("musique", "before", estimate(0.2, 0.211, 0.222)),
        Measured::new("musique", "after", estimate(0.198, 0.209, 0.22)),
    ];
    Report::new("Training on process-filtered steps")
        .section(
            Section::new("Summary")
                .paragraph(
                    Text::new()
                        .plain("Trained with ")
                        .code("objective = 'swirl'")
                        .plain(", exact match on hotpotqa rises by ")
                        .plain(print_signed(0.1, 3))
                        .plain("; the p-value is ")
                        .plain(print_p_value(0.0002))
                        .plain("."),
                )
                .table(accuracies()),
        )
        .section(
            Section::new("Figures")
                .figure(
                    Figure::intervals("Exact match by data set", "exact match", measured)
                        .note("Intervals: bootstrap over questions, level .95."),
                )
                .figure(rewards()),
        )
        .section(Section::new("To do it again").facts([
            ("seed", "17"),
            ("model", "blake3:9a1c0e55d0b7f3a2"),
            ("command", "swirl db -c \"TRAIN ON steps WITH objective = 'swirl' | limit 10\""),
        ]))
}

/// A report in which everything is as odd as it can be.
fn odd(text: &str) -> Report {
    let column = |kind| Column::new(text, kind).aligned(Align::Centre);
    let kinds = [
        Kind::Text,
        Kind::Code,
        Kind::Number { digits: 2 },
        Kind::Share { digits: 400 },
        Kind::Estimate { digits: 0 },
        Kind::Difference { digits: 3 },
        Kind::PValue,
    ];
    let mut table = Table::new(text, kinds.map(column));
    let unknown = estimate(f64::NAN, f64::INFINITY, f64::NEG_INFINITY);
    for cell in [Cell::from(text), Cell::Missing, f64::NAN.into(), 1e300.into(), unknown.into()] {
        table.push(kinds.map(|_| cell.clone())).unwrap();
    }
    let nowhere = Series { name: text.to_owned(), points: vec![(f64::NAN, 1.0)] };
    let one = Series { name: text.to_owned(), points: vec![(1.0, 1.0)] };
    let measured = [
        Measured::new(text, text, unknown),
        Measured::new(text, text, estimate(0.0, 0.0, 0.0)),
        Measured::new(text, "", estimate(3.0, 2.0, 1.0)),
    ];
    Report::new(text)
        .section(Section::new(text).paragraph(text).paragraph(Text::new().code(text)))
        .section(Section::new(text).table(table).table(Table::new(text, [])))
        .section(Section::new(text).table(Table::new(text, [column(Kind::Text)])))
        .section(
            Section::new(text)
                .figure(Figure::lines(text, text, text, [nowhere]).note(text))
                .figure(Figure::lines(text, text, text, [one]))
                .figure(Figure::intervals(text, text, measured))
                .figure(Figure::intervals(text, text, [])),
        )
        .section(Section::new(text).facts([(text, text)]).block(Block::Facts(Vec::new())))
}

fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/report").join(name);
    if std::env::var("GOLDENS").is_ok_and(|v| v == "write") {
        std::fs::write(&path, found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(found == golden, "{name} differs; found:\n{found}");
}

#[test]
fn a_study_as_markdown_and_as_a_page() {
    assert_golden("study.md", &markdown(&study()));
    assert_golden("study.html", &html(&study()));
    assert_eq!(html(&study()), html(&study()));
}

#[test]
fn markup_in_data_is_text() {
    let text =
        "a|b `c` <b>&amp; *d*_e_ [f](g)\n# h \\ | $x$ ~~i~~ https://j_k snake_case \u{1b}[1m";
    assert_golden("odd.md", &markdown(&odd(text)));
}

#[test]
fn every_page_is_well_formed_and_needs_nothing_beside_itself() {
    let long = "a very long name ".repeat(400) + &"x".repeat(3_000);
    let texts = ["", " ", "plain", "<script>alert(1)</script>", "]]>--><!--&\"'", "\n\r\n", &long];
    for text in texts {
        Page::read(&html(&odd(text)));
        markdown(&odd(text));
    }
    let page = html(&study());
    Page::read(&page);
    Page::read(&html(&Report::default()));
    for what in ["<script", "<link", "<img", "src=", "url(", "@import", "javascript:"] {
        assert!(!page.contains(what), "{what}");
    }
    let addresses = page.matches("http").count();
    assert_eq!(addresses, page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
}

#[test]
fn figures_are_described_and_recoloured_in_the_dark() {
    let page = html(&study());
    let read = Page::read(&page);
    let described = read.texts("desc");
    assert_eq!(described.len(), 2);
    assert!(described[0].contains("hotpotqa, after: .512 [.480, .544]"), "{}", described[0]);
    assert!(described[1].contains("seed 1: 11 points · min 0.2 at 0 · max 0.7 at 200"));
    let colour = regex::Regex::new("(fill|stroke)=\"(#[0-9a-f]{6})\"").unwrap();
    for found in colour.captures_iter(&page) {
        let rule = format!("svg [{}='{}'] {{ {}: #", &found[1], &found[2], &found[1]);
        assert!(page.contains(&rule), "{} is the same on dark ground", &found[0]);
    }
}

#[test]
fn a_list_of_sections_leads_to_each() {
    let page = html(&odd("a & b"));
    assert_eq!(Page::read(&page).texts("li"), vec!["a & b"; 5]);
    assert!(!html(&study()).contains("<nav"), "three sections need no list");
}

#[test]
fn numbers_read_as_in_papers() {
    assert_eq!(print_estimate(estimate(0.48, 0.512, 0.544), 3), ".512 [.480, .544]");
    for (share, told) in [
        (0.5, ".50"),
        (1.0, "1.00"),
        (0.999, "1.00"),
        (0.0, ".00"),
        (-0.25, "-.25"),
        (-0.001, ".00"),
        (10.5, "10.50"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(print_share(share, 2), told);
    }
    for (difference, told) in
        [(0.1, "+.10"), (-0.1, "-.10"), (0.001, ".00"), (-0.001, ".00"), (f64::INFINITY, "+inf")]
    {
        assert_eq!(print_signed(difference, 2), told);
    }
    for (p, told) in
        [(0.0, "<.001"), (0.000_99, "<.001"), (0.001, ".001"), (0.05, ".050"), (1.0, "1.000")]
    {
        assert_eq!(print_p_value(p), told);
    }
    assert_eq!(print_p_value(f64::NAN), "NaN");
    assert_eq!((print_share(0.4, 0), print_share(0.6, 0)), ("0".to_owned(), "1".to_owned()));
    let print = |kind, cell: Cell| Column::new("", kind).print(&cell);
    let wide = estimate(-3.25, 1_234.5, 20_000.0);
    assert_eq!(print(Kind::Estimate { digits: 1 }, wide.into()), "1,234.5 [-3.2, 20,000.0]");
    let difference = Kind::Difference { digits: 2 };
    assert_eq!(print(difference, estimate(-0.01, 0.03, 0.07).into()), "+.03 [-.01, +.07]");
    assert_eq!(print(Kind::Share { digits: 2 }, Option::<f64>::None.into()), "–");
    assert_eq!(print(Kind::Number { digits: 2 }, "n/a".into()), "n/a");
    assert_eq!(print(Kind::Text, 0.25.into()), "0.25");
}

#[test]
fn a_row_of_other_length_is_an_error() {
    let mut table = Table::new("shares", [Column::new("a", Kind::Text)]);
    table.push([Cell::Missing]).unwrap();
    let error = table.push([]).unwrap_err();
    let expected =
        ReportError::Cells { caption: "shares".to_owned(), row: 2, found: 0, expected: 1 };
    assert_eq!(error, expected);
    assert_eq!(
        error.to_string(),
        "row 2 of table 'shares' (rows count from 1) has 0 cells; expected 1, one for each column: \
         put `Cell::Missing` where there is no value"
    );
    assert_eq!(table.rows().len(), 1);
}

/// Returns a text as it is to be read: the spaces between its words count as one.
fn words(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if swirldb::plot::is_harmful(c) => '·',
        c => c,
    };
    let text: String = text.chars().map(shown).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => any::<String>(),
        3 => "[-a1.+#=)_*`|<>&~$\\\\\\[\\]!:/ \\n\"']{0,24}",
        1 => "[a-z_]{0,8}(\r\n|\t|\u{202e})[a-z ]{0,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(11),
        ..ProptestConfig::default()
    })]

    #[test]
    fn text_survives_a_page(text in texts()) {
        let page = html(&odd(&text));
        let read = Page::read(&page);
        let expected = words(&text);
        for element in ["h1", "h2", "li", "th", "dt", "dd"] {
            for found in read.texts(element) {
                prop_assert_eq!(words(&found), expected.as_str(), "{}", element);
            }
        }
        let paragraphs = read.texts("p");
        prop_assert_eq!(words(&paragraphs[0]), expected.as_str());
        prop_assert_eq!(words(&paragraphs[1]), expected.as_str());
        for cell in &read.texts("td")[..7] {
            prop_assert_eq!(words(cell), expected.as_str());
        }
    }

    #[test]
    fn text_survives_markdown(text in texts(), other in texts()) {
        let expected = words(&text);
        let columns = [Kind::Text, Kind::Code].map(|kind| Column::new("c", kind));
        let mut table = Table::new("t", columns);
        table.push([Cell::from(text.as_str()), Cell::from(text.as_str())]).unwrap();
        let fact = Fact { name: "n".to_owned(), value: text.clone() };
        let section = Section::new("s")
            .table(table)
            .block(Block::Facts(vec![fact]))
            .paragraph(Text::new().plain("p: ").code(text.as_str()).plain(text.as_str()))
            .paragraph(Text::new().code(text.as_str()).code(other.as_str()).plain("."))
            .paragraph(Text::new().plain(text.as_str()).plain(other.as_str()));
        let found = markdown(&Report::new("r").section(section));
        let lines: Vec<&str> = found.lines().collect();
        let cells = read_row(lines[8]);
        prop_assert_eq!(cells.len(), 2, "{}", lines[8]);
        prop_assert_eq!(words(&cells[0]), expected.as_str());
        prop_assert_eq!(words(&cells[1]), expected.as_str());
        prop_assert_eq!(words(&read_markdown(lines[10])), words(&format!("- n: {text}")));
        prop_assert_eq!(words(&read_markdown(lines[12])), words(&format!("p: {text}{text}")));
        prop_assert_eq!(words(&read_markdown(lines[14])), words(&format!("{text}{other}.")));
        let last = lines.get(16).copied().unwrap_or_default();
        prop_assert_eq!(words(&read_markdown(last)), words(&format!("{text}{other}")));
        prop_assert!(!last.starts_with(['-', '+', '#', '=', '>', '|', ' ']), "{}", last);
        prop_assert!(lines.len() <= 17);
    }
}
