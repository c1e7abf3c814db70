//! What an unknown file is, by its name and content: for litter and for keys that lie open.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::key;

/// What a file looks like: `private key`, `certificate`, `certificate request`, `empty file`,
/// `temporary file`, `process id`; `None` when it is nothing of the kind. A file with a key and
/// anything else in it is a private key, whether or not it is whole.
pub fn looks_like(path: &Path, bytes: &[u8]) -> Option<&'static str> {
    if contains(bytes, b"PRIVATE KEY-----") || is_private_jwk(bytes) || key::is_private_key_der(bytes) {
        return Some("private key");
    }
    if contains(bytes, b"CERTIFICATE REQUEST-----") {
        return Some("certificate request");
    }
    if contains(bytes, b"CERTIFICATE-----") || X509Certificate::from_der(bytes).is_ok() {
        return Some("certificate");
    }
    if bytes.is_empty() {
        return Some("empty file");
    }
    if is_temporary(&path.file_name()?.to_string_lossy()) {
        return Some("temporary file");
    }
    let text = bytes.trim_ascii();
    (!text.is_empty() && text.len() <= 7 && text.iter().all(u8::is_ascii_digit)).then_some("process id")
}

/// Whether users that are neither the owner nor in the group can read the file: its own mode
/// lets them, and every folder above it, up to and without `root`, lets them through. Folders
/// are those of the real path: a link elsewhere does not protect it.
pub fn readable_by_others(path: &Path, root: &Path) -> io::Result<bool> {
    let real = fs::canonicalize(path)?;
    if fs::metadata(&real)?.permissions().mode() & 0o004 == 0 {
        return Ok(false);
    }
    let root = fs::canonicalize(root)?;
    for folder in real.ancestors().skip(1).take_while(|folder| *folder != root) {
        if fs::metadata(folder)?.permissions().mode() & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A private key as JSON (RFC 7517): how certbot keeps an account's.
fn is_private_jwk(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'{')
        && contains(bytes, b"\"kty\"")
        && serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|json| json.get("d").is_some())
}

/// Names that editors, `mktemp` and careful writers give to what they will rename or remove.
fn is_temporary(name: &str) -> bool {
    let lower = name.to_lowercase();
    let marked = ["tmp", "temp", "partial", "part", "new", "bak", "swp", "old"]
        .iter()
        .any(|mark| lower.split(['.', '-', '_', '~']).any(|part| part == *mark));
    let random = name.rsplit_once('.').is_some_and(|(_, end)| {
        (6..=16).contains(&end.len())
            && end.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && end.bytes().any(|byte| byte.is_ascii_uppercase())
            && end.bytes().any(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    });
    marked || lower.ends_with('~') || lower.starts_with(".tmp") || random
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.windows(pattern.len()).any(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, bytes: &[u8]) -> Option<&'static str> {
        looks_like(Path::new(name), bytes)
    }

    #[test]
    fn files_are_told_by_what_is_in_them_first_and_by_their_names_second() {
        let key = rcgen::KeyPair::generate().unwrap();
        assert_eq!(of("x.new", key.serialize_pem().as_bytes()), Some("private key"));
        assert_eq!(of("x", &key.serialize_der()), Some("private key"));
        assert_eq!(of("x", b"-----BEGIN PRIVATE KEY-----\nMIG"), Some("private key"));
        assert_eq!(of("private_key.json", br#"{"kty": "RSA", "n": "1", "d": "2"}"#), Some("private key"));
        assert_eq!(of("public.json", br#"{"kty": "RSA", "n": "1"}"#), None);
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        assert_eq!(of("x", made.cert.pem().as_bytes()), Some("certificate"));
        assert_eq!(of("x", made.cert.der()), Some("certificate"));
        assert_eq!(of("cert.pem", b""), Some("empty file"));
        for name in ["tmp.Xy12abQQ", "fullchain.pem.Ab3dEf", ".tmpabc", "key.pem.new", "cert.pem~", "a.tmp"] {
            assert_eq!(of(name, b"hello"), Some("temporary file"), "{name}");
        }
        for name in ["renew.log", "settings.conf", "README", "letsencrypt.log", "newest.txt"] {
            assert_eq!(of(name, b"hello"), None, "{name}");
        }
        assert_eq!(of("renew.pid", b"1234\n"), Some("process id"));
    }

    #[test]
    fn a_key_in_a_closed_folder_is_not_readable_by_others() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("live");
        fs::create_dir(&folder).unwrap();
        let key = folder.join("key.pem");
        fs::write(&key, "x").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for (folder_mode, mode, expected) in
            [(0o755, 0o644, true), (0o700, 0o644, false), (0o755, 0o640, false), (0o711, 0o604, true)]
        {
            set(&folder, folder_mode);
            set(&key, mode);
            assert_eq!(readable_by_others(&key, root.path()).unwrap(), expected, "{folder_mode:o} {mode:o}");
        }
        set(&folder, 0o755);
    }
}
