//! Models of a hub where the program is asked to train them.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::mirror::{COMMIT, Mirror, Model, NAME};
use crate::program::{err, imported, out};

fn swirl(folder: &Path, endpoint: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swirl"));
    for name in ["HF_TOKEN", "HF_HOME", "HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy"] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", endpoint).env("HF_HUB_CACHE", folder.join("cache"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_run_notes_the_commit_and_goes_on_without_the_hub() {
    let folder = imported();
    let small = "model db tiny --vocab-size 300 --hidden-size 16 --layers 1 --heads 1";
    let small: Vec<&str> = small.split(' ').collect();
    assert_eq!(swirl(folder.path(), "", &small).status.code(), Some(0));
    let read = |name: &str| std::fs::read(folder.path().join("tiny").join(name)).unwrap();
    let text = |name: &str| String::from_utf8(read(name)).unwrap();
    let model = Model::empty()
        .small("config.json", &text("config.json"))
        .small("tokenizer.json", &text("tokenizer.json"))
        .small("tokenizer_config.json", &text("tokenizer_config.json"))
        .large("model.safetensors", &read("model.safetensors"));
    let mirror = Mirror::of(model);
    let endpoint = mirror.options(folder.path()).endpoint;
    let train = |model: &str, name: &str| {
        let statement = format!(
            "FROM steps |> TRAIN WITH (model = '{model}', full = true, max_steps = 1) AS {name}"
        );
        swirl(folder.path(), &endpoint, &["db", "-c", &statement])
    };
    let trained = train(NAME, "first");
    assert_eq!(trained.status.code(), Some(0), "{}", err(&trained));
    let config = swirl(folder.path(), "", &["db", "-c", "SELECT config FROM runs"]);
    assert!(out(&config).contains(COMMIT), "{}", out(&config));
    let unknown = train("org/none", "second");
    assert_eq!(unknown.status.code(), Some(1));
    let told = err(&unknown);
    assert!(told.contains("there is no path org/none; as a model of the hub: "), "{told}");
    let path = train("tiny.gguf", "third");
    assert!(err(&path).contains("tiny.gguf: there is no such file"), "{}", err(&path));
    drop(mirror);
    let again = swirl(folder.path(), &endpoint, &["train", "db", "--resume", "first"]);
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
}
