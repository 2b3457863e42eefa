//! Sizes and spans of time as people write them.

/// A size: bytes, or with `K`, `M`, `G`, `T` (powers of 1024, as in container engines), `B` or `iB` after it or not.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (text[..end].parse::<f64>().ok()?, text[end..].trim().to_ascii_lowercase());
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let size = number * 1024f64.powi(power);
    (size >= 1.0 && size < 2f64.powi(60)).then_some(size as u64)
}

/// A size as [`bytes`] reads it, in the largest unit of which it is a whole number: `512M` is not 536.9 MB.
pub fn written(size: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    let unit = units.into_iter().find(|(power, _)| size > 0 && size.is_multiple_of(1 << power));
    unit.map_or_else(|| size.to_string(), |(power, unit)| format!("{}{unit}", size >> power))
}

/// A span of time as [`seconds`] reads it, in the largest unit of which it is a whole number.
pub fn span_written(span: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(length, _)| span > 0 && span.is_multiple_of(*length));
    unit.map_or_else(|| format!("{span}s"), |(length, unit)| format!("{}{unit}", span / length))
}

/// A span of time: seconds, or with `s`, `m`, `h`, `d` after it.
pub fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let unit = match text[end..].trim() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(unit).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_printed_as_it_was_written() {
        for text in ["512M", "2G", "1500M", "3K", "1T", "777"] {
            assert_eq!(written(bytes(text).unwrap()), text);
        }
        for text in ["90s", "30m", "2h", "1d"] {
            assert_eq!(span_written(seconds(text).unwrap()), text);
        }
        assert_eq!((written(bytes("1.5G").unwrap()).as_str(), written(0).as_str()), ("1536M", "0"));
    }

    #[test]
    fn sizes_and_spans_have_units() {
        assert_eq!(
            ["512M", "2G", "1GiB", "1.5k", "4096", "1 TB"].map(bytes),
            [Some(512 << 20), Some(2 << 30), Some(1 << 30), Some(1536), Some(4096), Some(1 << 40)]
        );
        assert_eq!(["", "x", "5X", "-1", "0", "1e3", "99999999999T", "inf"].map(bytes), [None; 8]);
        assert_eq!(["90", "90s", "30m", "2h", "1d"].map(seconds), [90, 90, 1800, 7200, 86_400].map(Some));
        assert_eq!(["", "0", "1w", "-5s", "99999999999999999999d"].map(seconds), [None; 5]);
    }
}
