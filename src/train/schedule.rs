//! The learning rate of every optimiser step.

use super::config::{Scheduler, TrainConfig};

/// How the learning rate moves over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    peak: f64,
    warmup_steps: u64,
    steps_total: u64,
    scheduler: Scheduler,
}

/// The part of all steps that warms up where the options say nothing.
const WARMUP_RATIO: f64 = 0.03;

impl Schedule {
    /// Returns the schedule of a run of `steps_total` optimiser steps.
    pub fn new(config: &TrainConfig, steps_total: u64) -> Schedule {
        let ratio = config.warmup_ratio.unwrap_or(WARMUP_RATIO);
        let by_ratio = (ratio * steps_total as f64).ceil() as u64;
        Schedule {
            peak: config.peak_learning_rate(),
            warmup_steps: config.warmup_steps.unwrap_or(by_ratio).min(steps_total),
            steps_total,
            scheduler: config.lr_scheduler_type,
        }
    }

    /// Returns the learning rate of optimiser step `step`, from 1.
    ///
    /// During the warm-up of W steps it is `peak * step / W`: no step is wasted on a rate of zero.
    /// Step W + 1 has the peak, and with p = (step - 1 - W) / (T - W) the rest follows
    /// `peak * (1 + cos(pi p)) / 2` or `peak * (1 - p)`, as in Hugging Face's schedulers.
    pub fn rate(&self, step: u64) -> f64 {
        if step <= self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let rest = (self.steps_total - self.warmup_steps).max(1) as f64;
        let progress = ((step - 1 - self.warmup_steps) as f64 / rest).min(1.0);
        match self.scheduler {
            Scheduler::Cosine => self.peak * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Scheduler::Linear => self.peak * (1.0 - progress),
            Scheduler::Constant => self.peak,
        }
    }
}
