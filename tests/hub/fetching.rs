//! What is fetched, where it lies, and what is not asked twice.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use swirldb::hub::{FetchEvent, HubError, fetch};

use super::mirror::{COMMIT, Mirror, Model, NAME, get, id, refusal};

/// Returns the paths of all that is below a folder, sorted, with `/` between parts.
fn tree(folder: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() && !path.is_symlink() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let below = path.strip_prefix(folder).unwrap().to_str().unwrap();
            out.push(below.replace('\\', "/"));
        }
    }
    out.sort();
    out
}

#[test]
fn a_model_lies_where_huggingface_hub_looks_for_it() {
    let model = Model::whole();
    let mirror = Mirror::of(model.clone());
    let cache = tempfile::tempdir().unwrap();
    let snapshot = get(&mirror.options(cache.path()), NAME).unwrap();

    let folder = cache.path().join("models--org--tiny-1");
    assert_eq!(snapshot.commit, COMMIT);
    assert_eq!(snapshot.path, folder.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let fetched = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    for name in fetched {
        let path = snapshot.path.join(name);
        assert_eq!(fs::read(&path).unwrap(), model.files[name].bytes, "{name}");
        let target = format!("../../blobs/{}", model.etag(name));
        assert_eq!(fs::read_link(&path).unwrap(), Path::new(&target), "{name}");
    }
    let mut expected: Vec<String> = vec!["refs/main".to_owned()];
    for name in fetched {
        expected.push(format!("blobs/{}", model.etag(name)));
        expected.push(format!("snapshots/{COMMIT}/{name}"));
    }
    for name in [
        "chat_template.jinja",
        "chat_template.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "special_tokens_map.json",
    ] {
        expected.push(format!(".no_exist/{COMMIT}/{name}"));
    }
    expected.sort();
    assert_eq!(tree(&folder), expected);
    let locks = tree(&cache.path().join(".locks/models--org--tiny-1"));
    assert!(locks.contains(&format!("{}.lock", model.etag("model.safetensors"))), "{locks:?}");

    let asked: Vec<String> =
        mirror.requests().iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    let resolve = |method: &str, name: &str| format!("{method} /{NAME}/resolve/{COMMIT}/{name}");
    let order = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    let mut expected = vec![format!("GET /api/models/{NAME}/revision/main")];
    expected.extend(order.map(|name| resolve("HEAD", name)));
    expected.extend(order.map(|name| resolve("GET", name)));
    assert_eq!(asked, expected);
    let first = &mirror.requests()[0];
    assert_eq!(first.header("accept-encoding"), Some("identity"));
    assert_eq!(first.header("authorization"), None);
    assert!(first.header("user-agent").unwrap().starts_with("swirldb/"));
}

#[test]
fn a_second_fetch_asks_for_the_revision_alone() {
    let mirror = Mirror::of(Model::whole());
    let cache = tempfile::tempdir().unwrap();
    let first = get(&mirror.options(cache.path()), NAME).unwrap();
    let before = mirror.requests().len();
    assert_eq!(get(&mirror.options(cache.path()), NAME).unwrap(), first);
    let asked = mirror.requests().split_off(before);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].is("GET", "/revision/main"));
}

#[test]
fn a_commit_that_is_there_needs_no_hub() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = Mirror::of(Model::whole());
    let options = mirror.options(cache.path());
    let name = format!("{NAME}@{COMMIT}");
    let first = get(&options, &name).unwrap();
    assert!(mirror.requests()[0].is("GET", &format!("/revision/{COMMIT}")));
    // No reference is known by a commit's own name.
    assert!(!cache.path().join("models--org--tiny-1/refs").exists());
    drop(mirror);
    assert_eq!(get(&options, &name).unwrap(), first);

    // Nobody noted whether the commit has this file.
    let folder = cache.path().join("models--org--tiny-1");
    fs::remove_file(folder.join(".no_exist").join(COMMIT).join("chat_template.jinja")).unwrap();
    let text = refusal(&options, &name);
    assert!(text.contains("cannot be reached"), "{text}");

    // huggingface_hub's list of all files says that it has none.
    let files = r#"{"format_version": 1, "files": {"config.json": {"size": 2, "blob_id": "x"}}}"#;
    fs::create_dir(folder.join("trees")).unwrap();
    fs::write(folder.join("trees").join(format!("{COMMIT}.json")), files).unwrap();
    assert_eq!(get(&options, &name).unwrap(), first);
}

