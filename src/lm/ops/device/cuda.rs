//! An NVIDIA card: kernels compiled by NVRTC, products by cuBLAS.
//!
//! Everything runs on the one stream of candle's device, in the order it is asked for, and memory
//! is given back to a pool in that order too: nothing waits but a copy to the host. So a decoder
//! wants a device made by [`open_card`], whose stream does not change with the thread.

#![expect(unsafe_code, reason = "kernels and cuBLAS take pointers into the card's memory")]

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendDevice as _;
use candle_core::cuda_backend::CudaStorageSlice as Slice;
use candle_core::cuda_backend::cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cudaDataType_t,
};
use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, result as cublas};
use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr as _, LaunchConfig,
    PushKernelArg as _, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Device, Error, Result, Shape, Storage, Tensor};

use super::engine::{Argument, Engine, Grid, Product, Side};

const SOURCE: &str = concat!(include_str!("../kernels.cu"), include_str!("../flash.cu"));
const MODULE: &str = "swirldb";

/// The kernels as PTX for a compute capability such as 90, compiled once in a process.
static COMPILED: Mutex<Option<(i32, Arc<str>)>> = Mutex::new(None);

/// A card with its kernels.
pub struct CudaEngine {
    device: Device,
    card: CudaDevice,
    stream: Arc<CudaStream>,
    blas: Arc<CudaBlas>,
    ptx: Arc<str>,
    functions: Mutex<HashMap<String, CudaFunction>>,
    has_warps: bool,
}

/// Returns the card of a number as a device.
///
/// # Errors
/// No driver, or no such card.
pub(in crate::lm) fn open_card(number: usize) -> Result<Device> {
    let card = CudaDevice::new_with_stream(number)?;
    // SAFETY: events order several streams, and this device has one for all its work.
    unsafe { card.disable_event_tracking() };
    keep_memory(card.cuda_stream().context())?;
    Ok(Device::Cuda(card))
}

/// Keeps what is freed in the pool of the card: by default every wait gives it back to the driver.
fn keep_memory(context: &CudaContext) -> Result<()> {
    let mut pool = std::ptr::null_mut();
    let mut threshold = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: both calls read and write the two variables above during the call only.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device()).result().map_err(wrap)?;
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast())
            .result()
            .map_err(wrap)
    }
}

fn wrap(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::wrap(error)
}

/// Returns the kernels for a card.
fn compile(context: &CudaContext) -> Result<Arc<str>> {
    let (major, minor) = context.compute_capability().map_err(wrap)?;
    let capability = 10 * major + minor;
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    match &*compiled {
        Some((known, ptx)) if *known == capability => return Ok(ptx.clone()),
        _ => {}
    }
    let options = vec![format!("--gpu-architecture=compute_{capability}")];
    let options = CompileOptions { options, ..CompileOptions::default() };
    let ptx: Arc<str> = compile_ptx_with_opts(SOURCE, options).map_err(wrap)?.to_src().into();
    *compiled = Some((capability, ptx.clone()));
    Ok(ptx)
}

impl CudaEngine {
    /// Returns the engine of a card.
    ///
    /// # Errors
    /// Kernels that cannot be compiled or loaded.
    pub fn new(card: &CudaDevice) -> Result<CudaEngine> {
        let stream = card.cuda_stream();
        let (major, _) = stream.context().compute_capability().map_err(wrap)?;
        Ok(CudaEngine {
            // Ampere and later.
            has_warps: major >= 8,
            device: Device::Cuda(card.clone()),
            card: card.clone(),
            blas: card.cublas_handle(),
            ptx: compile(stream.context())?,
            stream,
            functions: Mutex::default(),
        })
    }

    fn function(&self, name: &str) -> Result<CudaFunction> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(function.clone());
        }
        let function = self.card.get_or_load_custom_func(name, MODULE, &self.ptx)?;
        let function = function.into_cuda_function();
        functions.insert(name.to_owned(), function.clone());
        Ok(function)
    }

    /// Returns the address of a tensor's element `offset`, counted from its own beginning.
    fn address(&self, tensor: &Tensor, offset: usize) -> Result<u64> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else {
            candle_core::bail!("a kernel was given a tensor that is not on the card");
        };
        if !layout.is_contiguous() {
            candle_core::bail!("a kernel was given a tensor with gaps");
        }
        let offset = layout.start_offset() + offset;
        match &storage.slice {
            Slice::F32(slice) => Ok(self.place(slice, offset)),
            Slice::BF16(slice) => Ok(self.place(slice, offset)),
            Slice::U32(slice) => Ok(self.place(slice, offset)),
            Slice::F64(slice) => Ok(self.place(slice, offset)),
            _ => candle_core::bail!("a kernel was given numbers of {}", tensor.dtype().as_str()),
        }
    }

    fn place<T>(&self, slice: &CudaSlice<T>, offset: usize) -> u64 {
        // The guard orders streams, and there is one.
        let (start, _guard) = slice.device_ptr(&self.stream);
        start + (offset * size_of::<T>()) as u64
    }
}

