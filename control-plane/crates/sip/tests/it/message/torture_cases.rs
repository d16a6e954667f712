//! The messages of RFC 4475 and RFC 5118, as the files in `torture/` have them. Tests of the running binary use them, too.

use bytes::Bytes;

const FILES: [&str; 4] = [
    include_str!("torture/rfc4475-valid.txt"),
    include_str!("torture/rfc4475-invalid.txt"),
    include_str!("torture/rfc4475-semantics.txt"),
    include_str!("torture/rfc5118.txt"),
];

/// What is expected of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    Valid,
    Answer(u16),
    Silent,
}

/// One message of the RFC.
pub struct Case {
    pub section: String,
    pub name: String,
    pub expectation: Expectation,
    pub bytes: Bytes,
}

/// All messages of both RFCs.
pub fn cases() -> Vec<Case> {
    FILES.iter().flat_map(|text| cases_in(text)).collect()
}

fn cases_in(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(head) = line.strip_prefix("=== ") else {
            continue;
        };
        let words: Vec<&str> = head.split(' ').collect();
        let [section, name, expectation] = words[..] else {
            panic!("bad head: {line}")
        };
        let expectation = match expectation {
            "valid" => Expectation::Valid,
            "silent" => Expectation::Silent,
            status => Expectation::Answer(status.parse().unwrap_or_else(|_| panic!("bad head: {line}"))),
        };
        let message: Vec<&str> = lines.by_ref().take_while(|line| *line != "===").collect();
        let (section, name) = (section.to_owned(), name.to_owned());
        cases.push(Case {
            section,
            name,
            expectation,
            bytes: decode(&message).into(),
        });
    }
    cases
}

/// Resolves the marks of RFC 4475 §2.
fn decode(lines: &[&str]) -> Vec<u8> {
    let mut text = String::new();
    let mut one_line = false;
    for line in lines {
        match *line {
            "<allOneLine>" => one_line = true,
            "</allOneLine>" => {
                one_line = false;
                text.push_str("\r\n");
            }
            line => {
                text.push_str(line);
                text.push_str(if one_line { "" } else { "\r\n" });
            }
        }
    }
    let mut out = Vec::new();
    let mut rest = &text[..];
    loop {
        let next = ["<hex>", "<repeat count="]
            .iter()
            .filter_map(|mark| rest.find(mark))
            .min();
        let Some(at) = next else {
            out.extend_from_slice(rest.as_bytes());
            return out;
        };
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("<hex>") {
            let (digits, after) = after.split_once("</hex>").expect("end of <hex>");
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            out.extend(digits.as_bytes().chunks(2).map(byte));
            rest = after;
        } else {
            let (count, after) = rest["<repeat count=".len()..]
                .split_once('>')
                .expect("end of <repeat>");
            let (text, after) = after.split_once("</repeat>").expect("end of <repeat>");
            out.extend_from_slice(text.repeat(count.parse().expect("a number")).as_bytes());
            rest = after;
        }
    }
}
