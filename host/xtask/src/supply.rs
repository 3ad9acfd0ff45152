//! Checks the sources and licences of dependencies, and duplicate versions, against `deny.toml`.
//!
//! The file is cargo-deny's. Its checks of licences, sources and duplicates are made here from cargo's own metadata, so
//! that they need no other program. Only cargo-deny checks for known vulnerabilities, because they are in a database
//! that it downloads.

use std::collections::{BTreeMap, BTreeSet};

use djangobot_tests::environment::find;
use semver::{Version, VersionReq};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::step::{StepError, cargo, output, shown, workspace};

/// The manifests of the workspaces.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "plugins/Cargo.toml"];

/// The parts of `deny.toml` that are checked here.
#[derive(Debug, Deserialize)]
struct Policy {
    graph: Graph,
    licenses: Licenses,
    sources: Sources,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

/// A version that may exist next to another one.
#[derive(Debug, Deserialize)]
struct Skip {
    /// `NAME@VERSION`; a version with less than three parts stands for all that are compatible with it.
    #[serde(rename = "crate")]
    package: String,
    #[expect(dead_code, reason = "it is for people who read the file")]
    reason: String,
}

/// The answer of `cargo metadata`.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: Version,
    license: Option<String>,
    /// `None` for our own packages.
    source: Option<String>,
}

/// Checks all dependencies.
pub(crate) fn check() -> Result<(), StepError> {
    println!("==> dependencies");
    let path = workspace().join("deny.toml");
    let shown_path = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|reason| StepError::Read {
        path: shown_path.clone(),
        reason,
    })?;
    let unreadable = |error: String| StepError::Supply(format!("{shown_path}: {error}"));
    let policy: Policy = toml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let mut workspaces = Vec::new();
    for manifest in MANIFESTS {
        let mut metadata = cargo(&["metadata", "--locked", "--format-version", "1"]);
        metadata
            .arg("--manifest-path")
            .arg(workspace().join(manifest));
        for target in &policy.graph.targets {
            metadata.args(["--filter-platform", target]);
        }
        let text = output(&mut metadata)?;
        let metadata: Metadata =
            serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        workspaces.push(metadata.packages);
    }
    let problems = problems(&policy, &workspaces);
    if !problems.is_empty() {
        return Err(StepError::Supply(format!(
            "dependencies violate deny.toml:\n{}",
            problems.join("\n")
        )));
    }
    let count = workspaces.iter().map(Vec::len).max().unwrap_or(0);
    println!(
        "==> dependencies: the licences, sources and versions of {count} packages satisfy deny.toml"
    );
    match find("cargo-deny") {
        Some(_) => shown("advisories", &mut cargo(&["deny", "check", "advisories"])),
        None => {
            println!(
                "==> advisories were not checked: install cargo-deny (cargo install --locked cargo-deny), which downloads a \
                 database of them"
            );
            Ok(())
        }
    }
}

/// Finds all violations of `policy`, as sentences.
fn problems(policy: &Policy, workspaces: &[Vec<Package>]) -> Vec<String> {
    let mut problems = BTreeSet::new();
    for package in workspaces.iter().flatten().filter(|it| it.source.is_some()) {
        let Package {
            name,
            version,
            license,
            source,
        } = package;
        let source = source.as_deref().unwrap_or_default();
        let registry = source.strip_prefix("registry+").unwrap_or_default();
        if !policy.sources.allow_registry.contains(registry) {
            problems.insert(format!(
                "{name} {version} comes from {source}, which is not an allowed source"
            ));
        }
        if let Some(problem) = license_problem(&policy.licenses.allow, license.as_deref()) {
            problems.insert(format!("{name} {version} {problem}"));
        }
    }
    let mut needed = BTreeSet::new();
    for packages in workspaces {
        let mut versions: BTreeMap<&str, BTreeSet<&Version>> = BTreeMap::new();
        for package in packages {
            versions
                .entry(&package.name)
                .or_default()
                .insert(&package.version);
        }
        for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
            let mut left = Vec::new();
            for version in versions {
                match policy
                    .bans
                    .skip
                    .iter()
                    .position(|skip| skip.is(name, version))
                {
                    Some(at) => {
                        needed.insert(at);
                    }
                    None => left.push(version.to_string()),
                }
            }
            if left.len() > 1 {
                problems.insert(format!(
                    "{name} is needed in the versions {}: use one version, or name the older ones in bans.skip with the reason",
                    left.join(", ")
                ));
            }
            if left.is_empty() {
                problems.insert(format!("bans.skip names all versions of {name}"));
            }
        }
    }
    for (at, skip) in policy.bans.skip.iter().enumerate() {
        if !needed.contains(&at) {
            problems.insert(format!(
                "bans.skip names {}, of which there are no longer two versions: remove it",
                skip.package
            ));
        }
    }
    problems.into_iter().collect()
}

