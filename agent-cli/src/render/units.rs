//! Numbers as people read them. JSON has the exact ones.

/// `45s`, `3m12s`, `3h12m`, `2d4h`.
pub(super) fn duration(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match secs {
        86_400.. => format!("{days}d{hours}h"),
        3_600.. => format!("{hours}h{minutes}m"),
        60.. => format!("{minutes}m{}s", secs % 60),
        _ => format!("{secs}s"),
    }
}

/// `0`, `999`, `12k`, `3M`, `1G`: decimal multiples, rounded down.
pub(super) fn bytes(count: u64) -> String {
    match count {
        1_000_000_000_000.. => format!("{}T", count / 1_000_000_000_000),
        1_000_000_000.. => format!("{}G", count / 1_000_000_000),
        1_000_000.. => format!("{}M", count / 1_000_000),
        1_000.. => format!("{}k", count / 1_000),
        _ => count.to_string(),
    }
}

/// `1.9 ms`.
pub(super) fn millis(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let durations = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m0s"),
            (11_520, "3h12m"),
            (86_400, "1d0h"),
            (187_200, "2d4h"),
        ];
        for (secs, text) in durations {
            assert_eq!(duration(secs), text);
        }
        let sizes =
            [(0, "0"), (999, "999"), (1_000, "1k"), (12_345_678, "12M"), (u64::MAX, "18446744T")];
        for (count, text) in sizes {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(millis(0.001_94), "1.9 ms");
    }
}
