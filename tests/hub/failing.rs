//! What the hub refuses, and answers that must not be trusted.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use swirldb::hub::{HubError, HubOptions};

use super::mirror::{COMMIT, Mirror, Model, NAME, Reply, get, refusal, weights};

/// Returns the sentence of a fetch where one kind of request is answered with an error.
fn answered(path_part: &'static str, reply: Reply, token: Option<&str>, name: &str) -> String {
    let mirror = Mirror::with(Model::whole(), move |request, usual| {
        if request.path.contains(path_part) { reply.clone() } else { usual }
    });
    let cache = tempfile::tempdir().unwrap();
    let mut options = mirror.options(cache.path());
    options.token = token.map(str::to_owned);
    refusal(&options, name).replace(&mirror.endpoint(), "HUB")
}

#[test]
fn each_refusal_says_what_to_do() {
    let (list, file) = ("/api/", "/resolve/");
    let hidden = Reply::error(401, "RepoNotFound", "Invalid username or password.");
    assert_eq!(
        answered(list, hidden, None, NAME),
        "HUB has no model 'org/tiny-1', or keeps it private; check the name, or set HF_TOKEN to a \
         token of an account that may read it"
    );
    assert_eq!(
        answered(list, Reply::error(404, "RepoNotFound", "no"), Some("hf_a"), NAME),
        "HUB has no model 'org/tiny-1', or keeps it private; check the name, and that the account \
         of HF_TOKEN may read it"
    );
    let unknown =
        Reply::new(401, "").with("X-Error-Message", "Invalid credentials in Authorization header");
    assert_eq!(
        answered(list, unknown, Some("hf_a"), NAME),
        "HUB does not know the token: Invalid credentials in Authorization header; set HF_TOKEN to \
         a valid one, or unset it"
    );
    let gated = |status| Reply::error(status, "GatedRepo", "Access is restricted.");
    assert_eq!(
        answered(file, gated(401), None, NAME),
        "the model 'org/tiny-1' is gated: accept its terms at HUB/org/tiny-1 and set HF_TOKEN to a \
         token of that account"
    );
    assert_eq!(
        answered(file, gated(403), Some("hf_a"), NAME),
        "the model 'org/tiny-1' is gated: accept its terms at HUB/org/tiny-1 with the account of \
         HF_TOKEN, and wait until access is granted"
    );
    let forbidden = Reply::new(403, "{\"error\": \"no such\\u0007 scope\"}");
    assert_eq!(
        answered(list, forbidden, Some("hf_a"), NAME),
        "access to HUB/api/models/org/tiny-1/revision/main is denied: no such scope; check what \
         the token in HF_TOKEN may read"
    );
    let revision = Reply::error(404, "RevisionNotFound", "Invalid rev id");
    assert_eq!(
        answered(list, revision, None, "org/tiny-1@v9"),
        "the model 'org/tiny-1' has no revision 'v9'; see its branches and tags at \
         HUB/org/tiny-1/tree/main"
    );
    assert_eq!(
        answered(file, Reply::new(404, ""), None, NAME),
        "the hub has no file 'config.json' of the model 'org/tiny-1'"
    );
    assert_eq!(
        answered(
            file,
            Reply::new(418, "<html>tea</html>").with("Content-Type", "text/html"),
            None,
            NAME
        ),
        format!("HUB/org/tiny-1/resolve/{COMMIT}/config.json answers 418: I'm a teapot")
    );
}

#[test]
fn trouble_that_stays_is_an_error_after_three_further_tries() {
    let mirror = Mirror::with(Model::whole(), |_, _| Reply::new(500, "out of order"));
    let cache = tempfile::tempdir().unwrap();
    let text = refusal(&mirror.options(cache.path()), NAME);
    assert!(text.ends_with("/revision/main answers 500: out of order"), "{text}");
    assert_eq!(mirror.requests().len(), 4);
    let mirror = Mirror::with(Model::whole(), |_, _| Reply::new(429, ""));
    let text = refusal(&mirror.options(cache.path()), NAME);
    assert!(
        text.ends_with("try again later, or set HF_TOKEN: with a token more are taken"),
        "{text}"
    );
    assert_eq!(mirror.requests().len(), 4);
    // Refusals are not asked for again.
    let mirror = Mirror::with(Model::whole(), |_, _| Reply::new(403, ""));
    refusal(&mirror.options(cache.path()), NAME);
    assert_eq!(mirror.requests().len(), 1);
}

