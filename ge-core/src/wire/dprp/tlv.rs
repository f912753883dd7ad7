//! Options inside the sealed part of a DDE.
//!
//! ```text
//! type 1 | length 1 | value          repeated;  type 0 ends the list, the rest must be zero
//! ```
//!
//! A type with the top bit set must be understood by the responder, or the message is refused; any
//! other unknown type is skipped. No option is sent yet; these types are reserved:
//! 1 = LIP, the private address of a host behind a router with NAT (NATF).

use super::Malformed;
use super::cursor::Reader;

/// Type that ends the list.
const END: u8 = 0;
/// Types from here on must be understood.
const MUST_UNDERSTAND: u8 = 0x80;
/// Private address of a host behind a router (reserved).
pub const LIP: u8 = 1;

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlvOption<'a> {
    /// Its type, never zero.
    pub kind: u8,
    /// Its value.
    pub value: &'a [u8],
}

/// Reads the whole option area.
///
/// # Errors
/// [`Malformed`] if an option runs past the area, bytes after the end are not zero, or a type that
/// must be understood is not.
pub fn parse(area: &[u8]) -> Result<Vec<TlvOption<'_>>, Malformed> {
    let mut reader = Reader::new(area);
    let mut options = Vec::new();
    while let Some(kind) = reader.u8() {
        if kind == END {
            break;
        }
        if kind >= MUST_UNDERSTAND {
            return Err(Malformed::new("option", "of a type that must be understood"));
        }
        let length = reader.u8().ok_or(CUT)?;
        let value = reader.take(length.into()).ok_or(CUT)?;
        options.push(TlvOption { kind, value });
    }
    while let Some(padding) = reader.u8() {
        if padding != 0 {
            return Err(Malformed::new("option", "bytes after the end"));
        }
    }
    Ok(options)
}

const CUT: Malformed = Malformed::new("option", "runs past its area");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let lip = |value| TlvOption { kind: LIP, value };
        let cases: &[(&[u8], Option<Vec<TlvOption<'_>>>)] = &[
            (&[], Some(vec![])),
            (&[0], Some(vec![])),
            (&[0, 0, 0], Some(vec![])),
            (&[0, 0, 1], None),
            (&[1, 0], Some(vec![lip(&[])])),
            (&[1, 2, 7, 8, 0, 0], Some(vec![lip(&[7, 8])])),
            (&[1, 1, 7, 1, 1, 8], Some(vec![lip(&[7]), lip(&[8])])),
            (&[1], None),
            (&[1, 3, 7, 8], None),
            (&[0x7f, 1, 9], Some(vec![TlvOption { kind: 0x7f, value: &[9] }])),
            (&[0x80, 0], None),
            (&[0xff, 0], None),
        ];
        for (area, expected) in cases {
            assert_eq!(parse(area).ok(), *expected, "{area:?}");
        }
    }
}
