//! A content comes into the cache: gone on with where it stopped, checked, and only then named.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, Response, StatusCode, Url};
use sha2::{Digest, Sha256};

use crate::diag::hexadecimal;
use crate::http::shown_address as shown;

use super::client::{Asked, Content, Failure, Hub, unreachable};
use super::error::{HubError, at};
use super::layout::{FileName, Repository, make_folder_of, rename};
use super::lock::Lock;
use super::model_id::ModelId;
use super::watch::Watch;

/// How many bytes make good for the tries that were needed to get them.
const PROGRESS_BYTES: u64 = 1 << 20;

/// How much of a file is read at once.
const READ_BYTES: usize = 1 << 20;

/// A file of a commit that is to be fetched.
pub(super) struct Wanted<'a> {
    pub model: &'a ModelId,
    pub file: &'a FileName,
    pub url: Url,
    pub content: &'a Content,
}

/// The bytes of a content that are there so far.
///
/// They are written at their place and never behind the end of the file: should two processes
/// write it in spite of the lock, both write the same bytes.
struct Partial<'a> {
    wanted: &'a Wanted<'a>,
    path: PathBuf,
    file: File,
    done: u64,
    /// The hash of the bytes so far, where the content is named by it.
    hash: Option<Sha256>,
}

/// Fetches a content unless it is there.
pub(super) async fn fetch_blob(
    hub: &Hub<'_>,
    repository: &Repository,
    wanted: &Wanted<'_>,
    watch: &mut Watch<'_, '_>,
) -> Result<(), HubError> {
    let Content { etag, size } = wanted.content;
    let path = repository.blob(etag);
    watch.begin(wanted.file.as_str(), *size);
    if has_size(&path, *size) {
        watch.end();
        return Ok(());
    }
    make_folder_of(&path)?;
    let lock = Lock::acquire(&repository.lock(etag), watch).await?;
    // Another process may have fetched it meanwhile.
    if !has_size(&path, *size) {
        let is_alone = lock.is_held();
        let partial_path = match is_alone {
            true => repository.partial(etag),
            false => repository.own_partial(etag),
        };
        let outcome = complete(hub, wanted, &partial_path, &path, watch).await;
        if outcome.is_err() && !is_alone {
            // Nobody would find it again.
            let _removed = fs::remove_file(&partial_path);
        }
        outcome?;
    }
    watch.end();
    Ok(())
}

async fn complete(
    hub: &Hub<'_>,
    wanted: &Wanted<'_>,
    partial_path: &Path,
    path: &Path,
    watch: &mut Watch<'_, '_>,
) -> Result<(), HubError> {
    let mut partial = Partial::open(wanted, partial_path, watch)?;
    let mut tries = hub.tries();
    while partial.done < wanted.content.size {
        let before = partial.done;
        if let Err(failure) = partial.extend(hub, watch).await {
            if partial.done.saturating_sub(before) >= PROGRESS_BYTES {
                tries = hub.tries();
            }
            tries.again(failure, watch).await?;
        }
    }
    partial.finish(path)
}

fn has_size(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == size)
}

impl<'a> Partial<'a> {
    /// Opens what an earlier fetch left. What cannot be checked at the end begins anew.
    fn open(
        wanted: &'a Wanted<'a>,
        path: &Path,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Partial<'a>, HubError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(at(path))?;
        let found = file.metadata().map_err(at(path))?.len();
        let mut out = Partial { wanted, path: path.to_owned(), file, done: 0, hash: None };
        out.restart()?;
        if out.hash.is_some() && found <= wanted.content.size {
            out.read_back(found, watch)?;
        }
        Ok(out)
    }

    fn restart(&mut self) -> Result<(), HubError> {
        self.done = 0;
        self.hash = self.wanted.content.etag.is_sha256().then(Sha256::new);
        self.file.seek(SeekFrom::Start(0)).map_err(at(&self.path))?;
        Ok(())
    }