#[test]
fn a_damaged_file_is_named_and_removed() {
    let is_damaged = Arc::new(AtomicBool::new(true));
    let damages = Arc::clone(&is_damaged);
    let model = Model::whole();
    let mirror = Mirror::with(model.clone(), move |request, mut usual| {
        if request.is("GET", "model.safetensors") && damages.load(Ordering::Relaxed) {
            usual.body[1000] ^= 1;
        }
        usual
    });
    let cache = tempfile::tempdir().unwrap();
    let options = mirror.options(cache.path());
    let error = get(&options, NAME).unwrap_err();
    let HubError::Damaged { file, path, found, expected } = &error else { panic!("{error}") };
    let etag = model.etag("model.safetensors");
    assert_eq!(file, "model.safetensors");
    assert!(found.starts_with("its SHA-256 is ") && expected.contains(etag), "{error}");
    assert!(!path.exists());
    let folder = cache.path().join("models--org--tiny-1");
    assert!(!folder.join("blobs").join(etag).exists());
    assert!(!folder.join("snapshots").join(COMMIT).join("model.safetensors").exists());
    assert!(!folder.join("refs").exists(), "nothing leads to half a model");
    assert_eq!(mirror.count("GET", "model.safetensors"), 1);

    is_damaged.store(false, Ordering::Relaxed);
    get(&options, NAME).unwrap();
}

#[test]
fn sizes_are_held() {
    let longer = |name: &'static str| {
        Mirror::with(Model::whole(), move |request, mut usual| {
            if request.is("GET", name) {
                usual.body.push(b' ');
            }
            usual
        })
    };
    for name in ["/config.json", "/model.safetensors"] {
        let cache = tempfile::tempdir().unwrap();
        let text = refusal(&longer(name).options(cache.path()), NAME);
        assert!(text.contains("came damaged: more bytes than that, expected"), "{text}");
    }
    let shorter = Mirror::with(Model::whole(), |request, mut usual| {
        if request.is("GET", "/config.json") {
            usual.body.pop();
        }
        usual
    });
    let cache = tempfile::tempdir().unwrap();
    let text = refusal(&shorter.options(cache.path()), NAME);
    assert!(text.contains("it stopped after 1 of 2 bytes"), "{text}");
}