#[test]
fn offline_the_cache_is_all_there_is() {
    let cache = tempfile::tempdir().unwrap();
    let mut options = Mirror::of(Model::whole()).options(cache.path());
    options.offline = true;
    let text = refusal(&options, NAME);
    assert!(text.contains("nothing of its revision 'main' was fetched"), "{text}");
    assert!(text.ends_with("unset HF_HUB_OFFLINE to fetch it"), "{text}");

    let mirror = Mirror::of(Model::sharded());
    let first = get(&mirror.options(cache.path()), NAME).unwrap();
    drop(mirror);
    assert_eq!(get(&options, NAME).unwrap(), first);
    assert_eq!(get(&options, &format!("{NAME}@{COMMIT}")).unwrap(), first);
    let text = refusal(&options, &format!("{NAME}@v1"));
    assert!(text.contains("nothing of its revision 'v1'"), "{text}");

    let shard = "model-00002-of-00002.safetensors";
    fs::remove_file(first.path.join(shard)).unwrap();
    let text = refusal(&options, NAME);
    assert!(text.contains(&format!("it lacks {shard}")), "{text}");

    // A list of all files shows that one is missing of which nobody else would know.
    get(&Mirror::of(Model::sharded()).options(cache.path()), NAME).unwrap();
    let folder = cache.path().join("models--org--tiny-1");
    let files = r#"{"format_version": 1, "files": {"chat_template.jinja": {}}}"#;
    fs::create_dir(folder.join("trees")).unwrap();
    fs::write(folder.join("trees").join(format!("{COMMIT}.json")), files).unwrap();
    let text = refusal(&options, NAME);
    assert!(text.contains("it lacks chat_template.jinja"), "{text}");
}

#[test]
fn a_branch_that_moved_brings_what_is_new() {
    let cache = tempfile::tempdir().unwrap();
    let old = get(&Mirror::of(Model::whole()).options(cache.path()), NAME).unwrap();
    let commit = "f".repeat(40);
    let mut model = Model::whole().small("config.json", "{\"new\": true}");
    commit.clone_into(&mut model.commit);
    let mirror = Mirror::of(model);
    let new = get(&mirror.options(cache.path()), NAME).unwrap();
    assert_eq!(
        (mirror.count("GET", "config.json"), mirror.count("GET", "model.safetensors")),
        (1, 0)
    );
    assert_eq!(fs::read_to_string(new.path.join("config.json")).unwrap(), "{\"new\": true}");
    assert_eq!(fs::read_to_string(old.path.join("config.json")).unwrap(), "{}");
    let reference = cache.path().join("models--org--tiny-1/refs/main");
    assert_eq!(fs::read_to_string(reference).unwrap(), commit);
}

#[test]
fn a_revision_may_have_slashes() {
    let mirror = Mirror::of(Model::whole());
    let cache = tempfile::tempdir().unwrap();
    get(&mirror.options(cache.path()), "hf:org/tiny-1@refs/pr/4").unwrap();
    assert!(mirror.requests()[0].is("GET", "/revision/refs%2Fpr%2F4"));
    let reference = cache.path().join("models--org--tiny-1/refs/refs/pr/4");
    assert_eq!(fs::read_to_string(reference).unwrap(), COMMIT);
}

