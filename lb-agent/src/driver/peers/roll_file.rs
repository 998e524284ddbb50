//! Whom this agent knows, written down for the process after it
//! ([`lb_core::gossip::Roll`]): a file in a folder of its own, which in a
//! cluster outlives the pod.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lb_core::gossip::Roll;
use lb_core::model::{Members, NodeName};
use tokio::sync::watch;

use crate::clock;
use crate::report::file;

/// Inside the run folder.
const FOLDER: &str = "kept";
/// JSON: seconds since 1970 by node.
const FILE: &str = "known-agents.json";
/// Moments are written so often, names at once.
const REFRESH: Duration = Duration::from_secs(600);

fn folder(run_folder: &Path) -> PathBuf {
    run_folder.join(FOLDER)
}

/// What the process before this one wrote. What cannot be read is said, and is
/// as good as nothing: the agent starts as the first one on its node does.
#[must_use]
pub fn read(run_folder: &Path) -> Roll {
    let seen = file::read::<BTreeMap<String, u64>>(&folder(run_folder), FILE);
    let seen = seen.unwrap_or_else(|error| {
        tracing::warn!(
            folder = %folder(run_folder).display(),
            file = FILE,
            %error,
            "who was known before cannot be read: only agents that are heard are counted"
        );
        None
    });
    let seen = seen.unwrap_or_default().into_iter();
    Roll::of(seen.map(|(node, at)| (NodeName::new(&node), Duration::from_secs(at))))
}

fn write(run_folder: &Path, roll: &Roll) -> io::Result<()> {
    let seen = roll.iter().map(|(node, at)| (node.as_str(), at.as_secs()));
    file::write(&folder(run_folder), FILE, &seen.collect::<BTreeMap<_, _>>())
}

/// Writes until nobody tells any more. It loses nothing where it is cancelled:
/// files are written whole, by rename.
pub async fn keep(
    mut roll: Roll,
    this: NodeName,
    mut members: watch::Receiver<Members>,
    run_folder: PathBuf,
) {
    let mut refresh = clock::ticks(REFRESH);
    let mut failed = false;
    loop {
        let due = tokio::select! {
            changed = members.changed() => match changed {
                Ok(()) => false,
                Err(_closed) => return,
            },
            _ = refresh.tick() => true,
        };
        let next = roll.with(&members.borrow_and_update(), &this, clock::wall());
        if !due && !failed && next.same_nodes(&roll) {
            continue;
        }
        roll = next;
        let written = write(&run_folder, &roll);
        if let Err(error) = &written
            && !failed
        {
            tracing::warn!(
                folder = %folder(&run_folder).display(),
                %error,
                "cannot write down who is known: after a restart only agents that are heard count"
            );
        }
        failed = written.is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use lb_core::model::{Member, MemberState};
    use lb_core::time::Timestamp;

    use super::*;

    fn name(name: &str) -> NodeName {
        NodeName::new(name)
    }

    fn alive() -> Member {
        Member {
            state: MemberState::Alive,
            since: Timestamp::default(),
            programmed: true,
            uplinks_up: true,
            returns_by: None,
            left: false,
        }
    }

    /// A folder that nobody else uses.
    fn run_folder(of: &str) -> PathBuf {
        std::env::temp_dir().join(format!("corten-{of}-{}", std::process::id()))
    }

    #[tokio::test]
    async fn the_next_process_knows_whom_the_last_one_knew() {
        let folder = run_folder("roll");
        let this = name("node1");
        let mut members = Members::default();
        members.by_node.insert(this.clone(), alive());
        members.by_node.insert(name("node2"), alive());
        members.settled = true;
        let (told, hears) = watch::channel(Members::default());
        told.send_replace(members);
        let keeps = keep(Roll::default(), this, hears, folder.clone());
        let keeps = tokio::spawn(keeps);
        while read(&folder) == Roll::default() {
            tokio::task::yield_now().await;
        }
        drop(told);
        keeps.await.unwrap();
        let remembered = read(&folder).remembered(clock::wall());
        fs::remove_dir_all(folder).unwrap();
        assert_eq!(remembered, [name("node2")].into());
    }

    #[test]
    fn a_file_that_is_missing_or_broken_is_as_good_as_none() {
        let run_folder = run_folder("broken-roll");
        assert_eq!(read(&run_folder), Roll::default());
        fs::create_dir_all(folder(&run_folder)).unwrap();
        for text in ["", "{", "[]", r#"{"node2": -1}"#, r#"{"node2": "today"}"#] {
            fs::write(folder(&run_folder).join(FILE), text).unwrap();
            assert_eq!(read(&run_folder), Roll::default(), "{text}");
        }
        fs::remove_dir_all(run_folder).unwrap();
    }
}
