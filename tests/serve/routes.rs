//! What each path answers.

use serde_json::json;
use swirldb::serve::{Options, ServeError, Server};

use super::client::{get, post, request, send};
use super::sample::{Running, Sample};

fn wiki() -> Running {
    Running::with(|options| options.corpus = Some("wiki".to_owned()))
}

#[test]
fn retrieve_with_scores_answers_as_search_r1_does() {
    let server = wiki();
    let body = r#"{"queries": ["lamp", "nothing here"], "topk": 2, "return_scores": true}"#;
    let answer = post(server.address, "/retrieve", body);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("swirl-corpus"), Some("wiki=0a1b"));
    let expected = concat!(
        r#"{"result":[[{"document":{"id":"w2","contents":"\"Lamp\"\nA lamp gives light; the lamp "#,
        r#"of a lighthouse gives much."},"score":2.25},{"document":{"id":"folder/w 3.md","#,
        r#""contents":"\"\"\nShips carry a lamp on each side."},"score":1.25}],[]]}"#
    );
    assert_eq!(answer.body, expected);
}

#[test]
fn retrieve_without_scores_answers_with_bare_documents() {
    let server = wiki();
    for body in [
        r#"{"queries": ["tower"], "return_scores": false}"#,
        r#"{"queries": ["tower"], "topk": null}"#,
        r#"{"queries": ["tower"], "topk": null, "return_scores": null, "corpus": null}"#,
    ] {
        let answer = post(server.address, "/retrieve", body);
        let contents = "\"Lighthouse\"\nA tower with a lamp that warns ships.";
        assert_eq!(answer.json(), json!({"result": [[{"id": "w1", "contents": contents}]]}));
    }
    assert_eq!(post(server.address, "/retrieve", r#"{"queries": []}"#).body, r#"{"result":[]}"#);
}

#[test]
fn retrieve_returns_as_many_as_the_default_says() {
    let count = |server: &Running, body: &str| {
        post(server.address, "/retrieve", body).json()["result"][0].as_array().unwrap().len()
    };
    let three = wiki();
    assert_eq!(count(&three, r#"{"queries": ["lamp"], "topk": null}"#), 3);
    let one = Running::with(|options| {
        options.corpus = Some("wiki".to_owned());
        options.topk = 1;
    });
    assert_eq!(count(&one, r#"{"queries": ["lamp"]}"#), 1);
    assert_eq!(count(&one, r#"{"queries": ["lamp"], "topk": 2}"#), 2);
}

#[test]
fn many_queries_are_answered_in_their_order() {
    let server = wiki();
    let queries: Vec<&str> = (0..400).map(|i| ["lamp", "tower", "no"][i % 3]).collect();
    let body = json!({"queries": queries, "topk": 1}).to_string();
    let answer = post(server.address, "/retrieve", &body).json();
    let lists = answer["result"].as_array().unwrap();
    assert_eq!(lists.len(), 400);
    for (index, list) in lists.iter().enumerate() {
        let ids: Vec<_> = list.as_array().unwrap().iter().map(|d| d["id"].as_str()).collect();
        let expected = [vec![Some("w2")], vec![Some("w1")], vec![]];
        assert_eq!(ids, expected[index % 3], "query {index}");
    }
}

#[test]
fn a_corpus_is_chosen_by_path_or_field() {
    let server = Running::start(Running::options());
    let ids = |path: &str, body: &str| {
        let answer = post(server.address, path, body);
        (
            answer.header("swirl-corpus").map(str::to_owned),
            answer.json()["result"][0][0]["id"].clone(),
        )
    };
    let notes = (Some("notes=2c3d".to_owned()), json!("n1"));
    assert_eq!(ids("/retrieve/notes", r#"{"queries": ["lamp"]}"#), notes);
    assert_eq!(ids("/retrieve", r#"{"queries": ["lamp"], "corpus": "notes"}"#), notes);

    let none = post(server.address, "/retrieve", r#"{"queries": ["lamp"]}"#);
    assert_eq!((none.status, none.code().as_str()), (400, "invalid_request"));
    assert!(none.message().contains("/retrieve/NAME") && none.message().contains("wiki, notes"));
    let both = post(server.address, "/retrieve/wiki", r#"{"queries": [], "corpus": "notes"}"#);
    assert_eq!(both.status, 400);
    let unknown = post(server.address, "/retrieve/wikki", r#"{"queries": ["lamp"]}"#);
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "unknown_corpus"));
    assert_eq!(unknown.message(), "there is no corpus 'wikki'; there are: wiki, notes");
}

#[test]
fn search_answers_as_pyserini_does() {
    let server = Running::start(Running::options());
    let answer = get(server.address, "/v1/wiki/search?query=lamp+ships&hits=2");
    assert_eq!(answer.header("swirl-corpus"), Some("wiki=0a1b"));
    let (first, second) = (&answer.json()["candidates"][0], &answer.json()["candidates"][1]);
    assert_eq!(answer.json()["api"], "v1");
    assert_eq!(answer.json()["index"], "wiki");
    assert_eq!(answer.json()["query"], json!({"text": "lamp ships"}));
    let text = "Ships carry a lamp on each side.";
    let expected = json!({"docid": "folder/w 3.md", "score": 2.25, "rank": 1, "doc": text});
    assert_eq!(*first, expected);
    assert_eq!(second["rank"], 2);
    assert_eq!(second["doc"]["title"], "Lighthouse");
    let raw = get(server.address, "/v1/wiki/search?query=tower&parse=false").json();
    let text = "A tower with a lamp that warns ships.";
    let stored = json!({"id": "w1", "title": "Lighthouse", "text": text}).to_string();
    assert_eq!(raw["candidates"][0]["doc"], stored);
}

#[test]
fn search_refuses_what_it_does_not_take() {
    let server = Running::start(Running::options());
    for (path, status, said) in [
        ("/v1/wiki/search", 400, "'query' is missing"),
        ("/v1/wiki/search?query=+", 400, "'query' is missing"),
        ("/v1/wiki/search?query=a&hits=0", 400, "ask for 1 to 1000"),
        ("/v1/wiki/search?query=a&hits=1000000000", 400, "ask for 1 to 1000"),
        ("/v1/wiki/search?query=a&hits=-1", 400, "must be a number"),
        ("/v1/wiki/search?query=a&hits=many", 400, "must be a number"),
        ("/v1/wiki/search?query=a&parse=maybe", 400, "true or false"),
        ("/v1/wiki/search?query=a&k=5", 400, "no parameter 'k'"),
        ("/v1/wiki/search?query=a&query=b", 400, "twice"),
        ("/v1/wiki/search?query=%ff", 400, "not UTF-8"),
        ("/v1/nowhere/search?query=a", 404, "there are: wiki, notes"),
        ("/v1/wiki/doc/w9", 404, "has no document 'w9'"),
        ("/v1/wiki/doc/../../etc/passwd", 404, "has no document '../../etc/passwd'"),
        ("/v1/../search?query=a", 404, "no corpus '..'"),
        ("/v1/wiki/doc/%00", 404, "has no document '\0'"),
        ("/v2/wiki/search?query=a", 404, "POST /retrieve"),
        ("/", 404, "POST /retrieve"),
    ] {
        let answer = get(server.address, path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.message().contains(said), "{path}: {}", answer.message());
    }
}

#[test]
fn documents_are_found_by_ids_with_slashes() {
    let server = Running::start(Running::options());
    for path in ["/v1/wiki/doc/folder/w%203.md", "/v1/wiki/doc/folder%2Fw%203.md"] {
        let answer = get(server.address, path);
        assert_eq!(answer.header("swirl-corpus"), Some("wiki=0a1b"));
        let expected = json!({
            "api": "v1", "index": "wiki", "docid": "folder/w 3.md",
            "doc": "Ships carry a lamp on each side.",
        });
        assert_eq!(answer.json(), expected);
    }
}

#[test]
fn tools_are_listed_and_called() {
    let server = Running::start(Running::options());
    let tools = get(server.address, "/tools").json();
    assert_eq!(tools["tools"][0]["name"], "search_wiki");
    assert_eq!(tools["tools"][0]["corpus"], "wiki");
    assert_eq!(tools["tools"][1]["parameters"]["required"], json!(["query"]));

    let echo = post(server.address, "/tools/echo", r#"{"query": "hello"}"#);
    let expected = json!({"text": "hello", "is_error": false, "structured": {"said": "hello"}});
    assert_eq!((echo.json(), echo.header("swirl-corpus")), (expected, None));
    let search = post(server.address, "/tools/search_wiki", r#"{"query": "tower"}"#);
    assert_eq!(search.header("swirl-corpus"), Some("wiki=0a1b"));
    let wrong = post(server.address, "/tools/echo", "{}");
    assert_eq!((wrong.status, &wrong.json()["is_error"]), (200, &json!(true)));

    let unknown = post(server.address, "/tools/ecko", "{}");
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "unknown_tool"));
    assert_eq!(unknown.message(), "there is no tool 'ecko'; there are: search_wiki, echo");
    assert_eq!(post(server.address, "/tools/echo", "[1]").status, 400);
    assert_eq!(post(server.address, "/tools/echo", "").status, 400);
}

#[test]
fn health_says_what_is_served() {
    let server = Running::with(|options| options.token = Some("secret".to_owned()));
    let answer = get(server.address, "/health").json();
    assert_eq!(answer["status"], "ok");
    let wiki = json!({
        "name": "wiki", "fingerprint": "0a1b", "documents": 3,
        "description": "Made up wiki", "tool": "search_wiki",
    });
    assert_eq!(answer["corpora"][0], wiki);
}

#[test]
fn paths_say_which_method_they_take() {
    let server = Running::start(Running::options());
    for (method, path, allow) in [
        ("GET", "/retrieve", "POST"),
        ("DELETE", "/tools/echo", "POST"),
        ("POST", "/health", "GET"),
        ("PUT", "/v1/wiki/doc/w1", "GET"),
    ] {
        let answer = send(server.address, &request(method, path, &[], b"")).unwrap();
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{path}");
        assert_eq!(answer.code(), "method_not_allowed");
    }
}

#[test]
fn every_path_but_health_needs_the_token() {
    let server = Running::with(|options| options.token = Some("secret".to_owned()));
    let paths = [
        ("POST", "/retrieve/wiki"),
        ("GET", "/v1/wiki/search?query=lamp"),
        ("GET", "/v1/wiki/doc/w1"),
        ("GET", "/tools"),
        ("POST", "/tools/echo"),
        ("POST", "/mcp"),
        ("GET", "/no/such/path"),
    ];
    for (method, path) in paths {
        for given in [None, Some("Bearer secre"), Some("Bearer secret2"), Some("Basic secret")] {
            let headers: Vec<(&str, &str)> =
                given.map(|g| ("Authorization", g)).into_iter().collect();
            let answer = send(server.address, &request(method, path, &headers, b"")).unwrap();
            assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{path}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    // With a token any name will do: a page of another origin does not know it.
    let headers = [("Authorization", "bearer secret"), ("Host", "corpora.example:80")];
    let found = send(server.address, &request("GET", "/v1/wiki/doc/w1", &headers, b"")).unwrap();
    assert_eq!(found.status, 200);
}

#[test]
fn names_that_are_not_loopback_are_refused() {
    let server = Running::with(|options| {
        options.allowed_hosts = vec!["Box.internal".to_owned()];
        options.allowed_origins = vec!["https://lab.example".to_owned()];
    });
    let status = |headers: &[(&str, &str)]| {
        send(server.address, &request("GET", "/health", headers, b"")).unwrap().status
    };
    for host in ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]:80", "box.internal:8000"] {
        assert_eq!(status(&[("Host", host)]), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "0.0.0.0"] {
        assert_eq!(status(&[("Host", host)]), 403, "{host}");
    }
    for host in ["a b", "localhost@evil.example"] {
        assert_eq!(status(&[("Host", host)]), 400, "{host}");
    }
    for origin in ["http://localhost:5173", "http://127.0.0.1", "https://LAB.example"] {
        assert_eq!(status(&[("Origin", origin)]), 200, "{origin}");
    }
    for origin in ["null", "https://evil.example", "https://lab.example.evil.example", "x"] {
        assert_eq!(status(&[("Origin", origin)]), 403, "{origin}");
    }
}

#[test]
fn what_cannot_be_served_is_refused_before_it_listens() {
    let refused = |change: &dyn Fn(&mut Options)| {
        let mut options = Running::options();
        change(&mut options);
        let backend = std::sync::Arc::new(Sample::default());
        match Server::bind(backend, options, std::sync::Arc::new(|_| {})) {
            Ok(_) => panic!("the server listens"),
            Err(error) => error.to_string(),
        }
    };
    let open = refused(&|options| options.address = "0.0.0.0:0".parse().unwrap());
    assert!(open.contains("give a token"), "{open}");
    assert!(refused(&|options| options.token = Some("a b".to_owned())).contains("visible"));
    assert!(refused(&|options| options.token = Some(String::new())).contains("visible"));
    assert!(refused(&|options| options.topk = 1001).contains("between 1 and 1000"));
    assert!(refused(&|options| options.limits.running = 0).contains("running is 0"));
    assert!(refused(&|options| options.corpus = Some("x".to_owned())).contains("wiki, notes"));
    let origins = |options: &mut Options| options.allowed_origins = vec!["a.example".to_owned()];
    assert!(refused(&origins).contains("no scheme"));
    let taken = Running::start(Running::options());
    let again = refused(&|options| options.address = taken.address);
    assert!(again.contains("cannot listen"), "{again}");
    assert!(matches!(
        Options { address: "[::]:0".parse().unwrap(), ..Options::default() }.validate(),
        Err(ServeError::TokenNeeded { .. })
    ));
}
