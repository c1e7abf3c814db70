//! Ageing: a world's fresh certificate becomes one that is about to expire, so that every client
//! finds its own state and is due.
//!
//! The old leaf is signed again by an authority of ours: same key, same names, another validity.
//! Then it takes the old one's place wherever that is written: PEM blocks and DER files, and the
//! digests of it that a deploy hook may have noted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File, FileTimes, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SerialNumber, SubjectPublicKeyInfo,
    date_time_ymd,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use x509_parser::{
    certificate::X509Certificate, oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME, prelude::FromDer as _,
};

use super::{FileState, fingerprint, hex, pem, read};
use crate::{limits, scenario::Artifact};

/// The authority that signs aged certificates. One per world; its root belongs into the world's
/// bundle.
pub struct AgeingCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for AgeingCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgeingCa").finish_non_exhaustive()
    }
}

impl AgeingCa {
    /// Makes a new one, with a P-256 key.
    pub fn new() -> Result<Self, AgeError> {
        let failed = |error: rcgen::Error| AgeError(format!("failed to make the ageing authority: {error}"));
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Process Roulette Ageing CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2120, 1, 1);
        let key = KeyPair::generate().map_err(failed)?;
        Ok(AgeingCa { issuer: CertifiedIssuer::self_signed(params, key).map_err(failed)? })
    }

    /// Its certificate, to be trusted in the world.
    pub fn root_pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a certificate with the key and names of `old` and another validity (seconds since
    /// the epoch).
    fn reissue(&self, old: &X509Certificate<'_>, not_before: u64, not_after: u64) -> Result<Vec<u8>, String> {
        let key = SubjectPublicKeyInfo::from_der(old.public_key().raw).map_err(|error| error.to_string())?;
        let epoch = date_time_ymd(1970, 1, 1);
        let mut params = CertificateParams::default();
        params.not_before = epoch + Duration::from_secs(not_before);
        params.not_after = epoch + Duration::from_secs(not_after);
        params.serial_number = Some(serial().map_err(|error| error.to_string())?);
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = old.subject().iter_common_name().next().and_then(|name| name.as_str().ok()) {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        // Says "not an authority", and brings the subject key identifier with it.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let names = old.extensions().iter().find(|ext| ext.oid == OID_X509_EXT_SUBJECT_ALT_NAME);
        if let Some(names) = names {
            // The old bytes: names of every kind come along as they are.
            let mut copy = CustomExtension::from_oid_content(&[2, 5, 29, 17], names.value.to_vec());
            copy.set_criticality(names.critical);
            params.custom_extensions.push(copy);
        }
        let new = params.signed_by(&key, &self.issuer).map_err(|error| error.to_string())?;
        Ok(new.der().to_vec())
    }
}

/// One leaf that was aged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aged {
    /// The artifact's certificate path.
    pub certificate: String,
    /// Fingerprint before: SHA-256, lower-case hex.
    pub old: String,
    /// Fingerprint after.
    pub new: String,
}

/// What ageing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgeReport {
    /// One entry an artifact, in the scenario's order.
    pub aged: Vec<Aged>,
    /// Files in which certificates were replaced.
    pub files: Vec<PathBuf>,
    /// Files in which digests and serial numbers of the old certificate were replaced.
    pub traces: Vec<PathBuf>,
}

/// Ageing that did not work: what was tried, on what, what went wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AgeError(String);

