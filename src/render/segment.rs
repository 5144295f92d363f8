//! What rendering yields: text in pieces that say what they are.

/// A piece of a rendered transcript. Pieces are turned into tokens one by one, so that no token
/// spans the border of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The text.
    pub text: String,
    /// Whether control tokens are recognised in it; otherwise every character is plain text.
    pub control: bool,
    /// The step whose action this is, end of turn included; `None` for everything the policy
    /// only reads.
    pub step: Option<u32>,
}

/// One sequence: a transcript up to the end of its last chosen action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderedSequence {
    /// The pieces, in order.
    pub segments: Vec<Segment>,
}

/// A trajectory as sequences. Where every state is a prefix of the next there is exactly one;
/// each further one holds steps whose state is not (an edited history, a template that rewrites
/// earlier turns).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The sequences; every chosen step is an action of exactly one.
    pub sequences: Vec<RenderedSequence>,
}

impl RenderedSequence {
    /// Appends a piece; plain text joins plain text of the same kind.
    pub(super) fn push(&mut self, text: &str, control: bool, step: Option<u32>) {
        if text.is_empty() {
            return;
        }
        match self.segments.last_mut() {
            Some(last) if !control && !last.control && last.step == step => {
                last.text.push_str(text);
            }
            _ => self.segments.push(Segment { text: text.to_owned(), control, step }),
        }
    }

    /// Returns the steps whose actions are in the sequence, in order.
    pub fn steps(&self) -> Vec<u32> {
        let mut steps: Vec<u32> = self.segments.iter().filter_map(|s| s.step).collect();
        steps.dedup();
        steps
    }

    /// Returns the text of all pieces.
    pub fn text(&self) -> String {
        self.segments.iter().map(|s| s.text.as_str()).collect()
    }
}

impl Rendered {
    /// Returns how many sequences there are beside the first.
    pub fn apart(&self) -> usize {
        self.sequences.len().saturating_sub(1)
    }
}
