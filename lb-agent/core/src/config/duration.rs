//! Durations as Go writes them: `90s`, `1m30s`, `1.5h`, `300ms`.

use core::time::Duration;

/// Go's `time.ParseDuration`. None for what it does not take, and for negative
/// ones, which nothing here can use.
#[must_use]
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total_ns: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit_ns, after) = unit(after)?;
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        total_ns = total_ns.checked_add(whole.checked_mul(unit_ns)?)?;
        total_ns = total_ns.checked_add(part(fraction, unit_ns))?;
        rest = after;
    }
    // Go has 63 bits of nanoseconds.
    let total_ns = i64::try_from(total_ns).ok()?;
    Some(Duration::from_nanos(total_ns.unsigned_abs()))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn unit(text: &str) -> Option<(u128, &str)> {
    const UNITS: [(&str, u128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        // Before `m`, which it begins with.
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let mut units = UNITS.iter();
    units.find_map(|(name, ns)| text.strip_prefix(name).map(|rest| (*ns, rest)))
}

/// The digits after the point, of a unit.
fn part(fraction: &str, unit_ns: u128) -> u128 {
    let mut place = unit_ns;
    let mut sum = 0;
    for digit in fraction.bytes() {
        place /= 10;
        sum += u128::from(digit - b'0') * place;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::parse;
    use core::time::Duration;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("300ms", 300),
            (".5s", 500),
            ("+1h0m0s", 3_600_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for wrong in [
            "",
            "90",
            "s",
            "-3s",
            "1 s",
            "1m30",
            "1d",
            ".s",
            "9999999999h",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
