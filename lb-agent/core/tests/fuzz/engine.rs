//! Changes valid inputs in random ways, and keeps those that led to something
//! new as a start for more.
#![expect(
    clippy::disallowed_methods,
    reason = "how long it runs is for whoever waits, and changes no input"
)]

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lb_core::jitter::Jitter;

/// The longest input, in bytes: more than any message.
const LENGTH_MAX: usize = 70_000;
/// Inputs that are kept as starts.
const KEPT_MAX: usize = 4_096;
const ROUND: u64 = 1_000;

#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Valid inputs.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Makes an input right again in what would only be refused at once.
    pub(crate) repair: fn(&mut Vec<u8>),
    /// Panics if a promise is broken; gives what became of it, in few words.
    pub(crate) run: fn(&[u8]) -> String,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Executions(u64),
    Time(Duration),
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) executions: u64,
    pub(crate) kinds: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) target: &'static str,
    pub(crate) text: String,
    pub(crate) saved: PathBuf,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let saved = self.saved.display();
        write!(
            f,
            "{}: {}; again with: cargo xtask fuzz {} --input {saved}",
            self.target, self.text, self.target
        )
    }
}

pub(crate) fn fuzz(
    target: &Target,
    seed: u64,
    limit: Limit,
    folder: &Path,
) -> Result<Ran, Failure> {
    let started = Instant::now();
    let mut random = Random(Jitter::new(seed));
    let (mut kept, mut kinds) = (Vec::new(), BTreeSet::new());
    for input in (target.seeds)() {
        kinds.insert(attempt(target, &input, folder)?);
        kept.push(input);
    }
    let mut executions = 0;
    loop {
        let over = match limit {
            Limit::Executions(most) => executions >= most,
            Limit::Time(most) => executions % ROUND == 0 && started.elapsed() >= most,
        };
        if over {
            let kinds = kinds.len();
            return Ok(Ran { executions, kinds });
        }
        let mut input = kept[random.below(kept.len())].clone();
        for _ in 0..=random.below(4) {
            random.change(&mut input, &kept);
        }
        if random.below(4) > 0 {
            (target.repair)(&mut input);
        }
        input.truncate(LENGTH_MAX);
        let kind = attempt(target, &input, folder)?;
        executions += 1;
        if kept.len() < KEPT_MAX && kinds.insert(kind) {
            kept.push(input);
        }
    }
}

fn attempt(target: &Target, input: &[u8], folder: &Path) -> Result<String, Failure> {
    let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    ran.map_err(|panic| {
        fs::create_dir_all(folder).unwrap();
        let saved = folder.join(format!("{}.bin", target.name));
        fs::write(&saved, input).unwrap();
        Failure {
            target: target.name,
            text: words(&*panic),
            saved,
        }
    })
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without words".to_owned())
}

struct Random(Jitter);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        let most = u64::try_from(most).unwrap().max(1);
        usize::try_from(self.0.number() % most).unwrap()
    }

    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 4];
        let any = u8::try_from(self.0.number() & 0xff).unwrap();
        if self.below(2) == 0 {
            TELLING[self.below(TELLING.len())]
        } else {
            any
        }
    }

    /// A part of so many bytes: where it begins and ends.
    fn part(&mut self, length: usize) -> (usize, usize) {
        let begin = self.below(length + 1);
        let most = (length - begin).min(64);
        (begin, begin + self.below(most + 1))
    }

    fn change(&mut self, input: &mut Vec<u8>, others: &[Vec<u8>]) {
        let (begin, end) = self.part(input.len());
        match self.below(8) {
            0 | 1 => {
                if let Some(byte) = input.get_mut(begin) {
                    *byte ^= 1 << self.below(8);
                }
            }
            2 | 3 => {
                let byte = self.byte();
                if let Some(place) = input.get_mut(begin) {
                    *place = byte;
                }
            }
            4 => drop(input.drain(begin..end)),
            5 => {
                let part = input[begin..end].to_vec();
                let at = self.below(input.len() + 1);
                input.splice(at..at, part);
            }
            6 => {
                let other = &others[self.below(others.len())];
                let (from, to) = self.part(other.len());
                input.splice(begin..end, other[from..to].iter().copied());
            }
            _ => {
                let count = self.below(8);
                let bytes: Vec<u8> = (0..count).map(|_| self.byte()).collect();
                input.splice(begin..begin, bytes);
            }
        }
    }
}
