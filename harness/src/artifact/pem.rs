//! PEM (RFC 7468), read strictly: a file that was cut anywhere must not pass for a whole one.

use std::ops::Range;

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// One block of a PEM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// What stands after `BEGIN`: `CERTIFICATE`.
    pub label: String,
    /// Its decoded content.
    pub der: Vec<u8>,
    /// Where its text is in the file: from the first `-` to the last, without the line's end.
    pub span: Range<usize>,
}

impl Block {
    /// Whether it is a certificate, under any of the labels OpenSSL reads.
    pub fn is_certificate(&self) -> bool {
        matches!(self.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE")
    }
    /// Whether it is a private key of any kind.
    pub fn is_private_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }
}

/// Every block of a PEM file, in order. The error says where the file is not whole: a block
/// without an end, an end without a beginning, content that is not base64, or something after
/// the last block that is neither white space nor a comment nor an attribute. Text before a
/// block is explanation (`openssl x509 -text` writes it there).
pub(crate) fn scan(bytes: &[u8]) -> Result<Vec<Block>, String> {
    let (blocks, fault) = scan_leniently(bytes);
    match fault {
        Some(fault) => Err(fault),
        None => Ok(blocks),
    }
}

/// The blocks that can be read, and the first thing that is wrong with the file.
pub(crate) fn scan_leniently(bytes: &[u8]) -> (Vec<Block>, Option<String>) {
    let mut blocks = Vec::new();
    let mut fault: Option<String> = None;
    let mut open: Option<Open> = None;
    let mut trailing: Option<usize> = None;
    let mut offset = 0;
    for (number, raw) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let number = number + 1;
        let start = offset;
        offset += raw.len();
        let line = raw.trim_ascii_end();
        if line.starts_with(b"-----") {
            trailing = None;
            match (marker(line), open.take()) {
                (Some(("BEGIN", label)), None) => {
                    open = Some(Open { label, start, line: number, text: Vec::new() });
                }
                (Some(("BEGIN", label)), Some(unfinished)) => {
                    fault.get_or_insert(unfinished.cut());
                    open = Some(Open { label, start, line: number, text: Vec::new() });
                }
                (Some(("END", label)), Some(block)) if block.label == label => {
                    match STANDARD.decode(&block.text) {
                        Ok(der) if !der.is_empty() => {
                            blocks.push(Block { label, der, span: block.start..start + line.len() });
                        }
                        _ => {
                            fault.get_or_insert(format!(
                                "the {label} block of line {} is not base64",
                                block.line
                            ));
                        }
                    }
                }
                (Some(("END", label)), _) => {
                    fault.get_or_insert(format!("line {number} ends a {label} that nothing begins"));
                }
                (_, unfinished) => {
                    fault.get_or_insert(format!("line {number} is a marker cut short"));
                    open = unfinished;
                }
            }
        } else if let Some(block) = &mut open {
            // Encrypted keys in OpenSSL's old form carry header fields (`Proc-Type: 4,ENCRYPTED`).
            if !line.contains(&b':') {
                block.text.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
            }
        } else if trailing.is_none() && !is_remark(line) {
            trailing = Some(number);
        }
    }
    if let Some(unfinished) = open {
        fault.get_or_insert(unfinished.cut());
    }
    if let (Some(number), false) = (trailing, blocks.is_empty()) {
        fault.get_or_insert(format!("line {number}, after the last block, does not belong there"));
    }
    (blocks, fault)
}

/// A block as text, lines of 64 characters (RFC 7468 section 2), without the last line's end.
pub(crate) fn encode(label: &str, der: &[u8], newline: &str) -> String {
    let mut text = format!("-----BEGIN {label}-----{newline}");
    let content = STANDARD.encode(der);
    let mut rest = content.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push_str(newline);
        rest = more;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----");
    text
}

struct Open {
    label: String,
    start: usize,
    line: usize,
    text: Vec<u8>,
}

impl Open {
    fn cut(&self) -> String {
        format!("the {} block of line {} has no end", self.label, self.line)
    }
}

/// `-----BEGIN LABEL-----` taken apart.
fn marker(line: &[u8]) -> Option<(&'static str, String)> {
    let inner = std::str::from_utf8(line).ok()?.strip_prefix("-----")?.strip_suffix("-----")?;
    for kind in ["BEGIN", "END"] {
        if let Some(label) = inner.strip_prefix(kind).and_then(|rest| rest.strip_prefix(' ')) {
            return Some((kind, label.to_owned()));
        }
    }
    None
}

/// White space, a comment, or an attribute such as `localKeyID: 01` or `subject=CN = example.com`.
fn is_remark(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    if line.is_empty() || line[0] == b'#' || line[0] == b'<' || line.ends_with(b"Attributes") {
        return true;
    }
    let Some(at) = line.iter().position(|byte| matches!(byte, b':' | b'=')) else { return false };
    // The padding of cut base64 is `=` too: there is nothing but more padding behind it.
    line[at] == b':' || line.get(at + 1).is_some_and(|next| *next != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(label: &str, content: &[u8]) -> String {
        encode(label, content, "\n") + "\n"
    }

    #[test]
    fn a_file_cut_at_any_byte_inside_a_block_is_not_whole() {
        let whole = block("CERTIFICATE", &[7; 100]) + &block("CERTIFICATE", &[8; 100]);
        let first = block("CERTIFICATE", &[7; 100]).len();
        assert_eq!(scan(whole.as_bytes()).unwrap().len(), 2);
        for cut in 1..whole.len() - 1 {
            let at_a_boundary = cut == first || cut == first - 1;
            let whole_until = scan(&whole.as_bytes()[..cut]).is_ok_and(|blocks| !blocks.is_empty());
            assert_eq!(whole_until, at_a_boundary, "cut at {cut}");
        }
    }

    #[test]
    fn text_before_a_block_and_remarks_after_the_last_are_tolerated() {
        let text = format!(
            "Certificate:\n    Data:\n        Version: 3 (0x2)\n{}Bag Attributes\n    localKeyID: 01 02\nsubject=CN = a\n{}# end\n\n",
            block("CERTIFICATE", b"one"),
            block("PRIVATE KEY", b"two")
        );
        let blocks = scan(text.as_bytes()).unwrap();
        assert_eq!(
            blocks.iter().map(|b| b.label.as_str()).collect::<Vec<_>>(),
            ["CERTIFICATE", "PRIVATE KEY"]
        );
        assert_eq!(&text[blocks[0].span.clone()], encode("CERTIFICATE", b"one", "\n"));
    }

    #[test]
    fn the_tail_of_a_longer_file_is_noticed() {
        let tail = block("CERTIFICATE", b"one") + "QUJDRA==\n";
        assert!(scan(tail.as_bytes()).unwrap_err().contains("after the last block"));
        let tail = block("CERTIFICATE", b"one") + "QUJD\n-----END CERTIFICATE-----\n";
        assert!(scan(tail.as_bytes()).unwrap_err().contains("nothing begins"));
    }

    #[test]
    fn a_block_may_end_its_lines_the_other_way() {
        let text = encode("CERTIFICATE", &[1; 90], "\r\n") + "\r\n";
        assert_eq!(scan(text.as_bytes()).unwrap()[0].der, [1; 90]);
    }
}
