//! A tree of files, and the tar file of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Files by their paths, which do not begin with a slash. Everything belongs
/// to root and has no date.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Folder,
    File { mode: u32, bytes: Vec<u8> },
    Link { to: PathBuf },
}

impl Layer {
    /// Adds a file, and the folders above it.
    pub fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.add(Path::new(path), Entry::File { mode, bytes });
    }

    /// Adds a program of this machine.
    pub fn program(&mut self, path: &str, program: &Path) -> Result<()> {
        let bytes =
            fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        self.file(path, 0o755, bytes);
        Ok(())
    }

    pub fn folder(&mut self, path: &str) {
        self.add(Path::new(path), Entry::Folder);
    }

    /// Adds what is in a folder of this machine, apart from what `leave_out`
    /// names by the beginning of its path.
    pub fn tree(&mut self, folder: &Path, leave_out: &[&str]) -> Result<()> {
        self.branch(folder, Path::new(""), leave_out)
            .with_context(|| format!("cannot read {}", folder.display()))
    }

    fn branch(&mut self, root: &Path, inside: &Path, leave_out: &[&str]) -> io::Result<()> {
        for entry in fs::read_dir(root.join(inside))? {
            let entry = entry?;
            let path = inside.join(entry.file_name());
            if leave_out.iter().any(|other| path.starts_with(other)) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.add(&path, Entry::Folder);
                self.branch(root, &path, leave_out)?;
            } else if kind.is_symlink() {
                let to = fs::read_link(entry.path())?;
                self.add(&path, Entry::Link { to });
            } else {
                let mode = entry.metadata()?.permissions().mode() & 0o777;
                let bytes = fs::read(entry.path())?;
                self.add(&path, Entry::File { mode, bytes });
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, entry: Entry) {
        for above in path.ancestors().skip(1) {
            if above != Path::new("") {
                self.entries
                    .entry(above.to_owned())
                    .or_insert(Entry::Folder);
            }
        }
        self.entries.insert(path.to_owned(), entry);
    }

    pub(super) fn to_tar(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_tar(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes it as a tar file; equal trees as equal bytes.
    pub(super) fn write_tar(&self, output: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(output);
        for (path, entry) in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            match entry {
                Entry::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(0o755);
                    header.set_size(0);
                    tar.append_data(&mut header, path.join(""), io::empty())?;
                }
                Entry::File { mode, bytes } => {
                    header.set_mode(*mode);
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice())?;
                }
                Entry::Link { to } => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    tar.append_link(&mut header, path, to)?;
                }
            }
        }
        tar.finish()
    }
}
