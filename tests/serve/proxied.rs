//! Tools elsewhere: here, our own server on another port, and a few lines of shell.

use std::time::Duration;

use serde_json::json;
use swirldb::serve::proxy::{
    HttpTarget, HttpTool, McpTarget, McpTools, Method, ProxyError, ProxyLimits,
};

use super::sample::Running;

const NEVER: &dyn Fn() -> bool = &|| false;

fn get(url: &str) -> HttpTarget {
    HttpTarget { method: Method::Get, url: url.to_owned(), headers: Vec::new(), body: None }
}

fn tool(target: &HttpTarget) -> Result<HttpTool, ProxyError> {
    HttpTool::new(target, ProxyLimits::default())
}

fn limits(time_ms: u64, answer_bytes: usize) -> ProxyLimits {
    ProxyLimits { time: Duration::from_millis(time_ms), answer_bytes }
}

#[test]
fn arguments_go_into_the_address() {
    let server = Running::start(Running::options());
    let url = format!("http://{}/v1/{{corpus}}/search?query={{query}}&hits={{n}}", server.address);
    let search = tool(&get(&url)).unwrap();
    let arguments = json!({"corpus": "wiki", "query": "tower & lamp?", "n": 1});
    let output = search.call(&arguments, NEVER).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&output.text).unwrap();
    assert_eq!(answer["query"]["text"], "tower & lamp?");
    assert_eq!((output.is_error, answer["candidates"][0]["docid"].as_str()), (false, Some("w1")));
    // What the server refuses is the tool's error, with its words.
    let refused = search.call(&json!({"corpus": "w/x", "query": "a", "n": 1}), NEVER).unwrap();
    assert!(refused.is_error);
    assert!(refused.text.starts_with("HTTP 404 Not Found: {"), "{}", refused.text);
    assert!(refused.text.contains("no corpus 'w/x'"), "{}", refused.text);

    for (arguments, said) in [
        (json!({"corpus": "wiki", "n": 1}), "the argument 'query' is missing"),
        (json!({"corpus": "wiki", "query": [1], "n": 1}), "'query' must be a text"),
        (json!({"corpus": "wiki", "query": "a", "n": 1, "m": 2}), "'m' has no place"),
        (json!({"corpus": "..", "query": "a", "n": 1}), "'.' or '..'"),
        (json!(["wiki"]), "must be a JSON object"),
    ] {
        let error = search.call(&arguments, NEVER).unwrap_err().to_string();
        assert!(error.contains(said), "{arguments}: {error}");
    }
}

