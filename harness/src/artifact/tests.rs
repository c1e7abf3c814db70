//! Reading and ageing pairs, on real files.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::*;
use crate::scenario::Artifact;

/// A folder with a pair in it, issued by an authority of its own.
struct Pair {
    folder: tempfile::TempDir,
    chain: String,
    leaf: rcgen::Certificate,
    key: KeyPair,
}

impl Pair {
    fn new(algorithm: &'static rcgen::SignatureAlgorithm) -> Pair {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names = vec!["example.com".to_owned(), "*.example.com".to_owned()];
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        let chain = ca.pem();
        let pair = Pair { folder: tempfile::tempdir().unwrap(), chain, leaf, key };
        pair.write("key.pem", &pair.key.serialize_pem());
        pair.write("cert.pem", &(pair.leaf.pem() + &pair.chain));
        pair
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
    fn artifact(&self) -> Artifact {
        self.artifact_of("cert.pem", "key.pem")
    }
    fn artifact_of(&self, certificate: &str, key: &str) -> Artifact {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        Artifact { domains: vec!["example.com".to_owned()], certificate: path(certificate), key: path(key) }
    }
}

fn openssl(folder: &Path, arguments: &str) -> bool {
    let run = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    match run {
        Ok(output) => {
            assert!(
                output.status.success(),
                "openssl {arguments}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            true
        }
        Err(error) => {
            eprintln!("SKIPPED a part: openssl cannot be run ({error})");
            false
        }
    }
}

#[test]
fn a_good_pair_is_whole_and_matches_whatever_its_algorithm() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let pair = Pair::new(algorithm);
        let state = read(&pair.artifact());
        assert!(state.is_whole(), "{state:?}");
        assert_eq!(state.matches, Some(true), "{state:?}");
        assert_eq!(state.names, ["example.com", "*.example.com"]);
        assert_eq!(state.fingerprint, fingerprint(pair.leaf.der()));
        assert_eq!(state.chain, 2);
        assert!(state.key_mode.is_some());

        pair.write("key.pem", &KeyPair::generate_for(algorithm).unwrap().serialize_pem());
        assert_eq!(read(&pair.artifact()).matches, Some(false));
        pair.write("key.pem", &KeyPair::generate_for(other(algorithm)).unwrap().serialize_pem());
        assert_eq!(read(&pair.artifact()).matches, Some(false), "a key of another algorithm");
    }
}

