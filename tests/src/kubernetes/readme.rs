//! README.md's steps, run as they are written there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::kubectl::Kubectl;

const README: &str = include_str!("../../../README.md");

/// The blocks of `kubectl` commands below a heading such as
/// `### Migrate from MetalLB`, each as a shell's script.
pub fn blocks(heading: &str) -> Result<Vec<String>> {
    let blocks = blocks_in(README, heading);
    ensure!(
        !blocks.is_empty(),
        "README.md has no commands below {heading:?}"
    );
    Ok(blocks)
}

fn blocks_in(text: &str, heading: &str) -> Vec<String> {
    let section = text
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('#'));
    let mut blocks: Vec<String> = Vec::new();
    let mut inside = false;
    for line in section {
        let command = line.trim_start();
        let goes_on = inside && blocks.last().is_some_and(|text| text.ends_with("\\\n"));
        let is_code = line.starts_with("    ") && (goes_on || command.starts_with("kubectl "));
        match (is_code, inside, blocks.last_mut()) {
            (true, true, Some(block)) => *block += &format!("{command}\n"),
            (true, ..) => blocks.push(format!("{command}\n")),
            (false, ..) => {}
        }
        inside = is_code;
    }
    blocks
}

/// Where a reader of README.md would be: `manifests/` is there, and what they
/// have of others. Gone when dropped.
#[derive(Debug)]
pub struct Desk(PathBuf);

impl Desk {
    /// With these files, under their own names.
    pub fn new(files: &[&Path]) -> Result<Self> {
        let name = format!("corten-desk-{}", std::process::id());
        let desk = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&desk.0).context("cannot make a folder to work in")?;
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        for file in [&[manifests.as_path()], files].concat() {
            let file = file
                .canonicalize()
                .with_context(|| format!("no {}", file.display()))?;
            let name = file.file_name().context("a file has a name")?;
            symlink(&file, desk.0.join(name)).context("cannot lay out a file")?;
        }
        Ok(desk)
    }

    /// Runs a script there, to its end or its first failure.
    pub fn run(&self, kubectl: &Kubectl, script: &str) -> Result<String> {
        kubectl.shell(script, &self.0)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // In a temporary folder; only links are in it.
        drop(fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_below_their_heading() {
        let text = "## Before\n\n    kubectl no\n\n### Here\nText.\n\n1. One:\n\n       \
                    kubectl a \\\n         b\n       kubectl c\n\n2. Two:\n\n       \
                    kubectl d\n\n    other e\n\n### After\n\n    kubectl no\n";
        assert_eq!(
            blocks_in(text, "### Here"),
            ["kubectl a \\\nb\nkubectl c\n", "kubectl d\n"]
        );
        assert_eq!(blocks_in(text, "### Nowhere"), Vec::<String>::new());
    }
}
