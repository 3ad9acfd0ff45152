//! Reading and writing an event, compared with serde_json and rmp-serde: the event's own benchmark, run and quoted.

use std::process::Command;

use crate::table::Table;

pub(crate) fn measure() -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "bench",
            "--quiet",
            "-p",
            "djangobot-event",
            "--bench",
            "event",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("DJANGOBOT_BENCH_RATIOS", "1")
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "the event's benchmark failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut table = Table::new([
        "",
        "event",
        "djangobot-event, us",
        "serde_json::Value and rmp-serde, us",
        "times as fast",
    ]);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(cells) = cells(line) {
            table.row(cells);
        }
    }
    table.finish()
}

/// The cells of a line such as `parse    2 KB    1.20 us    22.00 us   18.3x`.
fn cells(line: &str) -> Option<[String; 5]> {
    let rest = line.strip_suffix('x')?;
    let (rest, ratio) = rest.rsplit_once(' ')?;
    let (rest, theirs) = rest.trim_end().strip_suffix(" us")?.rsplit_once(' ')?;
    let (rest, ours) = rest.trim_end().strip_suffix(" us")?.rsplit_once(' ')?;
    let (rest, size) = rest.trim_end().strip_suffix(" KB")?.rsplit_once(' ')?;
    Some([
        rest.trim().into(),
        format!("{size} KB"),
        ours.into(),
        theirs.into(),
        format!("{ratio} x"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_events_benchmark_is_read() {
        let line =
            "parse, write msgpack                      2 KB    2.91 us      22.30 us    7.7x";
        assert_eq!(
            cells(line).unwrap(),
            ["parse, write msgpack", "2 KB", "2.91", "22.30", "7.7 x"]
        );
        assert_eq!(cells("                     event      serde   ratio"), None);
    }
}
