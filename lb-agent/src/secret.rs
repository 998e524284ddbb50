//! What the agents of a cluster know, and nobody else does.
//!
//! Two things, which are never the same where Corten makes them itself: what
//! messages between agents are sealed with, which may be changed at any time,
//! and what seeds the pick, which may not: all flows would go to other pods.
//!
//! Written down they are text: `pick: …` is a line, each other line is a secret
//! for messages. The first one seals, all open: a new one is put first, and the
//! old one goes when every agent has both.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The line that seeds the pick begins with it.
const PICK: &[u8] = b"pick:";

#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Of messages: the first one seals, all open. Never empty.
    pub messages: Vec<Vec<u8>>,
    /// Equal on all nodes, at all times.
    pub pick: Vec<u8>,
}

/// What is known of them just now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The last good ones. None: no table may be filled yet, since that of
    /// other nodes would be another one.
    pub secrets: Option<Arc<Secrets>>,
    /// Why there are none, or no newer ones: a sentence.
    pub failure: Option<String>,
}

impl From<Secrets> for Known {
    fn from(secrets: Secrets) -> Self {
        Self {
            secrets: Some(Arc::new(secrets)),
            failure: None,
        }
    }
}

/// Why what is written down cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("there is no line with a secret")]
    NoMessages,
    #[error("nothing stands behind \"pick:\"")]
    NoPick,
    #[error("two lines begin with \"pick:\"")]
    TwoPicks,
    #[error(
        "there are several secrets, and none of them is said to seed the pick: put \"pick:\" and \
         the oldest one, which seeds it so far, into a line of its own"
    )]
    WhichPick,
    #[error("what seeds the pick has several lines")]
    LongPick,
}

impl fmt::Debug for Secrets {
    /// Logs are read by many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("messages", &self.messages.len())
            .finish_non_exhaustive()
    }
}

impl Secrets {
    /// Where nobody names any: agents on one machine, to try things.
    #[must_use]
    pub fn none() -> Self {
        Self {
            messages: vec![Vec::new()],
            pick: Vec::new(),
        }
    }

    /// Of a text as above. A single secret seeds the pick too.
    pub fn read(text: &[u8]) -> Result<Self, SecretError> {
        let text = text.trim_ascii();
        let mut messages = Vec::new();
        let mut pick = None;
        for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
            match line.strip_prefix(PICK).map(<[u8]>::trim_ascii) {
                Some([]) => return Err(SecretError::NoPick),
                Some(_) if pick.is_some() => return Err(SecretError::TwoPicks),
                Some(of_pick) => pick = Some(of_pick.to_vec()),
                None if line.is_empty() => {}
                None => messages.push(line.to_vec()),
            }
        }
        let pick = match (pick, messages.as_slice()) {
            (_, []) => return Err(SecretError::NoMessages),
            (Some(pick), _) => pick,
            (None, [only]) => only.clone(),
            (None, _) => return Err(SecretError::WhichPick),
        };
        Ok(Self { messages, pick })
    }

    /// Of two texts: what seeds the pick, and secrets for messages, a line each.
    pub fn of(pick: &[u8], messages: &[u8]) -> Result<Self, SecretError> {
        let pick = pick.trim_ascii();
        if pick.contains(&b'\n') {
            return Err(SecretError::LongPick);
        }
        Self::read(&[PICK, pick, b"\n", messages].concat())
    }

    /// What is read as the same.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let pick = [PICK, b" ", &self.pick].concat();
        let lines = [&[pick], self.messages.as_slice()].concat();
        [lines.join(&b'\n'), b"\n".to_vec()].concat()
    }

    /// Keeps them for the next agent on this node, which may find no API server
    /// when it starts.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let new = folder.join("secret.new");
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(true).write(true).mode(0o600);
        options.open(&new)?.write_all(&self.text())?;
        fs::rename(new, file(folder))
    }

    /// Those that were kept.
    #[must_use]
    pub fn kept(folder: &Path) -> Option<Self> {
        Self::read(&fs::read(file(folder)).ok()?).ok()
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("secret")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn secrets(messages: &[&str], pick: &str) -> Secrets {
        Secrets {
            messages: messages.iter().map(|m| m.as_bytes().to_vec()).collect(),
            pick: pick.as_bytes().to_vec(),
        }
    }

    #[test]
    fn lines_are_secrets_and_one_of_them_may_seed_the_pick() {
        for (text, expected) in [
            ("one", Ok(secrets(&["one"], "one"))),
            (" one \r\n", Ok(secrets(&["one"], "one"))),
            ("two\none\n", Err(SecretError::WhichPick)),
            ("pick: p\ntwo\n\none", Ok(secrets(&["two", "one"], "p"))),
            ("one\npick:p", Ok(secrets(&["one"], "p"))),
            ("", Err(SecretError::NoMessages)),
            (" \n\n", Err(SecretError::NoMessages)),
            ("pick: p\n", Err(SecretError::NoMessages)),
            ("pick: \none", Err(SecretError::NoPick)),
            ("pick: a\npick: b\none", Err(SecretError::TwoPicks)),
        ] {
            assert_eq!(Secrets::read(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn another_secret_for_messages_leaves_the_pick_alone() {
        let before = Secrets::read(b"pick: p\nold").unwrap();
        let both = Secrets::read(b"pick: p\nnew\nold").unwrap();
        let after = Secrets::read(b"pick: p\nnew").unwrap();
        assert!(before.pick == both.pick && both.pick == after.pick);
        assert!(both.messages.contains(&before.messages[0]));
        assert_eq!(both.messages[0], after.messages[0]);
    }

    #[test]
    fn what_is_kept_is_read_again_by_nobody_else() {
        let folder =
            std::env::temp_dir().join(format!("corten-kept-secret-{}", std::process::id()));
        assert_eq!(Secrets::kept(&folder), None);
        for kept in [secrets(&["b", "a"], "p"), secrets(&["c"], "p")] {
            kept.keep(&folder).unwrap();
            assert_eq!(Secrets::kept(&folder), Some(kept));
            let mode = fs::metadata(file(&folder)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn secrets_are_not_logged() {
        let debug = format!("{:?}", secrets(&["hidden"], "hidden too"));
        assert!(!debug.contains("hidden"), "{debug}");
    }
}
