//! AdamW (Loshchilov and Hutter 2019) with moments in f32 under the variables' names.
//!
//! One pass over memory reads gradient, moments and variable and writes the last three, on the CPU
//! and by a kernel of a device that has them; elsewhere tensor operations do the same arithmetic.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor, Var};
use rayon::prelude::*;

use crate::lm::ops::device::{AdamStep, Operations};

/// Elements that one task works on.
const CHUNK: usize = 1 << 16;

/// The constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Decay of the gradient's mean.
    pub beta1: f64,
    /// Decay of the gradient's square.
    pub beta2: f64,
    /// Added to the root of the gradient's square.
    pub epsilon: f64,
    /// Decoupled weight decay of variables with two dimensions or more.
    pub weight_decay: f64,
}

/// The optimiser: for each variable the running mean and square of its gradient.
pub struct AdamW {
    config: AdamConfig,
    /// Steps taken.
    steps: u64,
    slots: Vec<Slot>,
    /// The kernels of the variables' device, where it has some.
    operations: Option<Operations>,
}

struct Slot {
    name: String,
    variable: Var,
    decays: bool,
    moments: Moments,
}

enum Moments {
    Host(Vec<f32>, Vec<f32>),
    Device(Tensor, Tensor),
}

impl AdamW {
    /// Returns an optimiser with moments of zero. Norms and biases, which have one dimension, do
    /// not decay.
    ///
    /// # Errors
    /// A device without memory for the moments.
    pub fn new(config: AdamConfig, parameters: Vec<(String, Var)>) -> Result<AdamW> {
        AdamW::build(config, parameters, true, None)
    }

    /// Returns an optimiser that works by the kernels of the variables' device, if it has some.
    ///
    /// # Errors
    /// As [`AdamW::new`].
    pub fn by_kernels(
        config: AdamConfig,
        parameters: Vec<(String, Var)>,
        operations: Option<&Operations>,
    ) -> Result<AdamW> {
        AdamW::build(config, parameters, operations.is_none(), operations.cloned())
    }

    /// Returns an optimiser that works by tensor operations on the CPU too, to compare with.
    ///
    /// # Errors
    /// As [`AdamW::new`].
    pub fn unfused(config: AdamConfig, parameters: Vec<(String, Var)>) -> Result<AdamW> {
        AdamW::build(config, parameters, false, None)
    }

    fn build(
        config: AdamConfig,
        parameters: Vec<(String, Var)>,
        fused: bool,
        operations: Option<Operations>,
    ) -> Result<AdamW> {
        let slot = |(name, variable): (String, Var)| {
            let moments = if fused && matches!(variable.device(), Device::Cpu) {
                let count = variable.elem_count();
                Moments::Host(vec![0.0; count], vec![0.0; count])
            } else {
                // Each in memory of its own: kernels write them in place.
                let zeros = || Tensor::zeros(variable.shape(), DType::F32, variable.device());
                Moments::Device(zeros()?, zeros()?)
            };
            Ok(Slot { decays: variable.rank() > 1, name, variable, moments })
        };
        let slots = parameters.into_iter().map(slot).collect::<Result<Vec<_>>>()?;
        Ok(AdamW { config, steps: 0, slots, operations })
    }

