//! Just enough HTTP to answer challenges from webroots.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

/// A request line and its header fields fit in this.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Where HTTP-01 tokens are asked for (RFC 8555 section 8.3).
const CHALLENGES: &str = ".well-known/acme-challenge/";

/// Reads one request and answers it: the file of the first webroot that has one, else 404.
pub(super) fn answer(mut stream: impl Read + Write, webroots: &[String]) -> io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 2048];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&buffer[..read]),
        }
        if request.len() > REQUEST_BYTES_MAX {
            return respond(&mut stream, "431 Request Header Fields Too Large", b"", true);
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let with_body = match method {
        b"GET" => true,
        b"HEAD" => false,
        _ => return respond(&mut stream, "405 Method Not Allowed", b"method not allowed\n", true),
    };
    match find(target, webroots) {
        Some(content) => respond(&mut stream, "200 OK", &content, with_body),
        None => respond(&mut stream, "404 Not Found", b"not found\n", with_body),
    }
}

/// The content that a request's target names.
fn find(target: &[u8], webroots: &[String]) -> Option<Vec<u8>> {
    let path = target.split(|byte| matches!(byte, b'?' | b'#')).next()?;
    let decoded = decode(path.strip_prefix(b"/")?)?;
    let relative = Path::new(OsStr::from_bytes(&decoded));
    // Nothing but plain names: no way out of the webroot.
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    // dehydrated's WELLKNOWN folder holds the tokens themselves.
    let token = relative.strip_prefix(CHALLENGES).ok().filter(|token| token.components().count() == 1);
    let candidates = webroots.iter().flat_map(|webroot| {
        let under = |path: &Path| PathBuf::from(webroot).join(path);
        [Some(under(relative)), token.map(under)]
    });
    candidates.flatten().find_map(|path| {
        fs::metadata(&path).is_ok_and(|meta| meta.is_file()).then(|| fs::read(&path).ok()).flatten()
    })
}

/// Percent-decoding (RFC 3986 section 2.1); `None` for what is not well-formed or has a NUL.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, more @ ..] = rest {
        rest = more;
        out.push(if *first == b'%' {
            let [high, low, more @ ..] = rest else { return None };
            rest = more;
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?
        } else {
            *first
        });
    }
    (!out.contains(&0)).then_some(out)
}

fn respond(stream: &mut impl Write, status: &str, content: &[u8], with_body: bool) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        content.len()
    );
    let mut message = head.into_bytes();
    if with_body {
        message.extend_from_slice(content);
    }
    stream.write_all(&message)?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Wire(io::Cursor<Vec<u8>>, Vec<u8>);
    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ask(line: &str, webroots: &[String]) -> String {
        let mut wire =
            Wire(io::Cursor::new(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()), vec![]);
        answer(&mut wire, webroots).unwrap();
        String::from_utf8(wire.1).unwrap()
    }

    #[test]
    fn tokens_are_found_in_webroots_and_in_folders_of_tokens_and_nothing_outside_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        at("www/.well-known/acme-challenge/one", "first");
        at("tokens/two", "second");
        at("secret", "hidden");
        let webroots = ["www", "tokens"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
        let body = |line: &str| ask(line, &webroots);
        assert!(body("GET /.well-known/acme-challenge/one").ends_with("\r\n\r\nfirst"));
        assert!(body("GET /.well-known/acme-challenge/%6fne?x=1").ends_with("\r\n\r\nfirst"));
        assert!(body("GET /.well-known/acme-challenge/two").ends_with("\r\n\r\nsecond"));
        assert!(
            body("HEAD /.well-known/acme-challenge/two")
                .ends_with("Content-Length: 6\r\nConnection: close\r\n\r\n")
        );
        assert!(body("POST /.well-known/acme-challenge/two").starts_with("HTTP/1.1 405"));
        for line in [
            "GET /../secret",
            "GET /.well-known/acme-challenge/../../../secret",
            "GET /%2e%2e/secret",
            "GET //etc/passwd",
            "GET /%",
            "GET /",
            "GET",
        ] {
            assert!(body(line).starts_with("HTTP/1.1 404"), "{line}");
        }
    }
}
