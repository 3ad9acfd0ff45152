//! Components of each released version of the interface run on this host; those of later versions are refused with the
//! reason.

use djangobot_plugins::{Artifact, State};

use crate::stage::{Role, Stage, only};

/// A component as it was written when 1.0.0 was released. It is never edited.
const V1_0_0: &str = include_str!("abi/1.0.0.wat");

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_1_0_0_runs() {
    let component = wat::parse_str(V1_0_0).unwrap();
    let stage = Stage::with(&[Role::of("old", component)]).await;
    assert_eq!(
        stage.status("old").state,
        State::Running,
        "{:?}",
        stage.status("old").why
    );
    let out = only(&stage.message("hi").await);
    assert_eq!((&out["abi"], &out["copy"]), (&"1.0.0".into(), &"hi".into()));
}

#[test]
fn a_component_of_a_later_interface_is_refused_with_both_versions() {
    for version in ["1.3.0", "1.0.7"] {
        let component = V1_0_0.replace("@1.0.0", &format!("@{version}"));
        let component = wat::parse_str(component).unwrap();
        let error = Artifact::with_manifest(&component, "name = \"a\"\nversion = \"1.0.0\"")
            .unwrap_err()
            .to_string();
        let expect = format!("built for djangobot:plugin {version}, and this host serves 1.0.0");
        assert!(error.contains(&expect), "{error}");
    }
}