    /// Takes in bytes that are there already.
    fn read_back(&mut self, found: u64, watch: &mut Watch<'_, '_>) -> Result<(), HubError> {
        let mut buffer = vec![0; READ_BYTES];
        while self.done < found {
            let read = self.file.read(&mut buffer).map_err(at(&self.path))?;
            if read == 0 {
                break;
            }
            self.take(&buffer[..read]);
            watch.reached(self.done)?;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        self.done += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
    }

    /// Asks for the bytes that are missing and writes those that come.
    async fn extend(&mut self, hub: &Hub<'_>, watch: &mut Watch<'_, '_>) -> Result<(), Failure> {
        let Wanted { model, file, url, content } = self.wanted;
        let asked = Asked { model, file: Some(file) };
        let mut response = match hub.ask(asked, Method::GET, url, self.done, watch).await {
            Ok(response) => response,
            Err(failure) => return Err(self.refused(failure)?),
        };
        if response.status() == StatusCode::PARTIAL_CONTENT {
            self.check_range(&response)?;
        } else if self.done > 0 {
            // The store sends all of it.
            self.restart()?;
        }
        watch.reached(self.done)?;
        while let Some(chunk) =
            watch.wait(response.chunk()).await?.map_err(|error| unreachable(url, error))?
        {
            if self.done + chunk.len() as u64 > content.size {
                return Err(self.damaged("more bytes than that".to_owned()).into());
            }
            self.file.write_all(&chunk).map_err(at(&self.path))?;
            self.take(&chunk);
            watch.reached(self.done)?;
        }
        match self.done < content.size {
            true => {
                let problem = format!("it stopped after {} of {} bytes", self.done, content.size);
                Err(Failure::passing(HubError::Unreachable { url: shown(url), problem }))
            }
            false => Ok(()),
        }
    }

    /// Begins anew where the store does not know how to go on (416), which may help.
    fn refused(&mut self, failure: Failure) -> Result<Failure, HubError> {
        let status = StatusCode::RANGE_NOT_SATISFIABLE.as_u16();
        match failure.error {
            HubError::Status { status: found, .. } if found == status && self.done > 0 => {
                self.restart()?;
                Ok(Failure::passing(failure.error))
            }
            _ => Ok(failure),
        }
    }

    /// Checks that a part begins where it should (`Content-Range: bytes 5-9/10`).
    fn check_range(&self, response: &Response) -> Result<(), HubError> {
        let value = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let parse = |value: &str| {
            let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
            let (start, _) = range.split_once('-')?;
            let size = if total == "*" { self.wanted.content.size } else { total.parse().ok()? };
            Some((start.parse().ok()?, size))
        };
        match value.and_then(parse) {
            Some(found) if found == (self.done, self.wanted.content.size) => Ok(()),
            _ => Err(HubError::Protocol {
                url: shown(&self.wanted.url),
                problem: format!(
                    "asked for bytes from {} of {}, it sends Content-Range '{}'",
                    self.done,
                    self.wanted.content.size,
                    value.unwrap_or_default().escape_debug()
                ),
            }),
        }
    }

    /// Checks the bytes, makes them outlast a loss of power and gives them their name.
    fn finish(self, path: &Path) -> Result<(), HubError> {
        if let Some(hash) = &self.hash {
            let found = hexadecimal(&hash.clone().finalize());
            if found != self.wanted.content.etag.as_str() {
                return Err(self.damaged(format!("its SHA-256 is {found}")));
            }
        }
        // Behind the end may be bytes of an earlier fetch that began anew.
        self.file.set_len(self.wanted.content.size).map_err(at(&self.path))?;
        self.file.sync_all().map_err(at(&self.path))?;
        rename(&self.path, path)
    }

    /// Removes bytes that are not those of the content, and returns how that is told.
    fn damaged(&self, found: String) -> HubError {
        if let Err(error) = fs::remove_file(&self.path) {
            return at(&self.path)(error);
        }
        let content = self.wanted.content;
        let expected = match self.hash {
            Some(_) => format!("{} bytes with SHA-256 {}", content.size, content.etag.as_str()),
            None => format!("{} bytes", content.size),
        };
        let file = self.wanted.file.as_str().to_owned();
        HubError::Damaged { file, path: self.path.clone(), found, expected }
    }
}
