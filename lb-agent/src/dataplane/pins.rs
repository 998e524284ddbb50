//! Where things are pinned: `<bpffs>/v<LAYOUT_VERSION>/…`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lb_common::LAYOUT_VERSION;

use super::attach::Hook;

/// Paths below one bpffs folder. An agent and its maps belong to one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    bpffs: PathBuf,
}

impl Pins {
    #[must_use]
    pub fn new(bpffs: &Path) -> Self {
        Self {
            bpffs: bpffs.to_owned(),
        }
    }

    /// The folder that was asked for.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// The folder of everything of this layout.
    #[must_use]
    pub fn layout(&self) -> PathBuf {
        self.bpffs.join(format!("v{LAYOUT_VERSION}"))
    }

    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.layout().join(name)
    }

    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.layout().join("links")
    }

    /// A bpffs allows no dots in names, and devices have some: hence numbers.
    #[must_use]
    pub fn link(&self, hook: Hook, ifindex: u32) -> PathBuf {
        self.links().join(format!("{}-{ifindex}", hook.name()))
    }

    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.layout().join("programs").join(name)
    }

    /// Whether anything of ours is there.
    #[must_use]
    pub fn exist(&self) -> bool {
        self.map("CONFIG").exists()
    }

    pub fn create_folders(&self) -> io::Result<()> {
        fs::create_dir_all(self.links())?;
        fs::create_dir_all(self.layout().join("programs"))
    }

    /// The links that are pinned.
    pub fn pinned_links(&self) -> io::Result<Vec<(Hook, u32)>> {
        let entries = match fs::read_dir(self.links()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut links = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let parsed = name
                .rsplit_once('-')
                .and_then(|(hook, ifindex)| Some((Hook::from_name(hook)?, ifindex.parse().ok()?)));
            links.extend(parsed);
        }
        links.sort_unstable();
        Ok(links)
    }

    /// Removes everything of every layout. Says how many pins there were.
    pub fn purge(&self) -> io::Result<usize> {
        let mut removed = 0;
        let entries = match fs::read_dir(&self.bpffs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy());
            let ours = name.is_some_and(|name| {
                let number = name.strip_prefix('v').unwrap_or_default();
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            });
            if ours && path.is_dir() {
                // Links first: no program may run on maps that are going.
                let links = path.join("links");
                if links.is_dir() {
                    removed += remove_below(&links)?;
                }
                removed += remove_below(&path)?;
            }
        }
        // It stays if it is a mount, or holds what is not ours.
        let _left = fs::remove_dir(&self.bpffs);
        Ok(removed)
    }
}

fn remove_below(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            removed += remove_below(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    fs::remove_dir(folder)?;
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_name_is_read_back() {
        let folder = std::env::temp_dir().join(format!("corten-pins-{}", std::process::id()));
        let pins = Pins::new(&folder);
        pins.create_folders().unwrap();
        let links = [(Hook::Ingress, 3), (Hook::Egress, 3), (Hook::Return, 17)];
        for (hook, ifindex) in links {
            fs::write(pins.link(hook, ifindex), "").unwrap();
        }
        fs::write(pins.links().join("strange"), "").unwrap();
        assert_eq!(pins.pinned_links().unwrap(), links);
        fs::write(folder.join("other"), "").unwrap();
        assert_eq!(pins.purge().unwrap(), 4);
        assert!(folder.join("other").exists(), "what is not ours stays");
        fs::remove_file(folder.join("other")).unwrap();
        assert_eq!(pins.purge().unwrap(), 0);
        assert!(!folder.exists(), "an empty folder goes");
    }
}
