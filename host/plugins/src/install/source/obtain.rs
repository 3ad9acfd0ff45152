//! Getting a plugin from its source: a file is read, an address downloaded, and the component checked.

use std::path::Path;

use crate::digest::Digest;
use crate::install::component::{Artifact, ArtifactError};
use crate::install::shipped::ShippedError;
use crate::install::source::{
    DownloadError, Downloader, Progress, ReadError, Source, SourceError, read_file,
};

/// Why a plugin can't be had from its source.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// The text is not a source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It ships with djangobot, but is not on this machine.
    #[error(transparent)]
    ShippedError(#[from] ShippedError),
    /// Its file can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its file can't be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// It is a folder, which is built first.
    #[error("{} is a folder, which has to be built first", .0.display())]
    Folder(std::path::PathBuf),
    /// Its file is not the expected one.
    #[error("{} is not the expected file: its sha256 is {found}, not {promised}", path.display())]
    OtherFile {
        /// The file's path.
        path: std::path::PathBuf,
        /// The expected digest.
        promised: Digest,
        /// The digest of the file.
        found: Digest,
    },
    /// Its file is not a plugin.
    #[error("{from} is not a plugin: {reason}")]
    NotAPlugin {
        /// The source.
        from: String,
        /// Why it is not one.
        reason: Box<ArtifactError>,
    },
}

impl Source {
    /// Reads or downloads the plugin. A folder is an error here, since its recipe has to build it. Paths are relative
    /// to `home`, the config file's folder.
    ///
    /// `promised` is the expected sha256 of the file, before a core module is made a component.
    ///
    /// # Errors
    /// An [`ObtainError`], whose text names the source.
    pub async fn obtain(
        &self,
        home: &Path,
        promised: Option<Digest>,
        progress: &mut Progress<'_>,
    ) -> Result<Artifact, ObtainError> {
        let not_a_plugin = |reason| ObtainError::NotAPlugin {
            from: self.to_string(),
            reason: Box::new(reason),
        };
        match self.located(home)? {
            Self::Folder(folder) => Err(ObtainError::Folder(folder)),
            Self::Shipped(name) => Err(SourceError::NotShipped(name).into()),
            Self::File(path) => {
                let bytes = read_file(&path)?;
                let found = Digest::of(&bytes);
                match promised.filter(|promised| *promised != found) {
                    Some(promised) => Err(ObtainError::OtherFile {
                        path,
                        promised,
                        found,
                    }),
                    None => Artifact::read(&bytes).map_err(not_a_plugin),
                }
            }
            Self::Https(url) => {
                let bytes = Downloader::new()?.get(&url, promised, progress).await?;
                Artifact::read(&bytes).map_err(not_a_plugin)
            }
        }
    }
}
