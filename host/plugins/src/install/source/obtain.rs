//! From a source to what it gives: read, built or downloaded, and then checked.

use std::path::Path;

use super::{BadSource, DownloadError, Downloader, Progress, ReadError, Source, read_file};
use crate::digest::Digest;
use crate::install::component::{Artifact, ArtifactError};
use crate::install::shipped::NotHere;

/// Why a source gives no plugin.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// The config names none.
    #[error(transparent)]
    Source(#[from] BadSource),
    /// It ships with djangobot, and is not on this machine.
    #[error(transparent)]
    NotHere(#[from] NotHere),
    /// Its file can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its file can't be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// It is a folder, which is built first.
    #[error("{} is a folder, which has to be built first", .0.display())]
    Folder(std::path::PathBuf),
    /// Its file is another than was promised.
    #[error("{} is not the file that was promised: its sha256 is {found}, not {promised}", path.display())]
    OtherFile {
        /// Which file.
        path: std::path::PathBuf,
        /// What was promised.
        promised: Digest,
        /// What is there.
        found: Digest,
    },
    /// What it gives is no plugin.
    #[error("{from} is no plugin: {reason}")]
    NotAPlugin {
        /// The source.
        from: String,
        /// What it is instead.
        reason: Box<ArtifactError>,
    },
}

impl Source {
    /// Reads or downloads the plugin; a folder is built by its recipe. Paths are meant from `home`, the config file's folder.
    ///
    /// `promised` is the sha256 of the file as it is there or comes.
    ///
    /// # Errors
    /// An [`ObtainError`], whose sentence names the source.
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
            Self::Shipped(name) => Err(BadSource::NotShipped(name).into()),
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
