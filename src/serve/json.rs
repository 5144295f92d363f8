//! JSON and query strings in.

use percent_encoding::percent_decode;
use serde::de::DeserializeOwned;

use super::reply::Failure;

/// Reads a body that is an object.
///
/// # Errors
/// What is wrong and where, and what `expected` looks like.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8], expected: &str) -> Result<T, Failure> {
    let wrong = |found: &str| {
        Failure::invalid(format!("the body is not what is expected: {found}; expected {expected}"))
    };
    // A list would be taken as the fields of an object in their order.
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(body).map_err(|error| wrong(&error.to_string())),
        Some(_) => Err(wrong("it is no JSON object")),
        None => Err(wrong("there is none")),
    }
}

/// Decodes a part of a path.
///
/// # Errors
/// 400 where it is not UTF-8.
pub(super) fn decode(part: &str) -> Result<String, Failure> {
    let text = percent_decode(part.as_bytes()).decode_utf8();
    Ok(text.map_err(|_| Failure::invalid("the path is not UTF-8"))?.into_owned())
}

/// Reads a query string; a name that stands twice or is not among `known` is refused.
///
/// # Errors
/// 400 saying which parameter is wrong.
pub(super) fn parameters<const N: usize>(
    query: Option<&str>,
    known: [&str; N],
) -> Result<[Option<String>; N], Failure> {
    let mut values = [const { None }; N];
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode_parameter(name)?, decode_parameter(value)?);
        let Some(index) = known.iter().position(|known| *known == name) else {
            let known = known.join(", ");
            return Err(Failure::invalid(format!(
                "there is no parameter '{name}'; there are: {known}"
            )));
        };
        if values[index].replace(value).is_some() {
            return Err(Failure::invalid(format!("the parameter '{name}' is there twice")));
        }
    }
    Ok(values)
}

fn decode_parameter(text: &str) -> Result<String, Failure> {
    let spaced = text.replace('+', " ");
    let text = percent_decode(spaced.as_bytes()).decode_utf8();
    Ok(text.map_err(|_| Failure::invalid("the query string is not UTF-8"))?.into_owned())
}
