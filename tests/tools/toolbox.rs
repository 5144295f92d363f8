//! Tools by name, their arguments, and canonical JSON.

use std::sync::Arc;

use serde_json::{Value, json};
use swirldb::tools::{Calculator, Tool, ToolOutput, ToolSpec, Toolbox, canonical_json};

/// A tool that says what it was given.
pub struct Echo(ToolSpec);

impl Echo {
    pub fn new(name: &str) -> Echo {
        let parameters = json!({
            "type": "object",
            "properties": {
                "query": { "type": "string", "minLength": 1 },
                "topk": { "type": "integer", "minimum": 1, "maximum": 100 },
                "mode": { "enum": ["bm25", "dense"] },
                "filter": {
                    "type": "object",
                    "properties": { "years": { "type": "array", "items": { "type": "integer" } } },
                },
            },
            "required": ["query"],
        });
        Echo(ToolSpec::new(name, "Says what it was given.", parameters, "1"))
    }
}

impl Tool for Echo {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call(&self, arguments: &Value, _cancelled: &dyn Fn() -> bool) -> ToolOutput {
        ToolOutput::text(arguments.to_string())
    }
}

fn toolbox() -> Toolbox {
    let mut tools = Toolbox::new();
    tools.add(Arc::new(Echo::new("search"))).unwrap();
    tools.add(Arc::new(Calculator::new())).unwrap();
    tools
}

fn call(arguments: &Value) -> ToolOutput {
    toolbox().call("search", arguments, &|| false)
}

#[test]
fn arguments_that_fit_reach_the_tool() {
    let fits = [
        json!({ "query": "a" }),
        json!({ "query": "a", "topk": 3, "mode": "dense" }),
        json!({ "query": "a", "topk": 3.0 }),
        json!({ "query": "a", "filter": { "years": [1990, 1991] } }),
    ];
    for arguments in fits {
        assert_eq!(call(&arguments), ToolOutput::text(arguments.to_string()));
    }
}

#[test]
fn arguments_that_do_not_fit_are_explained() {
    let takes = "It takes query (string, required), topk (integer, optional), mode (any type, \
                 optional), filter (object, optional)";
    let cases = [
        (json!({}), "'query' is missing"),
        (json!([]), "the arguments are a list; expected an object"),
        (json!({ "query": 7 }), "'query' is the number 7; expected string"),
        (json!({ "query": "" }), "'query' has 0 characters; expected at least 1"),
        (
            json!({ "query": "a", "top_k": 3 }),
            "there is no argument 'top_k' (did you mean 'topk'?)",
        ),
        (json!({ "query": "a", "topk": "3" }), "'topk' is the string \"3\"; expected integer"),
        (json!({ "query": "a", "topk": 2.5 }), "'topk' is the number 2.5; expected integer"),
        (json!({ "query": "a", "topk": 0 }), "'topk' is 0; expected at least 1"),
        (json!({ "query": "a", "topk": 1e9 }), "'topk' is 1000000000.0; expected at most 100"),
        (
            json!({ "query": "a", "mode": "best" }),
            "'mode' is the string \"best\"; expected one of \"bm25\", \"dense\"",
        ),
        (
            json!({ "query": "a", "filter": { "years": [1990, "x"] } }),
            "'filter.years[1]' is the string \"x\"; expected integer",
        ),
        (json!({ "topk": null }), "'query' is missing; 'topk' is null; expected integer"),
    ];
    for (arguments, expected) in cases {
        let output = call(&arguments);
        assert!(output.is_error);
        let expected = format!("the tool 'search' was not called: {expected}. {takes}");
        assert_eq!(output.text, expected);
    }
}

#[test]
fn unknown_names_and_broken_texts_are_explained() {
    let tools = toolbox();
    let output = tools.call("serach", &json!({}), &|| false);
    let expected = "there is no tool 'serach' (did you mean 'search'?); the tools are: search, \
                    calculator";
    assert_eq!((output.text.as_str(), output.is_error), (expected, true));
    let text = |arguments: &str| tools.call_text("search", arguments, &|| false).text;
    assert_eq!(text("{\"query\": \"a\"}"), "{\"query\":\"a\"}");
    assert!(text("{\"query\": ").starts_with("the arguments of 'search' are not one JSON object"));
    assert!(text("{\"query\": \"a\", \"query\": \"b\"}").contains("the field 'query' twice"));
    assert!(text("").contains("'query' is missing"));
    let mut tools = toolbox();
    let taken = tools.add(Arc::new(Echo::new("search"))).unwrap_err();
    assert_eq!(taken.name, "search");
}

#[test]
fn tools_are_listed_as_functions() {
    let functions = toolbox().to_functions();
    assert_eq!(functions[0]["type"], "function");
    assert_eq!(functions[0]["function"]["name"], "search");
    assert_eq!(functions[0]["function"]["parameters"]["required"], json!(["query"]));
    assert_eq!(functions[1]["function"]["name"], "calculator");
    let description = functions[1]["function"]["description"].as_str().unwrap();
    assert!(description.contains("sqrt") && description.contains("pi"));
}

#[test]
fn equal_json_has_one_canonical_text() {
    let groups: [&[&str]; 9] = [
        &["{\"a\":1,\"b\":2}", " { \"b\" : 2 , \"a\" : 1.0 } ", "{\"b\":2e0,\"a\":10e-1}"],
        &["1", "1.0", "1e0", "1E+0", "0.1e1", "100e-2"],
        &["0", "-0", "0.0", "-0e5", "0e999999999999999999999"],
        &["1.5", "15e-1", "0.15E1", "1.50"],
        &["1e40", "10e39"],
        &["9007199254740993"],
        &["9007199254740992", "9007199254740992.0", "9.007199254740992e15"],
        &["\"\u{e9}\"", "\"e\u{301}\"", "\"\\u00e9\"", "\"e\\u0301\""],
        &["[1,[true,null]]", "[ 1.0 , [ true , null ] ]"],
    ];
    let mut all = Vec::new();
    for group in groups {
        let texts: Vec<String> = group.iter().map(|text| canonical_json(text).unwrap()).collect();
        assert!(texts.iter().all(|text| *text == texts[0]), "{group:?}: {texts:?}");
        // The canonical text is JSON, and its own canonical text.
        assert_eq!(canonical_json(&texts[0]).unwrap(), texts[0]);
        serde_json::from_str::<Value>(&texts[0]).unwrap();
        all.push(texts[0].clone());
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), groups.len());
    let plain = canonical_json("{\"z\":[1.25e-3,-7.0,1e50],\"a\":\"\\u0001\"}").unwrap();
    assert_eq!(plain, "{\"a\":\"\\u0001\",\"z\":[0.00125,-7,1e50]}");
}

#[test]
fn json_without_a_canonical_text_is_refused() {
    let deep = "[".repeat(100) + &"]".repeat(100);
    let cases = [
        ("{\"a\":1,\"a\":1}", "found the field 'a' twice; expected it once"),
        ("{\"x\":{\"\u{e9}\":1,\"e\u{301}\":2}}", "x: found the field '\u{e9}' twice"),
        (&deep, "nests more than 64 deep"),
        ("[1, 1e99999999999999]", "[1]: found a number of more than 1000 digits"),
        ("{\"a\":", "EOF"),
        ("1 2", "trailing characters"),
        ("\"\\ud800\"", "hex escape"),
        ("NaN", "expected"),
    ];
    for (text, expected) in cases {
        let error = canonical_json(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
