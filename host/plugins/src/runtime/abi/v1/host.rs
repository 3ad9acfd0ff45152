//! Facts about the plugin's own place: the interface `host`.

use crate::runtime::abi::v1::bindings::djangobot::plugin as wit;
use crate::runtime::guest::Guest;

impl wit::host::Host for Guest {
    fn name(&mut self) -> wasmtime::Result<String> {
        self.count()?;
        Ok(self.owner.name.clone())
    }

    fn version(&mut self) -> wasmtime::Result<String> {
        self.count()?;
        Ok(self.owner.manifest.version.to_string())
    }

    fn host_version(&mut self) -> wasmtime::Result<String> {
        self.count()?;
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    fn grants(&mut self) -> wasmtime::Result<Vec<String>> {
        self.count()?;
        let grants = self.owner.grants.iter().map(ToString::to_string).collect();
        Ok(grants)
    }

    fn instance(&mut self) -> wasmtime::Result<u32> {
        self.count()?;
        Ok(self.number)
    }

    fn instances(&mut self) -> wasmtime::Result<u32> {
        self.count()?;
        Ok(self.owner.instances)
    }

    fn is_rehearsal(&mut self) -> wasmtime::Result<bool> {
        self.count()?;
        Ok(self.shadow)
    }
}
