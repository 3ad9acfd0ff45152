//! `djangobot plugin remove`, `enable` and `disable`: edits of the config.

use djangobot_plugins::config::store_name;

use crate::cli::{NameArgs, RemoveArgs};
use crate::failure::Failure;
use crate::plugin::error::PluginError;
use crate::plugin::host;
use crate::plugin::host_files::HostFiles;
use crate::plugin::shown::print;
use crate::telemetry::Terminal;

/// Removes a plugin. The config is written first: a plugin that it does not name is not loaded, even if the command is
/// interrupted before the lock is written.
pub(super) async fn remove(args: RemoveArgs, terminal: &Terminal) -> Result<(), Failure> {
    let files = HostFiles::open(&args.files, terminal)?;
    let plugin = files.plugin(&args.name)?;
    let mut stores = vec![plugin.store_name()];
    {
        let turn = files.turn()?;
        let mut lock = files.read_lock()?;
        let mut config = files.open_config()?;
        config.remove(&args.name).map_err(PluginError::below)?;
        config.save().map_err(PluginError::below)?;
        if let Some(locked) = lock.remove(&args.name) {
            lock.write(&files.lock).map_err(PluginError::below)?;
            // Somebody may have edited the source in the config since: the store still has the name of the one before.
            stores.push(store_name(&args.name, &locked.source));
            stores.dedup();
        }
        files.remember(&turn, |versions| versions.forget(&args.name))?;
        files.tidy(&lock);
    }
    print(&format!(
        "{} was removed from {}.\n",
        args.name,
        files.config.display()
    ))?;
    host::take_up(&files, &[&args.name], terminal).await?;
    // The store is deleted last, because the plugin may write to it until the host has unloaded it.
    files.with_stores(|database| {
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
    let files = HostFiles::open(&args.files, terminal)?;
    let word = if enabled { "enabled" } else { "disabled" };
    if files.plugin(&args.name)?.enabled == enabled {
        print(&format!("{} is {word} already.\n", args.name))?;
        return Ok(());
    }
    {
        let _turn = files.turn()?;
        let mut config = files.open_config()?;
        config
            .set_enabled(&args.name, enabled)
            .map_err(PluginError::below)?;
        config.save().map_err(PluginError::below)?;
    }
    print(&format!(
        "{} is {word} in {}.\n",
        args.name,
        files.config.display()
    ))?;
    host::take_up(&files, &[&args.name], terminal).await
}
