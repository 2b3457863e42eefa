//! Devices by name: what a sandbox may have beside the harmless ones.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

choice! {
    /// A kind of device.
    Device, "device" {
        /// NVIDIA's graphics processors, for CUDA.
        Nvidia = "nvidia",
        /// Graphics processors by the kernel's own drivers: rendering, and AMD's and Intel's computing.
        Dri = "dri",
        /// Hardware virtualisation.
        Kvm = "kvm",
    }
}

impl Device {
    /// The nodes of this host.
    ///
    /// # Errors
    /// A host without any, in words.
    pub fn nodes(self) -> Result<Vec<PathBuf>> {
        self.nodes_in(Path::new("/dev"))
    }

    fn nodes_in(self, dev: &Path) -> Result<Vec<PathBuf>> {
        let is_there = |name: &&str| dev.join(name).exists();
        let named = |names: &[&str]| names.iter().filter(|name| is_there(name)).map(|name| dev.join(name)).collect();
        let (mut nodes, wanted): (Vec<PathBuf>, &str) = match self {
            Device::Kvm => (named(&["kvm"]), "/dev/kvm"),
            Device::Dri => (named(&["dri", "kfd"]), "/dev/dri"),
            Device::Nvidia => (numbered(dev), "/dev/nvidia0"),
        };
        if nodes.is_empty() {
            return Err(Error::new(format!("device '{self}': this host has no {wanted}"))
                .hint("load its driver, or remove it from 'devices'"));
        }
        if self == Device::Nvidia {
            let others = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia-caps"];
            nodes.extend(named(&others));
        }
        Ok(nodes)
    }
}

/// `nvidia0`, `nvidia1` and so on.
fn numbered(dev: &Path) -> Vec<PathBuf> {
    let is_one = |name: &str| {
        let number = name.strip_prefix("nvidia").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let entries = std::fs::read_dir(dev).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut nodes: Vec<PathBuf> =
        entries.filter(|name| name.to_str().is_some_and(is_one)).map(|name| dev.join(name)).collect();
    nodes.sort();
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_that_exist_are_named_and_a_host_without_any_is_an_error() {
        let dev = crate::testing::Scratch::new("dev");
        std::fs::create_dir_all(dev.join("dri")).unwrap();
        for name in ["nvidia1", "nvidia0", "nvidiactl", "nvidia-uvm", "nvidiax"] {
            std::fs::write(dev.join(name), "").unwrap();
        }
        let names = |device: Device| -> Vec<String> {
            let nodes = device.nodes_in(&dev).unwrap();
            nodes.iter().map(|node| node.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(Device::Nvidia), ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"]);
        assert_eq!(names(Device::Dri), ["dri"]);
        assert_eq!(Device::Kvm.nodes_in(&dev).unwrap_err().to_string(), "device 'kvm': this host has no /dev/kvm");
    }
}
