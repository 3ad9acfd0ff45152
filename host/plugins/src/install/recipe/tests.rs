//! Tests of folders that can't be built, and of files that get a manifest. Tests of whole builds are in
//! `tests/programs`.

use super::*;

async fn refused(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    build(folder.path(), Installs::Refused, &|_| {})
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn a_folder_without_a_recipe_hears_what_to_do() {
    let check = async |files: &[(&str, &str)], expect: &str| {
        let error = refused(files).await;
        assert!(
            error.contains("there is no recipe") && error.contains(expect),
            "{error}"
        );
    };
    check(&[], "JavaScript (a folder with a plugin.js) are built").await;
    check(&[("package.json", "{}")], "seems to be JavaScript").await;
    check(&[("plugin.py", "")], "seems to be Python").await;
    let error = build(Path::new("/nowhere"), Installs::Refused, &|_| {})
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no folder /nowhere"), "{error}");
}

#[tokio::test]
async fn a_manifest_is_read_before_anything_is_built() {
    let cargo = ("Cargo.toml", "this is not a manifest of cargo either");
    let error = refused(&[cargo]).await;
    assert!(
        error.contains("there is no") && error.contains("plugin.toml, which has a plugin's name"),
        "{error}"
    );
    let error = refused(&[cargo, (MANIFEST_FILE, "name = \"a\"\nversion = \"x\"\n")]).await;
    assert!(error.contains("plugin.toml line 2"), "{error}");
}

#[tokio::test]
async fn an_error_of_cargo_is_shown_in_cargos_words() {
    let manifest = (MANIFEST_FILE, "name = \"a\"\nversion = \"1.0.0\"\n");
    let error = refused(&[("Cargo.toml", "[package\n"), manifest]).await;
    assert!(
        error.contains("cargo can't read") && error.contains("[package"),
        "{error}"
    );
}

#[test]
fn a_file_is_packed_with_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let (file, manifest) = (
        folder.path().join("a.wasm"),
        folder.path().join(MANIFEST_FILE),
    );
    std::fs::write(&file, "no wasm").unwrap();
    let refused = || pack(&file, &manifest).unwrap_err().to_string();
    assert!(refused().contains("there is no"), "{}", refused());
    std::fs::write(&manifest, "name = \"a\"\nversion = \"1.0.0\"\n").unwrap();
    assert!(
        refused().contains("is not a plugin: it is not WebAssembly"),
        "{}",
        refused()
    );
}
