//! The project's Python and all that it starts, as one group of processes that ends together.

use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// A running Python that leads a process group; dropping it ends the group.
///
/// Settings may start programs of their own; those would outlive a Python that is ended alone.
pub(super) struct Group {
    leader: Child,
    /// The group's id while something may run in it. Once its leader has been waited for, the system may
    /// give the number to others, so it is used at once then, and forgotten.
    id: Option<Pid>,
}

impl Group {
    pub(super) fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let leader = command.process_group(0).kill_on_drop(true).spawn()?;
        let id = leader.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { leader, id })
    }

    /// What Python prints, where that was piped and has not been taken yet.
    pub(super) fn output(&mut self) -> Option<(ChildStdout, ChildStderr)> {
        self.leader.stdout.take().zip(self.leader.stderr.take())
    }

    /// Waits until Python has ended, and ends what it leaves behind.
    pub(super) async fn wait(&mut self) -> Option<ExitStatus> {
        let status = self.leader.wait().await.ok();
        self.kill();
        status
    }

    /// Ends all that runs in the group.
    pub(super) fn kill(&mut self) {
        if let Some(id) = self.id.take()
            && let Err(reason) = kill_process_group(id, Signal::KILL)
            && reason != rustix::io::Errno::SRCH
        {
            tracing::warn!(%reason, "what the project started could not be ended");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