#[test]
fn shards_come_by_their_list_and_progress_adds_up() {
    let model = Model::sharded();
    let mirror = Mirror::of(model.clone());
    let cache = tempfile::tempdir().unwrap();
    let mut last = (0, 0);
    let mut largest = 0;
    let mut watch = |event: &FetchEvent<'_>| {
        if let FetchEvent::Fetching {
            done_bytes,
            total_bytes,
            all_done_bytes,
            all_total_bytes,
            ..
        } = event
        {
            assert!(done_bytes <= total_bytes && all_done_bytes <= all_total_bytes, "{event:?}");
            assert!(*all_done_bytes >= largest, "{event:?}");
            largest = *all_done_bytes;
            last = (*all_done_bytes, *all_total_bytes);
        }
        ControlFlow::Continue(())
    };
    let snapshot = fetch(&mirror.options(cache.path()), &id(NAME), &mut watch).unwrap();
    for (name, file) in &model.files {
        assert_eq!(fs::read(snapshot.path.join(name)).unwrap(), file.bytes, "{name}");
    }
    let all: usize = model.files.values().map(|file| file.bytes.len()).sum();
    assert_eq!(last, (all as u64, all as u64));
}

#[test]
fn weights_in_one_file_come_before_shards() {
    let mut model = Model::sharded();
    model = model.large("model.safetensors", b"all of it");
    let mirror = Mirror::of(model);
    let cache = tempfile::tempdir().unwrap();
    let snapshot = get(&mirror.options(cache.path()), NAME).unwrap();
    assert!(snapshot.path.join("model.safetensors").is_file());
    assert!(!snapshot.path.join("model-00001-of-00002.safetensors").exists());
}

#[test]
fn shards_may_lie_in_a_folder_and_be_the_same() {
    let bytes = b"the same".as_slice();
    let index = r#"{"weight_map": {"a": "part/1.safetensors", "b": "part/2.safetensors"}}"#;
    let model = Model::empty()
        .small("config.json", "{}")
        .small("tokenizer.json", "{ }")
        .small("model.safetensors.index.json", index)
        .large("part/1.safetensors", bytes)
        .large("part/2.safetensors", bytes);
    let etag = model.etag("part/1.safetensors").to_owned();
    let mirror = Mirror::of(model);
    let cache = tempfile::tempdir().unwrap();
    let snapshot = get(&mirror.options(cache.path()), NAME).unwrap();
    let second = snapshot.path.join("part/2.safetensors");
    assert_eq!(fs::read(&second).unwrap(), bytes);
    let target = format!("../../../blobs/{etag}");
    assert_eq!(fs::read_link(&second).unwrap(), Path::new(&target));
    assert_eq!(mirror.requests().iter().filter(|r| r.path.contains("/part/")).count(), 3);
}

#[test]
fn without_links_a_snapshot_holds_the_contents() {
    let model = Model::whole();
    let mirror = Mirror::of(model.clone());
    let cache = tempfile::tempdir().unwrap();
    let mut options = mirror.options(cache.path());
    options.symlinks = false;
    let snapshot = get(&options, NAME).unwrap();
    let path = snapshot.path.join("model.safetensors");
    assert!(!path.is_symlink());
    assert_eq!(fs::read(path).unwrap(), model.files["model.safetensors"].bytes);
    options.offline = true;
    assert_eq!(get(&options, NAME).unwrap(), snapshot);
}

#[test]
fn a_link_to_nothing_is_put_right() {
    let mirror = Mirror::of(Model::whole());
    let cache = tempfile::tempdir().unwrap();
    let options = mirror.options(cache.path());
    let snapshot = get(&options, NAME).unwrap();
    let path = snapshot.path.join("config.json");
    fs::remove_file(fs::canonicalize(&path).unwrap()).unwrap();
    assert!(!path.exists() && path.is_symlink());
    get(&options, NAME).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "{}");
}

#[test]
fn who_watches_may_stop_it_before_anything_is_asked() {
    let mirror = Mirror::of(Model::whole());
    let cache = tempfile::tempdir().unwrap();
    let mut stop = |_: &FetchEvent<'_>| ControlFlow::Break(());
    let error = fetch(&mirror.options(cache.path()), &id(NAME), &mut stop).unwrap_err();
    assert!(matches!(error, HubError::Stopped), "{error}");
    assert_eq!(mirror.requests().len(), 0);
}
