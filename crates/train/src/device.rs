//! Where a training is computed.

use std::fmt;
use std::str::FromStr;

use crate::TrainError;

/// A processor that trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The processor, with this project's own kernels.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number; needs the feature `cuda`.
    Cuda(usize),
    /// An Apple GPU by its number; needs the feature `metal`.
    Metal(usize),
}

impl Device {
    /// The tensor library's handle of it.
    ///
    /// # Errors
    /// When this program or machine has no such device.
    pub fn open(self) -> Result<candle_core::Device, TrainError> {
        let found = match self {
            Device::Cpu => Ok(candle_core::Device::Cpu),
            Device::Cuda(number) => candle_core::Device::new_cuda(number),
            Device::Metal(number) => candle_core::Device::new_metal(number),
        };
        found.map_err(|error| {
            let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
            TrainError::NoDevice { device: self, reason }
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
            Device::Metal(number) => write!(f, "metal:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    /// `cpu`, `cuda`, `cuda:1`, `metal`.
    fn from_str(text: &str) -> Result<Device, String> {
        let wrong = || format!("{text:?} is none of cpu, cuda, cuda:NUMBER and metal");
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, number.parse().map_err(|_| wrong())?),
            None => (text, 0),
        };
        match name {
            "cpu" if number == 0 => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(number)),
            "metal" => Ok(Device::Metal(number)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3), Device::Metal(0)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cpu:1"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }
}
