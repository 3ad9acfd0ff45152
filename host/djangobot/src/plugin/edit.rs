//! `djangobot plugin remove`, `enable` and `disable`.

use super::error::PluginError;
use super::host;
use super::place::Place;
use super::shown::print;
use crate::cli::{NameArgs, RemoveArgs};
use crate::failure::Failure;
use crate::telemetry::Terminal;

/// Takes a plugin out. The config goes first: what it does not name is not loaded.
pub(super) async fn remove(args: RemoveArgs, terminal: &Terminal) -> Result<(), Failure> {
    let place = Place::open(&args.files, terminal)?;
    let store = place.plugin(&args.name)?.store_name();
    {
        let turn = place.turn()?;
        let mut lock = place.read_lock()?;
        let mut config = place.open_config()?;
        config.remove(&args.name).map_err(PluginError::below)?;
        config.save().map_err(PluginError::below)?;
        if lock.remove(&args.name).is_some() {
            lock.write(&place.lock).map_err(PluginError::below)?;
        }
        place.remember(&turn, |versions| versions.forget(&args.name))?;
        place.tidy(&lock);
    }
    print(&format!(
        "{} is taken out of {}.\n",
        args.name,
        place.config.display()
    ))?;
    host::take_up(&place, &[&args.name], terminal).await?;
    // Only now does nobody write to it any more.
    place.with_stores(|stores| match args.keep_store {
        true => stores.settle_name(&store),
        false => stores.forget(&store),
    })?;
    Ok(())
}

/// Switches a plugin on or off.
pub(super) async fn switch(
    args: NameArgs,
    enabled: bool,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let place = Place::open(&args.files, terminal)?;
    let word = if enabled { "enabled" } else { "disabled" };
    if place.plugin(&args.name)?.enabled == enabled {
        print(&format!("{} is {word} already.\n", args.name))?;
        return Ok(());
    }
    {
        let _turn = place.turn()?;
        let mut config = place.open_config()?;
        config
            .set_enabled(&args.name, enabled)
            .map_err(PluginError::below)?;
        config.save().map_err(PluginError::below)?;
    }
    print(&format!(
        "{} is {word} in {}.\n",
        args.name,
        place.config.display()
    ))?;
    host::take_up(&place, &[&args.name], terminal).await
}
