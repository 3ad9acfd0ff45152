//! The failure of a command: a report for people, and an exit code.

use std::process::ExitCode;

use miette::{Diagnostic, Report};

use crate::target::TargetError;

/// A command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) report: Report,
    code: u8,
    /// Whether the process restarts with the same command line, to stand by for the host that took over.
    pub(crate) restarts: bool,
}

impl Failure {
    /// The command was used wrongly: exit code 2.
    pub(crate) fn usage(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self {
            report: Report::new(error),
            code: 2,
            restarts: false,
        }
    }

    /// The command failed: exit code 1.
    pub(crate) fn failed(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self {
            report: Report::new(error),
            code: 1,
            restarts: false,
        }
    }

    /// Another host has taken over. This one restarts and stands by; with `--no-standby` it ends with exit code 1.
    pub(crate) fn deposed(error: impl std::error::Error) -> Self {
        Self {
            restarts: true,
            ..Self::plain(error)
        }
    }

    /// The command failed, and the error's text says all: exit code 1.
    pub(crate) fn plain(error: impl std::error::Error) -> Self {
        Self {
            report: miette::miette!("{error}"),
            code: 1,
            restarts: false,
        }
    }

    /// The command was used wrongly, and the error's text says all: exit code 2.
    pub(crate) fn plain_usage(error: impl std::error::Error) -> Self {
        Self {
            report: miette::miette!("{error}"),
            code: 2,
            restarts: false,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Config { .. } | TargetError::NoAddress => Self::usage(error),
            TargetError::Probe { .. } | TargetError::Embedded(_) => Self::failed(error),
        }
    }
}
