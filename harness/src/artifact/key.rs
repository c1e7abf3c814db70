//! Private keys: do they parse whole, and do they belong to a certificate?

use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair, RsaKeyPair,
    },
};
use x509_parser::{
    der_parser::{Oid, oid},
    x509::SubjectPublicKeyInfo,
};

use super::pem::Block;

/// A private key that parses whole.
pub(crate) enum PrivateKey {
    /// RSA: the public part, `RSAPublicKey` (RFC 8017 appendix A.1.1) taken apart.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// On an elliptic curve (RFC 5915).
    Ec { curve: Option<Oid<'static>>, secret: Vec<u8>, public: Option<Vec<u8>> },
    /// Ed25519 (RFC 8410): the public part.
    Ed25519 { public: Vec<u8> },
    /// Whole as far as can be seen, and of a kind that cannot be compared; which.
    Other(String),
}

impl PrivateKey {
    /// Reads the key in a PEM block. The error says why it is not a whole key.
    pub fn parse(block: &Block) -> Result<Self, String> {
        let bad = |what: &str| format!("the {} is damaged: {what}", block.label);
        match block.label.as_str() {
            "PRIVATE KEY" => pkcs8(&block.der).map_err(|what| bad(&what)),
            "RSA PRIVATE KEY" => rsa(&block.der).map_err(|what| bad(&what)),
            "EC PRIVATE KEY" => sec1(&block.der, None).map_err(|what| bad(&what)),
            "ENCRYPTED PRIVATE KEY" => Ok(Self::Other("encrypted".to_owned())),
            other => Ok(Self::Other(format!("of the kind {other}"))),
        }
    }

    /// Whether its public part is `leaf`. The error says why that cannot be told.
    pub fn belongs_to(&self, leaf: &SubjectPublicKeyInfo<'_>) -> Result<bool, String> {
        let point = leaf.subject_public_key.data.as_ref();
        let algorithm = &leaf.algorithm.algorithm;
        match self {
            Self::Rsa { modulus, exponent } => {
                if *algorithm != oid!(1.2.840.113549.1.1.1) {
                    return Ok(false);
                }
                let (n, e) = rsa_public(point).ok_or("the certificate's RSA key cannot be read")?;
                Ok(n == *modulus && e == *exponent)
            }
            Self::Ed25519 { public } => Ok(*algorithm == oid!(1.3.101.112) && public == point),
            Self::Ec { curve, secret, public } => {
                if *algorithm != oid!(1.2.840.10045.2.1) {
                    return Ok(false);
                }
                let parameters = leaf.algorithm.parameters.as_ref();
                let leaf_curve = parameters.and_then(|any| any.as_oid().ok()).map(|oid| oid.to_owned());
                if let (Some(mine), Some(theirs)) = (curve, &leaf_curve)
                    && mine != theirs
                {
                    return Ok(false);
                }
                let of_leaf = leaf_curve.or_else(|| curve.clone());
                let signing = match &of_leaf {
                    Some(curve) if *curve == P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
                    Some(curve) if *curve == P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
                    // Its own public half is what every tool writes beside the secret.
                    _ => {
                        return public.as_ref().map(|public| public == point).ok_or_else(|| {
                            "the key is on a curve other than P-256 and P-384 and does not name its public half"
                                .to_owned()
                        });
                    }
                };
                // The curve's own arithmetic: is the leaf's point the secret's?
                Ok(EcdsaKeyPair::from_private_key_and_public_key(
                    signing,
                    secret,
                    point,
                    &SystemRandom::new(),
                )
                .is_ok())
            }
            Self::Other(what) => Err(format!("the key is {what}")),
        }
    }
}

const P256: Oid<'static> = oid!(1.2.840.10045.3.1.7);
const P384: Oid<'static> = oid!(1.3.132.0.34);

/// Whether DER is a private key: for files without a PEM header.
pub(crate) fn is_private_key_der(der: &[u8]) -> bool {
    pkcs8(der).is_ok_and(|key| !matches!(key, PrivateKey::Other(_)))
        || rsa(der).is_ok()
        || sec1(der, None).is_ok()
}

/// PKCS #8 (RFC 5208, RFC 5958): version, algorithm, the key in an octet string.
fn pkcs8(der: &[u8]) -> Result<PrivateKey, String> {
    let mut info = Der::whole(der, SEQUENCE)?;
    info.take(INTEGER)?;
    let mut algorithm = Der { rest: info.take(SEQUENCE)? };
    let kind = Oid::new(algorithm.take(OBJECT_IDENTIFIER)?.into()).to_owned();
    let key = info.take(OCTET_STRING)?;
    if kind == oid!(1.2.840.113549.1.1.1) {
        rsa(key)
    } else if kind == oid!(1.2.840.10045.2.1) {
        let curve = Oid::new(algorithm.take(OBJECT_IDENTIFIER)?.into()).to_owned();
        sec1(key, Some(curve))
    } else if kind == oid!(1.3.101.112) {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|error| error.to_string())?;
        Ok(PrivateKey::Ed25519 { public: pair.public_key().as_ref().to_vec() })
    } else {
        Ok(PrivateKey::Other(format!("of the kind {kind}")))
    }
}

