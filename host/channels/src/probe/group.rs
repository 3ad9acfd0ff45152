//! The project's Python and all programs that it starts, in one process group that ends together.

use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// A running Python that leads a process group. Dropping it ends the group.
///
/// Settings may start programs, which would outlive a Python that is ended alone.
pub(super) struct Group {
    leader: Child,
    /// The group's id while a process may run in it. After the leader has been waited for, the system may reuse the
    /// number, so the group is ended right then and the id is cleared.
    id: Option<Pid>,
}

impl Group {
    pub(super) fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let leader = command.process_group(0).kill_on_drop(true).spawn()?;
        let id = leader.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { leader, id })
    }

    /// Python's output streams, if they are piped and have not been taken yet.
    pub(super) fn output(&mut self) -> Option<(ChildStdout, ChildStderr)> {
        self.leader.stdout.take().zip(self.leader.stderr.take())
    }

    /// Waits until Python has ended, and then ends all processes that it left behind.
    pub(super) async fn wait(&mut self) -> Option<ExitStatus> {
        let status = self.leader.wait().await.ok();
        self.kill();
        status
    }

    /// Ends all processes of the group.
    pub(super) fn kill(&mut self) {
        if let Some(id) = self.id.take()
            && let Err(reason) = kill_process_group(id, Signal::KILL)
            && reason != rustix::io::Errno::SRCH
        {
            tracing::warn!(%reason, "processes that the project's Python started could not be ended; end them by hand");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
