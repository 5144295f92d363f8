//! An engine whose kernels are C++ on the host, one thread or several to a block.

#![expect(unsafe_code, reason = "the kernels are a library of C that takes pointers to memory")]

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, DType, Device, Result, Shape, Storage, Tensor};
use swirldb::lm::ops::device::{Argument, Engine, Grid, Operations, Product, Side};

type Launch =
    unsafe extern "C" fn(*const c_char, c_uint, c_uint, c_uint, *mut *mut c_void) -> c_int;

/// The kernels on the host.
pub struct HostEngine {
    launch: Launch,
    /// Threads of every block, whatever a launch asks for: kernels work with any power of two.
    threads: usize,
    /// Whether to offer warps; kernels that have some get all their threads.
    warps: bool,
}

/// Returns the operations of the kernels on the host.
pub fn operations(dtype: DType, threads: usize) -> Operations {
    let engine = HostEngine { launch: library(), threads, warps: false };
    Operations::new(Arc::new(engine), dtype).unwrap()
}

/// Returns the operations of an engine with warps, in bf16.
pub fn operations_with_warps() -> Operations {
    let engine = HostEngine { launch: library(), threads: 1, warps: true };
    Operations::new(Arc::new(engine), DType::BF16).unwrap()
}

/// Compiles and loads the kernels, once.
fn library() -> Launch {
    static LAUNCH: OnceLock<Launch> = OnceLock::new();
    *LAUNCH.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("kernels.so");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let source = |define: &str, name: &str| {
            format!("-D{define}=\"{}\"", root.join("src/lm/ops").join(name).display())
        };
        let output = Command::new(&compiler)
            .args(["-std=c++20", "-O2", "-shared", "-fPIC", "-pthread"])
            .args([source("KERNELS", "kernels.cu"), source("FLASH", "flash.cu")])
            .arg(root.join("tests/lm/device/launch.cpp"))
            .arg("-o")
            .arg(&library)
            .output()
            .unwrap_or_else(|error| panic!("{compiler}: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = CString::new(library.to_str().unwrap()).unwrap();
        // SAFETY: the library was just made; its function has the type that launch.cpp gives it.
        unsafe {
            let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
            assert!(!handle.is_null(), "the kernels cannot be loaded");
            let launch = libc::dlsym(handle, c"launch".as_ptr());
            assert!(!launch.is_null(), "the kernels have no launch");
            std::mem::transmute::<*mut c_void, Launch>(launch)
        }
    })
}

/// Returns the address of a tensor's element, and how many there are from it on.
fn address(tensor: &Tensor, offset: usize) -> (usize, usize) {
    let (storage, layout) = tensor.storage_and_layout();
    assert!(layout.is_contiguous(), "a kernel was given a tensor with gaps");
    let Storage::Cpu(storage) = &*storage else { panic!("a tensor elsewhere") };
    let offset = layout.start_offset() + offset;
    let (start, count) = match storage {
        CpuStorage::F32(values) => (values.as_ptr() as usize, values.len()),
        CpuStorage::BF16(values) => (values.as_ptr() as usize, values.len()),
        CpuStorage::U32(values) => (values.as_ptr() as usize, values.len()),
        CpuStorage::F64(values) => (values.as_ptr() as usize, values.len()),
        _ => panic!("a kernel was given {:?}", tensor.dtype()),
    };
    (start + offset * tensor.dtype().size_in_bytes(), count - offset)
}

/// The elements of one side of a product.
struct Elements {
    address: usize,
    dtype: DType,
    strides: [usize; 3],
}

impl Elements {
    /// Returns the elements of matrices of the given sizes, which must lie within the tensor.
    fn new(side: &Side<'_>, sizes: [usize; 3]) -> Elements {
        let (address, count) = address(side.tensor, side.offset);
        let strides = [side.batch_stride, side.row_stride, side.column_stride];
        let last: usize = sizes.iter().zip(strides).map(|(size, stride)| (size - 1) * stride).sum();
        assert!(last < count, "a matrix of {sizes:?} reaches beyond its tensor");
        assert!(strides[1] == 1 || strides[2] == 1, "{strides:?}");
        Elements { address, dtype: side.tensor.dtype(), strides }
    }

