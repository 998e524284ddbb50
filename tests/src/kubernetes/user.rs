//! Who may speak to the API server: tokens, and kubeconfig files with them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// A user with a fixed token.
#[derive(Clone, Debug)]
pub(super) struct User {
    /// As RBAC knows it.
    pub(super) name: String,
    pub(super) group: Option<&'static str>,
    pub(super) token: String,
}

impl User {
    pub(super) fn new(name: impl Into<String>, group: Option<&'static str>) -> Result<Self> {
        Ok(Self {
            name: name.into(),
            group,
            token: random_token()?,
        })
    }

    /// A line of the file for `--token-auth-file`.
    pub(super) fn token_line(&self) -> String {
        let Self { name, group, token } = self;
        match group {
            Some(group) => format!("{token},{name},{name},\"{group}\"\n"),
            None => format!("{token},{name},{name}\n"),
        }
    }
}

/// Writes a kubeconfig file for a bearer of that token.
pub(super) fn write_kubeconfig(
    path: &Path,
    server: &str,
    authority: &Path,
    token: &str,
) -> Result<()> {
    let text = format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: lab\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         \x20   certificate-authority: {}\n\
         users:\n\
         - name: user\n\
         \x20 user:\n\
         \x20   token: {token}\n\
         contexts:\n\
         - name: lab\n\
         \x20 context:\n\
         \x20   cluster: lab\n\
         \x20   user: user\n\
         current-context: lab\n",
        authority.display()
    );
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn random_token() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    let mut token = String::new();
    for byte in bytes {
        write!(token, "{byte:02x}")?;
    }
    Ok(token)
}
