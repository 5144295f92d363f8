//! Files that are written, compressed as their names say.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::ExchangeError;

/// The level of compression of zstd files: its own default.
const ZSTD_LEVEL: i32 = 3;

/// A file that is being written. Only [`OutputFile::finish`] completes it: a compressed file
/// that is dropped instead is cut off.
pub struct OutputFile {
    path: PathBuf,
    encoder: Encoder,
}

enum Encoder {
    Plain(BufWriter<File>),
    Gzip(flate2::write::GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

/// Creates a file, over one that is there. `.zst` and `.gz` at the end of its name say how it is
/// compressed.
///
/// # Errors
/// The file cannot be created.
pub fn create(path: &Path) -> Result<OutputFile, ExchangeError> {
    let failed = |source| ExchangeError::file(path, source);
    let file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    let encoder = match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => Encoder::Zstd(zstd::Encoder::new(file, ZSTD_LEVEL).map_err(failed)?),
        Some("gz") => {
            Encoder::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default()))
        }
        _ => Encoder::Plain(file),
    };
    Ok(OutputFile { path: path.to_owned(), encoder })
}

impl OutputFile {
    /// Writes what is buffered, ends the compressed stream and hands the file to the disk.
    ///
    /// # Errors
    /// The file cannot be written, as on a full disk.
    pub fn finish(self) -> Result<(), ExchangeError> {
        let OutputFile { path, encoder } = self;
        let finished = match encoder {
            Encoder::Plain(file) => Ok(file),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        };
        let synced = finished.and_then(|mut file| {
            file.flush()?;
            match file.get_ref().sync_all() {
                // A pipe or a device has nothing to sync.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                synced => synced,
            }
        });
        synced.map_err(|source| ExchangeError::file(&path, source))
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.encoder {
            Encoder::Plain(file) => file.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.encoder {
            Encoder::Plain(file) => file.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }
}