#[test]
fn a_content_of_another_size_is_fetched_again() {
    let model = Model::whole();
    let mirror = Mirror::of(model.clone());
    let cache = tempfile::tempdir().unwrap();
    let blobs = cache.path().join("models--org--tiny-1/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(model.etag("model.safetensors")), "cut off").unwrap();
    let snapshot = get(&mirror.options(cache.path()), NAME).unwrap();
    let bytes = fs::read(snapshot.path.join("model.safetensors")).unwrap();
    assert!(bytes == weights(3 << 20));
}

#[test]
fn no_name_leaves_the_model_s_folder() {
    for name in [
        "../../../evil.safetensors",
        "/evil.safetensors",
        "a/../../evil.safetensors",
        "..\\evil.safetensors",
        "C:evil.safetensors",
        "a//evil.safetensors",
        "./evil.safetensors",
        "evil\0.safetensors",
        "",
    ] {
        let index = serde_json::json!({"weight_map": {"a": name}}).to_string();
        let model = Model::empty()
            .small("config.json", "{}")
            .small("tokenizer.json", "{ }")
            .small("model.safetensors.index.json", &index)
            .large(name, b"evil");
        let mirror = Mirror::of(model);
        let cache = tempfile::tempdir().unwrap();
        let error = get(&mirror.options(cache.path()), NAME).unwrap_err();
        assert!(matches!(error, HubError::Index { .. }), "{name:?}: {error}");
        assert_eq!(mirror.requests().iter().filter(|r| r.path.contains("evil")).count(), 0);
    }
}

#[test]
fn what_the_hub_says_names_no_file_elsewhere() {
    for etag in ["\"../../evil\"", "\"a/b\"", "\"..\"", "\"a\\b\"", "\"\"", "\"a.lock\""] {
        let mirror = Mirror::with(Model::whole(), move |request, usual| {
            if request.is("HEAD", "config.json") { usual.with("ETag", etag) } else { usual }
        });
        let cache = tempfile::tempdir().unwrap();
        let text = refusal(&mirror.options(cache.path()), NAME);
        assert!(text.contains("cannot name a file"), "{etag}: {text}");
    }
    let mut model = Model::whole();
    "../../evil".clone_into(&mut model.commit);
    let cache = tempfile::tempdir().unwrap();
    let text = refusal(&Mirror::of(model).options(cache.path()), NAME);
    assert!(text.contains("no 'sha' that is a commit"), "{text}");
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn a_broken_list_of_shards_is_told() {
    let refused = |index: &str| {
        let model = Model::sharded().small("model.safetensors.index.json", index);
        let cache = tempfile::tempdir().unwrap();
        refusal(&Mirror::of(model).options(cache.path()), NAME)
    };
    let missing = refused(r#"{"weight_map": {"a": "model-00003-of-00003.safetensors"}}"#);
    assert_eq!(
        missing,
        "'model.safetensors.index.json' of the model 'org/tiny-1': it names \
         'model-00003-of-00003.safetensors', which the model does not have; the model is broken on \
         the hub"
    );
    for (index, problem) in [
        ("{", "it is no JSON: EOF"),
        ("[]", "it has no object 'weight_map'"),
        (r#"{"weight_map": {}}"#, "it names no files"),
        (r#"{"weight_map": {"a": 1}}"#, "the file of 'a' is no text"),
        (r#"{"weight_map": {"a": "README.md"}}"#, "it names 'README.md', no .safetensors"),
    ] {
        let text = refused(index);
        assert!(text.contains(problem), "{text}");
    }
}

#[test]
fn a_model_without_what_is_needed_is_refused_before_anything_is_fetched() {
    let refused = |model: Model| {
        let mirror = Mirror::of(model);
        let cache = tempfile::tempdir().unwrap();
        let text = refusal(&mirror.options(cache.path()), NAME);
        assert_eq!(mirror.requests().len(), 1);
        text
    };
    let old = Model::empty().small("config.json", "").small("tokenizer.json", "");
    assert_eq!(
        refused(old.clone().large("pytorch_model.bin", b"")),
        "the model 'org/tiny-1' has no model.safetensors or model.safetensors.index.json: it has \
         config.json, pytorch_model.bin, tokenizer.json; choose a model that has it"
    );
    let text = refused(Model::empty().small("config.json", "").large("model.safetensors", b""));
    assert!(text.contains("has no tokenizer.json: it has config.json, model.saf"), "{text}");
    assert!(refused(Model::empty()).contains("has no config.json: it has no files"));
}

#[test]
fn a_hub_that_is_away_is_an_error_that_says_what_the_cache_has() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = Mirror::of(Model::whole());
    let options = mirror.options(cache.path());
    drop(mirror);
    let error = get(&options, NAME).unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");

    let mirror = Mirror::of(Model::whole());
    get(&mirror.options(cache.path()), NAME).unwrap();
    drop(mirror);
    let text = refusal(&options, NAME);
    let advice = format!(
        "the cache has 'org/tiny-1' as of an earlier answer: name that as 'org/tiny-1@{COMMIT}', \
         or set HF_HUB_OFFLINE=1"
    );
    assert!(text.contains("cannot be reached") && text.ends_with(&advice), "{text}");
    get(&options, &format!("{NAME}@{COMMIT}")).unwrap();
}

#[test]
fn what_is_no_hub_is_told() {
    let page = Mirror::with(Model::whole(), |_, _| Reply::new(200, "<html>Welcome</html>"));
    let cache = tempfile::tempdir().unwrap();
    let text = refusal(&page.options(cache.path()), NAME);
    assert!(text.contains("does not answer as a Hugging Face hub"), "{text}");
    assert!(text.ends_with("check HF_ENDPOINT"), "{text}");
    for (header, problem) in
        [("X-Repo-Commit", "the answer has no X-Repo-Commit"), ("ETag", "the answer has no ETag")]
    {
        let mirror = Mirror::with(Model::whole(), move |request, usual| {
            if request.method == "HEAD" { usual.without(header) } else { usual }
        });
        let text = refusal(&mirror.options(cache.path()), NAME);
        assert!(text.contains(problem), "{text}");
    }
    let other = Mirror::with(Model::whole(), |request, usual| {
        if request.method == "HEAD" { usual.with("X-Repo-Commit", "f00") } else { usual }
    });
    let text = refusal(&other.options(cache.path()), NAME);
    assert!(text.contains("X-Repo-Commit is 'f00', not 0123"), "{text}");
    // The answer for another commit than the one that was asked for.
    let text = refusal(
        &Mirror::of(Model::whole()).options(cache.path()),
        &format!("{NAME}@{}", "a".repeat(40)),
    );
    assert!(text.contains("asked for the commit aaaa"), "{text}");
}

#[test]
fn settings_are_checked_before_anything_is_sent() {
    let cache = tempfile::tempdir().unwrap();
    let refused = |change: fn(&mut HubOptions)| {
        let mut options = HubOptions::new(cache.path());
        change(&mut options);
        refusal(&options, NAME)
    };
    let text = refused(|options| "huggingface.co".clone_into(&mut options.endpoint));
    assert!(text.starts_with("HF_ENDPOINT 'huggingface.co' is no address; expected"), "{text}");
    let text = refused(|options| "ftp://hub".clone_into(&mut options.endpoint));
    assert!(text.starts_with("HF_ENDPOINT 'ftp://hub' is no address"), "{text}");
    let text = refused(|options| options.proxy = Some("proxy:80:".to_owned()));
    assert!(text.starts_with("the proxy in HTTPS_PROXY is no address"), "{text}");
    let text = refused(|options| options.token = Some("hf_\nsecret".to_owned()));
    assert!(text.starts_with("the token in HF_TOKEN is empty or has characters"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn a_cache_that_cannot_be_written_is_told() {
    let mirror = Mirror::of(Model::whole());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = get(&mirror.options(&file), NAME).unwrap_err();
    assert!(matches!(&error, HubError::Io { path, .. } if path.starts_with(&file)), "{error}");
    // A reference that is none.
    let cache = folder.path().join("cache");
    let refs = cache.join("models--org--tiny-1/refs");
    fs::create_dir_all(&refs).unwrap();
    fs::write(refs.join("main"), "tomorrow").unwrap();
    let mut options = mirror.options(&cache);
    options.offline = true;
    let text = refusal(&options, NAME);
    assert!(text.contains("it holds 'tomorrow' and no commit; remove it"), "{text}");
}
