//! The standard metrics of a process (`process_*`), which Prometheus's own clients show too. They are read from
//! `/proc`; on systems without it there are none.

use std::fmt::Write as _;
use std::fs;

/// Linux reports processor time to programs in hundredths of a second, on every machine.
const TICKS: f64 = 100.0;

/// Writes the figures in Prometheus's text format.
pub(super) fn figures() -> String {
    let mut text = String::new();
    let mut show = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let written = write!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n"
            );
            debug_assert!(written.is_ok(), "a text takes what is written to it");
        }
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = Stat::read();
    show(
        "process_cpu_seconds_total",
        "counter",
        "Processor time that this process used, in seconds",
        stat.as_ref().map(|stat| stat.cpu_seconds),
    );
    show(
        "process_resident_memory_bytes",
        "gauge",
        "Memory of this process that is not paged out, in bytes",
        kibibytes(&status, "VmRSS:"),
    );
    show(
        "process_virtual_memory_bytes",
        "gauge",
        "Addresses that this process has reserved, in bytes",
        kibibytes(&status, "VmSize:"),
    );
    show(
        "process_start_time_seconds",
        "gauge",
        "When this process was started, in Unix seconds",
        stat.and_then(|stat| Some(boot_time()? + stat.started)),
    );
    show(
        "process_open_fds",
        "gauge",
        "Files and sockets that this process has open",
        fs::read_dir("/proc/self/fd")
            .ok()
            .map(|open| open.count().saturating_sub(1) as f64),
    );
    show(
        "process_max_fds",
        "gauge",
        "Files and sockets that this process may have open",
        max_fds(),
    );
    text
}

/// The figures of `/proc/self/stat`.
struct Stat {
    cpu_seconds: f64,
    /// Seconds after the machine's start.
    started: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The process's name comes first, in brackets, and may contain spaces and brackets itself.
        let (_, rest) = text.rsplit_once(')')?;
        // proc(5) counts fields from 1, pid and name included, so that its field N is here at N - 3.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS,
            started: ticks(19)? / TICKS,
        })
    }
}

fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

fn kibibytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let figure: f64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(figure * 1024.0)
}

fn max_fds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_figures_are_those_of_this_process() {
        let page = figures();
        let figure = |name: &str| -> f64 {
            let line = page
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name}: {page}"))
                .parse()
                .unwrap()
        };
        assert!(figure("process_resident_memory_bytes") > 1e6);
        assert!(figure("process_virtual_memory_bytes") >= figure("process_resident_memory_bytes"));
        assert!(figure("process_open_fds") >= 3.0);
        assert!(figure("process_max_fds") >= figure("process_open_fds"));
        assert!(figure("process_cpu_seconds_total") < 3600.0);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let age = now - figure("process_start_time_seconds");
        assert!((-5.0..36_000.0).contains(&age), "{age}");
    }
}
