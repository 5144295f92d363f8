//! Connections that break, and fetches that are gone on with.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use swirldb::hub::{FetchEvent, HubError, fetch};

use super::mirror::{Mirror, Model, NAME, Reply, Request, get, id, refusal};

const WEIGHTS: &str = "model.safetensors";

fn partial(cache: &Path, model: &Model) -> PathBuf {
    let name = format!("{}.incomplete", model.etag(WEIGHTS));
    cache.join("models--org--tiny-1/blobs").join(name)
}

/// Puts the beginning of the weights where an earlier fetch would have left it.
fn leave(cache: &Path, model: &Model, bytes: &[u8]) {
    let path = partial(cache, model);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn assert_whole(cache: &Path, model: &Model, folder: &Path) {
    assert!(fs::read(folder.join(WEIGHTS)).unwrap() == model.files[WEIGHTS].bytes);
    assert!(!partial(cache, model).exists());
}

/// Returns the ranges that were asked for of the weights, in order.
fn ranges(mirror: &Mirror) -> Vec<Option<String>> {
    let requests = mirror.requests();
    let weights = requests.iter().filter(|request| request.is("GET", WEIGHTS));
    weights.map(|request| request.header("range").map(str::to_owned)).collect()
}

/// Returns a change of the first answers to requests for the weights.
fn first(
    times: usize,
    change: impl Fn(Reply) -> Reply + Send + Sync,
) -> impl Fn(&Request, Reply) -> Reply + Send + Sync {
    let asked = AtomicUsize::new(0);
    move |request, usual| {
        let is_meant = request.is("GET", WEIGHTS);
        match is_meant && asked.fetch_add(1, Ordering::Relaxed) < times {
            true => change(usual),
            false => usual,
        }
    }
}

fn cut(mut reply: Reply, sent: usize) -> Reply {
    reply.sent = sent;
    reply
}

#[test]
fn a_fetch_that_was_stopped_is_gone_on_with() {
    let model = Model::whole();
    let mirror = Mirror::of(model.clone());
    let cache = tempfile::tempdir().unwrap();
    let options = mirror.options(cache.path());
    let mut stop = |event: &FetchEvent<'_>| match event {
        FetchEvent::Fetching { file: WEIGHTS, done_bytes, .. } if *done_bytes > 1000 => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    };
    let error = fetch(&options, &id(NAME), &mut stop).unwrap_err();
    assert!(matches!(error, HubError::Stopped), "{error}");
    let kept = fs::metadata(partial(cache.path(), &model)).unwrap().len();
    assert!(kept > 1000 && kept < 3 << 20, "{kept}");
    assert!(!cache.path().join("models--org--tiny-1/refs").exists());

    let snapshot = get(&options, NAME).unwrap();
    assert_whole(cache.path(), &model, &snapshot.path);
    assert_eq!(ranges(&mirror), [None, Some(format!("bytes={kept}-"))]);
    assert_eq!(mirror.count("GET", "/config.json"), 1);
}

#[test]
fn what_is_there_already_is_not_asked_for() {
    let model = Model::whole();
    let mirror = Mirror::of(model.clone());
    let cache = tempfile::tempdir().unwrap();
    leave(cache.path(), &model, &model.files[WEIGHTS].bytes);
    let snapshot = get(&mirror.options(cache.path()), NAME).unwrap();
    assert_whole(cache.path(), &model, &snapshot.path);
    assert_eq!(mirror.count("GET", WEIGHTS), 0);
}

#[test]
fn what_cannot_be_checked_begins_anew() {
    let model = Model::whole();
    let mirror = Mirror::of(model.clone());
    let cache = tempfile::tempdir().unwrap();
    let blobs = cache.path().join("models--org--tiny-1/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", model.etag("config.json"))), "x").unwrap();
    let snapshot = get(&mirror.options(cache.path()), NAME).unwrap();
    assert_eq!(fs::read_to_string(snapshot.path.join("config.json")).unwrap(), "{}");
}

#[test]
fn more_than_the_file_has_begins_anew() {
    let model = Model::whole();
    let mirror = Mirror::of(model.clone());
    let cache = tempfile::tempdir().unwrap();
    leave(cache.path(), &model, &vec![7; (3 << 20) + 5]);
    let snapshot = get(&mirror.options(cache.path()), NAME).unwrap();
    assert_whole(cache.path(), &model, &snapshot.path);
    assert_eq!(ranges(&mirror), [None]);
}

#[test]
fn a_store_that_knows_no_ranges_sends_all_of_it() {
    let model = Model::whole();
    let all = model.files[WEIGHTS].bytes.clone();
    let mirror = Mirror::with(model.clone(), move |request, usual| {
        match request.is("GET", WEIGHTS) && request.header("range").is_some() {
            true => Reply::new(200, all.clone()),
            false => usual,
        }
    });
    let cache = tempfile::tempdir().unwrap();
    leave(cache.path(), &model, b"something else");
    let snapshot = get(&mirror.options(cache.path()), NAME).unwrap();
    assert_whole(cache.path(), &model, &snapshot.path);
    assert_eq!(ranges(&mirror), [Some("bytes=14-".to_owned())]);
}

