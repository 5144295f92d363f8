//! The version of the format, and bytes that are not of it.

/// The version of everything on disk that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes that are not what they should be: damage, or a newer program's work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A record ends early, or holds what no writer writes.
    #[error("damaged {what}: {why}")]
    Damaged {
        /// Which kind of record or key.
        what: &'static str,
        /// What was found.
        why: String,
    },
    /// A record of a version that this program does not know.
    #[error("{what} has version {found}, this program reads up to {known}: use a newer swirl")]
    Newer {
        /// Which kind of record.
        what: &'static str,
        /// The version found.
        found: u8,
        /// The newest version known here.
        known: u8,
    },
}

impl CodecError {
    /// Returns the error for bytes that no writer of this format makes.
    pub fn damaged(what: &'static str, why: impl Into<String>) -> CodecError {
        CodecError::Damaged { what, why: why.into() }
    }
}
