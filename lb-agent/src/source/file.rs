//! A folder of manifests as the source of facts.
//!
//! The folder's `*.yaml`, `*.yml` and `*.json` files are read whole whenever
//! anything in it changes. Folders in it are not looked at, nor files that
//! begin with a dot: that is what ConfigMap volumes and editors keep there.
//!
//! One task ([`run`]) and one `watch` channel: a receiver that is slow sees
//! the latest state only, which is all it needs. Cancelling the task at any
//! point loses nothing; the folder is the state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, Metadata};
use std::hash::Hash;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lb_core::config::Refused;
use lb_core::model::{Facts, ServiceName, Slice};
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio::time::timeout;

use super::State;
use super::object::{Ignored, Ours, SliceName};
use super::yaml::{self, ConfigObject, Objects};

mod config;
#[cfg(test)]
mod tests;

/// Writers do several things to a file; the state between is no state.
const QUIET: Duration = Duration::from_millis(50);
/// A folder that is never quiet is read all the same.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// Where nobody tells of changes (network file systems), they are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What all files together say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    pub facts: Facts,
    /// Worth a word, each once.
    pub unknown_kinds: BTreeSet<String>,
    pub ignored: Vec<Ignored>,
    /// What is wrong with the configuration, and where; the facts have it as
    /// well.
    pub refused: Vec<FileRefused>,
}

/// Something that is wrong with an object, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRefused {
    pub path: PathBuf,
    pub line: Option<u64>,
    pub refused: Refused,
}

impl Manifests {
    fn say_what_is_left_out(&self) {
        for kind in &self.unknown_kinds {
            tracing::debug!(kind, "objects of this kind are not looked at");
        }
        for ignored in &self.ignored {
            tracing::debug!("{ignored}");
        }
    }
}

/// What is wrong with a file. The last good state stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileMistake {
    pub path: PathBuf,
    pub line: Option<u64>,
    pub reason: String,
}

impl fmt::Display for FileMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Reads a text, as if it stood in a file of this name.
pub fn read(name: &Path, text: &str, ours: &Ours) -> Result<Manifests, Vec<FileMistake>> {
    let mut folder = Folder::new(name, ours.clone());
    let file = File {
        version: Version::default(),
        objects: yaml::parse(text, ours),
    };
    folder.files.insert(name.to_owned(), file);
    folder.understand(Vec::new())
}

/// Reads a folder, or a single file, once.
pub fn load(path: &Path, ours: &Ours) -> Result<Manifests, Vec<FileMistake>> {
    Folder::new(path, ours.clone()).load()
}

/// Watches the folder and sends its state whenever it changes, beginning with
/// the first one. Ends when nobody listens any more.
pub async fn run(folder: PathBuf, ours: Ours, states: watch::Sender<State>) {
    // One is enough: it says "look", not what has changed.
    let (changed, mut changes) = mpsc::channel(1);
    let watcher = watch_folder(&folder, changed);
    if let Err(error) = &watcher {
        let folder = folder.display();
        tracing::warn!(%folder, %error, "cannot watch the folder; looking every {LOOK_EVERY:?}");
    }
    let mut folder = Folder::new(&folder, ours);
    loop {
        let read = tokio::task::spawn_blocking(move || folder.read()).await;
        let (read, result) = match read.map_err(JoinError::try_into_panic) {
            Ok(read) => read,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(Err(_cancelled)) => return,
        };
        folder = read;
        states.send_if_modified(|state| state.update(result));
        tokio::select! {
            () = states.closed() => return,
            () = settle(&mut changes, watcher.is_ok()) => {}
        }
    }
}