fn other(algorithm: &'static rcgen::SignatureAlgorithm) -> &'static rcgen::SignatureAlgorithm {
    if *algorithm == PKCS_ED25519 { &PKCS_ECDSA_P256_SHA256 } else { &PKCS_ED25519 }
}

#[test]
fn one_file_may_hold_both_halves() {
    let pair = Pair::new(&PKCS_ECDSA_P256_SHA256);
    for text in [
        pair.leaf.pem() + &pair.chain + &pair.key.serialize_pem(),
        pair.key.serialize_pem() + &pair.leaf.pem() + &pair.chain,
    ] {
        pair.write("site.pem", &text);
        let state = read(&pair.artifact_of("site.pem", "site.pem"));
        assert_eq!((state.matches, state.chain), (Some(true), 2), "{state:?}");
    }
}

#[test]
fn every_cut_of_a_key_and_of_a_leaf_is_noticed() {
    let pair = Pair::new(&PKCS_ECDSA_P256_SHA256);
    let key = pair.key.serialize_pem();
    for cut in 0..key.trim_end().len() {
        pair.write("key.pem", &key[..cut]);
        let state = read(&pair.artifact());
        assert!(matches!(state.key, FileState::Broken(_)), "cut at {cut}: {state:?}");
        assert_eq!(state.matches, None);
    }
    pair.write("key.pem", &key);
    let leaf = pair.leaf.pem();
    for cut in 0..leaf.trim_end().len() {
        pair.write("cert.pem", &leaf[..cut]);
        let state = read(&pair.artifact());
        assert!(matches!(state.certificate, FileState::Broken(_)), "cut at {cut}: {state:?}");
    }
}

#[test]
fn what_is_missing_and_what_is_broken_are_told_apart() {
    let pair = Pair::new(&PKCS_ECDSA_P256_SHA256);
    let state = read(&pair.artifact_of("nowhere.pem", "nowhere.key"));
    assert!(matches!(state.certificate, FileState::Missing(_)) && matches!(state.key, FileState::Missing(_)));
    assert_eq!((state.key_mode, state.key_exposed), (None, None));

    symlink("gone", pair.path("dangling.pem")).unwrap();
    let state = read(&pair.artifact_of("dangling.pem", "key.pem"));
    assert_eq!(state.certificate, FileState::Missing("its link leads nowhere".to_owned()));

    pair.write("empty.pem", "");
    let state = read(&pair.artifact_of("empty.pem", "key.pem"));
    assert_eq!(state.certificate, FileState::Broken("empty".to_owned()));

    pair.write("turned.pem", &(pair.chain.clone() + &pair.leaf.pem()));
    let state = read(&pair.artifact_of("turned.pem", "key.pem"));
    assert!(matches!(state.certificate, FileState::Broken(ref why) if why.contains("not the leaf")));

    let state = read(&pair.artifact_of("key.pem", "cert.pem"));
    assert!(matches!(state.certificate, FileState::Broken(ref why) if why.contains("no certificate")));
    assert!(matches!(state.key, FileState::Broken(ref why) if why.contains("no private key")));
}

#[test]
fn keys_as_openssl_writes_them_are_read() {
    let pair = Pair::new(&PKCS_ECDSA_P256_SHA256);
    let folder = pair.folder.path();
    let self_signed = "req -x509 -new -subj /CN=example.com -days 9 -out c.pem -key";
    for (make, matches) in [
        ("genrsa -traditional -out k.pem 2048", Some(true)),
        ("genrsa -out k.pem 2048", Some(true)),
        ("genrsa -out k.pem 1024", Some(true)),
        ("ecparam -name prime256v1 -genkey -out k.pem", Some(true)),
        ("ecparam -name secp384r1 -genkey -noout -out k.pem", Some(true)),
        ("genpkey -algorithm ed25519 -out k.pem", Some(true)),
        ("ecparam -name secp521r1 -genkey -out k.pem", Some(true)),
        ("genpkey -algorithm ed448 -out k.pem", None),
    ] {
        if !openssl(folder, make) {
            return;
        }
        openssl(folder, &format!("{self_signed} k.pem"));
        let state = read(&pair.artifact_of("c.pem", "k.pem"));
        assert!(state.is_whole(), "{make}: {state:?}");
        assert_eq!(state.matches, matches, "{make}: {state:?}");
        assert_eq!(state.unjudged.is_some(), matches.is_none());
        let mismatch = read(&pair.artifact_of("cert.pem", "k.pem"));
        assert_ne!(mismatch.matches, Some(true), "{make}");
    }
    openssl(folder, "ec -in key.pem -no_public -out bare.pem");
    assert_eq!(
        read(&pair.artifact_of("cert.pem", "bare.pem")).matches,
        Some(true),
        "no public half in the key"
    );
    openssl(folder, "pkcs8 -topk8 -in key.pem -out locked.pem -passout pass:secret");
    let state = read(&pair.artifact_of("cert.pem", "locked.pem"));
    assert_eq!(state.matches, None);
    assert_eq!(state.unjudged.as_deref(), Some("the key is encrypted"));
}

#[test]
fn an_aged_certificate_keeps_key_and_names_and_is_about_to_expire() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let pair = Pair::new(algorithm);
        let before = read(&pair.artifact());
        let ca = AgeingCa::new().unwrap();
        let report = age(&[], &[pair.artifact()], &ca, 10).unwrap();
        let state = read(&pair.artifact());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        assert_eq!(state.matches, Some(true), "{state:?}");
        assert_eq!(state.names, before.names);
        assert!((9..=10).contains(&state.days_left(now)), "{} days left", state.days_left(now));
        assert_eq!((&report.aged[0].old, &report.aged[0].new), (&before.fingerprint, &state.fingerprint));
        assert_ne!(state.fingerprint, before.fingerprint);

        // Leaf and authority fit together.
        let blocks = super::pem::scan(&fs::read(pair.path("cert.pem")).unwrap()).unwrap();
        let parse = |der| X509Certificate::from_der(der).unwrap().1;
        let (leaf, issuer) = (parse(&blocks[0].der), parse(&blocks[1].der));
        leaf.verify_signature(Some(issuer.public_key())).unwrap();
        assert!(issuer.is_ca() && !leaf.is_ca());
        assert_eq!(super::pem::scan(ca.root_pem().as_bytes()).unwrap()[0].der, blocks[1].der);
        pair.write("root.pem", &ca.root_pem());
        openssl(pair.folder.path(), "verify -x509_strict -purpose sslserver -CAfile root.pem cert.pem");
    }
}

