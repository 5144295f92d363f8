//! Readers of what documents are written in, made apart from the writers: strict ones, which stop
//! at whatever a writer should not have let through.

use std::collections::BTreeSet;

use regex::Regex;

/// A page that was read: its elements and their texts.
pub struct Page {
    /// Each element's name, and the text within it and within what it holds.
    elements: Vec<(String, String)>,
}

impl Page {
    /// Reads a page as XML would be read: one root, every element closed in its order, every
    /// attribute quoted and given once, no character without its escape; besides, no id twice and
    /// none named that is not there.
    pub fn read(text: &str) -> Page {
        let tag = Regex::new(r#"^<(/?)([a-z][a-z0-9]*)((?: [a-zA-Z-]+="[^"<>]*")*)(/?)>"#).unwrap();
        let attribute = Regex::new(r#" ([a-zA-Z-]+)="([^"<>]*)""#).unwrap();
        let mut rest = text.strip_prefix("<!DOCTYPE html>\n").expect("a page says what it is");
        let (mut elements, mut open): (Vec<(String, String)>, Vec<usize>) = Default::default();
        let (mut ids, mut named) = (BTreeSet::new(), BTreeSet::new());
        while !rest.is_empty() {
            let (before, behind) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
            let words = unescaped(before);
            assert!(!open.is_empty() || words.trim().is_empty(), "{words:?} outside the page");
            open.iter().for_each(|at| elements[*at].1.push_str(&words));
            if behind.is_empty() {
                break;
            }
            let found = tag.captures(behind);
            let found = found.unwrap_or_else(|| panic!("no tag: {:.80}", behind));
            rest = &behind[found[0].len()..];
            if &found[1] == "/" {
                let at = open.pop().expect("a tag closes what is open");
                assert_eq!(elements[at].0, found[2], "before {rest:.80}");
                continue;
            }
            assert!(!open.is_empty() || elements.is_empty(), "two roots");
            let mut seen = BTreeSet::new();
            for one in attribute.captures_iter(&found[3]) {
                assert!(seen.insert(one[1].to_owned()), "twice in {}", &found[0]);
                let value = unescaped(&one[2]);
                match &one[1] {
                    "id" => assert!(ids.insert(value.clone()), "id {value} is there twice"),
                    "aria-labelledby" => named.extend(value.split(' ').map(str::to_owned)),
                    "href" => {
                        named.insert(value.strip_prefix('#').expect("a place here").to_owned());
                    }
                    _ => {}
                }
            }
            if &found[2] == "br" {
                open.iter().for_each(|at| elements[*at].1.push('\n'));
            }
            elements.push((found[2].to_owned(), String::new()));
            if found[4].is_empty() {
                open.push(elements.len() - 1);
            } else {
                let is_empty = ["meta", "br", "polyline", "circle", "rect"].contains(&&found[2]);
                assert!(is_empty, "HTML does not close {}", &found[0]);
            }
        }
        assert!(open.is_empty(), "not closed: {open:?}");
        assert!(named.is_subset(&ids), "not there: {:?}", named.difference(&ids));
        Page { elements }
    }

    /// Returns the texts of the elements of a name.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let named = self.elements.iter().filter(|(element, _)| element == name);
        named.map(|(_, text)| text.clone()).collect()
    }
}

/// Returns the text that HTML stands for.
fn unescaped(html: &str) -> String {
    let mut out = String::new();
    let mut parts = html.split('&');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, behind) = part.split_once(';').expect("a reference ends");
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            _ => panic!("&{name}; is not among those written"),
        });
        out.push_str(behind);
    }
    assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{out:?}");
    out
}

/// Returns the text that a line of Markdown stands for; stops at what may be markup and is not
/// escaped.
pub fn read_markdown(line: &str) -> String {
    let letters: Vec<char> = line.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    let starts =
        |at: usize, with: &str| letters[at..].iter().copied().take(with.len()).eq(with.chars());
    while at < letters.len() {
        let letter = letters[at];
        let tag = ["<br>", "<code>", "</code>"].into_iter().find(|tag| starts(at, tag));
        if let Some(tag) = tag {
            out.push_str(if tag == "<br>" { "\n" } else { "" });
            at += tag.len();
            continue;
        }
        match letter {
            '\\' => {
                let next = letters.get(at + 1).expect("something is escaped");
                assert!(next.is_ascii_punctuation(), "nothing to escape: {line}");
                out.push(*next);
                at += 2;
            }
            '`' => {
                let fence = letters[at..].iter().take_while(|letter| **letter == '`').count();
                let (code, end) = code(&letters, at + fence, fence).expect("code ends");
                out.push_str(&code);
                at = end;
            }
            '&' => {
                assert!(starts(at, "&#"), "no reference: {line}");
                let digits: String = letters[at + 2..].iter().take_while(|c| **c != ';').collect();
                out.push(char::from_u32(digits.parse().unwrap()).unwrap());
                at += digits.len() + 3;
            }
            '*' | '[' | ']' | '<' | '>' | '~' | '$' => panic!("'{letter}' is bare: {line}"),
            _ => {
                out.push(letter);
                at += 1;
            }
        }
    }
    out
}

/// Returns the code that begins at a place behind a fence of backticks, and where its other fence
/// ends: the first run of as many.
fn code(letters: &[char], from: usize, fence: usize) -> Option<(String, usize)> {
    let mut at = from;
    while at < letters.len() {
        let run = letters[at..].iter().take_while(|letter| **letter == '`').count();
        if run == fence {
            let code: String = letters[from..at].iter().collect();
            let inner = code.strip_prefix(' ').and_then(|code| code.strip_suffix(' '));
            let inner = inner.filter(|inner| !inner.trim().is_empty());
            return Some((inner.unwrap_or(&code).to_owned(), at + run));
        }
        at += run.max(1);
    }
    None
}

/// Returns the cells of a row of a table. In GitHub's tables a bar behind a backslash is no border,
/// in code too, and the backslash is taken off before all else is read.
pub fn read_row(line: &str) -> Vec<String> {
    let inside = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')).expect("a row");
    let mut cells = vec![String::new()];
    let mut is_escaped = false;
    for letter in inside.chars() {
        if letter == '|' && !is_escaped {
            cells.push(String::new());
            continue;
        }
        let last = cells.len() - 1;
        if letter == '|' {
            cells[last].pop();
        }
        is_escaped = letter == '\\' && !is_escaped;
        cells[last].push(letter);
    }
    cells.iter().map(|cell| read_markdown(cell)).collect()
}
