//! The Model Context Protocol, by the protocol's own client and by hand.

use std::sync::Arc;

use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{Peer, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Value, json};
use swirldb::serve::{Backend, McpServer};

use super::client::{Answer, request, send};
use super::sample::{Running, Sample};

const ACCEPT: &str = "application/json, text/event-stream";

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap().block_on(work)
}

async fn call(
    peer: &Peer<RoleClient>,
    tool: &str,
    arguments: Value,
) -> Result<CallToolResult, ServiceError> {
    let arguments = arguments.as_object().unwrap().clone();
    let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
    match peer.call_tool_once(request).await? {
        rmcp::model::CallToolResponse::Complete(result) => Ok(result),
        other => panic!("{other:?}"),
    }
}

fn text(result: &CallToolResult) -> &str {
    &result.content[0].as_text().unwrap().text
}

/// What every transport must show.
async fn converse(peer: &Peer<RoleClient>) {
    let tools = peer.list_all_tools().await.unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert_eq!(names, ["search_wiki", "echo"]);
    assert_eq!(tools[0].input_schema["required"], json!(["query"]));
    assert_eq!(tools[0].annotations.as_ref().unwrap().read_only_hint, Some(true));

    let found = call(peer, "search_wiki", json!({"query": "tower"})).await.unwrap();
    assert_eq!(text(&found), "w1: A tower with a lamp that warns ships.\n");
    assert_eq!(found.is_error, Some(false));
    assert_eq!(found.meta.unwrap().0["swirldb/corpus"], "wiki=0a1b");
    let echo = call(peer, "echo", json!({"query": "a\u{0}b"})).await.unwrap();
    assert_eq!(echo.structured_content, Some(json!({"said": "a\u{0}b"})));

    let missing = call(peer, "echo", json!({})).await.unwrap();
    assert_eq!((missing.is_error, text(&missing).contains("is missing")), (Some(true), true));
    let unknown = call(peer, "ecko", json!({})).await.unwrap();
    assert_eq!(unknown.is_error, Some(true));
    assert_eq!(text(&unknown), "there is no tool 'ecko'; there are: search_wiki, echo");
}

#[test]
fn tools_are_served_over_a_stream() {
    block_on(async {
        let backend: Arc<dyn Backend> = Arc::new(Sample::default());
        let server = McpServer::new(backend, Running::options()).unwrap();
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let serving =
            tokio::spawn(async move { server.serve(ours).await.unwrap().waiting().await });
        let client = ().serve(theirs).await.unwrap();
        let info = client.peer().peer_info().unwrap();
        assert_eq!(info.server_info.as_ref().unwrap().name, "swirldb");
        converse(client.peer()).await;
        client.cancel().await.unwrap();
        serving.await.unwrap().unwrap();
    });
}

#[test]
fn a_call_that_is_dropped_is_cancelled() {
    block_on(async {
        let backend = Arc::new(Sample::default());
        let server = McpServer::new(backend.clone(), Running::options()).unwrap();
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        tokio::spawn(async move { server.serve(ours).await.unwrap().waiting().await });
        let client = ().serve(theirs).await.unwrap();
        let waiting = call(client.peer(), "echo", json!({"query": "wait"}));
        let answered = call(client.peer(), "echo", json!({"query": "now"}));
        tokio::select! {
            biased;
            done = waiting => panic!("{done:?}"),
            done = answered => assert_eq!(text(&done.unwrap()), "now"),
        }
        tokio::task::spawn_blocking(move || backend.cancelled.wait_for(1)).await.unwrap();
    });
}

#[test]
fn tools_are_served_over_http() {
    let server = Running::with(|options| options.token = Some("secret".to_owned()));
    // The client of this test asks for TLS's arithmetic before it knows that there is none.
    let _set = rustls::crypto::ring::default_provider().install_default();
    block_on(async {
        let url = format!("http://{}/mcp", server.address);
        let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header("secret");
        let transport = StreamableHttpClientTransport::from_config(config);
        let client = ().serve(transport).await.unwrap();
        converse(client.peer()).await;
        client.cancel().await.unwrap();
    });
}

fn ask(server: &Running, headers: &[(&str, &str)], body: &Value) -> Answer {
    let kind = [("Content-Type", "application/json"), ("Accept", ACCEPT)];
    let headers = [&kind[..], headers].concat();
    send(server.address, &request("POST", "/mcp", &headers, body.to_string().as_bytes())).unwrap()
}

#[test]
fn each_request_over_http_stands_alone() {
    let server = Running::start(Running::options());
    let hello = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "by hand", "version": "1"},
        },
    });
    let answer = ask(&server, &[], &hello);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(answer.header("mcp-session-id"), None);

    let version = [("MCP-Protocol-Version", "2025-06-18")];
    let find = json!({
        "jsonrpc": "2.0", "id": "x", "method": "tools/call",
        "params": {"name": "search_wiki", "arguments": {"query": "tower"}},
    });
    let answer = ask(&server, &version, &find);
    assert_eq!(answer.header("swirl-corpus"), Some("wiki=0a1b"));
    assert_eq!(answer.json()["id"], "x");
    assert_eq!(answer.json()["result"]["isError"], false);
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let answer = ask(&server, &version, &list);
    assert_eq!(answer.json()["result"]["tools"][1]["name"], "echo");
    assert_eq!(answer.header("swirl-corpus"), None);
}

#[test]
fn what_is_not_the_protocol_is_refused() {
    let server = Running::start(Running::options());
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let evil = ask(&server, &[("Origin", "https://evil.example")], &list);
    assert_eq!((evil.status, evil.code().as_str()), (403, "forbidden"));
    let get = send(server.address, &request("GET", "/mcp", &[("Accept", ACCEPT)], b"")).unwrap();
    assert_eq!((get.status, get.code().as_str()), (405, "protocol"));
    let plain =
        send(server.address, &request("POST", "/mcp", &[("Accept", ACCEPT)], b"{}")).unwrap();
    assert_eq!((plain.status, plain.code().as_str()), (415, "protocol"));
    for body in [json!([]), json!({}), json!({"jsonrpc": "2.0", "id": 1}), json!("x")] {
        let answer = ask(&server, &[], &body);
        assert!((400..500).contains(&answer.status), "{body}: {answer:?}");
        assert!(answer.json()["error"]["message"].is_string(), "{body}: {answer:?}");
    }
    let unknown = json!({"jsonrpc": "2.0", "id": 2, "method": "resources/steal"});
    assert!(ask(&server, &[], &unknown).json()["error"]["code"].is_i64());
    // A subscription would wait for changes; sealed corpora have none.
    let listen = json!({
        "jsonrpc": "2.0", "id": 3, "method": "subscriptions/listen", "params": {},
    });
    assert!(ask(&server, &[], &listen).json()["error"]["code"].is_i64());
}
