//! Running the programs of a recipe: their output is passed on line by line, and its end kept for errors.

use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

/// The bytes of a program's output that are kept: enough for hundreds of a compiler's messages.
const KEPT: usize = 256 << 10;
/// The bytes of a line that are kept: cargo's messages in JSON are long.
const LINE: usize = 1 << 20;

/// The exit status and the output of a program.
#[derive(Debug)]
pub(super) struct CommandOutput {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs `command` to its end, without input, and passes each line of its stderr to `told` as it comes. Dropping the
/// future kills it.
pub(super) async fn run(
    mut command: Command,
    told: &(dyn Fn(&str) + Send + Sync),
) -> std::io::Result<CommandOutput> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = tokio::join!(lines(stdout, &|_| {}), lines(stderr, told));
    Ok(CommandOutput {
        status: child.wait().await?,
        stdout: stdout?,
        stderr: stderr?,
    })
}

/// Reads all lines and passes each one to `told`. Returns the last of them, at least [`KEPT`] bytes if there are as
/// many.
async fn lines(
    pipe: Option<impl AsyncRead + Unpin>,
    told: &(dyn Fn(&str) + Send + Sync),
) -> std::io::Result<String> {
    let mut all = String::new();
    let Some(pipe) = pipe else { return Ok(all) };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await? > 0 {
        line.truncate(LINE);
        let text = String::from_utf8_lossy(&line);
        told(text.trim_end());
        all.push_str(&text);
        if all.len() > 2 * KEPT {
            let start = all.len() - KEPT;
            let start = all[..start].rfind('\n').map_or(0, |at| at + 1);
            all.drain(..start);
        }
        line.clear();
    }
    Ok(all)
}