impl State {
    /// True if it is another one than before.
    fn update(&mut self, result: Result<Manifests, Vec<FileMistake>>) -> bool {
        let new = match result {
            Ok(manifests) => {
                manifests.say_what_is_left_out();
                let facts = match &self.facts {
                    Some(facts) if **facts == manifests.facts => facts.clone(),
                    _ => Arc::new(manifests.facts),
                };
                Self {
                    facts: Some(facts),
                    ..Self::default()
                }
            }
            Err(mistakes) => Self {
                facts: self.facts.clone(),
                mistakes: mistakes.iter().map(ToString::to_string).collect(),
                ..Self::default()
            },
        };
        let changed = new != *self;
        *self = new;
        changed
    }
}

/// Waits until something has changed and is quiet again, or it is time to look
/// in any case.
async fn settle(changes: &mut mpsc::Receiver<()>, watched: bool) {
    if !watched {
        tokio::time::sleep(LOOK_EVERY).await;
        return;
    }
    if timeout(LOOK_EVERY, changes.recv()).await.is_err() {
        return;
    }
    let quiet = async { while timeout(QUIET, changes.recv()).await.is_ok() {} };
    let _still_busy = timeout(QUIET_MAX, quiet).await;
}

fn watch_folder(
    folder: &Path,
    changed: mpsc::Sender<()>,
) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_only_read(event.kind)) {
            return;
        }
        // Full: it has been said already. Closed: nobody wants to know.
        let _said = changed.try_send(());
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Somebody looked at a file: we, for instance.
fn is_only_read(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => false,
    }
}

/// The files, with what they were read as.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    ours: Ours,
    files: BTreeMap<PathBuf, File>,
    /// What came of them the last time, to hand out the same objects again.
    last: Facts,
}

#[derive(Debug)]
struct File {
    version: Version,
    objects: Result<Objects, Vec<yaml::Mistake>>,
}

