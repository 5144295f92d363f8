//! Names of models, and options from variables.

use std::collections::BTreeMap;
use std::path::Path;

use swirldb::hub::{ENDPOINT, HubError, HubOptions, ModelId};

#[test]
fn names_are_read_in_three_forms() {
    for (text, repository, revision) in [
        ("org/name", "org/name", None),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct", None),
        ("org/name@v1.0", "org/name", Some("v1.0")),
        ("hf:a_1/b.c-d@refs/pr/1", "a_1/b.c-d", Some("refs/pr/1")),
        ("hf://org/name@main", "org/name", Some("main")),
    ] {
        let id = ModelId::parse(text).unwrap();
        assert_eq!((id.repository().as_str(), id.revision()), (repository, revision), "{text}");
        let printed = text.trim_start_matches("hf:").trim_start_matches('/');
        assert_eq!(id.to_string(), printed);
        assert_eq!(format!("{}/{}", id.owner(), id.name()), repository);
    }
}

#[test]
fn names_that_are_none_say_why() {
    for (text, problem) in [
        ("", "it has no '/' between organisation and name"),
        ("gpt2", "it has no '/' between organisation and name"),
        ("https://huggingface.co/org/name", "it is an address"),
        ("//org/name", "the organisation is missing"),
        ("/name", "the organisation is missing"),
        ("org/", "the name is missing"),
        ("org/a/b", "the name has '/'"),
        ("org/na me", "the name has ' '"),
        ("org/n\u{e4}me", "the name has '\u{e4}'"),
        ("../name", "the organisation begins or ends with neither letter, digit nor '_'"),
        ("org/..", "the name begins or ends with neither letter, digit nor '_'"),
        ("org/a..b", "the name has '..'"),
        ("org/a--b", "the name has '--'"),
        ("org/.name", "the name begins or ends with neither letter, digit nor '_'"),
        ("org/name.git", "the name ends in '.git'"),
        ("org/name@", "nothing stands behind '@'"),
        ("org/name@../x", "'../x' is no name of a branch, a tag or a commit"),
        ("org/name@/x", "'/x' is no name of a branch, a tag or a commit"),
        ("org/name@a//b", "'a//b' is no name of a branch, a tag or a commit"),
        ("org/name@a/", "'a/' is no name of a branch, a tag or a commit"),
        ("org/name@.x", "'.x' is no name of a branch, a tag or a commit"),
        ("org/name@a\\b", "the revision has '\\\\'"),
        ("org/name@a b", "the revision has ' '"),
        ("org/name@a\nb", "the revision has '\\n'"),
    ] {
        let error = ModelId::parse(text).unwrap_err();
        assert!(matches!(error, HubError::Name { .. }));
        let expected = format!(
            "'{text}' names no model of the hub: {problem}; expected 'organisation/name', \
             'organisation/name@revision' or 'hf:organisation/name@revision'"
        );
        assert_eq!(error.to_string(), expected);
    }
    let long = format!("org/{}", "a".repeat(97));
    let text = ModelId::parse(&long).unwrap_err().to_string();
    assert!(text.contains("the name has more than 96 characters"), "{text}");
}

fn options(variables: &[(&str, &str)]) -> Result<HubOptions, HubError> {
    let found: BTreeMap<&str, &str> = variables.iter().copied().collect();
    HubOptions::from_variables(&|name| found.get(name).map(|&value| value.to_owned()))
}

#[test]
fn the_cache_is_where_huggingface_hub_has_it() {
    let home = ("HOME", "/nobody");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[home], "/nobody/.cache/huggingface/hub"),
        (&[home, ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
        (&[home, ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")], "/h/hub"),
        (&[home, ("HF_HOME", "~/h")], "/nobody/h/hub"),
        (&[home, ("HF_HOME", "~")], "/nobody/hub"),
        (&[home, ("HF_HOME", "~h")], "~h/hub"),
        (&[home, ("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
        (&[("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/c"),
        (&[home, ("HF_HUB_CACHE", "")], "/nobody/.cache/huggingface/hub"),
    ];
    for (variables, cache) in cases {
        assert_eq!(options(variables).unwrap().cache, Path::new(cache), "{variables:?}");
    }
    let text = options(&[]).unwrap_err().to_string();
    assert_eq!(
        text,
        "the folder of the cache is unknown, since HOME is not set; expected HF_HUB_CACHE or \
         HF_HOME to name a folder"
    );
}

#[test]
fn the_other_options_have_their_variables() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().to_str().unwrap();
    let cache = ("HF_HOME", folder);
    let plain = options(&[cache]).unwrap();
    assert_eq!(plain, HubOptions::new(home.path().join("hub")));
    assert_eq!(plain.endpoint, ENDPOINT);
    assert_eq!(options(&[cache, ("HF_ENDPOINT", "https://m")]).unwrap().endpoint, "https://m");
    for (value, is_offline) in [("1", true), ("true", true), ("Yes", true), ("0", false)] {
        assert_eq!(options(&[cache, ("HF_HUB_OFFLINE", value)]).unwrap().offline, is_offline);
    }
    assert!(options(&[cache, ("TRANSFORMERS_OFFLINE", "on")]).unwrap().offline);
    assert!(!options(&[cache, ("HF_HUB_DISABLE_SYMLINKS", "1")]).unwrap().symlinks);
    let proxy = options(&[cache, ("HTTPS_PROXY", "http://p:8")]).unwrap().proxy;
    assert_eq!(proxy.as_deref(), Some("http://p:8"));

    let token = |variables: &[(&str, &str)]| options(variables).unwrap().token;
    assert_eq!(token(&[cache, ("HF_TOKEN", " hf_a\n")]).as_deref(), Some("hf_a"));
    std::fs::write(home.path().join("token"), "hf_file\n").unwrap();
    assert_eq!(token(&[cache]).as_deref(), Some("hf_file"));
    assert_eq!(token(&[cache, ("HUGGING_FACE_HUB_TOKEN", "hf_b")]).as_deref(), Some("hf_b"));
    assert_eq!(token(&[cache, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    let elsewhere = home.path().join("none");
    assert_eq!(token(&[cache, ("HF_TOKEN_PATH", elsewhere.to_str().unwrap())]), None);
    // A folder cannot be read as a token.
    assert!(options(&[cache, ("HF_TOKEN_PATH", folder)]).is_err());
}

#[test]
fn the_token_is_not_printed() {
    let mut options = HubOptions::new("cache");
    options.token = Some("hf_secret".to_owned());
    let printed = format!("{options:?}");
    assert!(printed.contains("has_token: true") && !printed.contains("secret"), "{printed}");
}
