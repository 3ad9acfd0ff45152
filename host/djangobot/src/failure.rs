//! How a command fails: with a report for people and an exit code.

use std::process::ExitCode;

use miette::{Diagnostic, Report};

use crate::target::TargetError;

/// The report, and what the shell is told.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) report: Report,
    code: u8,
    /// Whether the process is to start again: it waits then for what it has not now.
    pub(crate) starts_again: bool,
}

impl Failure {
    /// It was started wrongly: exit code 2.
    pub(crate) fn usage(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self {
            report: Report::new(error),
            code: 2,
            starts_again: false,
        }
    }

    /// It went wrong: exit code 1.
    pub(crate) fn failed(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self {
            report: Report::new(error),
            code: 1,
            starts_again: false,
        }
    }

    /// Another host has taken over: this one stands by from a fresh start, or ends with exit code 1.
    pub(crate) fn deposed(error: impl std::error::Error) -> Self {
        Self {
            starts_again: true,
            ..Self::plain(error)
        }
    }

    /// It went wrong, and the error's own sentence says all: exit code 1.
    pub(crate) fn plain(error: impl std::error::Error) -> Self {
        Self {
            report: miette::miette!("{error}"),
            code: 1,
            starts_again: false,
        }
    }

    /// It was started wrongly, and the error's own sentence says all: exit code 2.
    pub(crate) fn plain_usage(error: impl std::error::Error) -> Self {
        Self {
            report: miette::miette!("{error}"),
            code: 2,
            starts_again: false,
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
