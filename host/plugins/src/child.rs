//! Children of this process: what they must not see, and this same program as a child that does what may take any time
//! and memory. That one limits itself before it begins, and is waited for no longer than its work may take.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// How much of what a child says beside its answer is read, in bytes.
const MAX_SAID: u64 = 256 << 10;
/// This program as it runs, also after another one was put in its place on the disk.
const SELF: &str = "/proc/self/exe";

/// Keeps the host's own settings, its tokens and the plugins' secrets from a child: what a build runs is the code of
/// whoever wrote the plugin.
pub(crate) fn without_secrets(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"DJANGOBOT_") {
            command.env_remove(name);
        }
    }
}

/// What a child left.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// The program to start children from: this one, as it runs.
///
/// # Errors
/// The system does not say which it is.
pub fn own_program() -> std::io::Result<PathBuf> {
    match Path::new(SELF).exists() {
        true => Ok(SELF.into()),
        // A system without /proc.
        false => std::env::current_exe(),
    }
}

/// Starts `program` with `arguments` and an empty environment, gives it `input`, and waits for its end. `None`: it was
/// still at it after `patience`, and was ended. Of its answer, no more than `longest` bytes are read.
pub(crate) async fn run(
    program: &Path,
    arguments: &[&str],
    input: &[u8],
    patience: Duration,
    longest: u64,
) -> std::io::Result<Option<Ended>> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A child that was ended early reads no more; how it ended says why.
            let _ = stdin.write_all(input).await;
        }
    };
    let read = async |pipe: Option<&mut (dyn tokio::io::AsyncRead + Send + Unpin)>, longest| {
        let mut said = Vec::new();
        if let Some(pipe) = pipe {
            pipe.take(longest).read_to_end(&mut said).await?;
        }
        Ok::<_, std::io::Error>(said)
    };
    let (mut stdout, mut stderr) = (stdout, stderr);
    let work = async {
        let ((), stdout, stderr) = tokio::join!(
            write,
            read(stdout.as_mut().map(|pipe| pipe as _), longest),
            read(stderr.as_mut().map(|pipe| pipe as _), MAX_SAID),
        );
        Ok::<_, std::io::Error>(Ended {
            stdout: stdout?,
            stderr: stderr?,
            status: child.wait().await?,
        })
    };
    match tokio::time::timeout(patience, work).await {
        Ok(ended) => ended.map(Some),
        Err(_) => Ok(None),
    }
}

/// Limits this process, which is such a child, to `memory` bytes of address space and `cpu` seconds of a processor.
///
/// # Errors
/// The system's word.
pub(crate) fn limit(memory: u64, cpu: u64) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    for (resource, amount) in [
        (Resource::As, memory),
        (Resource::Cpu, cpu),
        (Resource::Core, 0),
    ] {
        let amount = Some(amount);
        let limit = Rlimit {
            current: amount,
            maximum: amount,
        };
        setrlimit(resource, limit).map_err(|error| error.to_string())?;
    }
    Ok(())
}