/// PKCS #1 (RFC 8017 appendix A.1.2).
fn rsa(der: &[u8]) -> Result<PrivateKey, String> {
    let mut key = Der::whole(der, SEQUENCE)?;
    let numbers = (0..9).map(|_| key.take(INTEGER)).collect::<Result<Vec<_>, _>>()?;
    // ring takes 2048 to 4096 bits; of other sizes the structure is all that is looked at.
    if (2048 / 8..=4096 / 8).contains(&unsigned(numbers[1]).len())
        && let Err(error) = RsaKeyPair::from_der(der)
        && !error.to_string().contains("TooSmall")
        && !error.to_string().contains("NotMultipleOf512Bits")
    {
        return Err(error.to_string());
    }
    Ok(PrivateKey::Rsa { modulus: unsigned(numbers[1]).to_vec(), exponent: unsigned(numbers[2]).to_vec() })
}

/// `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn rsa_public(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut key = Der::whole(der, SEQUENCE).ok()?;
    Some((unsigned(key.take(INTEGER).ok()?).to_vec(), unsigned(key.take(INTEGER).ok()?).to_vec()))
}

/// RFC 5915: version, secret, [0] curve, [1] public point.
fn sec1(der: &[u8], outer_curve: Option<Oid<'static>>) -> Result<PrivateKey, String> {
    let mut key = Der::whole(der, SEQUENCE)?;
    key.take(INTEGER)?;
    let secret = key.take(OCTET_STRING)?.to_vec();
    let (mut curve, mut public) = (outer_curve, None);
    while !key.rest.is_empty() {
        match key.rest[0] {
            0xa0 => {
                let mut inner = Der { rest: key.take(0xa0)? };
                if let Ok(named) = inner.take(OBJECT_IDENTIFIER) {
                    curve = Some(Oid::new(named.into()).to_owned());
                }
            }
            0xa1 => {
                let mut inner = Der { rest: key.take(0xa1)? };
                // The first byte of a bit string counts its unused bits.
                public = inner.take(BIT_STRING)?.get(1..).map(<[u8]>::to_vec);
            }
            other => return Err(format!("unexpected field {other:#04x}")),
        }
    }
    Ok(PrivateKey::Ec { curve, secret, public })
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// An integer's bytes without the leading zeros that only say "positive".
fn unsigned(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// What is left to read of some DER (X.690).
struct Der<'a> {
    rest: &'a [u8],
}

impl<'a> Der<'a> {
    /// The content of one value that is all there is.
    fn whole(der: &'a [u8], tag: u8) -> Result<Self, String> {
        let mut outer = Der { rest: der };
        let content = outer.take(tag)?;
        match outer.rest.len() {
            0 => Ok(Der { rest: content }),
            more => Err(format!("{more} bytes too many")),
        }
    }

    /// The content of the next value, which must have this tag.
    fn take(&mut self, tag: u8) -> Result<&'a [u8], String> {
        let cut = || "it is cut short".to_owned();
        let [found, first, rest @ ..] = self.rest else { return Err(cut()) };
        if *found != tag {
            return Err(format!("{found:#04x} where {tag:#04x} should be"));
        }
        let (length, rest) = match *first {
            short @ 0..0x80 => (usize::from(short), rest),
            long => {
                let count = usize::from(long & 0x7f);
                if !(1..=4).contains(&count) || rest.len() < count {
                    return Err(cut());
                }
                let (digits, rest) = rest.split_at(count);
                (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
            }
        };
        if rest.len() < length {
            return Err(cut());
        }
        let (content, rest) = rest.split_at(length);
        self.rest = rest;
        Ok(content)
    }
}
