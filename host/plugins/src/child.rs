//! Child processes. Work that may take any time and memory (compiling, checking a schema) runs in a child, which is
//! this same program: it limits itself before it begins, and the parent waits for a bounded time. Environment variables
//! with secrets are kept from all children.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// The longest text on a child's stderr that is read, in bytes.
const MAX_SAID: u64 = 256 << 10;
/// The running program. The link leads to it even after an update replaced its file on the disk.
const SELF: &str = "/proc/self/exe";

/// Keeps the host's settings, its tokens and the plugins' secrets from a child: a build runs the code of whoever wrote
/// the plugin.
pub(crate) fn without_secrets(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"DJANGOBOT_") {
            command.env_remove(name);
        }
    }
}

/// The exit status and the output of a child.
pub(crate) struct ChildOutput {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// The path of the program to start children from, which is the running one.
///
/// # Errors
/// The system does not know the path.
pub fn own_program() -> std::io::Result<PathBuf> {
    match Path::new(SELF).exists() {
        true => Ok(SELF.into()),
        // This system has no /proc.
        false => std::env::current_exe(),
    }
}

/// Starts `program` with `arguments` and an empty environment, writes `input` to its stdin, and waits for its end.
/// `None`: it still ran after `patience`, and was killed. No more than `longest` bytes of its stdout are read.
pub(crate) async fn run(
    program: &Path,
    arguments: &[&str],
    input: &[u8],
    patience: Duration,
    longest: u64,
) -> std::io::Result<Option<ChildOutput>> {
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
            // A child that ended early reads no more. Its exit status says why, so this error adds nothing.
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
        Ok::<_, std::io::Error>(ChildOutput {
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

/// Limits this process, which is such a child, to `memory` bytes of address space and `cpu` seconds of a processor. It
/// writes no core file either: a core of a gigabyte would fill the disk.
///
/// # Errors
/// The system's error, as text.
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