    fn place(&self, at: [usize; 3]) -> usize {
        let index: usize = at.iter().zip(self.strides).map(|(at, stride)| at * stride).sum();
        self.address + index * self.dtype.size_in_bytes()
    }

    fn get(&self, at: [usize; 3]) -> f32 {
        let place = self.place(at);
        // SAFETY: within the tensor, as was checked.
        unsafe {
            match self.dtype {
                DType::BF16 => f32::from_bits(u32::from(*(place as *const u16)) << 16),
                _ => *(place as *const f32),
            }
        }
    }

    fn set(&self, at: [usize; 3], value: f32) {
        let place = self.place(at);
        // SAFETY: within the tensor, which nothing else uses meanwhile.
        unsafe {
            match self.dtype {
                DType::BF16 => *(place as *mut u16) = narrow(value),
                _ => *(place as *mut f32) = value,
            }
        }
    }
}

/// Returns the nearest bf16, ties to even.
fn narrow(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() { 0x7fc0 } else { ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16 }
}

impl Engine for HostEngine {
    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn has_warps(&self) -> bool {
        self.warps
    }

    /// What is not set is no number, so that reading it shows.
    fn empty(&self, shape: &Shape, dtype: DType) -> Result<Tensor> {
        Tensor::full(f32::NAN, shape.clone(), &Device::Cpu)?.to_dtype(dtype)
    }

    fn launch(&self, kernel: &str, grid: Grid, arguments: &[Argument<'_>]) -> Result<()> {
        assert!(grid.threads.is_power_of_two() && grid.threads <= 512, "{kernel}: {grid:?}");
        let mut values: Vec<u64> = arguments
            .iter()
            .map(|argument| match argument {
                Argument::Tensor(tensor) => address(tensor, 0).0 as u64,
                Argument::Nothing => 0,
                Argument::Int(number) => u64::from(*number as u32),
                Argument::Long(number) => *number as u64,
                Argument::Float(number) => u64::from(number.to_bits()),
            })
            .collect();
        let mut pointers: Vec<*mut c_void> =
            values.iter_mut().map(|value| (&raw mut *value).cast()).collect();
        let name = CString::new(kernel).unwrap();
        let [x, y] = grid.blocks.map(|blocks| blocks as c_uint);
        let warps = kernel.starts_with("flash_") && kernel != "flash_products";
        let threads = if warps { grid.threads } else { self.threads } as c_uint;
        // SAFETY: the tensors live during the call, and the arguments are those of the kernel.
        let code = unsafe { (self.launch)(name.as_ptr(), x, y, threads, pointers.as_mut_ptr()) };
        match code {
            0 => Ok(()),
            _ => candle_core::bail!("there is no kernel {kernel}"),
        }
    }

    fn multiply(&self, product: &Product<'_>) -> Result<()> {
        let Product { left, right, out, batch, rows, inner, columns, accumulate } = *product;
        assert_eq!(left.tensor.dtype(), right.tensor.dtype());
        assert_eq!(out.column_stride, 1);
        let left = Elements::new(&left, [batch, rows, inner]);
        let right = Elements::new(&right, [batch, inner, columns]);
        let out = Elements::new(&out, [batch, rows, columns]);
        for at in 0..batch * rows * columns {
            let place = [at / columns / rows, at / columns % rows, at % columns];
            let [matrix, row, column] = place;
            let products =
                (0..inner).map(|k| left.get([matrix, row, k]) * right.get([matrix, k, column]));
            let start = if accumulate { out.get(place) } else { 0.0 };
            out.set(place, start + products.sum::<f32>());
        }
        Ok(())
    }
}
