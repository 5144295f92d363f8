//! Devices by name.

use super::{Device, LmError};

/// Returns the device of a name: `cpu`, `cuda` (the first card) or `cuda:1` (the second).
///
/// # Errors
/// `Config` for another name, for a card in a program that was built without CUDA, and for one that
/// is not there.
pub fn device(name: &str) -> Result<Device, LmError> {
    let fail = |what: String, expected: String| Err(LmError::Config { what, expected });
    let number = match name {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => Some(0),
        _ => name.strip_prefix("cuda:").and_then(|number| number.parse::<usize>().ok()),
    };
    let Some(number) = number else {
        let expected = "'cpu', 'cuda' or a card by its number such as 'cuda:1'";
        return fail(format!("the device is '{name}'"), expected.to_owned());
    };
    card(number).or_else(|found| {
        let expected = match cfg!(feature = "cuda") {
            true => "an NVIDIA card and its driver, or the device 'cpu'",
            false => "the device 'cpu', or a program built with CUDA (make cuda)",
        };
        fail(format!("the device is '{name}', and {found}"), expected.to_owned())
    })
}

/// Returns a card, or why there is none.
#[cfg(feature = "cuda")]
fn card(number: usize) -> Result<Device, String> {
    super::ops::device::open_card(number).map_err(|error| super::tensor_text(&error))
}

/// Returns why there is no card.
#[cfg(not(feature = "cuda"))]
fn card(_: usize) -> Result<Device, String> {
    Err("this program was built without CUDA".to_owned())
}
