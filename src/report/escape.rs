//! Text as markup that reads as that text: nothing in it is taken for a tag, a cell or emphasis.

use crate::plot::is_harmful;

/// Returns a text whose lines end with `\n` only, and with `·` for what cannot be shown.
fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', " ");
    let shown = |letter| if letter != '\n' && is_harmful(letter) { '·' } else { letter };
    text.chars().map(shown).collect()
}

/// Returns a text on one line.
pub(super) fn one_line(text: &str) -> String {
    clean(text).split('\n').map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// Returns a text as HTML, its line ends as breaks.
pub(super) fn html(text: &str) -> String {
    html_kept(text).replace('\n', "<br/>")
}

/// Returns a text as HTML, its line ends as they are.
pub(super) fn html_kept(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in clean(text).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter => out.push(letter),
        }
    }
    out
}

/// Returns a text as Markdown on one line, its line ends as breaks: GitHub's dialect of CommonMark,
/// in a paragraph, a heading or a cell alike. `is_first` says whether it may begin a line.
pub(super) fn markdown(text: &str, is_first: bool) -> String {
    let text = clean(text);
    let line = |(at, line)| markdown_line(line, is_first && at == 0);
    let lines: Vec<String> = text.split('\n').enumerate().map(line).collect();
    lines.join("<br>")
}

fn markdown_line(line: &str, is_first: bool) -> String {
    let letters: Vec<char> = line.chars().collect();
    let mut out = String::with_capacity(line.len());
    for (at, letter) in letters.iter().enumerate() {
        if is_markup(&letters, at) || (is_first && is_leading(&letters, at)) {
            out.push('\\');
        }
        out.push(*letter);
    }
    out
}

/// Returns whether a character may be markup wherever it stands.
fn is_markup(letters: &[char], at: usize) -> bool {
    let is_word = |at: Option<usize>| {
        at.and_then(|at| letters.get(at)).is_some_and(|letter| letter.is_alphanumeric())
    };
    match letters[at] {
        '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '$' => true,
        // Within a word it is no emphasis.
        '_' => !(is_word(at.checked_sub(1)) && is_word(Some(at + 1))),
        // A heading may close with it.
        '#' => letters[at + 1..].iter().all(|letter| *letter == ' '),
        // Addresses become links, in which a backslash would be seen.
        ':' => letters[at + 1..].starts_with(&['/', '/']),
        '.' => letters[..at].ends_with(&['w', 'w', 'w']),
        _ => false,
    }
}

/// Returns whether a character may begin a list, a heading or a rule at the beginning of a line.
fn is_leading(letters: &[char], at: usize) -> bool {
    let start = letters.iter().take_while(|letter| letter.is_whitespace()).count();
    let digits = letters[start..].iter().take_while(|letter| letter.is_ascii_digit()).count();
    match letters[at] {
        '-' | '+' | '=' | '#' => at == start,
        '.' | ')' => {
            let next = letters.get(at + 1);
            digits > 0 && at == start + digits && next.is_none_or(|next| *next == ' ')
        }
        _ => false,
    }
}

/// Returns a text as code in Markdown; nothing for no text. `is_cell` says whether it stands in a
/// table, where bars end cells in code too.
pub(super) fn markdown_code(text: &str, is_cell: bool) -> String {
    let text = clean(text);
    let is_plain = text.trim() == text && !text.contains('\n');
    match text.is_empty() {
        true => String::new(),
        // Before a bar it would be taken for the bar's own.
        false if is_plain && !(is_cell && text.contains('\\')) => {
            let bar = if is_cell { "\\|" } else { "|" };
            between_backticks(&text).replace('|', bar)
        }
        false => code_element(&text),
    }
}

/// Returns a text between more backticks than it has side by side.
fn between_backticks(text: &str) -> String {
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // One space at each side is taken off by readers.
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// Returns a text as an element of HTML in Markdown: between backticks nothing can be escaped, here
/// references to characters can stand.
fn code_element(text: &str) -> String {
    let mut out = "<code>".to_owned();
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("<br>"),
            letter if letter.is_ascii_punctuation() && !",-/=".contains(letter) => {
                out.push_str(&format!("&#{};", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
    out + "</code>"
}