#[test]
fn every_copy_and_every_note_of_the_old_certificate_changes_with_it() {
    let pair = Pair::new(&PKCS_ECDSA_P256_SHA256);
    let state_folder = pair.path("state");
    fs::create_dir_all(state_folder.join("archive")).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = state_folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let sha256 = |bytes: &[u8]| hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    let sha1 =
        |bytes: &[u8]| hex(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    let colons = |text: &str| {
        let pairs: Vec<_> =
            text.as_bytes().chunks(2).map(|two| String::from_utf8_lossy(two).to_uppercase()).collect();
        pairs.join(":")
    };
    let notes = |certificate: &[u8], full: &[u8]| {
        format!(
            "SHA256 Fingerprint={}\nsha1 {}\n{}  /etc/ssl/cert.pem\n{}: colon\nuntouched deadbeef {}\n",
            colons(&sha256(certificate)),
            sha1(certificate),
            sha256(full),
            sha1(full),
            "ab".repeat(32),
        )
    };
    let full = fs::read(pair.path("cert.pem")).unwrap();
    let chain = put("archive/chain1.pem", pair.chain.as_bytes());
    let der = put("cert.der", pair.leaf.der());
    let copy = put("archive/cert1.pem", format!("text\n{}", pair.leaf.pem()).as_bytes());
    let note = put("fingerprint", notes(pair.leaf.der(), &full).as_bytes());
    let unrelated = put("other.pem", Pair::new(&PKCS_ED25519).leaf.pem().as_bytes());
    let unrelated_before = fs::read(&unrelated).unwrap();
    symlink("archive/cert1.pem", state_folder.join("cert.pem")).unwrap();
    fs::hard_link(&copy, state_folder.join("hard.pem")).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o440)).unwrap();
    let meta = fs::metadata(&copy).unwrap();

    let report =
        age(std::slice::from_ref(&state_folder), &[pair.artifact()], &AgeingCa::new().unwrap(), 10).unwrap();

    let new_full = fs::read(pair.path("cert.pem")).unwrap();
    let blocks = super::pem::scan(&new_full).unwrap();
    assert_eq!(fs::read(&der).unwrap(), blocks[0].der);
    assert_eq!(super::pem::scan(&fs::read(&chain).unwrap()).unwrap()[0].der, blocks[1].der);
    assert!(fs::read_to_string(&copy).unwrap().starts_with("text\n-----BEGIN"));
    assert_eq!(
        super::pem::scan(&fs::read(state_folder.join("hard.pem")).unwrap()).unwrap()[0].der,
        blocks[0].der
    );
    assert_eq!(fs::read_to_string(&note).unwrap(), notes(&blocks[0].der, &new_full));
    assert_eq!(fs::read(&unrelated).unwrap(), unrelated_before);
    let after = fs::metadata(&copy).unwrap();
    assert_eq!((after.ino(), after.mode(), after.uid()), (meta.ino(), meta.mode(), meta.uid()));
    assert_eq!(after.modified().unwrap(), meta.modified().unwrap());
    assert_eq!(report.files.len(), 4, "{report:?}");
    assert_eq!(report.traces, [note]);
}

#[test]
fn ageing_without_a_certificate_says_so() {
    let pair = Pair::new(&PKCS_ECDSA_P256_SHA256);
    let error =
        age(&[], &[pair.artifact_of("gone.pem", "key.pem")], &AgeingCa::new().unwrap(), 10).unwrap_err();
    assert!(error.to_string().contains("gone.pem") && error.to_string().contains("missing"), "{error}");
}
