//! `djangobot plugin list`: shows the plugins as the running host reports them, or as the files have them.

use comfy_table::{CellAlignment, Table};
use djangobot_plugins::{Lock, PluginConfig};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::cli::ListArgs;
use crate::failure::Failure;
use crate::plugin::error::PluginError;
use crate::plugin::host::{self, Status};
use crate::plugin::host_files::HostFiles;
use crate::plugin::shown::{line, plain, print};
use crate::telemetry::Terminal;

/// Shows all plugins of the config.
pub(super) async fn list(args: ListArgs, terminal: &Terminal) -> Result<(), Failure> {
    let files = HostFiles::open(&args.files, terminal)?;
    let lock = files.read_lock()?;
    let live = host::statuses(&files).await?;
    let rows: Vec<_> = files
        .plugins
        .iter()
        .map(|plugin| (plugin, status(plugin, &lock, live.as_deref())))
        .collect();
    if args.json {
        let all: Vec<_> = rows
            .iter()
            .map(|(plugin, status)| in_json(plugin, status, live.is_some()))
            .collect();
        return print_json(&Value::Array(all)).map_err(Failure::from);
    }
    if rows.is_empty() {
        print(&format!(
            "There are no plugins in {}; djangobot plugin add SOURCE adds one.\n",
            files.config.display()
        ))?;
        return Ok(());
    }
    let statuses: Vec<_> = rows.into_iter().map(|(_, status)| status).collect();
    print(&table(&statuses, live.is_some()))?;
    if live.is_none() {
        print("No djangobot is running here; the states are from config and lock.\n")?;
    }
    Ok(())
}

/// The status of a plugin: from the running host, or else from config and lock.
pub(super) fn status(plugin: &PluginConfig, lock: &Lock, live: Option<&[Status]>) -> Status {
    let locked = lock.get(&plugin.name);
    let known = live.and_then(|live| live.iter().find(|status| status.name == plugin.name));
    if let Some(status) = known {
        // The host reports no version of a plugin that does not serve; the lock has the version that should.
        let mut status = status.clone();
        status.version = status
            .version
            .or(locked.map(|locked| locked.version.to_string()));
        status.sha256 = status
            .sha256
            .or(locked.map(|locked| locked.sha256.to_string()));
        return status;
    }
    let (state, why) = match (plugin.enabled, locked, live) {
        (false, ..) => ("disabled", None),
        _ if plugin.mistake.is_some() => ("refused", plugin.mistake.clone()),
        (_, None, _) => (
            "not locked",
            Some(format!(
                "djangobot plugin update {} adds it to the lock",
                plugin.name
            )),
        ),
        (_, Some(locked), None) if locked.source != plugin.source => (
            "not locked",
            Some(format!(
                "its source is {}, and djangobot.lock pins {}; djangobot plugin update {} pins it as it is now",
                plugin.source, locked.source, plugin.name
            )),
        ),
        (.., Some(_)) => (
            "not loaded",
            Some("the running djangobot has not loaded it; its log may say why".into()),
        ),
        (.., None) => ("not running", None),
    };
    Status {
        name: plugin.name.clone(),
        version: locked.map(|locked| locked.version.to_string()),
        sha256: locked.map(|locked| locked.sha256.to_string()),
        state: state.into(),
        why,
        ..Status::default()
    }
}

/// Makes the JSON object of a plugin: its status, and its settings in the config.
pub(super) fn in_json(plugin: &PluginConfig, status: &Status, live: bool) -> Value {
    json!({
        "name": status.name, "version": status.version, "state": status.state, "why": status.why,
        "sha256": status.sha256, "calls": status.calls, "errors": status.errors, "traps": status.traps,
        "timeouts": status.timeouts, "bad_answers": status.bad_answers, "over_budget": status.over_budget,
        "p50_us": status.p50_us, "p99_us": status.p99_us,
        "memory_bytes": status.memory_bytes, "instances": status.instances,
        "source": plugin.source, "enabled": plugin.enabled, "grants": plugin.grants,
        "on_error": plugin.on_error, "live": live,
    })
}

pub(super) fn print_json(value: &Value) -> Result<(), PluginError> {
    let text = serde_json::to_string_pretty(value).map_err(PluginError::below)?;
    print(&format!("{text}\n"))
}

fn table(statuses: &[Status], live: bool) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let mut header = vec!["name", "version", "state"];
    if live {
        header.extend(["calls", "failed", "p50", "p99", "memory"]);
    }
    table.set_header(header);
    for status in statuses {
        let mut row = vec![
            line(&status.name),
            line(status.version.as_deref().unwrap_or("-")),
            line(&status.state),
        ];
        if live {
            row.extend(figures(status));
        }
        table.add_row(row);
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if at >= 3 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for status in statuses {
        if !status.failures().is_empty() {
            let name = line(&status.name);
            text.push_str(&format!("{name}: failed calls: {}\n", kinds(status)));
        }
        if let Some(why) = &status.why {
            text.push_str(&format!("{}: {}\n", line(&status.name), line(why)));
        }
    }
    plain(&text)
}

/// Lists failures by kind: `3 trapped, 2 returned an error`.
pub(super) fn kinds(status: &Status) -> String {
    let kinds = status.failures().into_iter();
    let kinds: Vec<_> = kinds
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    match kinds.is_empty() {
        true => "none".into(),
        false => kinds.join(", "),
    }
}

fn figures(status: &Status) -> [String; 5] {
    let count = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
    let failed = status.calls.map(|_| {
        let failures = status.failures();
        failures.iter().map(|(_, count)| count).sum()
    });
    let time = |time: Option<f64>| time.map_or("-".into(), micros);
    let size = |bytes: Option<u64>| bytes.map_or("-".into(), |bytes| HumanBytes(bytes).to_string());
    [
        count(status.calls),
        count(failed),
        time(status.p50_us),
        time(status.p99_us),
        size(status.memory_bytes),
    ]
}

/// Writes a time in microseconds with about three digits.
pub(super) fn micros(micros: f64) -> String {
    match micros {
        micros if micros < 10.0 => format!("{micros:.1} us"),
        micros if micros < 1_000.0 => format!("{micros:.0} us"),
        micros if micros < 10_000.0 => format!("{:.1} ms", micros / 1_000.0),
        micros if micros < 1_000_000.0 => format!("{:.0} ms", micros / 1_000.0),
        micros => format!("{:.1} s", micros / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_the_statuses_of_the_host() {
        let running: Status = serde_json::from_value(json!({
            "name": "resolve-names", "version": "1.2.0", "state": "running", "calls": 1200, "errors": 2, "traps": 3,
            "p50_us": 1.61, "p99_us": 3400, "memory_bytes": 1_179_648, "instances": 1, "later": [],
        }))
        .unwrap();
        let refused: Status = serde_json::from_value(
            json!({"name": "b", "state": "refused", "why": "it \u{1b}[2J lies"}),
        )
        .unwrap();
        assert_eq!(
            table(&[running, refused], true),
            "name           version  state    calls  failed     p50     p99    memory\n\
             resolve-names  1.2.0    running   1200       5  1.6 us  3.4 ms  1.12 MiB\n\
             b              -        refused      -       -       -       -         -\n\
             resolve-names: failed calls: 3 trapped, 2 returned an error\n\
             b: it  lies\n"
        );
    }

    #[test]
    fn times_are_short() {
        let check = |time, expect: &str| assert_eq!(micros(time), expect);
        check(0.84, "0.8 us");
        check(99.6, "100 us");
        check(2_340.0, "2.3 ms");
        check(45_600.0, "46 ms");
        check(2_000_000.0, "2.0 s");
    }
}
