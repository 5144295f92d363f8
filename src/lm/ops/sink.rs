//! A second way out for the gradients of weights.
//!
//! candle adds every gradient to a tensor of zeros that it makes for the purpose: for weights that
//! is two more passes over fresh memory as large as the model. A sink that is collecting takes
//! the gradient of a weight as it is and hands it to candle's store at the end. While it is not
//! collecting, gradients go the normal way, so that `loss.backward()` gives the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};

/// What a sink has collected: the gradients of weights, by weight.
#[derive(Default)]
struct Collected {
    /// On the CPU.
    host: HashMap<TensorId, Vec<f32>>,
    /// On another device, where they are summed in place, in f32.
    device: HashMap<TensorId, Tensor>,
}

/// Where gradients of a weight on a device are summed.
pub(in crate::lm) struct Place {
    pub(in crate::lm) sum: Tensor,
    /// Whether nothing is there yet: the first gradient is to be written, not added.
    pub(in crate::lm) is_new: bool,
}

/// Takes the gradients of weights during one backward pass.
#[derive(Clone, Default)]
pub struct GradientSink {
    collected: Arc<Mutex<Option<Collected>>>,
    /// Held during a backward pass: two at once would mix their gradients.
    running: Arc<Mutex<()>>,
}

impl GradientSink {
    /// Returns the gradients of everything that `loss` depends on, as `loss.backward()` does.
    ///
    /// `weights` are those whose operations were given this sink.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn backward(&self, loss: &Tensor, weights: &[Tensor]) -> Result<GradStore> {
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *self.lock() = Some(Collected::default());
        let store = loss.backward();
        let mut collected = self.lock().take().unwrap_or_default();
        let mut store = store?;
        for weight in weights {
            let host = collected.host.remove(&weight.id());
            let host = host
                .map(|values| Tensor::from_vec(values, weight.shape().clone(), weight.device()))
                .transpose()?;
            let grad = match (host, collected.device.remove(&weight.id())) {
                (Some(host), Some(sum)) => Some(host.add(&sum)?),
                (host, sum) => host.or(sum),
            };
            if let Some(grad) = grad {
                let grad = match store.remove(weight) {
                    Some(other) => grad.add(&other)?,
                    None => grad,
                };
                store.insert(weight, grad);
            }
        }
        Ok(store)
    }

    /// Takes `values`, a gradient of `weight`, if the sink is collecting; else gives it back.
    pub(in crate::lm) fn take(&self, weight: &Tensor, values: Vec<f32>) -> Option<Vec<f32>> {
        match self.lock().as_mut() {
            Some(collected) if weight.is_variable() => {
                match collected.host.get_mut(&weight.id()) {
                    Some(sum) => {
                        for (sum, value) in sum.iter_mut().zip(&values) {
                            *sum += value;
                        }
                    }
                    None => {
                        collected.host.insert(weight.id(), values);
                    }
                }
                None
            }
            _ => Some(values),
        }
    }

    /// Runs `body` on the gradient of `weight` collected so far, zeros if there is none yet.
    /// Returns whether the sink is collecting; if not, `body` is not run.
    pub(super) fn update(&self, weight: &Tensor, body: impl FnOnce(&mut [f32])) -> bool {
        match self.lock().as_mut() {
            Some(collected) if weight.is_variable() => {
                let zeros = || vec![0f32; weight.elem_count()];
                body(collected.host.entry(weight.id()).or_insert_with(zeros));
                true
            }
            _ => false,
        }
    }

    /// Returns where the gradients of `weight`, a variable on a device, are summed; `make` gives
    /// the memory for the first.
    ///
    /// # Errors
    /// A sink that is not collecting, or a weight that is no variable.
    pub(in crate::lm) fn place(
        &self,
        weight: &Tensor,
        make: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Place> {
        let mut collected = self.lock();
        let Some(collected) = collected.as_mut().filter(|_| weight.is_variable()) else {
            candle_core::bail!("a gradient of a weight came outside a backward pass of its decoder")
        };
        if let Some(sum) = collected.device.get(&weight.id()) {
            return Ok(Place { sum: sum.clone(), is_new: false });
        }
        let sum = make()?;
        collected.device.insert(weight.id(), sum.clone());
        Ok(Place { sum, is_new: true })
    }

    /// Returns whether a backward pass by [`GradientSink::backward`] is running.
    pub(in crate::lm) fn is_collecting(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Collected>> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
