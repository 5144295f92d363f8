//! Finds the elements of one JSON array in text that arrives in pieces.
//!
//! Nothing is parsed: brackets are counted and strings skipped. An element with mismatched
//! brackets or other faults inside is left to its parser.

use std::ops::Range;

use super::error::Fault;

/// Where in the array the scan stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the array.
    #[default]
    Before,
    /// In the array, between elements.
    Between,
    /// In an element.
    Inside {
        /// Open brackets of the element.
        depth: u64,
        /// In a string of it.
        string: bool,
        /// Behind a backslash in that string.
        escaped: bool,
    },
    /// Behind the array.
    After,
}

/// What the end of a step of the scan means.
enum Step {
    /// Go on at this place.
    Next(usize),
    /// The element ends before this place.
    End(usize),
}

/// A scan over the text of an array. Places are relative to a buffer that moves on by
/// [`EntryScan::forget`].
#[derive(Debug, Default)]
pub(super) struct EntryScan {
    state: State,
    /// The first byte that was not looked at.
    at: usize,
    /// Where the current element starts.
    start: usize,
    /// Whether the current element is too long and its bytes are forgotten.
    skipping: bool,
    /// Whether something that is no white space stands behind the array.
    trailing: bool,
    /// Whether the array stands in an object, whose end may stand behind it.
    within_object: bool,
    /// Whether the end was reported.
    reported: bool,
    spans: Vec<Range<usize>>,
}

impl EntryScan {
    /// Returns a scan of the first array within an object.
    pub(super) fn within_object() -> EntryScan {
        EntryScan { within_object: true, ..EntryScan::default() }
    }

    /// Looks at the bytes of `buffer` that are new. Returns the end of an element whose
    /// beginning was forgotten, and stops there.
    pub(super) fn run(&mut self, buffer: &[u8]) -> Option<usize> {
        while self.at < buffer.len() {
            match self.state {
                State::Before => {
                    let byte = buffer[self.at];
                    self.at += 1;
                    if byte == b'[' {
                        self.state = State::Between;
                    }
                }
                State::Between => self.between(buffer[self.at]),
                State::Inside { .. } => {
                    if let Step::End(end) = self.inside(buffer) {
                        self.state = State::Between;
                        self.at = end;
                        if std::mem::take(&mut self.skipping) {
                            return Some(end);
                        }
                        self.spans.push(self.start..end);
                    }
                }
                State::After => {
                    let rest = &buffer[self.at..];
                    self.trailing |= !rest.trim_ascii().is_empty();
                    self.at = buffer.len();
                }
            }
        }
        None
    }

    fn between(&mut self, byte: u8) {
        match byte {
            b',' | b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
            b']' => {
                self.at += 1;
                self.state = State::After;
            }
            _ => {
                self.start = self.at;
                self.state = State::Inside { depth: 0, string: false, escaped: false };
            }
        }
    }

    /// Walks on within an element until it or the buffer ends.
    fn inside(&mut self, buffer: &[u8]) -> Step {
        let State::Inside { mut depth, mut string, mut escaped } = self.state else {
            return Step::Next(self.at);
        };
        let mut at = self.at;
        let step = loop {
            if at >= buffer.len() {
                break Step::Next(at);
            }
            if escaped {
                escaped = false;
                at += 1;
                continue;
            }
            if string {
                let Some(found) = memchr::memchr2(b'"', b'\\', &buffer[at..]) else {
                    break Step::Next(buffer.len());
                };
                at += found;
                escaped = buffer[at] == b'\\';
                string = escaped;
                at += 1;
                if depth == 0 && !string {
                    break Step::End(at);
                }
                continue;
            }
            match buffer[at] {
                b'"' => string = true,
                b'{' | b'[' => depth += 1,
                b']' if depth == 0 => break Step::End(at),
                b',' if depth == 0 => break Step::End(at),
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        break Step::End(at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        };
        if let Step::Next(next) = step {
            self.at = next;
            self.state = State::Inside { depth, string, escaped };
        }
        step
    }

    /// Returns the elements found and not taken.
    pub(super) fn spans(&self) -> &[Range<usize>] {
        &self.spans
    }

    /// Takes the elements found.
    pub(super) fn take_spans(&mut self) -> Vec<Range<usize>> {
        std::mem::take(&mut self.spans)
    }

    /// Returns the first byte that is still needed once the elements found are taken, of a
    /// buffer of `length` bytes.
    pub(super) fn keep_from(&self, length: usize) -> usize {
        match self.state {
            State::Inside { .. } if !self.skipping => self.start,
            _ => self.at.min(length),
        }
    }

    /// Forgets the first `count` bytes of the buffer.
    pub(super) fn forget(&mut self, count: usize) {
        self.at -= count.min(self.at);
        self.start -= count.min(self.start);
    }

    /// Gives up the current element: its end will be found, its bytes are not kept.
    pub(super) fn skip_entry(&mut self) {
        self.skipping = matches!(self.state, State::Inside { .. });
    }

    /// Returns what is wrong with the end of the text, the first time it is asked.
    pub(super) fn end(&mut self) -> Option<Fault> {
        if std::mem::replace(&mut self.reported, true) {
            return None;
        }
        match self.state {
            State::Inside { .. } => Some("the file ends inside this entry: it is cut off"),
            State::Before | State::Between => {
                Some("the file ends here without the ']' of its array: it is cut off")
            }
            State::After if self.trailing && !self.within_object => {
                Some("found text behind the ']' of the array; expected the end of the file")
            }
            State::After => None,
        }
        .map(Fault::whole)
    }
}
