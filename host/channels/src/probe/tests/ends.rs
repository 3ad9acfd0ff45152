//! The end of a probe: no program of the project stays, and no pipe that one holds open keeps us waiting.

use super::*;

/// Settings that start `sleep 300` with our pipes open, and note its id in the file `pid`.
const STARTS: &str = "\
import subprocess, sys
child = subprocess.Popen(['sleep', '300'])
open('pid', 'w').write(str(child.pid))
";

/// Waits for the end of the process that [`STARTS`] noted.
async fn await_end(folder: &Path) {
    let pid = fs::read_to_string(folder.join("pid")).unwrap();
    let state = Path::new("/proc").join(pid).join("stat");
    let ended = async {
        // If nobody waits for orphans, it stays as a zombie.
        while fs::read_to_string(&state).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), ended)
        .await
        .expect("programs that the project started end with the probe");
}

#[tokio::test]
async fn programs_that_a_hanging_project_started_end_with_it() {
    let settings = format!("{STARTS}import time\ntime.sleep(3600)\n");
    let folder = project(&[("myapp/settings.py", &settings)]);
    let options = ProbeOptions {
        timeout: Duration::from_secs(3),
        ..options(folder.path())
    };
    let error = probe("myapp.settings", &options).await.unwrap_err();
    assert!(matches!(error, ProbeError::Timeout { .. }), "{error}");
    await_end(folder.path()).await;
}

#[tokio::test]
async fn programs_that_an_answering_project_started_end_with_it() {
    let folder = project(&[("myapp/settings.py", &format!("{STARTS}{SETTINGS}"))]);
    probe("myapp.settings", &options(folder.path()))
        .await
        .unwrap();
    await_end(folder.path()).await;
}

#[tokio::test]
async fn a_crash_is_reported_although_a_program_of_the_project_holds_the_pipes() {
    let settings = format!(
        "{STARTS}import os\nsys.stderr.write('last words')\nsys.stderr.flush()\nos._exit(7)\n"
    );
    let folder = project(&[("myapp/settings.py", &settings)]);
    let error = probe("myapp.settings", &options(folder.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, ProbeError::Crashed { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("exit status: 7") && text.contains("last words"),
        "{text}"
    );
    await_end(folder.path()).await;
}

#[tokio::test]
async fn a_daemon_that_keeps_the_pipes_does_not_delay_the_news_of_a_crash() {
    let settings = "\
import os, subprocess
subprocess.Popen(['sleep', '40'], start_new_session=True)
os._exit(7)
";
    let error = check_error(
        &[("myapp/settings.py", settings)],
        "myapp.settings",
        &["exit status: 7"],
    )
    .await;
    assert!(matches!(error, ProbeError::Crashed { .. }));
}

#[tokio::test]
async fn a_project_that_closes_descriptors_on_import_is_read() {
    for close in [
        "os.closerange(3, 64)",
        "os.closerange(3, 65536)",
        // The number that our pipe had is the project's now.
        "os.closerange(3, 65536); kept = [os.open('theirs', os.O_CREAT | os.O_WRONLY) for _ in range(250)]",
    ] {
        let folder = project(&[(
            "myapp/settings.py",
            &format!("import os\n{close}\n{SETTINGS}"),
        )]);
        let found = probe("myapp.settings", &options(folder.path()))
            .await
            .unwrap_or_else(|error| panic!("{close}: {error}"));
        assert_eq!(found.alias, "default", "{close}");
        let theirs = fs::read(folder.path().join("theirs")).unwrap_or_default();
        assert!(theirs.is_empty(), "{close}: our answer went to their file");
    }
}
