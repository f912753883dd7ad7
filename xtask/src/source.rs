//! Rust source with comments, strings and characters blanked out, so that simple scans are right.

/// `text` with the contents of comments, strings and character literals replaced by spaces; line
/// breaks stay, so that line numbers do.
pub(crate) fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' | b'b' | b'c' if !continues_word(bytes, at) => match raw_string_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match character_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn continues_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |found| at + found)
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut next) = (0, at);
    while next < bytes.len() {
        if bytes[next..].starts_with(b"/*") {
            depth += 1;
            next += 2;
        } else if bytes[next..].starts_with(b"*/") {
            depth -= 1;
            next += 2;
            if depth == 0 {
                return next;
            }
        } else {
            next += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut next = at + 1;
    while next < bytes.len() {
        match bytes[next] {
            b'\\' => next += 2,
            b'"' => return next + 1,
            _ => next += 1,
        }
    }
    bytes.len()
}

/// End of `r"…"`, `r#"…"#`, `br"…"` and the like; `None` if it is none.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut next = at;
    if matches!(bytes[next], b'b' | b'c') {
        next += 1;
    }
    if bytes.get(next) != Some(&b'r') {
        return None;
    }
    next += 1;
    let hashes = bytes[next..].iter().take_while(|byte| **byte == b'#').count();
    next += hashes;
    if bytes.get(next) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &bytes[next + 1..];
    let found = body.windows(close.len()).position(|window| window == close)?;
    Some(next + 1 + found + close.len())
}

/// End of `'x'` or `'\…'`; `None` for a lifetime.
fn character_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let found = bytes.get(at + 3..)?.iter().position(|byte| *byte == b'\'')?;
        return Some(at + 3 + found + 1);
    }
    let text = std::str::from_utf8(bytes.get(at + 1..)?.get(..5.min(bytes.len() - at - 1))?);
    let width = match text {
        Ok(text) => text.chars().next()?.len_utf8(),
        Err(error) if error.valid_up_to() > 0 => utf8_width(bytes[at + 1]),
        Err(_) => return None,
    };
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + 2 + width)
}

fn utf8_width(first: u8) -> usize {
    match first {
        0x00..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::blanked;

    /// Code, and the braces in it that are code.
    #[test]
    fn code_stays_and_text_goes() {
        let cases = [
            ("{ // }\n}", "{}"),
            ("{ /* { /* } */ } */ }", "{}"),
            (r#"f("{\"{", '{', 'a) {"#, "{"),
            ("r#\"{ \"{\"# }", "}"),
            ("b'{' br\"{\" c\"{\" }", "}"),
            ("for r in b { r }", "{}"),
            ("'\\'' {", "{"),
            ("'é' {", "{"),
            ("var\"{\" }", "}"),
        ];
        for (code, expected) in cases {
            let blank = blanked(code);
            let braces: String = blank.chars().filter(|c| "{}".contains(*c)).collect();
            assert_eq!(braces, expected, "{code}");
            assert_eq!(blank.lines().count(), code.lines().count(), "{code}");
        }
    }
}