/// An argument as the driver takes it.
enum Value {
    Address(u64),
    Int(i32),
    Long(i64),
    Float(f32),
}

impl Engine for CudaEngine {
    fn device(&self) -> &Device {
        &self.device
    }

    fn has_warps(&self) -> bool {
        self.has_warps
    }

    fn empty(&self, shape: &Shape, dtype: DType) -> Result<Tensor> {
        // SAFETY: whoever asks for it writes the memory before it is read.
        let storage: CudaStorage = unsafe { self.card.alloc_uninit(shape, dtype)? };
        let storage = Storage::Cuda(storage);
        Ok(Tensor::from_storage(storage, shape.clone(), BackpropOp::none(), false))
    }

    fn launch(&self, kernel: &str, grid: Grid, arguments: &[Argument<'_>]) -> Result<()> {
        let function = self.function(kernel)?;
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(match argument {
                Argument::Tensor(tensor) => Value::Address(self.address(tensor, 0)?),
                Argument::Nothing => Value::Address(0),
                Argument::Int(number) => Value::Int(*number),
                Argument::Long(number) => Value::Long(*number),
                Argument::Float(number) => Value::Float(*number),
            });
        }
        let mut launch = self.stream.launch_builder(&function);
        for value in &values {
            match value {
                Value::Address(address) => launch.arg(address),
                Value::Int(number) => launch.arg(number),
                Value::Long(number) => launch.arg(number),
                Value::Float(number) => launch.arg(number),
            };
        }
        let [x, y] = grid.blocks.map(|blocks| blocks as u32);
        let config = LaunchConfig {
            grid_dim: (x, y, 1),
            block_dim: (grid.threads as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the operations give each kernel what its parameters are, and the tests run them
        // through the same calls on the host.
        unsafe { launch.launch(config) }.map_err(wrap)?;
        Ok(())
    }

    fn multiply(&self, product: &Product<'_>) -> Result<()> {
        let Product { left, right, out, batch, rows, inner, columns, accumulate } = product;
        let sizes = [*batch, *rows, *inner, *columns];
        if sizes.contains(&0) {
            candle_core::bail!("a product of nothing: {sizes:?}");
        }
        let size =
            |n: usize| c_int::try_from(n).map_err(|_| Error::Msg(format!("a product of size {n}")));
        // cuBLAS counts by columns: the transposed product is that of the transposes in turn.
        let (right_by, right_step) = columns_of(right);
        let (left_by, left_step) = columns_of(left);
        let (alpha, beta) = (1f32, if *accumulate { 1f32 } else { 0f32 });
        let [a, b, c] = [
            self.address(right.tensor, right.offset)?,
            self.address(left.tensor, left.offset)?,
            self.address(out.tensor, out.offset)?,
        ];
        self.stream.context().bind_to_thread().map_err(wrap)?;
        // SAFETY: sizes and distances lie within the tensors, which the operations see to; alpha
        // and beta live until the call returns.
        unsafe {
            cublas::gemm_strided_batched_ex(
                *self.blas.handle(),
                right_by,
                left_by,
                size(*columns)?,
                size(*rows)?,
                size(*inner)?,
                (&raw const alpha).cast(),
                a as *const _,
                number_type(right.tensor.dtype())?,
                size(right_step)?,
                right.batch_stride as i64,
                b as *const _,
                number_type(left.tensor.dtype())?,
                size(left_step)?,
                left.batch_stride as i64,
                (&raw const beta).cast(),
                c as *mut _,
                number_type(out.tensor.dtype())?,
                size(out.row_stride)?,
                out.batch_stride as i64,
                size(*batch)?,
                cublasComputeType_t::CUBLAS_COMPUTE_32F,
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(wrap)
    }
}

/// Returns how cuBLAS reads a matrix by dense rows, and the distance of its columns: as it is
/// (transposed by our count), or transposed.
fn columns_of(side: &Side<'_>) -> (cublasOperation_t, usize) {
    match side.column_stride == 1 {
        true => (cublasOperation_t::CUBLAS_OP_N, side.row_stride),
        false => (cublasOperation_t::CUBLAS_OP_T, side.column_stride),
    }
}

fn number_type(dtype: DType) -> Result<cudaDataType_t> {
    match dtype {
        DType::F32 => Ok(cudaDataType_t::CUDA_R_32F),
        DType::BF16 => Ok(cudaDataType_t::CUDA_R_16BF),
        _ => candle_core::bail!("a product of {}", dtype.as_str()),
    }
}
