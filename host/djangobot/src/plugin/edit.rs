//! `djangobot plugin remove`, `enable` and `disable`: edits of the config.

use djangobot_plugins::config::store_name;

use super::error::PluginError;
use super::host;
use super::place::Place;
use super::shown::print;
use crate::cli::{NameArgs, RemoveArgs};
use crate::failure::Failure;
use crate::telemetry::Terminal;

/// Removes a plugin. The config is written first: a plugin that it does not name is not loaded, even if the command is
/// interrupted before the lock is written.
pub(super) async fn remove(args: RemoveArgs, terminal: &Terminal) -> Result<(), Failure> {
    let place = Place::open(&args.files, terminal)?;
    let plugin = place.plugin(&args.name)?;
    let mut stores = vec![plugin.store_name()];
    {
        let turn = place.turn()?;
        let mut lock = place.read_lock()?;
        let mut config = place.open_config()?;
        config.remove(&args.name).map_err(PluginError::below)?;
        config.save().map_err(PluginError::below)?;
        if let Some(locked) = lock.remove(&args.name) {
            lock.write(&place.lock).map_err(PluginError::below)?;
            // Somebody may have edited the source in the config since: the store still has the name of the one before.
            stores.push(store_name(&args.name, &locked.source));
        }
        place.remember(&turn, |versions| versions.forget(&args.name))?;
        place.tidy(&lock);
    }
    print(&format!(
        "{} was removed from {}.\n",
        args.name,
        place.config.display()
    ))?;
    host::take_up(&place, &[&args.name], terminal).await?;
    // The store is deleted last, because the plugin may write to it until the host has unloaded it.
    place.with_stores(|database| {
        stores.iter().try_for_each(|store| match args.keep_store {
            true => database.settle_name(store),
            false => database.forget(store),
        })
    })?;
    Ok(())
}

/// Enables or disables a plugin.
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
