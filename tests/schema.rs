//! `schema/` says what the code does.

use std::fmt::Write as _;
use std::path::Path;

use swirldb::codec::{
    ColumnPlace, ColumnType, FORMAT_VERSION, Family, Key, STEP_COLUMNS, TRAJECTORY_COLUMNS, TableId,
};
use swirldb::query::table::{StreamedTable, TableFunction};

fn schema_file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn kind_name(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Boolean => "boolean",
        ColumnType::Integer => "bigint",
        ColumnType::Float => "double",
        ColumnType::Text => "text",
        ColumnType::TextList => "text[]",
        ColumnType::Timestamp => "timestamp",
    }
}

/// The tables as the code has them, in the form of `schema/tables.md`.
fn tables() -> String {
    let mut out = String::new();
    for (name, columns) in [("trajectories", TRAJECTORY_COLUMNS), ("steps", STEP_COLUMNS)] {
        let _ =
            write!(out, "\n## {name}\n\n| column | type | kept | meaning |\n|---|---|---|---|\n");
        for c in columns {
            let place = match c.place {
                ColumnPlace::Stored => "column",
                ColumnPlace::Record => "record",
            };
            let _ = writeln!(out, "| {} | {} | {place} | {} |", c.name, kind_name(c.kind), c.about);
        }
    }
    let streamed = StreamedTable::ALL.map(|table| (table.name().to_owned(), table.columns()));
    let called = TableFunction::ALL.map(|f| (format!("{}(...)", f.name()), f.columns()));
    for (table, columns) in streamed.into_iter().chain(called) {
        let _ = write!(out, "\n## {table}\n\n| column | type | meaning |\n|---|---|---|\n");
        for (name, kind, about) in columns.iter().filter(|c| !c.0.starts_with('_')) {
            let _ = writeln!(out, "| {name} | {} | {about} |", kind_name(*kind));
        }
    }
    out
}

#[test]
fn tables_are_described() {
    let described = schema_file("tables.md");
    let expected = tables();
    let at = described.find("\n## ").unwrap_or(described.len());
    assert_eq!(&described[at..], expected, "schema/tables.md from its first heading on");
}

/// The families and keys as the code has them, in the form of `schema/disk.md`.
#[test]
fn families_and_keys_are_described() {
    let described = schema_file("disk.md");
    assert!(described.contains(&format!("Format version {FORMAT_VERSION}.")));
    let rows: Vec<&str> =
        described.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let names: Vec<&str> = Family::ALL.iter().map(|f| f.name()).collect();
    assert_eq!(rows[..names.len()], names, "one row a family, in order");
    let examples = [
        Key::Id("hotpotqa".into(), "7".into()),
        Key::Step(258, 3),
        Key::Column { table: TableId::Steps, column: 4, chunk: 1, version: 9 },
        Key::Label {
            trajectory: 258,
            step: 3,
            name: "process".into(),
            judge: "human".into(),
            sequence: 9,
        },
        Key::Metric("first".into(), 20, "loss".into()),
    ];
    for key in examples {
        let bytes: String = key.encode().iter().map(|b| format!("{b:02x}")).collect();
        let family = key.family().name();
        assert!(described.contains(&bytes), "schema/disk.md shows {family} as {bytes}");
    }
}
