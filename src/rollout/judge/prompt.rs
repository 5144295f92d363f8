//! The prompts that come with the program: what is judged, and how the verdict is written.

use super::spec::{JudgeTarget, Scale};

/// A prompt that comes with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BuiltIn {
    /// One step of a conversation: a query that may help, or an answer that follows.
    Process,
    /// The same with several search tools: also whether the right one was chosen.
    Choice,
    /// One step of a calculation: an expression, or an answer that follows.
    Calculation,
    /// An answer against the key.
    Outcome,
}

/// How a verdict is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// An explanation, then one of two words on the last line.
    Explained,
    /// An explanation, then a grade from 1 to 5 on the last line.
    Graded,
    /// One of two words and nothing else, whose probability can be read.
    OneWord,
}

const PROCESS: &str = "\
You review the work of an assistant that answers a question with the help of a search tool. You \
are shown the question, the conversation up to now, and the assistant's newest message. Review the \
newest message only; what came before is given so that you can understand it, and is not under \
review.

If the newest message asks for a search: consider what is known so far and what is still missing. \
A search is worthwhile when its result would probably bring the answer nearer. It is not when it \
repeats an earlier one, looks for something already found, or has little to do with the question.

If the newest message gives an answer: consider only whether the results in the conversation \
support it. Do not use what you know yourself. An answer that the results support passes even if \
you believe it is false; an answer that they do not support fails even if you believe it is true.
";

const CHOICE: &str = "\
You review the work of an assistant that answers a question and can search in several places. You \
are shown the question, the tools it has, the conversation up to now, and the assistant's newest \
message. Review the newest message only; what came before is given so that you can understand it, \
and is not under review.

If the newest message calls a tool: consider two things. Is this the tool whose description fits \
best what has to be found next? Would the result of this call probably bring the answer nearer? \
Both must hold. A call fails when another tool was clearly the better place, when it repeats an \
earlier call, or when it looks for something already found.

If the newest message gives an answer: consider only whether the results in the conversation \
support it. Do not use what you know yourself. An answer that the results support passes even if \
you believe it is false; an answer that they do not support fails even if you believe it is true.

Tools:
{tools}
";

const CALCULATION: &str = "\
You review the work of an assistant that solves a problem with the help of a calculator. You are \
shown the problem, the conversation up to now, and the assistant's newest message. Review the \
newest message only; what came before is given so that you can understand it, and is not under \
review.

If the newest message asks for a calculation: consider whether the expression follows from the \
problem and from the results so far, whether its quantities and units are the ones that belong \
there, and whether its value is a step towards the solution. Whether the arithmetic comes out \
right is the calculator's business. A calculation that was already made does not help.

If the newest message gives an answer: consider only whether the results in the conversation lead \
to it, and whether it answers what the problem asks. Different spellings of one value are equal: \
1/2, 0.5 and 50% are the same.
";

const STEP_MATERIAL: &str = "
Question:
{question}

Conversation up to now:
{conversation}

Newest message:
{last_message}
";

const OUTCOME: &str = "\
You compare an answer with the key to a question. Several keys mean that any of them is right. \
Your only task is to decide whether the answer says what the key says. Do not answer the question \
yourself and do not use what you know about it: the key counts as right even if you disagree.

Other words for the same thing are the same answer, and so is more or less detail, as long as \
nothing in it contradicts the key. Different spellings of one value are equal: 1,000 and 1e3, 1/2 \
and 0.5, 50% and one half. No answer at all is not the same as the key.

Question:
{question}

Key:
{gold}

Answer:
{answer}
";

const STEP_WORDS: &str = "
Explain your view in a few sentences. Then write a last line that holds one word and nothing else: \
GOOD if the newest message passes, BAD if it fails.
";

const STEP_GRADES: &str = "
Explain your view in a few sentences. Then write a last line that holds one digit and nothing \
else: 5 if the newest message is exactly what was needed, 4 if it is useful with small flaws, 3 if \
it is as much use as not, 2 if it is of little use, 1 if it is useless or wrong.
";

const STEP_ONE_WORD: &str = "
Write one word and nothing else: GOOD if the newest message passes, BAD if it fails.
";

const ANSWER_WORDS: &str = "
Explain your view in a few sentences. Then write a last line that holds one word and nothing else: \
YES if the answer says what the key says, NO if it does not.
";

const ANSWER_GRADES: &str = "
Explain your view in a few sentences. Then write a last line that holds one digit and nothing \
else: 5 if the answer says all that the key says, 4 if nearly all, 3 if about half of it, 2 if \
little of it, 1 if it says nothing of it or contradicts it.
";

const ANSWER_ONE_WORD: &str = "
Write one word and nothing else: YES if the answer says what the key says, NO if it does not.
";

impl BuiltIn {
    /// Every prompt.
    pub const ALL: [BuiltIn; 4] =
        [BuiltIn::Process, BuiltIn::Choice, BuiltIn::Calculation, BuiltIn::Outcome];

    /// Returns the word that names it.
    pub fn as_str(self) -> &'static str {
        match self {
            BuiltIn::Process => "process",
            BuiltIn::Choice => "choice",
            BuiltIn::Calculation => "calculation",
            BuiltIn::Outcome => "outcome",
        }
    }

    /// Returns the prompt that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<BuiltIn> {
        BuiltIn::ALL.into_iter().find(|prompt| prompt.as_str() == word)
    }

    /// Returns what it judges.
    pub fn target(self) -> JudgeTarget {
        match self {
            BuiltIn::Process | BuiltIn::Choice | BuiltIn::Calculation => JudgeTarget::Process,
            BuiltIn::Outcome => JudgeTarget::Outcome,
        }
    }

    /// Returns the text of the prompt.
    pub fn text(self, ending: Ending) -> String {
        let task = match self {
            BuiltIn::Process => PROCESS,
            BuiltIn::Choice => CHOICE,
            BuiltIn::Calculation => CALCULATION,
            BuiltIn::Outcome => OUTCOME,
        };
        let (material, verdict) = match (self.target(), ending) {
            (JudgeTarget::Process, Ending::Explained) => (STEP_MATERIAL, STEP_WORDS),
            (JudgeTarget::Process, Ending::Graded) => (STEP_MATERIAL, STEP_GRADES),
            (JudgeTarget::Process, Ending::OneWord) => (STEP_MATERIAL, STEP_ONE_WORD),
            (JudgeTarget::Outcome, Ending::Explained) => ("", ANSWER_WORDS),
            (JudgeTarget::Outcome, Ending::Graded) => ("", ANSWER_GRADES),
            (JudgeTarget::Outcome, Ending::OneWord) => ("", ANSWER_ONE_WORD),
        };
        [task, material, verdict].concat()
    }

    /// Returns the scale of its verdicts.
    pub fn scale(self, ending: Ending) -> Scale {
        match (ending, self.target()) {
            (Ending::Graded, _) => Scale::Grades,
            (_, JudgeTarget::Process) => Scale::words("GOOD", "BAD"),
            (_, JudgeTarget::Outcome) => Scale::words("YES", "NO"),
        }
    }
}

impl Ending {
    /// Every ending.
    pub const ALL: [Ending; 3] = [Ending::Explained, Ending::Graded, Ending::OneWord];

    /// Returns the word that names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Explained => "explained",
            Ending::Graded => "graded",
            Ending::OneWord => "one_word",
        }
    }

    /// Returns the ending that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<Ending> {
        Ending::ALL.into_iter().find(|ending| ending.as_str() == word)
    }
}
