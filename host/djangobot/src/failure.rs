//! How a command fails: with a report for people and an exit code.

use std::process::ExitCode;

use miette::{Diagnostic, Report};

use crate::target::TargetError;

/// The report, and what the shell is told.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) report: Report,
    code: u8,
}

impl Failure {
    /// It was started wrongly: exit code 2.
    pub(crate) fn usage(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self {
            report: Report::new(error),
            code: 2,
        }
    }

    /// It went wrong: exit code 1.
    pub(crate) fn failed(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self {
            report: Report::new(error),
            code: 1,
        }
    }

    /// It went wrong, and the error's own sentence says all: exit code 1.
    pub(crate) fn plain(error: impl std::error::Error) -> Self {
        Self {
            report: miette::miette!("{error}"),
            code: 1,
        }
    }

    /// It was started wrongly, and the error's own sentence says all: exit code 2.
    pub(crate) fn plain_usage(error: impl std::error::Error) -> Self {
        Self {
            report: miette::miette!("{error}"),
            code: 2,
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
