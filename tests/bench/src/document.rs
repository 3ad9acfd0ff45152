//! BENCHMARKS.md: each section's figures stand between two marks, and are replaced there.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The circumstances of a measurement: the command, the day, the machine.
pub(crate) fn machine(name: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("", |(_, model)| model);
    let today = Command::new("date")
        .args(["-u", "+%Y-%m-%d"])
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "`cargo xtask bench {name}`, {}, {cores} cores ({model}), load average at its start {}.\n",
        String::from_utf8_lossy(&today).trim(),
        load.split(' ').next().unwrap_or_default()
    )
}

/// Puts `section` between `<!-- begin NAME -->` and `<!-- end NAME -->` of `document`.
///
/// # Panics
/// When the document can't be read or written, or has no such marks.
pub(crate) fn replace(document: &Path, name: &str, section: &str) {
    let text = fs::read_to_string(document)
        .unwrap_or_else(|error| panic!("{} can't be read: {error}", document.display()));
    let text = with_section(&text, name, section).unwrap_or_else(|| {
        panic!(
            "{} has no marks <!-- begin {name} --> and <!-- end {name} -->",
            document.display()
        )
    });
    fs::write(document, text)
        .unwrap_or_else(|error| panic!("{} can't be written: {error}", document.display()));
}

fn with_section(text: &str, name: &str, section: &str) -> Option<String> {
    let (before, rest) = text.split_once(&format!("<!-- begin {name} -->\n"))?;
    let (_, after) = rest.split_once(&format!("<!-- end {name} -->"))?;
    Some(format!(
        "{before}<!-- begin {name} -->\n{}\n<!-- end {name} -->{after}",
        section.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_between_its_marks_and_the_rest_stays() {
        let text = "a\n<!-- begin one -->\nold\n<!-- end one -->\nb\n<!-- begin two -->\n<!-- end two -->\n";
        let once = with_section(text, "one", "new\n").unwrap();
        assert_eq!(
            once,
            "a\n<!-- begin one -->\nnew\n<!-- end one -->\nb\n<!-- begin two -->\n<!-- end two -->\n"
        );
        assert_eq!(with_section(&once, "one", "new").as_deref(), Some(&*once));
        assert_eq!(with_section(text, "three", "new"), None);
    }
}
