//! Projects and Pythons that can't be probed, and the errors that say why.

use super::*;

#[tokio::test]
async fn a_python_without_django_is_named() {
    let folder = project(&[("myapp/settings.py", "raise SystemExit")]);
    let bare = folder.path().join("bare");
    let made = std::process::Command::new(python())
        .args(["-m", "venv", "--without-pip"])
        .arg(&bare)
        .status()
        .unwrap();
    assert!(made.success());
    let options = ProbeOptions {
        python: Some(bare.clone()),
        ..options(folder.path())
    };
    let error = probe("myapp.settings", &options).await.unwrap_err();
    assert!(
        matches!(&error, ProbeError::NoDjango { python, .. } if *python == bare.join("bin/python")),
        "{error}"
    );
    assert!(
        error.help().contains("pip install channels channels_redis"),
        "{}",
        error.help()
    );
}

#[tokio::test]
async fn a_python_that_is_none_is_named() {
    let folder = project(&[("python", "not a program")]);
    let here = |name: &str| ProbeOptions {
        python: Some(folder.path().join(name)),
        ..options(folder.path())
    };
    assert!(matches!(
        probe("myapp.settings", &here("none")).await,
        Err(ProbeError::NoPython { .. })
    ));
    assert!(matches!(
        probe("myapp.settings", &here("python")).await,
        Err(ProbeError::Start { .. })
    ));
}

#[tokio::test]
async fn a_missing_target_is_distinguished_from_a_missing_package_inside() {
    check_error(
        &[],
        "myapp.asgi",
        &["no module \"myapp.asgi\"", "manage.py"],
    )
    .await;
    let error = check_error(
        &[],
        "mylapp.asgi",
        &["no module \"mylapp\"", "so no \"mylapp.asgi\""],
    )
    .await;
    assert!(matches!(error, ProbeError::ModuleNotFound { .. }));
    let settings = "import not_installed\n";
    let error = check_error(
        &[("myapp/settings.py", settings)],
        "myapp.settings",
        &["line 1", "\"not_installed\" is not installed for"],
    )
    .await;
    assert!(matches!(error, ProbeError::Import { .. }));
}

#[tokio::test]
async fn an_import_error_shows_the_tracebacks_last_lines() {
    let settings = "def boom():\n    raise ValueError('a sentence')\nboom()\n";
    for files in [
        &[("myapp/settings.py", settings)][..],
        &[
            ("myapp/settings.py", settings),
            (
                "myapp/asgi.py",
                "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'myapp.settings'\n",
            ),
        ],
    ] {
        let target = if files.len() == 1 {
            "myapp.settings"
        } else {
            "myapp.asgi"
        };
        let error = check_error(files, target, &["in boom", "ValueError: a sentence"]).await;
        assert!(matches!(error, ProbeError::Import { .. }), "{error}");
    }
    check_error(
        &[("myapp/settings.py", "import sys; sys.exit('leaving')")],
        "myapp.settings",
        &["SystemExit: leaving"],
    )
    .await;
    check_error(
        &[("myapp/settings.py", "x = (")],
        "myapp.settings",
        &["SyntaxError"],
    )
    .await;
}

#[tokio::test]
async fn an_error_about_a_missing_layer_names_the_layers_that_exist() {
    let error = check_error(
        &[("myapp/settings.py", "INSTALLED_APPS = []")],
        "myapp.settings",
        &["myapp.settings has no CHANNEL_LAYERS", "socket_timeout"],
    )
    .await;
    assert!(matches!(error, ProbeError::NoChannelLayers { .. }));
    let error = check_error(
        &[("myapp/settings.py", "CHANNEL_LAYERS = {'a': {}, 'b': {}}")],
        "myapp.settings",
        &["\"default\"", "it has a, b"],
    )
    .await;
    assert!(matches!(error, ProbeError::NoAlias { .. }));
    let error = check_error(
        &[("myapp/settings.py", "CHANNEL_LAYERS = {'default': {}}")],
        "myapp.settings",
        &["has no BACKEND"],
    )
    .await;
    assert!(matches!(error, ProbeError::NoBackend { .. }));
}

#[tokio::test]
async fn a_module_that_leads_to_no_settings_says_so() {
    let folder = project(&[("myapp/views.py", "")]);
    let error = probe("myapp.views", &options(folder.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, ProbeError::NoSettings { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_attribute_names_those_that_there_are() {
    let files = [("myapp/asgi.py", ASGI), ("myapp/settings.py", SETTINGS)];
    let error = check_error(
        &files,
        "myapp.asgi:aplication",
        &["has no \"aplication\"", "application", "channel_layer"],
    )
    .await;
    assert!(matches!(error, ProbeError::NoAttribute { .. }));
}

#[tokio::test]
async fn a_project_that_hangs_is_given_up() {
    let folder = project(&[(
        "myapp/settings.py",
        "import sys, time\nprint('waiting for the database', file=sys.stderr, flush=True)\ntime.sleep(3600)\n",
    )]);
    let options = ProbeOptions {
        timeout: Duration::from_secs(3),
        ..options(folder.path())
    };
    let error = probe("myapp.settings", &options).await.unwrap_err();
    assert!(matches!(error, ProbeError::Timeout { .. }), "{error}");
    assert!(
        error.to_string().contains("after 3 s")
            && error.to_string().contains("waiting for the database"),
        "{error}"
    );
}

#[tokio::test]
async fn a_project_that_takes_python_down_shows_its_last_words() {
    let settings =
        "import os, sys\nsys.stderr.write('last words')\nsys.stderr.flush()\nos.abort()\n";
    let error = check_error(
        &[("myapp/settings.py", settings)],
        "myapp.settings",
        &["last words", "signal: 6"],
    )
    .await;
    assert!(matches!(error, ProbeError::Crashed { .. }));
    check_error(
        &[("myapp/settings.py", "import os\nos._exit(7)\n")],
        "myapp.settings",
        &["exit status: 7"],
    )
    .await;
}
