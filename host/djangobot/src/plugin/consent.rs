//! What a plugin may do is agreed to by a person: asked on a terminal, or said on the command line.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use djangobot_plugins::{Capability, grant};

use super::error::PluginError;
use super::shown::asks;
use crate::cli::ConsentArgs;

/// Asks before a folder is built, whose build scripts and macros run with all that the user may do. Grants that are open
/// are asked for later; without a terminal all is said at once.
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
        let open = answer(asked, &[], consent)?.open;
        let command = again(std::env::args().skip(1), &["--build"], &open);
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
        let command = again(std::env::args().skip(1), &["--yes"], &[]);
        return Err(PluginError::NotAgreed { what, command });
    }
    match ask(format!("{}. Install it? [y/N] ", sentence(&what))).await? {
        true => Ok(()),
        false => Err(PluginError::Disagreed),
    }
}

/// With a capital letter.
fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// What is granted beyond `held`, so that `name` has all that it asks for.
pub(super) async fn granted(
    name: &str,
    asked: &[Capability],
    held: &[Capability],
    consent: &ConsentArgs,
) -> Result<Vec<Capability>, PluginError> {
    let said = answer(asked, held, consent)?;
    if said.open.is_empty() {
        return Ok(said.granted);
    }
    if !is_terminal() {
        let command = again(std::env::args().skip(1), &[], &said.open);
        return Err(PluginError::NotGranted {
            missing: said.open,
            command,
        });
    }
    let mut question = format!("{name} asks for\n");
    for asked in &said.open {
        question.push_str(&format!("  {}\n", asks(asked)));
    }
    question.push_str("Grant it? [y/N] ");
    match ask(question).await? {
        true => Ok([said.granted, said.open].concat()),
        false => Err(PluginError::Declined(said.open)),
    }
}

/// What the command line settles, and what it leaves open.
#[derive(Debug, PartialEq)]
struct Answer {
    granted: Vec<Capability>,
    open: Vec<Capability>,
}

fn answer(
    asked: &[Capability],
    held: &[Capability],
    consent: &ConsentArgs,
) -> Result<Answer, PluginError> {
    // A grant of what nobody asked for would lie in wait for a later version.
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
    Ok(Answer { granted, open })
}

/// The same command line with `options`, and with what is open granted.
fn again(arguments: impl Iterator<Item = String>, options: &[&str], open: &[Capability]) -> String {
    let mut words = vec!["djangobot".to_owned()];
    words.extend(arguments.map(|word| quoted(&word)));
    words.extend(options.iter().map(ToString::to_string));
    for open in open {
        words.push("--grant".into());
        words.push(quoted(&open.to_string()));
    }
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    match !word.is_empty() && word.chars().all(harmless) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Whether the answer is yes; anything else, and no answer, is no.
async fn ask(question: String) -> Result<bool, PluginError> {
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
    fn what_is_not_said_stays_open() {
        let check =
            |asked: &[&str], held: &[&str], yes, grant: &[&str], expect: (&[&str], &[&str])| {
                let consent = ConsentArgs {
                    yes,
                    build: false,
                    grant: list(grant),
                };
                let answer = answer(&list(asked), &list(held), &consent).unwrap();
                let expect = Answer {
                    granted: list(expect.0),
                    open: list(expect.1),
                };
                assert_eq!(answer, expect, "{asked:?} {held:?} {yes} {grant:?}");
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
        let error = answer(&list(&["store"]), &[], &consent).unwrap_err();
        assert_eq!(error.to_string(), "it does not ask for slack");
    }

    #[test]
    fn the_command_to_run_can_be_pasted() {
        let words = ["plugin", "add", "it's mine.wasm"].map(ToString::to_string);
        assert_eq!(
            again(words.into_iter(), &[], &list(&["store", "http:*.a.com"])),
            r"djangobot plugin add 'it'\''s mine.wasm' --grant store --grant 'http:*.a.com'"
        );
    }
}
