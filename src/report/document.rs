//! What a document is made of.

use super::figure::Figure;
use super::table::Table;

/// A document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What it is about.
    pub title: String,
    /// Its parts, in order.
    pub sections: Vec<Section>,
}

/// A part of a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// Its heading.
    pub heading: String,
    /// What stands under it, in order.
    pub blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// A paragraph.
    Paragraph(Text),
    /// A table; tables are numbered through the document.
    Table(Table),
    /// A figure; figures are numbered through the document.
    Figure(Figure),
    /// Names and values, in the order given.
    Facts(Vec<Fact>),
}

/// Text without markup, part of it code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Its pieces.
    pub runs: Vec<Run>,
}

/// A piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// As it reads; nothing in it is markup.
    Plain(String),
    /// In letters of one width.
    Code(String),
}

/// Something that a reader needs in order to do it again: a seed, a hash, a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub name: String,
    /// The value, shown in letters of one width.
    pub value: String,
}

impl Report {
    /// Returns a document without sections.
    pub fn new(title: impl Into<String>) -> Report {
        Report { title: title.into(), sections: Vec::new() }
    }

    /// Returns the document with one more section.
    #[must_use]
    pub fn section(mut self, section: Section) -> Report {
        self.sections.push(section);
        self
    }
}

impl Section {
    /// Returns a section with nothing under its heading.
    pub fn new(heading: impl Into<String>) -> Section {
        Section { heading: heading.into(), blocks: Vec::new() }
    }

    /// Returns the section with one more paragraph.
    #[must_use]
    pub fn paragraph(self, text: impl Into<Text>) -> Section {
        self.block(Block::Paragraph(text.into()))
    }

    /// Returns the section with one more table.
    #[must_use]
    pub fn table(self, table: Table) -> Section {
        self.block(Block::Table(table))
    }

    /// Returns the section with one more figure.
    #[must_use]
    pub fn figure(self, figure: Figure) -> Section {
        self.block(Block::Figure(figure))
    }

    /// Returns the section with a list of names and values.
    #[must_use]
    pub fn facts<N: Into<String>, V: Into<String>>(
        self,
        facts: impl IntoIterator<Item = (N, V)>,
    ) -> Section {
        let fact = |(name, value): (N, V)| Fact { name: name.into(), value: value.into() };
        self.block(Block::Facts(facts.into_iter().map(fact).collect()))
    }

    /// Returns the section with one more piece.
    #[must_use]
    pub fn block(mut self, block: Block) -> Section {
        self.blocks.push(block);
        self
    }
}

impl Text {
    /// Returns no text.
    pub fn new() -> Text {
        Text::default()
    }

    /// Returns the text with more of it.
    #[must_use]
    pub fn plain(mut self, text: impl Into<String>) -> Text {
        self.runs.push(Run::Plain(text.into()));
        self
    }

    /// Returns the text with code behind it.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Text {
        self.runs.push(Run::Code(code.into()));
        self
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::new().plain(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::new().plain(text)
    }
}