/// Tells whether a file is still the one that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Version {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Folder {
    fn new(path: &Path, ours: Ours) -> Self {
        Self {
            path: path.to_owned(),
            ours,
            files: BTreeMap::new(),
            last: Facts::default(),
        }
    }

    fn read(mut self) -> (Self, Result<Manifests, Vec<FileMistake>>) {
        let result = self.load();
        (self, result)
    }

    fn load(&mut self) -> Result<Manifests, Vec<FileMistake>> {
        let mistakes = self.refresh().map_err(|error| {
            vec![FileMistake {
                path: self.path.clone(),
                line: None,
                reason: error.to_string(),
            }]
        })?;
        self.understand(mistakes)
    }

    /// What the files that were read say together.
    fn understand(
        &mut self,
        mut mistakes: Vec<FileMistake>,
    ) -> Result<Manifests, Vec<FileMistake>> {
        for (path, file) in &self.files {
            let wrong = file.objects.as_ref().err().into_iter().flatten();
            mistakes.extend(wrong.map(|mistake| FileMistake {
                path: path.clone(),
                line: mistake.line,
                reason: mistake.reason.clone(),
            }));
        }
        let manifests = self.merge(&mut mistakes);
        if mistakes.is_empty() {
            self.last = manifests.facts.clone();
            Ok(manifests)
        } else {
            Err(mistakes)
        }
    }

    /// Reads the files that are new or have changed, and forgets those that
    /// are gone. Says which could not be read.
    fn refresh(&mut self) -> io::Result<Vec<FileMistake>> {
        let mut old = std::mem::take(&mut self.files);
        let mut mistakes = Vec::new();
        for path in manifest_paths(&self.path)? {
            match read_file(&path, &self.ours, old.remove(&path)) {
                Ok(Some(file)) => {
                    self.files.insert(path, file);
                }
                // Gone since the folder was listed, or not a file.
                Ok(None) => {}
                Err(error) => mistakes.push(FileMistake {
                    path,
                    line: None,
                    reason: error.to_string(),
                }),
            }
        }
        Ok(mistakes)
    }

    /// All files together. Two that say something of the same object are a
    /// mistake: which one is meant?
    fn merge(&self, mistakes: &mut Vec<FileMistake>) -> Manifests {
        let mut manifests = Manifests::default();
        let mut seen = BTreeMap::new();
        let mut config = config::Files::default();
        let mut slices: BTreeMap<ServiceName, BTreeMap<SliceName, Slice>> = BTreeMap::new();
        for (path, file) in &self.files {
            let Ok(objects) = &file.objects else {
                continue;
            };
            let mut once = |kind: &'static str, name: String, line: u64| {
                let first = seen.insert((kind, name.clone()), (path.clone(), line));
                mistakes.extend(first.map(|(first, at)| FileMistake {
                    path: path.clone(),
                    line: Some(line),
                    reason: format!("{kind} {name} is in {}:{at} too", first.display()),
                }));
            };
            for service in &objects.services {
                let name = &service.value.name;
                once("Service", name.to_string(), service.line);
                let value = reuse(self.last.services.get(name), &service.value);
                manifests.facts.services.insert(name.clone(), value);
            }
            for slice in &objects.slices {
                let (name, value) = &slice.value;
                once("EndpointSlice", name.to_string(), slice.line);
                let group = slices.entry(value.service.clone()).or_default();
                group.insert(name.clone(), value.clone());
            }
            for node in &objects.nodes {
                let name = &node.value.name;
                once("Node", name.to_string(), node.line);
                let value = reuse(self.last.nodes.get(name), &node.value);
                manifests.facts.nodes.insert(name.clone(), value);
            }
            for namespace in &objects.namespaces {
                let (name, labels) = &namespace.value;
                once("Namespace", name.to_string(), namespace.line);
                let value = reuse(self.last.namespaces.get(name), labels);
                manifests.facts.namespaces.insert(name.clone(), value);
            }
            for ignored in &objects.ignored {
                if let Some((name, addresses)) = ignored.value.foreign() {
                    let value = Arc::new(addresses.to_vec());
                    let value = reuse(self.last.foreign.get(name), &value);
                    manifests.facts.foreign.insert(name.clone(), value);
                }
            }
            for object in &objects.config {
                let ConfigObject { kind, name, .. } = &object.value;
                once(kind, name.to_string(), object.line);
                config.add(path, object);
            }
            let ignored = objects.ignored.iter().map(|ignored| ignored.value.clone());
            manifests.ignored.extend(ignored);
            manifests
                .unknown_kinds
                .extend(objects.unknown_kinds.iter().cloned());
        }
        let slices = slices.into_iter().map(|(service, slices)| {
            let slices = Arc::new(slices.into_values().collect());
            let slices = reuse(self.last.slices.get(&service), &slices);
            (service, slices)
        });
        manifests.facts.slices = slices.collect();
        let kept = config.kept(&self.last.config, &manifests.facts.nodes);
        manifests.refused = config.refused(&kept);
        manifests.facts.config = kept;
        manifests
    }
}

/// The object of the last time if it is equal: that nothing has changed is
/// then seen from the pointer.
fn reuse<V: Eq>(last: Option<&Arc<V>>, value: &Arc<V>) -> Arc<V> {
    match last {
        Some(old) if old == value => old.clone(),
        _ => value.clone(),
    }
}

/// The manifests in a folder, in the order of their names.
fn manifest_paths(path: &Path) -> io::Result<BTreeSet<PathBuf>> {
    if fs::metadata(path)?.is_file() {
        return Ok([path.to_owned()].into());
    }
    let mut paths = BTreeSet::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !hidden && matches!(extension, Some("yaml" | "yml" | "json")) {
            paths.insert(path);
        }
    }
    Ok(paths)
}

fn read_file(path: &Path, ours: &Ours, old: Option<File>) -> io::Result<Option<File>> {
    // Through links: ConfigMap volumes are made of them.
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let version = Version::of(&metadata);
    match old {
        Some(file) if file.version == version => Ok(Some(file)),
        _ => {
            let objects = yaml::parse(&fs::read_to_string(path)?, ours);
            Ok(Some(File { version, objects }))
        }
    }
}