/// Lets every artifact's certificate be `days_left` days from its end, as if it had been issued
/// for 90 days: in the artifacts themselves and in every regular file below `roots` (state
/// directories, and whatever else the subject has touched). Files keep their owner, mode, links
/// and times. Errors when an artifact is not a whole certificate or a file cannot be written.
pub fn age(
    roots: &[PathBuf],
    artifacts: &[Artifact],
    issuer: &AgeingCa,
    days_left: i64,
) -> Result<AgeReport, AgeError> {
    let mut report = AgeReport::default();
    let mut change = Change { new_chain: issuer.issuer.der().to_vec(), ..Change::default() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let at = |days: i64| now.saturating_add_signed(days * 24 * 60 * 60);
    for artifact in artifacts {
        let failed = |why: String| AgeError(format!("failed to age {}: {why}", artifact.certificate));
        let state = read(artifact);
        if state.certificate != FileState::Whole {
            let why = match state.certificate {
                FileState::Missing(why) => format!("it is missing ({why}); did `prepare` obtain it?"),
                FileState::Broken(why) | FileState::Unreadable(why) => why,
                FileState::Whole => unreachable!("just looked at"),
            };
            return Err(failed(why));
        }
        let bytes = fs::read(&artifact.certificate).map_err(|error| failed(error.to_string()))?;
        let certificates: Vec<_> =
            pem::scan(&bytes).map_err(failed)?.into_iter().filter(pem::Block::is_certificate).collect();
        let [leaf, chain @ ..] = certificates.as_slice() else {
            return Err(failed("it is empty".to_owned()));
        };
        let old = X509Certificate::from_der(&leaf.der).map_err(|error| failed(error.to_string()))?.1;
        if !change.leaves.contains_key(&leaf.der) {
            let new = issuer
                .reissue(&old, at(days_left - limits::AGED_LIFETIME_DAYS), at(days_left))
                .map_err(|why| failed(format!("its key cannot be signed again: {why}")))?;
            change.leaf_traces(&leaf.der, &new, &old);
            change.leaves.insert(leaf.der.clone(), new);
        }
        change.chain.extend(chain.iter().map(|block| block.der.clone()));
        report.aged.push(Aged {
            certificate: artifact.certificate.clone(),
            old: fingerprint(&leaf.der),
            new: fingerprint(&change.leaves[&leaf.der]),
        });
    }

    let mut files = Files::default();
    for artifact in artifacts {
        files.add(Path::new(&artifact.certificate))?;
    }
    for root in roots {
        files.add(root)?;
    }
    let mut contents = BTreeMap::new();
    for path in files.paths {
        let Ok(bytes) = fs::read(&path) else { continue };
        if let Some(new) = change.certificates_in(&bytes) {
            replace(&path, &new)?;
            change.file_traces(&bytes, &new);
            report.files.push(path);
        } else {
            contents.insert(path, bytes);
        }
    }
    for (path, bytes) in contents {
        if let Some(new) = change.traces_in(&bytes) {
            replace(&path, &new)?;
            report.traces.push(path);
        }
    }
    Ok(report)
}

/// What becomes what.
#[derive(Default)]
struct Change {
    /// DER of old leaves and new ones.
    leaves: BTreeMap<Vec<u8>, Vec<u8>>,
    /// DER of the old leaves' issuers, as far as the chain names them.
    chain: BTreeSet<Vec<u8>>,
    /// DER of the new leaves' issuer.
    new_chain: Vec<u8>,
    /// Digests and serial numbers as text, old and new.
    traces: HashMap<String, String>,
}

impl Change {
    fn of(&self, der: &[u8]) -> Option<&[u8]> {
        match self.leaves.get(der) {
            Some(new) => Some(new),
            None => self.chain.contains(der).then_some(self.new_chain.as_slice()),
        }
    }

    /// The file with its certificates replaced; `None` when there is none to replace.
    fn certificates_in(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if let Some(new) = self.of(bytes) {
            return Some(new.to_vec());
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut done = 0;
        for block in pem::scan_leniently(bytes).0.iter().filter(|block| block.is_certificate()) {
            let Some(new) = self.of(&block.der) else { continue };
            let newline = if bytes[block.span.clone()].contains(&b'\r') { "\r\n" } else { "\n" };
            out.extend_from_slice(&bytes[done..block.span.start]);
            out.extend_from_slice(pem::encode(&block.label, new, newline).as_bytes());
            done = block.span.end;
        }
        out.extend_from_slice(&bytes[done..]);
        (done > 0).then_some(out)
    }

    /// The file with its traces replaced; `None` when there is none.
    fn traces_in(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut found = false;
        // A trace is a run of hex digits, perhaps with colons; the shortest is a serial number.
        let mut rest = bytes;
        while !rest.is_empty() {
            let plain = rest.iter().position(u8::is_ascii_hexdigit).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            let run = rest.iter().position(|b| !b.is_ascii_hexdigit() && *b != b':').unwrap_or(rest.len());
            let text = std::str::from_utf8(&rest[..run]).unwrap_or_default();
            // A colon after the digest (`DIGEST: file`) is not part of it.
            let core = text.trim_end_matches(':');
            match self.traces.get(core) {
                Some(new) => {
                    found = true;
                    out.extend_from_slice(new.as_bytes());
                    out.extend_from_slice(&rest[core.len()..run]);
                }
                None => out.extend_from_slice(&rest[..run]),
            }
            rest = &rest[run..];
        }
        found.then_some(out)
    }

    fn leaf_traces(&mut self, old: &[u8], new: &[u8], old_certificate: &X509Certificate<'_>) {
        self.digests(old, new);
        // `openssl x509 | sha256sum` digests the leaf's PEM text.
        let text = |der: &[u8]| pem::encode("CERTIFICATE", der, "\n") + "\n";
        self.digests(text(old).as_bytes(), text(new).as_bytes());
        if let Ok((_, new_certificate)) = X509Certificate::from_der(new) {
            let old = old_certificate.raw_serial();
            // Short serial numbers are numbers like others.
            if old.len() >= 8 {
                self.written(old, new_certificate.raw_serial());
            }
        }
    }

    fn file_traces(&mut self, old: &[u8], new: &[u8]) {
        self.digests(old, new);
    }

    fn digests(&mut self, old: &[u8], new: &[u8]) {
        for algorithm in [&SHA256, &SHA1_FOR_LEGACY_USE_ONLY] {
            self.written(digest(algorithm, old).as_ref(), digest(algorithm, new).as_ref());
        }
    }

    /// Notes `old` and `new` in every way people write hex.
    fn written(&mut self, old: &[u8], new: &[u8]) {
        let colons = |bytes: &[u8]| bytes.iter().map(|byte| hex(&[*byte])).collect::<Vec<_>>().join(":");
        for (old, new) in [(hex(old), hex(new)), (colons(old), colons(new))] {
            self.traces.insert(old.to_uppercase(), new.to_uppercase());
            self.traces.insert(old, new);
        }
    }
}

/// Small regular files, each once however many links it has.
#[derive(Default)]
struct Files {
    paths: Vec<PathBuf>,
    seen: BTreeSet<(u64, u64)>,
}

impl Files {
    /// Adds a file, or every file below a folder. A root may be a link; links below it are not
    /// followed. What is not there (any more) is left out.
    fn add(&mut self, root: &Path) -> Result<(), AgeError> {
        let Ok(real) = fs::canonicalize(root) else { return Ok(()) };
        let mut waiting = vec![real];
        while let Some(path) = waiting.pop() {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if meta.is_dir() {
                let entries = fs::read_dir(&path)
                    .map_err(|error| failed("list", &path, &error))?
                    .filter_map(Result::ok);
                let mut below: Vec<_> = entries.map(|entry| entry.path()).collect();
                below.sort_unstable_by(|a, b| b.cmp(a));
                waiting.append(&mut below);
            } else if meta.is_file()
                && meta.len() <= limits::AGED_FILE_BYTES_MAX
                && self.seen.insert((meta.dev(), meta.ino()))
            {
                self.paths.push(path);
            }
        }
        Ok(())
    }
}

/// Writes a file anew in place: its inode, owner, mode and times stay.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), AgeError> {
    let write = || -> io::Result<()> {
        let meta = fs::metadata(path)?;
        let mut file = match OpenOptions::new().write(true).truncate(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // Its owner may change the mode, even where he may not write.
                fs::set_permissions(path, Permissions::from_mode(meta.mode() | 0o200))?;
                let opened = OpenOptions::new().write(true).truncate(true).open(path);
                fs::set_permissions(path, Permissions::from_mode(meta.mode()))?;
                opened?
            }
            other => other?,
        };
        file.write_all(bytes)?;
        restore_times(&file, &meta)
    };
    write().map_err(|error| failed("write", path, &error))
}

fn restore_times(file: &File, meta: &fs::Metadata) -> io::Result<()> {
    file.set_times(FileTimes::new().set_accessed(meta.accessed()?).set_modified(meta.modified()?))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> AgeError {
    AgeError(format!("failed to {what} {} while ageing: {error}", path.display()))
}

/// 16 random bytes that are a positive number (RFC 5280 section 4.1.2.2).
fn serial() -> Result<SerialNumber, AgeError> {
    let mut bytes = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| AgeError("failed to get random bytes from the system".to_owned()))?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