    /// Returns the variables' names, in the order that gradients are expected in.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str())
    }

    /// Returns the variables, in the same order.
    pub fn variables(&self) -> impl Iterator<Item = &Var> {
        self.slots.iter().map(|slot| &slot.variable)
    }

    /// Moves every variable by its gradient times `scale`, at the learning rate given.
    ///
    /// # Errors
    /// A gradient whose shape is not its variable's.
    pub fn step(&mut self, gradients: &[Tensor], scale: f64, learning_rate: f64) -> Result<()> {
        self.steps += 1;
        let power = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let update = AdamStep {
            beta1: self.config.beta1 as f32,
            beta2: self.config.beta2 as f32,
            epsilon: self.config.epsilon as f32,
            scale: scale as f32,
            rate: (learning_rate / (1.0 - self.config.beta1.powi(power))) as f32,
            root: (1.0 / (1.0 - self.config.beta2.powi(power)).sqrt()) as f32,
            keep: 1.0,
        };
        let kept = (1.0 - learning_rate * self.config.weight_decay) as f32;
        for (slot, gradient) in self.slots.iter_mut().zip(gradients) {
            let keep = if slot.decays { kept } else { 1.0 };
            slot.step(&AdamStep { keep, ..update }, gradient, self.operations.as_ref())?;
        }
        Ok(())
    }

    /// Writes the state: `mean.NAME` and `square.NAME` in f32. The number of steps is not in it.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, file: &Path) -> Result<()> {
        let mut all = HashMap::new();
        for slot in &self.slots {
            let (mean, square) = match &slot.moments {
                Moments::Device(mean, square) => (mean.clone(), square.clone()),
                Moments::Host(mean, square) => {
                    let shape = slot.variable.shape();
                    let tensor = |v: &Vec<f32>| Tensor::from_slice(v, shape, &Device::Cpu);
                    (tensor(mean)?, tensor(square)?)
                }
            };
            all.insert(format!("mean.{}", slot.name), mean);
            all.insert(format!("square.{}", slot.name), square);
        }
        candle_core::safetensors::save(&all, file)
    }

    /// Reads the state that [`AdamW::save`] wrote after `steps` steps.
    ///
    /// # Errors
    /// A file that cannot be read, or one without a variable or with another shape of it.
    pub fn load(&mut self, file: &Path, steps: u64) -> Result<()> {
        let mut all = candle_core::safetensors::load(file, &Device::Cpu)?;
        for slot in &mut self.slots {
            let mut take = |kind: &str| {
                let name = format!("{kind}.{}", slot.name);
                let found = all.remove(&name).filter(|t| t.shape() == slot.variable.shape());
                found.ok_or_else(|| candle_core::Error::Msg(format!("'{name}' is not in it")))
            };
            let (mean, square) = (take("mean")?, take("square")?);
            slot.moments = match slot.moments {
                Moments::Host(..) => Moments::Host(host_values(&mean)?, host_values(&square)?),
                Moments::Device(..) => {
                    let device = slot.variable.device();
                    Moments::Device(mean.to_device(device)?, square.to_device(device)?)
                }
            };
        }
        self.steps = steps;
        Ok(())
    }
}

impl Slot {
    fn step(
        &mut self,
        update: &AdamStep,
        gradient: &Tensor,
        operations: Option<&Operations>,
    ) -> Result<()> {
        if gradient.shape() != self.variable.shape() {
            candle_core::bail!(
                "the gradient of {} has shape {:?}, expected {:?}",
                self.name,
                gradient.shape(),
                self.variable.shape()
            );
        }
        let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
        match (&mut self.moments, operations) {
            (Moments::Host(mean, square), _) => {
                let fused = Fused { update: *update, moments: Mutex::new((mean, square)) };
                self.variable.as_tensor().inplace_op2(&gradient, &fused)
            }
            (Moments::Device(mean, square), Some(operations)) => {
                let moments = [&*mean, &*square];
                operations.adamw(self.variable.as_tensor(), &gradient, moments, *update)
            }
            (Moments::Device(mean, square), None) => {
                let scaled = (gradient * f64::from(update.scale))?;
                let beta1 = f64::from(update.beta1);
                let beta2 = f64::from(update.beta2);
                *mean = ((&*mean * beta1)? + (&scaled * (1.0 - beta1))?)?;
                *square = ((&*square * beta2)? + (scaled.sqr()? * (1.0 - beta2))?)?;
                let root = (square.sqrt()? * f64::from(update.root))?;
                let moved = mean.div(&(root + f64::from(update.epsilon))?)?;
                let kept = (self.variable.as_tensor() * f64::from(update.keep))?;
                let dtype = self.variable.dtype();
                self.variable.set(&(kept - (moved * f64::from(update.rate))?.to_dtype(dtype)?)?)
            }
        }
    }
}

/// The whole update of one variable in one pass.
struct Fused<'a> {
    update: AdamStep,
    /// The operation is handed around by shared reference; only one thread ever takes this.
    moments: Mutex<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

impl InplaceOp2 for Fused<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        variable: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(variable), CpuStorage::F32(gradient)) = (variable, gradient) else {
            candle_core::bail!("adamw on the CPU works on f32 variables")
        };
        let whole = (layout.contiguous_offsets(), gradient_layout.contiguous_offsets());
        let (Some((start, end)), Some((from, to))) = whole else {
            candle_core::bail!("adamw works on contiguous variables")
        };
        let Ok(mut moments) = self.moments.lock() else {
            candle_core::bail!("adamw failed on another thread")
        };
        let (mean, square) = &mut *moments;
        let u = self.update;
        variable[start..end]
            .par_chunks_mut(CHUNK)
            .zip(gradient[from..to].par_chunks(CHUNK))
            .zip(mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK)))
            .for_each(|((variable, gradient), (mean, square))| {
                for (((p, g), m), v) in variable.iter_mut().zip(gradient).zip(mean).zip(square) {
                    let g = g * u.scale;
                    *m = u.beta1 * *m + (1.0 - u.beta1) * g;
                    *v = u.beta2 * *v + (1.0 - u.beta2) * g * g;
                    *p = u.keep * *p - u.rate * *m / (v.sqrt() * u.root + u.epsilon);
                }
            });
        Ok(())
    }
}

/// Returns the values of an f32 tensor.
fn host_values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
