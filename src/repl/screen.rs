//! Where rows go: the screen, a pager over it, or a file. What is stored in a database may hold
//! anything; what commands a terminal never reaches one.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use console::Term;

use super::progress_view::ProgressLine;

/// Whether a pager has the screen: then Ctrl-C is also its own, and never ends the program.
static PAGING: AtomicBool = AtomicBool::new(false);

/// What stands for a character that is not shown.
const DOT: &str = "\u{b7}";

/// Returns true while a pager has the screen.
pub(super) fn is_paging() -> bool {
    PAGING.load(Ordering::Relaxed)
}

/// Returns a text without what would command a terminal: control characters but line ends and
/// tabs, and marks that turn the direction of writing.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let is_command = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    match text.contains(is_command) {
        true => Cow::Owned(text.replace(is_command, DOT)),
        false => Cow::Borrowed(text),
    }
}

/// The output of rows.
pub(super) struct Output {
    to: BufWriter<Box<dyn Write + Send>>,
    /// Whether it ends on the screen.
    pub is_screen: bool,
    line: ProgressLine,
    pager: Option<Pager>,
    /// The last byte written to the screen: some control characters have two.
    last: u8,
}

impl Output {
    /// Returns the standard output; `line` is taken away before something is written to a screen.
    pub fn standard(line: ProgressLine) -> Output {
        let is_screen = io::stdout().is_terminal();
        Output { to: BufWriter::new(Box::new(io::stdout())), is_screen, line, pager: None, last: 0 }
    }

    /// Returns an output to a new file.
    pub fn file(path: &Path, line: ProgressLine) -> io::Result<Output> {
        let to: Box<dyn Write + Send> = Box::new(File::create(path)?);
        Ok(Output { to: BufWriter::new(to), is_screen: false, line, pager: None, last: 0 })
    }

    /// Sends what follows through a pager if it is longer than the screen.
    pub fn begin_pages(&mut self) {
        if self.is_screen {
            self.pager = Some(Pager::default());
        }
    }

    /// Writes a text as it is: its colours are commands to the terminal.
    pub fn write_coloured(&mut self, text: &str) -> io::Result<()> {
        if self.is_screen {
            self.line.hide();
        }
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }

    /// Writes what is held back, and waits until the pager is closed. Returns true if the pager
    /// was left before it had seen everything.
    pub fn end_pages(&mut self) -> io::Result<bool> {
        let Some(mut pager) = self.pager.take() else { return self.to.flush().map(|()| false) };
        if pager.child.is_none() {
            self.to.write_all(&pager.held)?;
        }
        self.to.flush()?;
        pager.wait();
        Ok(pager.was_left)
    }

    fn write_screen(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut clean = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            let command = byte < 0x20 && byte != b'\n' && byte != b'\t' || byte == 0x7f;
            match (self.last, byte) {
                _ if command => clean.extend_from_slice(DOT.as_bytes()),
                // The control characters behind ASCII, of two bytes, become the dot too.
                (0xc2, 0x80..=0x9f) => clean.push(0xb7),
                _ => clean.push(byte),
            }
            self.last = byte;
        }
        self.line.hide();
        match &mut self.pager {
            Some(pager) => pager.write(&clean),
            None => self.to.write_all(&clean),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_screen {
            self.write_screen(bytes).map(|()| bytes.len())
        } else {
            self.to.write(bytes)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The user's pager, begun when a text is longer than the screen.
#[derive(Default)]
struct Pager {
    held: Vec<u8>,
    child: Option<Child>,
    /// There is no pager: everything goes to the screen.
    is_absent: bool,
    was_left: bool,
}

impl Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_absent {
            return io::stdout().write_all(bytes);
        }
        if self.child.is_none() {
            self.held.extend_from_slice(bytes);
            let lines = self.held.iter().filter(|byte| **byte == b'\n').count();
            if lines < screen_lines() {
                return Ok(());
            }
            let held = std::mem::take(&mut self.held);
            return self.begin(None).and_then(|()| self.write(&held));
        }
        let pipe = self.child.as_mut().and_then(|child| child.stdin.as_mut());
        let written = pipe.map_or(Ok(()), |pipe| pipe.write_all(bytes));
        self.was_left |= written.is_err();
        written
    }

    /// Begins the pager, at a line of the text if it is one that can.
    fn begin(&mut self, line: Option<usize>) -> io::Result<()> {
        let pager = std::env::var("PAGER").ok().filter(|pager| !pager.trim().is_empty());
        let pager = pager.unwrap_or_else(|| "less -R".to_owned());
        let mut words = pager.split_whitespace();
        let program = words.next().unwrap_or("less");
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::piped());
        if let Some(line) = line.filter(|_| program.ends_with("less")) {
            command.arg(format!("+{line}"));
        }
        io::stdout().flush()?;
        match command.spawn() {
            Ok(child) => {
                PAGING.store(true, Ordering::Relaxed);
                self.child = Some(child);
            }
            Err(_) => self.is_absent = true,
        }
        Ok(())
    }

    fn wait(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            // Whatever became of it, the screen is ours again.
            let _ = child.wait();
            PAGING.store(false, Ordering::Relaxed);
        }
    }
}

/// Returns how many lines fit on the screen beside the prompt.
fn screen_lines() -> usize {
    usize::from(Term::stdout().size().0).saturating_sub(2).max(5)
}

/// Shows a text, through the user's pager where it is longer than the screen; the pager begins at
/// `line` (from 1) if it can.
pub(super) fn page(text: &str, line: Option<usize>) {
    let mut pager = Pager::default();
    let is_long = io::stdout().is_terminal() && text.lines().count() >= screen_lines();
    if is_long && pager.begin(line).is_ok() && !pager.is_absent {
        // A pager that is left early closes its end.
        let _ = pager.write(text.as_bytes());
        pager.wait();
        return;
    }
    let _ = io::stdout().write_all(text.as_bytes());
}
