//! Tensors in safetensors files.
//!
//! Such a file is the length of a JSON header (8 bytes, little-endian), the header with name, type,
//! shape and place of each tensor, then the numbers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::safetensors::SliceSafetensors;
use candle_core::{DType, Device, Tensor};
use serde_json::json;

use super::LmError;

/// The tensors of one file, read and checked against their expected shapes one by one.
pub(super) struct TensorFile {
    bytes: Vec<u8>,
}

impl TensorFile {
    /// Reads the whole file.
    pub(super) fn read(path: &Path) -> Result<TensorFile, LmError> {
        Ok(TensorFile { bytes: std::fs::read(path).map_err(LmError::io(path))? })
    }

    /// Returns the bytes of the file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the view of the tensors; `path` is for messages.
    pub(super) fn open<'a>(&'a self, path: &'a Path) -> Result<OpenFile<'a>, LmError> {
        let tensors = SliceSafetensors::new(&self.bytes)
            .map_err(|error| LmError::damaged(path, format!("not safetensors: {error}")))?;
        let shapes = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, view.shape().to_vec()))
            .collect();
        Ok(OpenFile { path, tensors, shapes })
    }
}

/// The view of the tensors of a file.
pub(super) struct OpenFile<'a> {
    path: &'a Path,
    tensors: SliceSafetensors<'a>,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl OpenFile<'_> {
    /// Returns the names in the file, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.shapes.keys().map(String::as_str)
    }

    /// Returns a tensor in f32 on the device, and the type it has in the file.
    pub(super) fn load(
        &self,
        name: &str,
        expected: &[usize],
        device: &Device,
    ) -> Result<(Tensor, DType), LmError> {
        let Some(found) = self.shapes.get(name) else {
            return Err(missing(self.path, name, self.names()));
        };
        if found != expected {
            return Err(LmError::Shape {
                path: self.path.to_path_buf(),
                name: name.to_owned(),
                found: found.clone(),
                expected: expected.to_vec(),
            });
        }
        let tensor = self.tensors.load(name, &Device::Cpu).map_err(|error| {
            LmError::unsupported(
                self.path,
                format!("tensor '{name}' cannot be read: {error}"),
                "f32, f16 and bf16 are supported",
            )
        })?;
        let dtype = tensor.dtype();
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(LmError::unsupported(
                self.path,
                format!("tensor '{name}' is {}", dtype.as_str()),
                "f32, f16 and bf16 are supported",
            ));
        }
        Ok((tensor.to_dtype(DType::F32)?.to_device(device)?, dtype))
    }
}

/// Returns the error for a tensor that is not among `held`.
pub(super) fn missing<'a>(path: &Path, name: &str, held: impl Iterator<Item = &'a str>) -> LmError {
    LmError::MissingTensor {
        path: path.to_path_buf(),
        name: name.to_owned(),
        held: crate::diag::list_some(held),
    }
}

/// Writes tensors in f32, sorted by name, to a new file that takes the place of `path` only when
/// it is whole and on the disk.
pub(super) fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), LmError> {
    let mut sorted: Vec<&(String, Tensor)> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut end = 0;
    for (name, tensor) in &sorted {
        let start = end;
        end += tensor.elem_count() * size_of::<f32>();
        header.insert(
            name.clone(),
            json!({ "dtype": "F32", "shape": tensor.dims(), "data_offsets": [start, end] }),
        );
    }
    let mut header = serde_json::Value::Object(header).to_string();
    // Numbers begin at a multiple of eight bytes, as the format asks.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    replace(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for (_, tensor) in &sorted {
            let values = tensor
                .flatten_all()
                .and_then(|tensor| tensor.to_vec1::<f32>())
                .map_err(std::io::Error::other)?;
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            out.write_all(&bytes)?;
        }
        Ok(())
    })
}

/// Writes a file beside `path`, brings it to the disk and puts it in the place of `path`.
pub(super) fn replace(
    path: &Path,
    body: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), LmError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::new(File::create(&partial)?);
        body(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(LmError::io(path))
}