#[test]
fn arguments_go_into_body_and_headers() {
    let server = Running::with(|options| options.token = Some("secret".to_owned()));
    let mut target = HttpTarget {
        method: Method::Post,
        url: format!("http://{}/retrieve/wiki", server.address),
        headers: vec![("Authorization".to_owned(), "Bearer {token}".to_owned())],
        body: Some(json!({
            "queries": ["{query}", "{{not}} {query}!"], "topk": "{k}", "return_scores": true,
        })),
    };
    let search = tool(&target).unwrap();
    let arguments = json!({"query": "lamp", "k": 1, "token": "secret"});
    let output = search.call(&arguments, NEVER).unwrap();
    assert!(output.text.starts_with(r#"{"result":[[{"document":{"id":"w2""#), "{}", output.text);
    // A member that is one argument and nothing else may be missing.
    let output = search.call(&json!({"query": "lamp", "token": "secret"}), NEVER).unwrap();
    assert_eq!(output.text.matches("document").count(), 3);
    let broken = search.call(&json!({"query": "lamp", "token": "a\r\nHost: evil"}), NEVER);
    assert!(broken.unwrap_err().to_string().contains("the header authorization"));

    target.headers[0].1 = "Bearer secret".to_owned();
    target.body = None;
    target.url = format!("http://{}/tools/echo", server.address);
    let output = tool(&target).unwrap().call(&json!({"query": "all of it"}), NEVER).unwrap();
    assert!(output.text.contains(r#""text":"all of it""#), "{}", output.text);
}

#[test]
fn requests_that_do_not_hold_are_refused_at_once() {
    for (url, said) in [
        ("https://{host}/", "path and query only"),
        ("ftp://search.example/", "must begin with http:// or https://"),
        ("search.example", "must begin with http:// or https://"),
        ("http://{host}/", "path and query only"),
        ("http://search.example:{port}/", "path and query only"),
        ("http://search.example/?q={q", "no partner"),
        ("http://search.example/?q=q}", "no partner"),
        ("http://search.example/?q={}", "name of an argument"),
        ("http://search.example/#{q}", "never sent"),
    ] {
        let Err(error) = tool(&get(url)) else { panic!("{url} is taken") };
        assert!(error.to_string().contains(said), "{url}: {error}");
    }
    let body = HttpTarget { body: Some(json!({})), ..get("http://search.example/") };
    assert!(matches!(tool(&body), Err(ProxyError::Template { .. })));
    let headers = vec![("a b".to_owned(), String::new())];
    let header = HttpTarget { headers, ..get("http://search.example/") };
    assert!(matches!(tool(&header), Err(ProxyError::Template { .. })));
}

#[test]
fn answers_that_cannot_be_used_are_failures() {
    let server = Running::start(Running::options());
    let health = get(&format!("http://{}/health", server.address));
    let small = HttpTool::new(&health, limits(10_000, 20)).unwrap();
    let error = small.call(&json!({}), NEVER).unwrap_err();
    assert_eq!(error.to_string(), "the answer has more than 20 bytes");

    let wait = HttpTarget {
        method: Method::Post,
        url: format!("http://{}/tools/echo", server.address),
        ..health
    };
    let arguments = json!({"query": "wait"});
    let short = HttpTool::new(&wait, limits(50, 1000)).unwrap();
    let error = short.call(&arguments, NEVER).unwrap_err();
    assert_eq!(error.to_string(), "there was no answer within 0.05 s");
    let error = tool(&wait).unwrap().call(&arguments, &|| true).unwrap_err();
    assert!(matches!(error, ProxyError::Cancelled));
    let address = server.address;
    drop(server);
    let error = tool(&get(&format!("http://{address}/"))).unwrap().call(&json!({}), NEVER);
    assert!(error.unwrap_err().to_string().contains("refused"));
}

#[test]
fn tools_of_another_server_are_called() {
    let server = Running::with(|options| options.token = Some("secret".to_owned()));
    let url = format!("http://{}/mcp", server.address);
    let headers = vec![("Authorization".to_owned(), "Bearer secret".to_owned())];
    let target = McpTarget::Url { url: url.clone(), headers };
    let tools = McpTools::connect(&target, ProxyLimits::default()).unwrap();
    let names: Vec<&str> = tools.tools().iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["search_wiki", "echo"]);
    assert_eq!(tools.tools()[0].version, concat!("swirldb ", env!("CARGO_PKG_VERSION")));
    assert!(tools.tools()[0].read_only);
    let output = tools.call("echo", &json!({"query": "hello"}), NEVER).unwrap();
    assert_eq!((output.text.as_str(), output.is_error), ("hello", false));
    assert_eq!(output.structured, Some(json!({"said": "hello"})));
    let output = tools.call("echo", &json!({}), NEVER).unwrap();
    assert!(output.is_error && output.text.contains("is missing"));
    let error = tools.call("ecko", &json!({}), NEVER).unwrap_err();
    assert_eq!(error.to_string(), "the server has no tool 'ecko'; it has: search_wiki, echo");
    let stopped = tools.call("echo", &json!({"query": "wait"}), &|| true);
    assert!(matches!(stopped, Err(ProxyError::Cancelled)));

    let without = McpTarget::Url { url, headers: Vec::new() };
    assert!(matches!(
        McpTools::connect(&without, ProxyLimits::default()),
        Err(ProxyError::Protocol { .. })
    ));
}

/// A server of one tool in a few lines of shell: it answers each message by its method.
const SHELL: &str = r#"
server='"serverInfo":{"name":"shell","version":"7"}'
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case "$line" in
    *'"initialize"'*) r='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},'$server'}' ;;
    *'"tools/list"'*) r='{"tools":[{"name":"greet","inputSchema":{"type":"object"}}]}' ;;
    *'"die"'*) exit 3 ;;
    *'"tools/call"'*)
      r='{"content":[{"type":"text","text":"hello"},{"type":"text","text":"'$WHO'"}]}' ;;
    *) continue ;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$r"
done
"#;

fn shell(script: &str) -> McpTarget {
    McpTarget::Command {
        program: "sh".to_owned(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        environment: vec![("WHO".to_owned(), "you".to_owned())],
    }
}

#[cfg(unix)]
#[test]
fn tools_of_a_command_are_called() {
    let tools = McpTools::connect(&shell(SHELL), ProxyLimits::default()).unwrap();
    assert_eq!(tools.tools()[0].name, "greet");
    assert_eq!((tools.tools()[0].version.as_str(), tools.tools()[0].read_only), ("shell 7", false));
    for _ in 0..3 {
        let output = tools.call("greet", &json!({"a": 1}), NEVER).unwrap();
        assert_eq!((output.text.as_str(), output.is_error), ("hello\nyou", false));
    }
    let error = tools.call("greet", &json!({"a": "die"}), NEVER).unwrap_err();
    assert!(matches!(error, ProxyError::Protocol { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn commands_that_are_no_servers_are_failures() {
    let connect = |target: &McpTarget, limits| match McpTools::connect(target, limits) {
        Ok(_) => panic!("{target:?} is connected"),
        Err(error) => error,
    };
    let said = connect(&shell("echo 'no such key' >&2; exit 1"), ProxyLimits::default());
    assert!(said.to_string().contains("it wrote: no such key"), "{said}");
    let silent = connect(&shell("read -r line; read -r line"), limits(50, 1000));
    assert_eq!(silent.to_string(), "there was no answer within 0.05 s");
    let program = "swirl-no-such-program".to_owned();
    let target = McpTarget::Command { program, arguments: Vec::new(), environment: Vec::new() };
    assert!(matches!(connect(&target, limits(1, 1)), ProxyError::Start { .. }));
}
