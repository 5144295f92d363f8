//! Server-sent events: the lines that a stream is made of (WHATWG HTML, 9.2.6).

/// Splits bytes into events. Bytes come in pieces that end anywhere, within a character too.
#[derive(Default)]
pub(super) struct ServerEvents {
    /// The bytes behind the last line that is whole.
    rest: Vec<u8>,
    /// How many of them were looked at.
    seen: usize,
    data: Vec<String>,
    /// Whether a line ended in a carriage return, whose line feed may follow in the next piece.
    after_return: bool,
}

impl ServerEvents {
    /// Takes bytes and calls `each` with the data of every event that is whole.
    ///
    /// # Errors
    /// A line is not UTF-8: the place of its first wrong byte.
    pub fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(String)) -> Result<(), usize> {
        self.rest.extend_from_slice(bytes);
        loop {
            if self.after_return && !self.rest.is_empty() {
                self.after_return = false;
                if self.rest[0] == b'\n' {
                    self.rest.remove(0);
                }
            }
            let ends = |byte: &u8| matches!(byte, b'\n' | b'\r');
            let Some(end) = self.rest[self.seen..].iter().position(ends) else {
                self.seen = self.rest.len();
                return Ok(());
            };
            let end = self.seen + end;
            self.after_return = self.rest[end] == b'\r';
            let mut line: Vec<u8> = self.rest.drain(..=end).collect();
            self.seen = 0;
            line.pop();
            let line = String::from_utf8(line).map_err(|e| e.utf8_error().valid_up_to())?;
            self.line(&line, each);
        }
    }

    fn line(&mut self, line: &str, each: &mut dyn FnMut(String)) {
        if line.is_empty() {
            if !self.data.is_empty() {
                each(std::mem::take(&mut self.data).join("\n"));
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field.trim_start_matches('\u{feff}') == "data" {
            self.data.push(value.strip_prefix(' ').unwrap_or(value).to_owned());
        }
    }

    /// Returns the data of an event without the empty line behind it, at the end of a stream. A
    /// line without its end does not count.
    pub fn last(&mut self) -> Option<String> {
        (!self.data.is_empty()).then(|| std::mem::take(&mut self.data).join("\n"))
    }
}
