//! Devices by name.

use swirldb::lm::{Device, device};

#[test]
fn the_cpu_is_a_device_and_other_names_are_explained() {
    assert!(matches!(device("cpu").unwrap(), Device::Cpu));
    for name in ["gpu", "cuda:", "cuda:x", "cuda0", ""] {
        let error = device(name).unwrap_err().to_string();
        assert!(error.contains(&format!("the device is '{name}'")), "{error}");
        assert!(error.contains("'cuda:1'"), "{error}");
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_card_needs_a_build_with_cuda() {
    for name in ["cuda", "cuda:1"] {
        let error = device(name).unwrap_err().to_string();
        assert!(error.contains("was built without CUDA") && error.contains("make cuda"), "{error}");
    }
}
