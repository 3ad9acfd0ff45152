//! Tests of reading real components and core modules, made from their text form.

use super::*;

const MANIFEST: &str = "name = \"sample\"\nversion = \"1.2.0\"\nsummary = \"A sample\"\n";

/// A core module that exports the interface `handler` of `version`, with additional `imports` and `exports`.
fn module_of(version: &str, imports: &str, exports: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
          {imports}
          (memory (export "memory") 1)
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
          (func (export "djangobot:plugin/handler@{version}#init") (param i32 i32) (result i32) i32.const 0)
          (func (export "djangobot:plugin/handler@{version}#on-event") (result i32) i32.const 16)
          {exports})"#
    ))
    .unwrap()
}

fn module(imports: &str) -> Vec<u8> {
    module_of("1.0.0", imports, "")
}

/// `module` as a component of `world` in `wit`.
fn component_of(module: &[u8], wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("test.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}

fn sample() -> Vec<u8> {
    embed(&component_of(&module(""), WIT, "plugin"), MANIFEST)
}

fn refused(bytes: &[u8]) -> String {
    Artifact::read(bytes).unwrap_err().to_string()
}

#[track_caller]
fn check(bytes: &[u8], expect: &[&str]) {
    let error = refused(bytes);
    for part in expect {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

#[test]
fn the_version_is_that_of_the_interface() {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("plugin.wit", WIT).unwrap();
    let name = &resolve.packages[package].name;
    assert_eq!(name.version, Some(INTERFACE));
    assert_eq!(format!("{}:{}/", name.namespace, name.name), PACKAGE);
    let world = resolve.select_world(&[package], Some("imports")).unwrap();
    let imports: BTreeSet<_> = resolve.worlds[world]
        .imports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .map(|name| our_interface(&name).unwrap().0.to_owned())
        .collect();
    assert_eq!(imports, OURS.iter().map(ToString::to_string).collect());
}

#[test]
fn a_component_is_read() {
    let bytes = sample();
    let artifact = Artifact::read(&bytes).unwrap();
    assert_eq!(artifact.component, bytes);
    assert_eq!(artifact.digest, Digest::of(&bytes));
    assert_eq!(artifact.manifest.name, "sample");
    assert_eq!(artifact.interface, INTERFACE);
    assert!(artifact.wasi.is_empty() && !artifact.lifecycle);
    wasmparser::validate(&bytes).unwrap();
}

#[test]
fn a_core_module_is_made_a_component() {
    let artifact = Artifact::with_manifest(&module(""), MANIFEST).unwrap();
    wasmparser::validate(&artifact.component).unwrap();
    assert!(Parser::is_component(&artifact.component) && !artifact.lifecycle);
    // Twice the same bytes: the lock pins the component that is made of a module.
    let again = Artifact::with_manifest(&module(""), MANIFEST).unwrap();
    assert_eq!(again.digest, artifact.digest);

    // A manifest that a linker put into the module is the component's.
    let own = binary::append_section(module(""), SECTION, MANIFEST.as_bytes());
    assert_eq!(Artifact::read(&own).unwrap().digest, artifact.digest);

    // A module that names its world is used with that world.
    let mut typed = module("");
    embed_world(&mut typed, "plugin").unwrap();
    let typed = Artifact::with_manifest(&typed, MANIFEST).unwrap();
    assert_eq!(typed.manifest.name, "sample");
}

#[test]
fn a_core_module_with_lifecycle_is_a_stateful_plugin() {
    let lifecycle = r#"
        (func (export "djangobot:plugin/lifecycle@1.0.0#health") (result i32) i32.const 16)
        (func (export "djangobot:plugin/lifecycle@1.0.0#snapshot") (result i32) i32.const 16)
        (func (export "djangobot:plugin/lifecycle@1.0.0#restore") (param i32 i32) (result i32) i32.const 16)"#;
    let module = module_of("1.0.0", "", lifecycle);
    let artifact = Artifact::with_manifest(&module, MANIFEST).unwrap();
    assert!(artifact.lifecycle);
}

#[test]
fn a_manifest_is_put_in_the_place_of_the_one_before() {
    let other = MANIFEST.replace("1.2.0", "2.0.0");
    let bytes = embed(&sample(), &other);
    assert_eq!(Artifact::read(&bytes).unwrap().manifest.version.major, 2);
    assert_eq!(bytes.len(), sample().len());
    assert_eq!(embed(&bytes, MANIFEST), sample());
    check(
        &binary::append_section(sample(), SECTION, b"name = 1"),
        &["more than one manifest"],
    );
}

#[test]
fn a_file_that_is_not_webassembly_is_refused_with_a_guess_at_what_it_is() {
    check(b"", &["it is empty"]);
    check(b"\0", &["cut off", "after byte 1"]);
    check(b"x", &["it is text"]);
    check(b"\xff", &["does not begin with"]);
    check(b"\0asm\x01\0", &["cut off"]);
    check(
        b"\0asm\x63\0\0\0",
        &["a version that this host does not know"],
    );
    check(b"fn main() {}\n", &["it is text", "folder"]);
    check(b"<!DOCTYPE html>\n<html>", &["HTML"]);
    check(b"(module)", &["text form"]);
    check(b"\x7fELF\x02\x01\x01\0", &["does not begin with"]);
    check(&vec![0; MAX_SIZE + 1], &["at most 67108864"]);
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    let whole = sample();
    for length in 1..whole.len() {
        let cut = &whole[..length];
        let error = Artifact::read(cut).unwrap_err();
        // A file that is cut between two sections is complete, but lacks an export or the manifest.
        assert!(
            matches!(
                error,
                ArtifactError::CutOff { .. }
                    | ArtifactError::OtherWorld { .. }
                    | ArtifactError::NoManifest
            ),
            "{length}: {error}"
        );
    }
}

#[test]
fn bytes_that_were_changed_never_break_the_reader() {
    let whole = sample();
    for at in 8..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            let _ = Artifact::read(&changed);
        }
    }
}

#[test]
fn a_newer_interface_is_refused_with_both_versions() {
    let newer = |version: &str| {
        let wit = WIT.replace("1.0.0", version);
        let component = component_of(&module_of(version, "", ""), &wit, "plugin");
        embed(&component, MANIFEST)
    };
    for version in ["1.3.0", "1.0.7", "1.0.1"] {
        let built_for = format!("built for djangobot:plugin {version}, and this host serves 1.0.0");
        let expect = [&built_for, "update djangobot", "build the plugin again"];
        check(&newer(version), &expect);
        // A core module that names its world, and one that does not.
        let mut module = module_of(version, "", "");
        check(&module, &expect);
        let mut resolve = Resolve::default();
        let wit = WIT.replace("1.0.0", version);
        let package = resolve.push_source("test.wit", &wit).unwrap();
        let world = resolve.select_world(&[package], Some("plugin")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        check(&module, &expect);
        let imports =
            format!(r#"(import "djangobot:plugin/clock@{version}" "now-ms" (func (result i64)))"#);
        check(&module_of("1.0.0", &imports, ""), &expect);
    }
    let other = ["this host serves 1.0.0", "build the plugin again"];
    for version in ["2.0.0", "0.9.0", "1.0.0-rc.1"] {
        check(&newer(version), &other);
        check(&module_of(version, "", ""), &other);
    }
    let mangled = wat::parse_str(
        r#"(module (func (export "cm32p2|djangobot:plugin/handler@2|on-event") (result i32) i32.const 0))"#,
    );
    check(&mangled.unwrap(), &["built for djangobot:plugin 2.0.0"]);
    // The version is reported before an interface that only the newer version has.
    let wit = WIT
        .replace("1.0.0", "1.3.0")
        .replace("interface clock", "interface calendar")
        .replace("import clock", "import calendar");
    let imports = r#"(import "djangobot:plugin/calendar@1.3.0" "now-ms" (func (result i64)))"#;
    let component = component_of(&module_of("1.3.0", imports, ""), &wit, "plugin");
    check(
        &embed(&component, MANIFEST),
        &["built for djangobot:plugin 1.3.0"],
    );
}

#[test]
fn a_component_of_another_world_hears_what_a_plugin_exports() {
    let wit =
        "package other:thing@0.1.0;\ninterface f { x: func() -> u32; }\nworld w { export f; }";
    let module = wat::parse_str(
        r#"(module (func (export "other:thing/f@0.1.0#x") (result i32) i32.const 1))"#,
    );
    let component = component_of(&module.unwrap(), wit, "w");
    let expect = [
        "another world",
        "\"other:thing/f@0.1.0\"",
        "imports nothing",
        "djangobot:plugin/handler@1.0.0",
    ];
    check(&component, &expect);
    check(&embed(&component, MANIFEST), &expect);
    check(
        &wat::parse_str("(component)").unwrap(),
        &["exports nothing"],
    );
    check(
        &wat::parse_str("(component (instance (export \"djangobot:plugin/handler\")))").unwrap(),
        &["another world"],
    );
}

#[test]
fn a_core_module_that_is_not_a_plugin_is_refused_with_the_reason() {
    let parse = |text| wat::parse_str(text).unwrap();
    check(
        &parse(r#"(module (func (export "add")) (memory (export "memory") 1))"#),
        &[
            "core module, but not a plugin",
            "\"add\", \"memory\"",
            "plugin.wit",
        ],
    );
    check(
        &parse(r#"(module (import "wasi_unstable" "fd_write" (func)))"#),
        &["a draft of WASI", "wasm32-wasip1"],
    );
    let strange = module(r#"(import "env" "puts" (func (param i32)))"#);
    check(&strange, &["no component can be made of it", "env"]);
    let wrong = wat::parse_str(
        r#"(module (func (export "djangobot:plugin/handler@1.0.0#on-event") (param f64)))"#,
    );
    check(&wrong.unwrap(), &["no component can be made of it"]);
}

#[test]
fn a_component_may_import_more_than_its_manifest_asks_for() {
    let imports = r#"
        (import "djangobot:plugin/store@1.0.0" "get" (func (param i32 i32 i32)))
        (import "djangobot:plugin/secrets@1.0.0" "get" (func (param i32 i32 i32)))
        (import "djangobot:plugin/clock@1.0.0" "now-ms" (func (result i64)))"#;
    let artifact = Artifact::with_manifest(&module(imports), MANIFEST).unwrap();
    for name in ["store", "secrets", "clock"] {
        assert!(artifact.imports.contains(name), "{name}");
    }
    assert_eq!(artifact.unasked(), ["store", "secrets"]);
    let asking = format!("{MANIFEST}optional-capabilities = [\"secrets:KEY\"]");
    let artifact = Artifact::with_manifest(&module(imports), &asking).unwrap();
    assert_eq!(artifact.unasked(), ["store"]);
}

#[test]
fn wasi_may_be_imported_and_unknown_imports_are_named() {
    let with = |imports: &str| {
        let text = format!(
            r#"(component
              {imports}
              (core module $m (func (export "f") (result i32) i32.const 1))
              (core instance $i (instantiate $m))
              (func $f (result u32) (canon lift (core func $i "f")))
              (component $c (import "f" (func $f (result u32))) (export "on-event" (func $f)))
              (instance $h (instantiate $c (with "f" (func $f))))
              (export "djangobot:plugin/handler@1.0.0" (instance $h)))"#
        );
        embed(&wat::parse_str(text).unwrap(), MANIFEST)
    };
    let wasi = r#"
        (import "wasi:cli/environment@0.2.6" (instance))
        (import "wasi:io/streams@0.2.0" (instance))
        (import "wasi:sockets/tcp@0.2.3" (instance))"#;
    assert_eq!(Artifact::read(&with(wasi)).unwrap().wasi.len(), 3);
    check(
        &with(r#"(import "wasi:http/types@0.2.0" (instance))"#),
        &["\"wasi:http/types@0.2.0\"", "djangobot:plugin/http"],
    );
    check(
        &with(r#"(import "wasi:cli/environment@0.3.0" (instance))"#),
        &["of 0.2"],
    );
    check(
        &with(r#"(import "acme:db/query@1.0.0" (instance)) (import "f" (func))"#),
        &["\"acme:db/query@1.0.0\", \"f\"", "this host does not have"],
    );
    check(
        &with(r#"(import "djangobot:plugin/files@1.0.0" (instance))"#),
        &["\"djangobot:plugin/files\""],
    );
}

#[test]
fn a_manifest_that_is_missing_or_wrong_is_an_error() {
    let bare = component_of(&module(""), WIT, "plugin");
    check(&bare, &["no manifest", "djangobot plugin build"]);
    check(
        &embed(&bare, "name = \"a\"\nversion = 1\n"),
        &["its manifest is wrong", "line 2"],
    );
    let binary = binary::append_section(bare, SECTION, b"\xff\xfe");
    check(&binary, &["not UTF-8"]);
}

#[test]
fn a_core_module_for_the_first_version_of_wasi_gets_the_adapter() {
    let imports =
        r#"(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))"#;
    let artifact = Artifact::with_manifest(&module(imports), MANIFEST).unwrap();
    assert!(
        artifact
            .wasi
            .iter()
            .any(|name| name.starts_with("wasi:random/random@0.2.")),
        "{:?}",
        artifact.wasi
    );
    let twice = Artifact::with_manifest(&module(imports), MANIFEST).unwrap();
    assert_eq!(twice.digest, artifact.digest);
    // A module that needs no adapter gets none.
    let plain = Artifact::with_manifest(&module(""), MANIFEST).unwrap();
    assert!(plain.wasi.is_empty() && plain.component.len() < 10_000);
}

#[test]
fn a_component_that_the_engine_could_not_load_is_refused_when_it_is_read() {
    let with = |fields: &str| module_of("1.0.0", "", fields);
    let embedded = |fields: &str| Artifact::with_manifest(&with(fields), MANIFEST);
    let refused = |component: Result<Artifact, ArtifactError>, expect: &str| {
        let error = component.unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    refused(embedded("(memory $second 1)"), "multiple memories");
    refused(embedded("(memory $second i64 1)"), "");
    let relaxed = "(func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))";
    refused(embedded(relaxed), "relaxed");
    // The async ABI, as componentize-qjs uses it unless it is told otherwise.
    let text = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 1))
        (core instance $i (instantiate $m))
        (core func $get (canon context.get i32 0))
        (func $f (result u32) (canon lift (core func $i "f")))
        (component $c (import "f" (func $f (result u32))) (export "on-event" (func $f)))
        (instance $h (instantiate $c (with "f" (func $f))))
        (export "djangobot:plugin/handler@1.0.0" (instance $h)))"#;
    let component = wat::parse_str(text).unwrap();
    refused(Artifact::with_manifest(&component, MANIFEST), "--sync");
    // Exceptions, tail calls and objects are fine.
    embedded("(tag $e) (func $f (return_call $f)) (type $s (struct (field i32)))").unwrap();
}

fn script() -> Script {
    Script {
        language: ScriptLanguage::JavaScript,
        main: "plugin.js".into(),
        files: [("plugin.js".to_owned(), "export default 1;".to_owned())].into(),
    }
}

fn engine(component: &[u8], sources: &[u8]) -> ScriptEngine {
    ScriptEngine {
        component: component.to_vec(),
        digest: Digest::of(component),
        sources: Some(Digest::of(sources)),
    }
}

#[test]
fn a_scripts_file_holds_its_manifest_and_names_the_engine_that_it_is_pinned_with() {
    let of = |engine| Artifact::of_script(MANIFEST, &script(), engine).unwrap();
    let artifact = of(engine(b"one", b"sources"));
    let read = Artifact::read(&artifact.component).unwrap();
    assert_eq!(
        (read.digest, &*read.manifest.name),
        (artifact.digest, "sample")
    );
    let pinned = read.script.unwrap();
    assert_eq!(
        (pinned.script, pinned.engine),
        (script(), Some(Digest::of(b"one")))
    );
    // Another build of the same engine is another file of the same sources.
    let other = of(engine(b"two", b"sources"));
    assert_ne!(other.digest, artifact.digest);
    assert_eq!(other.sources, artifact.sources);
    assert_ne!(of(engine(b"one", b"others")).sources, artifact.sources);
    // The file for others names none, and is the same wherever it is built.
    assert_eq!(other.published(), artifact.published());
    let published = Artifact::read(&artifact.published()).unwrap();
    assert_eq!(
        (published.script.as_ref().unwrap().engine, published.sources),
        (None, None)
    );
    let again = published.pinned(engine(b"one", b"sources"));
    assert_eq!(
        again.script.as_ref().unwrap().engine,
        Some(Digest::of(b"one"))
    );
    assert_eq!(again.digest, Digest::of(&again.component));
}

#[test]
fn an_engine_and_a_plugin_are_not_taken_for_each_other() {
    let bare = component_of(&module(""), WIT, "plugin");
    let made = as_engine(
        &bare,
        ScriptLanguage::JavaScript,
        Some(Digest::of(b"sources")),
    )
    .unwrap();
    let read = EngineArtifact::read(made.component.clone()).unwrap();
    assert_eq!(
        (read.language, read.sources),
        (ScriptLanguage::JavaScript, Some(Digest::of(b"sources")))
    );
    check(
        &made.component,
        &[
            "the engine of script plugins in JavaScript",
            "plugin engine add",
        ],
    );
    let refused = |bytes: Vec<u8>| EngineArtifact::read(bytes).unwrap_err().to_string();
    assert!(
        refused(sample()).contains("not marked as the engine"),
        "{}",
        refused(sample())
    );
    assert!(refused(b"text".to_vec()).contains("not WebAssembly"));
    let broken = binary::with_section(&embed(EMPTY, MANIFEST), SCRIPT, b"{\"language\":\"cobol\"}");
    check(&broken, &["its scripts can't be read", "build it again"]);
}
