//! The program's side of `make bench`, where peers are asked through their own interfaces: one
//! trajectory by its id, many steps at random, commits that are waited for. Run by benches/run.py,
//! which says in `SWIRL_BENCH` what is asked; one line of JSON is the answer.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use swirldb::exchange::{Imported, ReadOptions, Record, open};
use swirldb::model::Judge;
use swirldb::store::{Durability, Incoming, Limits, Mode, Store, View};

/// As much memory as the program takes unless it is told otherwise.
const LIMITS: Limits = Limits { memory_bytes: 1 << 30 };

fn asked() -> Value {
    let text = std::env::var("SWIRL_BENCH").expect("SWIRL_BENCH says what is asked");
    serde_json::from_str(&text).unwrap()
}

/// Answers on a line of its own.
fn answer(value: &Value) {
    let mut out = std::io::stdout();
    out.write_all(format!("\n{value}\n").as_bytes()).unwrap();
}

fn ordinal(view: &View, id: &str) -> u64 {
    let found = view.find_in_any_source(id).unwrap();
    let [(_, ordinal)] = found.as_slice() else { panic!("{id}: {found:?}") };
    *ordinal
}

#[test]
#[ignore = "a measurement: make bench runs it"]
fn fetches_beside_peers() {
    let asked = asked();
    let path = Path::new(asked["db"].as_str().unwrap());
    let store = Store::open(path, Mode::Read, LIMITS).unwrap();
    let view = store.view();
    let ids: Vec<&str> =
        asked["trajectories"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let repeats = asked["repeats"].as_u64().unwrap();
    let (mut trajectory_seconds, mut fetched) = (Vec::new(), 0);
    for _ in 0..repeats {
        for id in &ids {
            let began = Instant::now();
            let whole = view.trajectories(&[ordinal(&view, id)]).unwrap();
            trajectory_seconds.push(began.elapsed().as_secs_f64());
            fetched = whole[0].steps.len();
        }
    }
    assert!(fetched > 0);
    let steps: Vec<(&str, u32)> = asked["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step[0].as_str().unwrap(), step[1].as_u64().unwrap() as u32))
        .collect();
    let (mut steps_seconds, mut check) = (Vec::new(), (0, 0));
    for _ in 0..repeats {
        let began = Instant::now();
        let ids: Vec<&str> = steps.iter().map(|(id, _)| *id).collect();
        let found = view.find_all(&view.catalogue().sources[0], &ids).unwrap();
        let places = found.into_iter().zip(&steps).map(|(of, (_, step))| (of.unwrap(), *step));
        let places: Vec<_> = places.collect();
        let found = view.steps(&places, true).unwrap();
        steps_seconds.push(began.elapsed().as_secs_f64());
        let chars = found.iter().map(|step| step.observation_text().chars().count()).sum::<usize>();
        check = (found.len(), chars);
    }
    answer(&json!({
        "trajectory_seconds": trajectory_seconds,
        "steps_seconds": steps_seconds,
        "check": [check.0, check.1],
    }));
}

#[test]
#[ignore = "a measurement: make bench runs it"]
fn appends_beside_peers() {
    let asked = asked();
    let path = Path::new(asked["db"].as_str().unwrap());
    let (writers, count) = (asked["writers"].as_u64().unwrap(), asked["count"].as_u64().unwrap());
    let store: Arc<Store> = match path.join("SWIRLDB").exists() {
        true => Store::open(path, Mode::Write, LIMITS).unwrap(),
        false => Store::create(path, [7; 16], LIMITS).unwrap(),
    };
    let data = Path::new(asked["data"].as_str().unwrap());
    let records = open(data, &ReadOptions::default()).unwrap();
    let batches: Vec<(Incoming, Vec<Judge>)> = records
        .flat_map(|batch| batch.unwrap().records)
        .map(|record| match record.unwrap() {
            Record::Trajectory(imported) => {
                let Imported { trajectory, content_hash, labels, judges, .. } = *imported;
                (Incoming { trajectory, content_hash, labels }, judges)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(batches.len() as u64, count);
    let next = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                while let Some((incoming, judges)) =
                    batches.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                {
                    let batch = std::slice::from_ref(incoming);
                    store.append(batch, judges, Durability::Now).unwrap();
                }
            });
        }
    });
    answer(&json!({"seconds": began.elapsed().as_secs_f64(), "count": count}));
}
