//! Walking over JSON without parsing it: where values begin and end.

/// Returns the part of `text` behind leading white space and byte order marks.
pub(super) fn trim_start(mut text: &[u8]) -> &[u8] {
    loop {
        let trimmed = text.trim_ascii_start();
        let rest = trimmed.strip_prefix(b"\xef\xbb\xbf").unwrap_or(trimmed);
        if rest.len() == text.len() {
            return text;
        }
        text = rest;
    }
}

/// Returns, for each line of `head` that is not blank, everything from its first character on.
pub(super) fn lines_from(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = trim_start(head);
    std::iter::from_fn(move || {
        let found = rest;
        if found.is_empty() {
            return None;
        }
        rest = match memchr::memchr(b'\n', found) {
            Some(end) => trim_start(&found[end + 1..]),
            None => &[],
        };
        Some(found)
    })
}

/// Returns what stands behind the `[` that `text` begins with, white space left out; nothing
/// where it begins with something else.
pub(super) fn after_bracket(text: &[u8]) -> &[u8] {
    match text.strip_prefix(b"[") {
        Some(inner) => trim_start(inner),
        None => &[],
    }
}

/// Returns the beginning of `text` for a message: the first line, cut after 40 characters.
pub(super) fn excerpt(text: &[u8]) -> String {
    const SHOWN: usize = 40;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or(text);
    let line = String::from_utf8_lossy(&line[..line.len().min(4 * SHOWN)]).into_owned();
    let cut: String = line.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    let more = if line.chars().count() > SHOWN { "..." } else { "" };
    format!("'{}{more}'", cut.trim_end())
}

/// Returns the field names of the object that `text` begins with, as far as the text goes. It
/// may be cut off, or no JSON at all behind some point.
pub(super) fn top_keys(text: &[u8]) -> Vec<String> {
    let mut keys = Vec::new();
    let mut depth = 0_u32;
    let mut is_key = false;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                let Some(end) = string_end(text, at + 1) else { break };
                if depth == 1 && is_key {
                    let raw = String::from_utf8_lossy(&text[at..end]);
                    keys.extend(serde_json::from_str::<String>(&raw));
                    is_key = false;
                }
                at = end;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                is_key = depth == 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            b',' if depth == 1 => is_key = true,
            _ => {}
        }
        at += 1;
    }
    keys
}

/// Returns the place behind the quote that ends the string whose content starts at `from`;
/// `None` where the text ends first.
fn string_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Whether `text` begins with an object that is spread over several lines: its first line does
/// not end it, and the next one goes on with a field.
pub(super) fn is_spread(text: &[u8]) -> bool {
    let mut lines = text.splitn(2, |byte| *byte == b'\n');
    let (Some(line), Some(rest)) = (lines.next(), lines.next()) else { return false };
    let line = line.trim_ascii_end();
    let open = line == b"{" || line.ends_with(b",") || line.ends_with(b"{") || line.ends_with(b"[");
    line.starts_with(b"{") && open && !trim_start(rest).starts_with(b"{\"")
}

/// Returns the path of the field that the text before `offset` leads into or ends with, such as
/// `messages[3].content`; `""` for the text as a whole.
pub(super) fn path_at(text: &str, offset: usize) -> String {
    enum Open {
        Object(Option<String>),
        List(usize),
    }
    let bytes = text.as_bytes();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while at < offset.min(bytes.len()) {
        match bytes[at] {
            b'"' => {
                let end = string_end(bytes, at + 1).unwrap_or(bytes.len());
                if let Some(Open::Object(key @ None)) = open.last_mut()
                    && end <= offset
                {
                    *key = text.get(at..end).and_then(|raw| serde_json::from_str(raw).ok());
                }
                at = end;
                continue;
            }
            b'{' => open.push(Open::Object(None)),
            b'[' => open.push(Open::List(0)),
            b'}' | b']' => drop(open.pop()),
            b',' => match open.last_mut() {
                Some(Open::Object(key)) => *key = None,
                Some(Open::List(index)) => *index += 1,
                None => {}
            },
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for level in open {
        match level {
            Open::Object(Some(key)) if path.is_empty() => path.push_str(&key),
            Open::Object(Some(key)) => path.extend([".", &key]),
            Open::Object(None) => {}
            Open::List(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// Returns `json` without the white space between its tokens.
pub(super) fn compact(json: &str) -> String {
    let bytes = json.as_bytes();
    let mut out = String::with_capacity(json.len());
    let mut at = 0;
    while at < bytes.len() {
        let from = at;
        if bytes[at] == b'"' {
            at = string_end(bytes, at + 1).unwrap_or(bytes.len());
            out.push_str(&json[from..at]);
        } else if bytes[at].is_ascii_whitespace() {
            at += 1;
        } else {
            while at < bytes.len() && bytes[at] != b'"' && !bytes[at].is_ascii_whitespace() {
                at += 1;
            }
            out.push_str(&json[from..at]);
        }
    }
    out
}

/// Returns how deep arrays and objects of `json` nest.
pub(super) fn depth(json: &str) -> usize {
    let bytes = json.as_bytes();
    let (mut now, mut most, mut at) = (0_usize, 0_usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = string_end(bytes, at + 1).unwrap_or(bytes.len());
                continue;
            }
            b'{' | b'[' => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    most
}
