//! A plugin's file: a component, or a core module that is made one. Nothing of it is compiled or run.

use djangobot_plugins::install::component::{Artifact, ArtifactError, embed};

use crate::{Target, proportion};

pub(crate) const TARGET: Target = Target {
    name: "component",
    check,
    seeds,
    words: &[
        "\0asm\u{1}\0\0\0",
        "\0asm\r\0\u{1}\0",
        "djangobot:plugin",
        "djangobot:plugin/handler@1.0.0",
        "#on-event",
        "djangobot:plugin/store@1.0.0",
        "wasi:cli/environment@0.2.0",
        "component-type",
        "cabi_realloc",
        "name = \"a\"\nversion = \"1.0.0\"\n",
    ],
    longest: 4096,
};

const MANIFEST: &str = "name = \"sample\"\nversion = \"1.2.0\"\n";

/// The memory that making a component of a module may take. The interface is read for it, which has a size of its own.
const MEMORY: usize = 16 << 20;

fn seeds() -> Vec<Vec<u8>> {
    let module = |more: &str| {
        wat::parse_str(format!(
            r#"(module {more}
              (memory (export "memory") 1)
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
              (func (export "djangobot:plugin/handler@1.0.0#init") (param i32 i32) (result i32) i32.const 0)
              (func (export "djangobot:plugin/handler@1.0.0#on-event") (result i32) i32.const 16))"#
        ))
        .expect("it is a module")
    };
    let now_ms = r#"(import "djangobot:plugin/clock@1.0.0" "now-ms" (func (result i64)))"#;
    let sample = |module: &[u8]| {
        Artifact::with_manifest(module, MANIFEST)
            .expect("it is a plugin")
            .component
    };
    let finished = sample(&module(""));
    vec![
        embed(&module(""), MANIFEST),
        sample(&module(now_ms)),
        embed(&finished, "name = 1"),
        finished[..finished.len() / 2].to_vec(),
        finished,
        wat::parse_str("(module (import \"wasi_snapshot_preview1\" \"x\" (func)))")
            .expect("it is a module"),
        wat::parse_str("(component (import \"wasi:io/poll@0.2.0\" (instance)))")
            .expect("it is a component"),
        b"\x7fELF".to_vec(),
        Vec::new(),
    ]
}

fn check(input: &[u8]) {
    let read = proportion::bounded_by(MEMORY, || Artifact::read(input));
    match read {
        Ok(artifact) => {
            let again = Artifact::read(&artifact.component).expect("it was read before");
            assert_eq!(
                (again.digest, again.component),
                (artifact.digest, artifact.component.clone())
            );
            let once = embed(&artifact.component, MANIFEST);
            assert_eq!(
                embed(&once, MANIFEST),
                once,
                "one manifest takes the place of another"
            );
            let other = Artifact::with_manifest(&artifact.component, MANIFEST);
            assert!(
                matches!(&other, Ok(other) if other.manifest.name == "sample"),
                "{other:?}"
            );
        }
        Err(error) => {
            let sentence = error.to_string();
            assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
            if let ArtifactError::CutOff { offset } | ArtifactError::Malformed { offset, .. } =
                error
            {
                // A section may be found to be wrong where it ends, in a component that was made of a module too.
                assert!(offset <= 2 * input.len() + 4096, "{sentence}");
            }
        }
    }
}
