//! Who sees the token, and several processes at one cache.

use std::fs;
use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use swirldb::hub::{FetchEvent, fetch};

use super::mirror::{COMMIT, Mirror, Model, NAME, Reply, get, id, refusal};

const TOKEN: &str = "hf_secret";

#[test]
fn another_host_does_not_see_the_token() {
    let model = Model::whole();
    let store = Mirror::of(model.clone());
    let hub = Mirror::of(Model { store: Some(store.endpoint()), ..model.clone() });
    let cache = tempfile::tempdir().unwrap();
    let mut options = hub.options(cache.path());
    options.token = Some(TOKEN.to_owned());
    let snapshot = get(&options, NAME).unwrap();
    let bytes = fs::read(snapshot.path.join("model.safetensors")).unwrap();
    assert!(bytes == model.files["model.safetensors"].bytes);
    for request in hub.requests() {
        assert_eq!(request.header("authorization"), Some("Bearer hf_secret"), "{request:?}");
    }
    let seen = store.requests();
    assert_eq!(seen.len(), 1, "what the file is, the hub says: {seen:?}");
    assert!(seen[0].is("GET", "?signature=hidden"));
    assert_eq!(seen[0].header("authorization"), None);
}

#[test]
fn the_token_does_not_come_back_either() {
    // Away from the hub and back to it: a store could else choose what the token asks for.
    let model = Model::whole();
    let hub = Mirror::of(model.clone());
    let back = format!("{}/store/{}", hub.endpoint(), model.etag("model.safetensors"));
    let away =
        Mirror::with(Model::empty(), move |_, _| Reply::new(302, "").with("Location", &back));
    let front = Mirror::of(Model { store: Some(away.endpoint()), ..model });
    let cache = tempfile::tempdir().unwrap();
    let mut options = front.options(cache.path());
    options.token = Some(TOKEN.to_owned());
    get(&options, NAME).unwrap();
    assert_eq!(away.requests().len(), 1);
    assert_eq!(hub.requests().len(), 1);
    assert_eq!(hub.requests()[0].header("authorization"), None);
}

#[test]
fn a_redirect_on_the_hub_keeps_the_token() {
    // A model that has another name now.
    let mirror =
        Mirror::with(Model::whole(), |request, usual| match request.path.contains("old") {
            true => {
                let location = request.path.replace("org/old", "org/tiny-1");
                Reply::new(307, "").with("Location", &location)
            }
            false => usual,
        });
    let cache = tempfile::tempdir().unwrap();
    let mut options = mirror.options(cache.path());
    options.token = Some(TOKEN.to_owned());
    let snapshot = get(&options, "org/old").unwrap();
    assert!(snapshot.path.starts_with(cache.path().join("models--org--old")));
    let requests = mirror.requests();
    assert_eq!(requests.len(), 2 * 9);
    assert!(requests.iter().all(|r| r.header("authorization") == Some("Bearer hf_secret")));
}

#[test]
fn redirects_end() {
    let mirror = Mirror::with(Model::whole(), |request, _| {
        Reply::new(302, "").with("Location", &request.path)
    });
    let cache = tempfile::tempdir().unwrap();
    let text = refusal(&mirror.options(cache.path()), NAME);
    assert!(text.contains("it redirects more than 10 times"), "{text}");
    assert_eq!(mirror.requests().len(), 11);
}

#[test]
fn what_an_address_hides_is_not_told() {
    let store = Mirror::with(Model::empty(), |_, _| Reply::new(403, "<Error>expired</Error>"));
    let hub = Mirror::of(Model { store: Some(store.endpoint()), ..Model::whole() });
    let cache = tempfile::tempdir().unwrap();
    let mut options = hub.options(cache.path());
    options.endpoint = format!("http://user:password@{}", hub.address);
    let text = refusal(&options, NAME);
    assert!(text.contains("answers 403: <Error>expired</Error>"), "{text}");
    assert!(!text.contains("hidden") && !text.contains("password"), "{text}");
}

#[test]
fn all_goes_through_a_proxy() {
    let proxy = Mirror::of(Model::whole());
    let cache = tempfile::tempdir().unwrap();
    let mut options = proxy.options(cache.path());
    options.endpoint = "http://hub.invalid/".to_owned();
    options.proxy = Some(proxy.endpoint());
    get(&options, NAME).unwrap();
    let requests = proxy.requests();
    assert_eq!(requests.len(), 9);
    assert!(requests.iter().all(|request| request.path.starts_with("http://hub.invalid/")));

    // A host that needs none is asked itself.
    let mirror = Mirror::of(Model::whole());
    let cache = tempfile::tempdir().unwrap();
    let mut options = mirror.options(cache.path());
    options.proxy = Some("http://127.0.0.1:1".to_owned());
    options.no_proxy = Some("localhost,127.0.0.1".to_owned());
    get(&options, NAME).unwrap();
    assert_eq!(mirror.requests().len(), 9);
}

#[test]
fn two_at_once_fetch_each_content_once() {
    let model = Model::whole();
    let (send, locked) = channel::<()>();
    let locked = Mutex::new(locked);
    let mirror = Arc::new(Mirror::with(model.clone(), move |request, usual| {
        if request.is("GET", "model.safetensors") {
            // The weights come when the other one waits for them.
            let locked = locked.lock().unwrap();
            locked.recv_timeout(Duration::from_secs(20)).expect("the other one waits");
        }
        usual
    }));
    let cache = tempfile::tempdir().unwrap();
    let path = cache.path().to_owned();
    let both: Vec<_> = (0..2)
        .map(|_| {
            let (mirror, path, send) = (Arc::clone(&mirror), path.clone(), send.clone());
            std::thread::spawn(move || {
                let mut watch = |event: &FetchEvent<'_>| {
                    if let FetchEvent::Locked { file: "model.safetensors" } = event {
                        let _heard = send.send(());
                    }
                    ControlFlow::Continue(())
                };
                fetch(&mirror.options(&path), &id(NAME), &mut watch).unwrap()
            })
        })
        .collect();
    for thread in both {
        let snapshot = thread.join().unwrap();
        assert_eq!(snapshot.commit, COMMIT);
        let bytes = fs::read(snapshot.path.join("model.safetensors")).unwrap();
        assert!(bytes == model.files["model.safetensors"].bytes);
    }
    assert_eq!(mirror.count("GET", "model.safetensors"), 1);
    let blobs = fs::read_dir(path.join("models--org--tiny-1/blobs")).unwrap();
    let left = blobs.filter(|e| e.as_ref().unwrap().path().extension().is_some()).count();
    assert_eq!(left, 0, "nothing incomplete is left");
}
