//! A person's consent to grants, builds and installations: asked for on a terminal, or given on the command line.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use djangobot_plugins::manifest::Manifest;
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
    manifest: &Manifest,
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
        let request = GrantRequest {
            name: &manifest.name,
            manifest,
            held: &[],
            known: &[],
        };
        let open = given(&request, consent)?.open;
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

/// A plugin that asks for grants.
pub(super) struct GrantRequest<'a> {
    /// Its name in the config.
    pub(super) name: &'a str,
    pub(super) manifest: &'a Manifest,
    /// The grants that it holds.
    pub(super) held: &'a [Capability],
    /// The capabilities that the version before asked for. An optional one among them was decided about then, and is not
    /// asked for again.
    pub(super) known: &'a [Capability],
}

/// Asks for the capabilities that a plugin asks for and does not hold yet, and returns those that are granted now. A
/// plugin goes on without an optional capability that is not granted.
pub(super) async fn granted(
    request: &GrantRequest<'_>,
    consent: &ConsentArgs,
) -> Result<Vec<Capability>, PluginError> {
    let mut given = given(request, consent)?;
    let name = request.name;
    if !given.open.is_empty() {
        agree_to(name, &given.open).await?;
        given.granted.append(&mut given.open);
    }
    if is_terminal() {
        for asked in given.optional {
            let question = format!(
                "{name} can use\n  {}\nand works without it. Grant it? [y/N] ",
                asks(&asked)
            );
            if ask(question).await? {
                given.granted.push(asked);
            }
        }
    }
    Ok(given.granted)
}

/// Asks for the capabilities without which the plugin is not loaded.
async fn agree_to(name: &str, open: &[Capability]) -> Result<(), PluginError> {
    if !is_terminal() {
        let command = command_with(std::env::args().skip(1), &[], open);
        return Err(PluginError::NotGranted {
            missing: open.to_vec(),
            command,
        });
    }
    let mut question = format!("{name} asks for\n");
    for asked in open {
        question.push_str(&format!("  {}\n", asks(asked)));
    }
    question.push_str("Grant it? [y/N] ");
    match ask(question).await? {
        true => Ok(()),
        false => Err(PluginError::Declined(open.to_vec())),
    }
}

/// The consent that the command line gives.
#[derive(Debug, PartialEq)]
struct GivenConsent {
    /// Capabilities that are granted beyond those that the plugin holds.
    granted: Vec<Capability>,
    /// Capabilities that the plugin needs, and that nobody has granted yet.
    open: Vec<Capability>,
    /// Optional capabilities that nobody has decided about yet.
    optional: Vec<Capability>,
}

fn given(request: &GrantRequest<'_>, consent: &ConsentArgs) -> Result<GivenConsent, PluginError> {
    let asked = request.manifest.asked();
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
        if !request.held.contains(grant) && !granted.contains(grant) {
            granted.push(grant.clone());
        }
    }
    let together = [request.held, &granted].concat();
    let missing = |asked| -> Vec<Capability> {
        let missing = grant::missing(asked, &together).into_iter();
        missing.cloned().collect()
    };
    let mut open = missing(&request.manifest.capabilities);
    let mut optional = missing(&request.manifest.optional_capabilities);
    optional.retain(|asked| !request.known.contains(asked));
    if consent.yes {
        granted.append(&mut open);
        granted.append(&mut optional);
    }
    Ok(GivenConsent {
        granted,
        open,
        optional,
    })
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

    fn manifest(needs: &[&str], optional: &[&str]) -> Manifest {
        Manifest::parse(&format!(
            "name = \"a\"\nversion = \"1.0.0\"\ncapabilities = {needs:?}\noptional-capabilities = {optional:?}\n"
        ))
        .unwrap()
    }

    fn consent(yes: bool, grant: &[&str]) -> ConsentArgs {
        ConsentArgs {
            yes,
            build: false,
            grant: list(grant),
        }
    }

    #[test]
    fn capabilities_that_nobody_granted_stay_open() {
        let check =
            |asked: &[&str], held: &[&str], yes, grant: &[&str], expect: (&[&str], &[&str])| {
                let request = GrantRequest {
                    name: "a",
                    manifest: &manifest(asked, &[]),
                    held: &list(held),
                    known: &[],
                };
                let given = given(&request, &consent(yes, grant)).unwrap();
                let expect = GivenConsent {
                    granted: list(expect.0),
                    open: list(expect.1),
                    optional: Vec::new(),
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
        let request = GrantRequest {
            name: "a",
            manifest: &manifest(&["store"], &[]),
            held: &[],
            known: &[],
        };
        let error = given(&request, &consent(true, &["slack"])).unwrap_err();
        assert_eq!(error.to_string(), "the plugin does not ask for slack");
    }

    #[test]
    fn an_optional_capability_is_asked_for_once_and_no_error_if_it_is_refused() {
        let check = |known: &[&str], yes, grant: &[&str], expect: (&[&str], &[&str])| {
            let request = GrantRequest {
                name: "a",
                manifest: &manifest(&["store"], &["slack"]),
                held: &list(&["store"]),
                known: &list(known),
            };
            let given = given(&request, &consent(yes, grant)).unwrap();
            let expect = GivenConsent {
                granted: list(expect.0),
                open: Vec::new(),
                optional: list(expect.1),
            };
            assert_eq!(given, expect, "{known:?} {yes} {grant:?}");
        };
        check(&[], false, &[], (&[], &["slack"]));
        check(&[], true, &[], (&["slack"], &[]));
        // It was refused before, and `--yes` does not change that; `--grant` does.
        check(&["slack"], true, &[], (&[], &[]));
        check(&["slack"], false, &["slack"], (&["slack"], &[]));
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
