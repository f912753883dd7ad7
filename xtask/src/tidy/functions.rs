//! Functions that do not fit a screen.
//!
//! The limit is a ratchet: a function on [`LONG`] may be as long as it was when it was listed and
//! no longer, and is taken off the list when it fits.

use super::File;
use crate::source::blanked;

/// Longest function in lines, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;
/// Exceptions: file, function, lines.
const LONG: &[(&str, &str, usize)] = &[];

/// A function in a file.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Breaches of the limit, and exceptions that are needed no longer.
pub(super) fn too_long(files: &[&File]) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut used = vec![false; LONG.len()];
    for file in files {
        let path = file.path.to_string_lossy();
        for found in functions(&file.text) {
            let exception = LONG.iter().position(|(of, name, lines)| {
                *of == path && *name == found.name && found.lines <= *lines
            });
            match exception {
                _ if found.lines <= FUNCTION_LINES => {}
                Some(at) => used[at] = true,
                None => breaches.push(format!(
                    "{path}:{}: {} has {} lines",
                    found.line, found.name, found.lines
                )),
            }
        }
    }
    let unused = LONG.iter().zip(used).filter(|(_, used)| !used);
    breaches.extend(unused.map(|((path, name, _), _)| format!("{path}: take {name} off the list")));
    breaches
}

fn functions(text: &str) -> Vec<Function> {
    let code = blanked(text);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word =
            code[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let name: String =
            code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(length) = length(&code[at..]) {
            let line = code[..at].matches('\n').count() + 1;
            let lines = code[at..at + length].matches('\n').count() + 1;
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// Bytes from `fn` to the brace that closes the body; `None` for a declaration without body.
fn length(code: &str) -> Option<usize> {
    let (mut braces, mut others) = (0usize, 0usize);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            ';' if braces == 0 && others == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && others == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{File, functions, too_long};

    #[test]
    fn measures_from_the_word_to_the_brace() {
        let text = "//! Doc.\n\nfn one() {\n    two();\n}\n\ntrait T {\n    fn none(&self) -> [u8; 2];\n}\n\
                    impl T for S {\n    fn none(&self) -> [u8; 2] {\n        \"}\".len();\n        [0; 2]\n    }\n}\n";
        let found = functions(text);
        let short: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(short, [("one", 3, 3), ("none", 11, 4)]);
    }

    #[test]
    fn a_long_function_is_a_breach() {
        let file = |lines: usize| File {
            path: "x.rs".into(),
            text: format!("fn long() {{\n{}}}\n", "    a();\n".repeat(lines)),
        };
        assert!(too_long(&[&file(68)]).is_empty());
        assert_eq!(too_long(&[&file(69)]).len(), 1);
    }
}
