//! Models in GGUF files: the header, the tensors, and what they are called elsewhere.
//!
//! ```text
//! "GGUF" version n_tensors n_entries
//! entry*   key, type, value                      (hyperparameters, tokenizer, chat template)
//! tensor*  name, dimensions (innermost first), type, offset
//! padding to the alignment, then the tensors' blocks
//! ```
//!
//! Every count is held against the bytes that are left in the file before anything is allocated:
//! a damaged header costs an error, not memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::{Device, Tensor};

use super::LmError;

/// The most bytes of one text and elements of one array in a header; vocabularies have about 10^5.
const LENGTH_MAX: u64 = 1 << 24;

/// A value of the header.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Integer(i64),
    Float(f64),
    Flag(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Texts(Vec<String>),
}

/// Where a tensor lies in the file.
#[derive(Clone, Debug)]
struct Place {
    /// Outermost dimension first.
    shape: Vec<usize>,
    dtype: GgmlDType,
    /// From the beginning of the file.
    start: u64,
    size_bytes: u64,
}

/// An opened GGUF file whose header holds together.
pub(super) struct GgufFile {
    path: PathBuf,
    file: File,
    entries: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Place>,
}

impl GgufFile {
    /// Reads the header and checks that every tensor lies inside the file.
    pub(super) fn open(path: &Path) -> Result<GgufFile, LmError> {
        let file = File::open(path).map_err(LmError::io(path))?;
        let size = file.metadata().map_err(LmError::io(path))?.len();
        let mut header = HeaderReader { path, reader: BufReader::new(file), at: 0, size };
        let (entries, tensors) = header.read()?;
        let file = header.reader.into_inner();
        Ok(GgufFile { path: path.to_path_buf(), file, entries, tensors })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the value of a key, if the file has it.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    pub(super) fn get_text(&self, key: &str) -> Result<Option<&str>, LmError> {
        self.typed(key, "a text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub(super) fn get_texts(&self, key: &str) -> Result<Option<&[String]>, LmError> {
        self.typed(key, "a list of texts", |value| match value {
            Value::Texts(texts) => Some(texts.as_slice()),
            _ => None,
        })
    }

    pub(super) fn get_integers(&self, key: &str) -> Result<Option<&[i64]>, LmError> {
        self.typed(key, "a list of whole numbers", |value| match value {
            Value::Integers(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    pub(super) fn get_size(&self, key: &str) -> Result<Option<usize>, LmError> {
        self.typed(key, "a positive whole number", |value| match value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            _ => None,
        })
    }

    pub(super) fn get_floats(&self, key: &str) -> Result<Option<&[f64]>, LmError> {
        self.typed(key, "a list of numbers", |value| match value {
            Value::Floats(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    pub(super) fn get_flag(&self, key: &str) -> Result<Option<bool>, LmError> {
        self.typed(key, "true or false", |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    pub(super) fn get_float(&self, key: &str) -> Result<Option<f64>, LmError> {
        self.typed(key, "a number", |value| match value {
            Value::Float(number) => Some(*number),
            _ => None,
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, LmError> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(LmError::damaged(&self.path, format!("'{key}' is not {expected}"))),
        }
    }

    /// Returns the names of the tensors, sorted.
    pub(super) fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns the types that the tensors have in the file, without F32, sorted by name.
    pub(super) fn quantised_types(&self) -> Vec<String> {
        let kept = self.tensors.values().filter(|place| place.dtype != GgmlDType::F32);
        let mut names: Vec<String> = kept.map(|place| format!("{:?}", place.dtype)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Returns the BLAKE3 hash of the file and its size in bytes.
    pub(super) fn hash(&mut self) -> Result<(blake3::Hash, u64), LmError> {
        let read = |file: &mut File| -> std::io::Result<(blake3::Hash, u64)> {
            let mut hasher = blake3::Hasher::new();
            file.seek(SeekFrom::Start(0))?;
            hasher.update_reader(&mut *file)?;
            Ok((hasher.finalize(), hasher.count()))
        };
        read(&mut self.file).map_err(LmError::io(&self.path))
    }

    /// Returns a tensor in f32 on the CPU.
    pub(super) fn load(&mut self, name: &str, expected: &[usize]) -> Result<Tensor, LmError> {
        let Some(place) = self.tensors.get(name).cloned() else {
            return Err(super::safetensors::missing(&self.path, name, self.tensor_names()));
        };
        if place.shape != expected {
            return Err(LmError::Shape {
                path: self.path.clone(),
                name: name.to_owned(),
                found: place.shape,
                expected: expected.to_vec(),
            });
        }
        // The size was held against the file's when the header was read.
        let mut bytes = vec![0u8; place.size_bytes as usize];
        self.file
            .seek(SeekFrom::Start(place.start))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(LmError::io(&self.path))?;
        qtensor_from_ggml(place.dtype, &bytes, place.shape, &Device::Cpu)
            .and_then(|tensor| tensor.dequantize(&Device::Cpu))
            .map_err(|error| {
                let what = format!("tensor '{name}' cannot be dequantised: {error}");
                LmError::unsupported(&self.path, what, SUPPORTED_TYPES)
            })
    }
}

const SUPPORTED_TYPES: &str =
    "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K are supported";

/// Returns the type of a number in the header (ggml.h, `ggml_type`).
fn dtype_of(number: u32) -> Option<GgmlDType> {
    Some(match number {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

/// The entries and the places of the tensors.
type Header = (BTreeMap<String, Value>, BTreeMap<String, Place>);

/// Reads a header and knows how many bytes are left.
struct HeaderReader<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    at: u64,
    size: u64,
}

impl HeaderReader<'_> {
    fn damaged<T>(&self, what: impl std::fmt::Display) -> Result<T, LmError> {
        Err(LmError::damaged(self.path, format!("{what} (at byte {})", self.at)))
    }

    fn read(&mut self) -> Result<Header, LmError> {
        if self.bytes::<4>()? != *b"GGUF" {
            return self.damaged("not GGUF: the first four bytes are others");
        }
        let version = u32::from_le_bytes(self.bytes()?);
        if version != 2 && version != 3 {
            let what = format!("GGUF version {version}");
            return Err(LmError::unsupported(self.path, what, "versions 2 and 3 are supported"));
        }
        let tensor_count = self.count(24)?;
        let entry_count = self.count(13)?;
        let mut entries = BTreeMap::new();
        for _ in 0..entry_count {
            let key = self.text()?;
            let kind = u32::from_le_bytes(self.bytes()?);
            let value = self.value(kind)?;
            if entries.insert(key.clone(), value).is_some() {
                return self.damaged(format!("key '{key}' appears twice"));
            }
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let (name, place) = self.tensor()?;
            if tensors.insert(name.clone(), place).is_some() {
                return self.damaged(format!("tensor '{name}' appears twice"));
            }
        }
        self.settle(&entries, &mut tensors)?;
        Ok((entries, tensors))
    }

    /// Makes offsets count from the beginning of the file and checks that all tensors end in it.
    fn settle(
        &self,
        entries: &BTreeMap<String, Value>,
        tensors: &mut BTreeMap<String, Place>,
    ) -> Result<(), LmError> {
        let alignment = match entries.get("general.alignment") {
            None => 32,
            Some(Value::Integer(n)) if *n > 0 && *n <= 1 << 20 => *n as u64,
            Some(other) => return self.damaged(format!("general.alignment is {other:?}")),
        };
        let data = self.at.next_multiple_of(alignment);
        for (name, place) in tensors.iter_mut() {
            let end =
                place.start.checked_add(data).and_then(|start| start.checked_add(place.size_bytes));
            match end {
                Some(end) if end <= self.size => place.start += data,
                _ => {
                    let what = format!(
                        "tensor '{name}' needs {} bytes from byte {} on, and the file has {}",
                        place.size_bytes,
                        place.start.saturating_add(data),
                        self.size
                    );
                    return Err(LmError::damaged(self.path, what));
                }
            }
        }
        Ok(())
    }

    fn tensor(&mut self) -> Result<(String, Place), LmError> {
        let name = self.text()?;
        let rank = u32::from_le_bytes(self.bytes()?);
        if rank > 4 {
            return self.damaged(format!("tensor '{name}' has {rank} dimensions"));
        }
        let mut shape = Vec::new();
        let mut elements = 1u64;
        for _ in 0..rank {
            let size = u64::from_le_bytes(self.bytes()?);
            elements = match elements.checked_mul(size) {
                Some(elements) if elements <= 1 << 40 => elements,
                _ => return self.damaged(format!("tensor '{name}' has a dimension of {size}")),
            };
            shape.insert(0, size as usize);
        }
        let number = u32::from_le_bytes(self.bytes()?);
        let Some(dtype) = dtype_of(number) else {
            let what = format!("tensor '{name}' has the ggml type {number}");
            return Err(LmError::unsupported(self.path, what, SUPPORTED_TYPES));
        };
        let start = u64::from_le_bytes(self.bytes()?);
        let block = dtype.block_size() as u64;
        let row = shape.last().copied().unwrap_or(1) as u64;
        if !row.is_multiple_of(block) {
            let what = format!("tensor '{name}' has rows of {row} numbers in blocks of {block}");
            return self.damaged(what);
        }
        let size_bytes = elements / block * dtype.type_size() as u64;
        Ok((name, Place { shape, dtype, start, size_bytes }))
    }

    fn value(&mut self, kind: u32) -> Result<Value, LmError> {
        Ok(match kind {
            6 | 12 => Value::Float(self.float(kind)?),
            7 => match self.bytes::<1>()? {
                [0] => Value::Flag(false),
                [1] => Value::Flag(true),
                [other] => return self.damaged(format!("{other} is neither true nor false")),
            },
            8 => Value::Text(self.text()?),
            9 => {
                let kind = u32::from_le_bytes(self.bytes()?);
                self.array(kind)?
            }
            _ => Value::Integer(self.integer(kind)?),
        })
    }

    fn array(&mut self, kind: u32) -> Result<Value, LmError> {
        let element = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            _ => 8,
        };
        let count = self.count(element)?;
        if count > LENGTH_MAX {
            return self.damaged(format!("a list of {count} elements"));
        }
        match kind {
            6 | 12 => {
                (0..count).map(|_| self.float(kind)).collect::<Result<_, _>>().map(Value::Floats)
            }
            7 => (0..count)
                .map(|_| self.bytes::<1>().map(|[byte]| i64::from(byte)))
                .collect::<Result<_, _>>()
                .map(Value::Integers),
            8 => (0..count).map(|_| self.text()).collect::<Result<_, _>>().map(Value::Texts),
            9 => self.damaged("a list of lists"),
            _ => (0..count)
                .map(|_| self.integer(kind))
                .collect::<Result<_, _>>()
                .map(Value::Integers),
        }
    }

    fn float(&mut self, kind: u32) -> Result<f64, LmError> {
        match kind {
            6 => Ok(f64::from(f32::from_le_bytes(self.bytes()?))),
            _ => Ok(f64::from_le_bytes(self.bytes()?)),
        }
    }

    fn integer(&mut self, kind: u32) -> Result<i64, LmError> {
        Ok(match kind {
            0 => i64::from(u8::from_le_bytes(self.bytes()?)),
            1 => i64::from(i8::from_le_bytes(self.bytes()?)),
            2 => i64::from(u16::from_le_bytes(self.bytes()?)),
            3 => i64::from(i16::from_le_bytes(self.bytes()?)),
            4 => i64::from(u32::from_le_bytes(self.bytes()?)),
            5 => i64::from(i32::from_le_bytes(self.bytes()?)),
            10 => match i64::try_from(u64::from_le_bytes(self.bytes()?)) {
                Ok(number) => number,
                Err(_) => return self.damaged("a number above 2^63"),
            },
            11 => i64::from_le_bytes(self.bytes()?),
            other => return self.damaged(format!("{other} is no type of a value")),
        })
    }

    fn text(&mut self) -> Result<String, LmError> {
        let length = self.count(1)?;
        if length > LENGTH_MAX {
            return self.damaged(format!("a text of {length} bytes"));
        }
        let mut bytes = vec![0u8; length as usize];
        self.reader.read_exact(&mut bytes).map_err(LmError::io(self.path))?;
        self.at += length;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(error) => self.damaged(format!("a text is not UTF-8: {error}")),
        }
    }

    /// Reads a count of things that take at least `element` bytes each.
    fn count(&mut self, element: u64) -> Result<u64, LmError> {
        let count = u64::from_le_bytes(self.bytes()?);
        let left = self.size.saturating_sub(self.at);
        match count.checked_mul(element) {
            Some(needed) if needed <= left => Ok(count),
            _ => self.damaged(format!("{count} elements announced and {left} bytes left: cut off")),
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], LmError> {
        let mut bytes = [0u8; N];
        if self.size.saturating_sub(self.at) < N as u64 {
            return self.damaged("the file ends inside its header: cut off");
        }
        self.reader.read_exact(&mut bytes).map_err(LmError::io(self.path))?;
        self.at += N as u64;
        Ok(bytes)
    }
}