/// Describes the problem of a package's licence, if there is one.
fn license_problem(allowed: &BTreeSet<String>, license: Option<&str>) -> Option<String> {
    let Some(license) = license else {
        return Some("names no licence".to_owned());
    };
    match Expression::parse_mode(license, ParseMode::LAX) {
        Ok(expression) => {
            let is_allowed = expression.evaluate(|one| allowed.contains(&one.to_string()));
            (!is_allowed)
                .then(|| format!("has the licence {license:?}, which deny.toml does not allow"))
        }
        Err(error) => Some(format!(
            "has a licence that can't be read, {license:?}: {error}"
        )),
    }
}

impl Skip {
    fn is(&self, name: &str, version: &Version) -> bool {
        let Some((own, wanted)) = self.package.split_once('@') else {
            return self.package == name;
        };
        let wanted = match wanted.matches('.').count() {
            2 => VersionReq::parse(&format!("={wanted}")),
            _ => VersionReq::parse(wanted),
        };
        own == name && wanted.is_ok_and(|wanted| wanted.matches(version))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic fails the test")]

    use super::*;

    const REGISTRY: &str = "https://example.org/index";

    fn policy(skip: &str) -> Policy {
        toml::from_str(&format!(
            "graph.targets = []\nlicenses.allow = [\"MIT\", \"Apache-2.0 WITH LLVM-exception\"]\n\
             sources.allow-registry = [\"{REGISTRY}\"]\nbans.skip = [{skip}]"
        ))
        .unwrap()
    }

    fn package(name: &str, version: &str, license: Option<&str>, source: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.parse().unwrap(),
            license: license.map(str::to_owned),
            source: Some(source.to_owned()),
        }
    }

    /// Checks that these packages have exactly one problem, with `words` in its text, or none if `words` is empty.
    fn check(skip: &str, packages: &[(&str, &str, Option<&str>, &str)], words: &str) {
        let packages = packages
            .iter()
            .map(|(name, version, license, source)| package(name, version, *license, source))
            .collect();
        let problems = problems(&policy(skip), &[packages]);
        match words {
            "" => assert_eq!(problems, Vec::<String>::new()),
            words => assert!(
                problems.len() == 1 && problems[0].contains(words),
                "{problems:?}"
            ),
        }
    }

    #[test]
    fn licences_sources_and_duplicates_are_checked_against_the_policy() {
        let ours = format!("registry+{REGISTRY}");
        let ours = ours.as_str();
        let mit = Some("MIT");
        check(
            "",
            &[("a", "1.0.0", mit, ours), ("b", "2.0.0", mit, ours)],
            "",
        );
        for license in [
            "GPL-3.0 OR MIT",
            "MIT/GPL-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            check("", &[("a", "1.0.0", Some(license), ours)], "");
        }
        for license in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "Apache-2.0",
            "Apache-2.0 OR ISC",
        ] {
            check("", &[("a", "1.0.0", Some(license), ours)], "does not allow");
        }
        check("", &[("a", "1.0.0", Some("My Own"), ours)], "can't be read");
        check("", &[("a", "1.0.0", None, ours)], "names no licence");
        for source in [
            "git+https://example.org/a",
            "registry+https://other.example",
            "path+file:///a",
        ] {
            check("", &[("a", "1.0.0", mit, source)], "comes from");
        }
        let twice = [("a", "1.0.0", mit, ours), ("a", "2.1.0", mit, ours)];
        check("", &twice, "1.0.0, 2.1.0");
        check("{ crate = \"a@1\", reason = \"\" }", &twice, "");
        check("{ crate = \"a@1.0.0\", reason = \"\" }", &twice, "");
        check(
            "{ crate = \"a@2.1\", reason = \"\" }, { crate = \"b@1\", reason = \"\" }",
            &twice,
            "no longer two versions",
        );
        check(
            "{ crate = \"a@1\", reason = \"\" }, { crate = \"a@2\", reason = \"\" }",
            &twice,
            "all versions of a",
        );
    }
}
