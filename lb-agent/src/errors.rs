//! Errors in words.

use std::error::Error;

/// An error with all its causes, in one line.
pub fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Layered {
        #[error("the disk is full")]
        Inner,
        #[error("a file is not written")]
        Plain(#[source] Box<Self>),
        #[error("a file is not written: {0}")]
        Repeating(#[source] Box<Self>),
    }

    #[test]
    fn every_cause_is_said_once() {
        let plain = Layered::Plain(Box::new(Layered::Inner));
        assert_eq!(one_line(&plain), "a file is not written: the disk is full");
        let repeating = Layered::Repeating(Box::new(Layered::Inner));
        assert_eq!(
            one_line(&repeating),
            "a file is not written: the disk is full"
        );
    }
}