#[test]
fn a_range_that_is_refused_begins_anew() {
    let model = Model::whole();
    let mirror = Mirror::with(model.clone(), first(1, |_| Reply::new(416, "")));
    let cache = tempfile::tempdir().unwrap();
    leave(cache.path(), &model, b"a beginning");
    let snapshot = get(&mirror.options(cache.path()), NAME).unwrap();
    assert_whole(cache.path(), &model, &snapshot.path);
    assert_eq!(ranges(&mirror), [Some("bytes=11-".to_owned()), None]);
}

#[test]
fn a_part_that_begins_elsewhere_is_refused() {
    let model = Model::whole();
    let wrong = |reply: Reply| reply.with("Content-Range", "bytes 3-3145727/3145728");
    let mirror = Mirror::with(model.clone(), first(9, wrong));
    let cache = tempfile::tempdir().unwrap();
    leave(cache.path(), &model, &model.files[WEIGHTS].bytes[..5]);
    let text = refusal(&mirror.options(cache.path()), NAME);
    assert!(text.contains("asked for bytes from 5 of 3145728"), "{text}");
    assert!(text.contains("'bytes 3-3145727/3145728'"), "{text}");
}

#[test]
fn a_connection_that_breaks_is_tried_again_from_there() {
    let model = Model::whole();
    let mirror = Mirror::with(model.clone(), first(2, |reply| cut(reply, 1000)));
    let cache = tempfile::tempdir().unwrap();
    let mut problems = Vec::new();
    let mut watch = |event: &FetchEvent<'_>| {
        if let FetchEvent::Waiting { problem, .. } = event {
            problems.push(problem.to_string());
        }
        ControlFlow::Continue(())
    };
    let snapshot = fetch(&mirror.options(cache.path()), &id(NAME), &mut watch).unwrap();
    assert_whole(cache.path(), &model, &snapshot.path);
    let from = |at: u64| Some(format!("bytes={at}-"));
    assert_eq!(ranges(&mirror), [None, from(1000), from(2000)]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("/resolve/"), "{problems:?}");
}

#[test]
fn three_further_tries_are_made_unless_much_came() {
    let model = Model::whole();
    let mirror = Mirror::with(model.clone(), first(9, |reply| cut(reply, 1000)));
    let cache = tempfile::tempdir().unwrap();
    let error = get(&mirror.options(cache.path()), NAME).unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    assert_eq!(mirror.count("GET", WEIGHTS), 4);
    assert_eq!(fs::metadata(partial(cache.path(), &model)).unwrap().len(), 4000);

    // A mebibyte makes good for tries: five breaks are survived.
    let mut large = Model::whole();
    large = large.large(WEIGHTS, &super::mirror::weights(6 << 20));
    let mirror = Mirror::with(large.clone(), first(5, |reply| cut(reply, 1 << 20)));
    let cache = tempfile::tempdir().unwrap();
    let mut options = mirror.options(cache.path());
    options.patience.pauses.truncate(1);
    let snapshot = get(&options, NAME).unwrap();
    assert_whole(cache.path(), &large, &snapshot.path);
    assert_eq!(mirror.count("GET", WEIGHTS), 6);
}

#[test]
fn a_hub_in_trouble_is_asked_again() {
    let asked = AtomicUsize::new(0);
    let mirror = Mirror::with(Model::whole(), move |_, usual| {
        // Every request fails three times: the list, what the files are, the files.
        match asked.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => Reply::new(500, ""),
            1 => Reply::new(429, "").with("Retry-After", "0"),
            2 => cut(Reply::new(503, "busy").with("Content-Length", "100"), 2),
            _ => usual,
        }
    });
    let cache = tempfile::tempdir().unwrap();
    get(&mirror.options(cache.path()), NAME).unwrap();
    assert_eq!(mirror.requests().len(), 9 * 4);
}

#[test]
fn the_hub_may_ask_for_a_pause() {
    let limits = [("Retry-After", "120"), ("RateLimit", "\"api\";r=0;t=120")];
    for (header, value) in limits {
        let mirror =
            Mirror::with(Model::whole(), move |_, _| Reply::new(429, "").with(header, value));
        let cache = tempfile::tempdir().unwrap();
        let mut options = mirror.options(cache.path());
        let mut longest = Duration::ZERO;
        let mut stop = |event: &FetchEvent<'_>| match event {
            FetchEvent::Waiting { time, .. } => {
                longest = longest.max(*time);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        };
        let error = fetch(&options, &id(NAME), &mut stop).unwrap_err();
        assert!(matches!(error, HubError::Stopped), "{error}");
        assert_eq!(longest, Duration::from_secs(120));

        // Longer than anybody waits.
        options.patience.pause_max = Duration::from_secs(119);
        let text = refusal(&options, NAME);
        assert!(text.contains("takes no more requests for now (120 s)"), "{text}");
        assert_eq!(mirror.requests().len(), 2);
    }
}
