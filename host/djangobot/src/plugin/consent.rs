//! A person's consent to grants, builds and installations: asked for on a terminal, or given on the command line.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use djangobot_plugins::{Capability, grant};

use crate::cli::ConsentArgs;
use crate::plugin::error::PluginError;
use crate::plugin::shown::asks;

/// Asks before a folder is built, because its build scripts and macros run with all rights of the user.
///
/// On a terminal, grants are asked for after the build. Without one, the error names a command that gives all consents
/// at once, so that the user need not repeat the command for each.
pub(super) async fn to_build(
    folder: &Path,
    asked: &[Capability],
    consent: &ConsentArgs,
) -> Result<(), PluginError> {
    if consent.yes || consent.build {
        return Ok(());
    }
    let what = format!(
        "building it runs its code on this machine ({})",
        folder.display()
    );
    if !is_terminal() {
        let open = given(asked, &[], consent)?.open;
        let command = command_with(std::env::args().skip(1), &["--build"], &open);
        return Err(PluginError::NotAgreed { what, command });
    }
    match ask(format!("{}. Build it? [y/N] ", sentence(&what))).await? {
        true => Ok(()),
        false => Err(PluginError::Disagreed),
    }
}

/// Asks whether `what`, which a build needs, may be installed.
pub(super) async fn to_install(what: &str, yes: bool) -> Result<(), PluginError> {
    if yes {
        return Ok(());
    }
    let what = format!("building a plugin needs {what}, which is not installed here");
    if !is_terminal() {
        let command = command_with(std::env::args().skip(1), &["--yes"], &[]);
        return Err(PluginError::NotAgreed { what, command });
    }
    match ask(format!("{}. Install it? [y/N] ", sentence(&what))).await? {
        true => Ok(()),
        false => Err(PluginError::Disagreed),
    }
}

/// Gives a clause a capital letter.
fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for the capabilities that the plugin `name` asks for and does not hold yet, and returns those that are granted
/// now.
pub(super) async fn granted(
    name: &str,
    asked: &[Capability],
    held: &[Capability],
    consent: &ConsentArgs,
) -> Result<Vec<Capability>, PluginError> {
    let given = given(asked, held, consent)?;
    if given.open.is_empty() {
        return Ok(given.granted);
    }
    if !is_terminal() {
        let command = command_with(std::env::args().skip(1), &[], &given.open);
        return Err(PluginError::NotGranted {
            missing: given.open,
            command,
        });
    }
    let mut question = format!("{name} asks for\n");
    for asked in &given.open {
        question.push_str(&format!("  {}\n", asks(asked)));
    }
    question.push_str("Grant it? [y/N] ");
    match ask(question).await? {
        true => Ok([given.granted, given.open].concat()),
        false => Err(PluginError::Declined(given.open)),
    }
}

/// The consent that the command line gives.
#[derive(Debug, PartialEq)]
struct GivenConsent {
    /// Capabilities that are granted beyond those that the plugin holds.
    granted: Vec<Capability>,
    /// Capabilities that the plugin asks for, and that nobody has granted yet.
    open: Vec<Capability>,
}

fn given(
    asked: &[Capability],
    held: &[Capability],
    consent: &ConsentArgs,
) -> Result<GivenConsent, PluginError> {
    // A grant that the plugin does not ask for is refused: a later version could ask for it, and nobody would be asked.
    let useless = |grant: &&Capability| !asked.iter().any(|asked| grant.covers(asked));
    if let Some(useless) = consent.grant.iter().find(useless) {
        let all: Vec<_> = asked.iter().map(ToString::to_string).collect();
        return Err(PluginError::NotAsked(
            useless.clone(),
            match all.is_empty() {
                true => "nothing".into(),
                false => all.join(", "),
            },
        ));
    }
    let mut granted = Vec::new();
    for grant in &consent.grant {
        if !held.contains(grant) && !granted.contains(grant) {
            granted.push(grant.clone());
        }
    }
    let together = [held, &granted].concat();
    let missing = grant::missing(asked, &together).into_iter().cloned();
    let mut open: Vec<_> = missing.collect();
    if consent.yes {
        granted.append(&mut open);
    }
    Ok(GivenConsent { granted, open })
}

/// Writes the same command line with more `options`, and with grants of what is open.
fn command_with(
    arguments: impl Iterator<Item = String>,
    options: &[&str],
    open: &[Capability],
) -> String {
    let mut words = vec!["djangobot".to_owned()];
    words.extend(arguments.map(|word| quoted(&word)));
    words.extend(options.iter().map(ToString::to_string));
    for open in open {
        words.push("--grant".into());
        words.push(quoted(&open.to_string()));
    }
    words.join(" ")
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    match !word.is_empty() && word.chars().all(harmless) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Asks on the terminal. Only `y` or `yes` is a yes.
async fn ask(question: String) -> Result<bool, PluginError> {
    // A blocking thread reads the answer, so that Ctrl-C still ends the command. The question goes to stderr, because
    // stdout may be a pipe.
    let asking = tokio::task::spawn_blocking(move || {
        let mut stderr = std::io::stderr().lock();
        stderr.write_all(question.as_bytes())?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    });
    let answer = asking.await.map_err(PluginError::below)?;
    let answer = answer.map_err(PluginError::below)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<Capability> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn capabilities_that_nobody_granted_stay_open() {
        let check =
            |asked: &[&str], held: &[&str], yes, grant: &[&str], expect: (&[&str], &[&str])| {
                let consent = ConsentArgs {
                    yes,
                    build: false,
                    grant: list(grant),
                };
                let given = given(&list(asked), &list(held), &consent).unwrap();
                let expect = GivenConsent {
                    granted: list(expect.0),
                    open: list(expect.1),
                };
                assert_eq!(given, expect, "{asked:?} {held:?} {yes} {grant:?}");
            };
        check(&[], &[], false, &[], (&[], &[]));
        check(&["store"], &[], false, &[], (&[], &["store"]));
        check(&["store"], &["store"], false, &[], (&[], &[]));
        check(
            &["store", "slack"],
            &[],
            true,
            &[],
            (&["store", "slack"], &[]),
        );
        check(
            &["store", "slack"],
            &[],
            false,
            &["slack", "slack"],
            (&["slack"], &["store"]),
        );
        check(
            &["http:a.example.com", "store"],
            &[],
            true,
            &["http:*.example.com"],
            (&["http:*.example.com", "store"], &[]),
        );
        let consent = ConsentArgs {
            yes: true,
            build: false,
            grant: list(&["slack"]),
        };
        let error = given(&list(&["store"]), &[], &consent).unwrap_err();
        assert_eq!(error.to_string(), "the plugin does not ask for slack");
    }

    #[test]
    fn the_command_to_run_can_be_pasted() {
        let words = ["plugin", "add", "it's mine.wasm"].map(ToString::to_string);
        assert_eq!(
            command_with(words.into_iter(), &[], &list(&["store", "http:*.a.com"])),
            r"djangobot plugin add 'it'\''s mine.wasm' --grant store --grant 'http:*.a.com'"
        );
    }
}
