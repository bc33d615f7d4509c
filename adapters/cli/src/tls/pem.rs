//! Files of certificates and keys.

use std::{
    fs::File,
    io::Read,
    path::Path,
    time::{Duration, SystemTime},
};

use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time};

use super::error::{FileError, Problem};

/// No file of certificates, keys or tokens is larger. Bundles of all public authorities have a
/// quarter of this.
const MAX_FILE: u64 = 1 << 20;

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |error| FileError::new(path, Problem::Unreadable(error));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(failed)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(FileError::new(path, Problem::TooLarge(MAX_FILE))),
        false => Ok(bytes),
    }
}

/// The text in a file.
pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    String::from_utf8(read(path)?).map_err(|_| {
        let error = std::io::Error::from(std::io::ErrorKind::InvalidData);
        FileError::new(path, Problem::Unreadable(error))
    })
}

fn objects<T: PemObject>(path: &Path, none: Problem) -> Result<Vec<T>, FileError> {
    let bytes = read(path)?;
    let found = T::pem_slice_iter(&bytes).collect::<Result<Vec<T>, pem::Error>>();
    match found {
        Ok(found) if found.is_empty() => Err(FileError::new(path, none)),
        Ok(found) => Ok(found),
        Err(_) => Err(FileError::new(path, Problem::NotPem)),
    }
}

/// The certificates in a file, the leaf first.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    objects(path, Problem::NoCertificate)
}

/// The private key in a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let keys = objects(path, Problem::NoKey)?;
    let first = keys.into_iter().next();
    first.ok_or_else(|| FileError::new(path, Problem::NoKey))
}

/// The revocation lists in a file.
pub(super) fn revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, FileError> {
    objects(path, Problem::NoRevocationList)
}

/// Refuses a certificate that peers would refuse for its dates.
pub(super) fn check_dates(path: &Path, leaf: &CertificateDer<'_>) -> Result<(), FileError> {
    let failed = |problem| Err(FileError::new(path, problem));
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return failed(Problem::BadCertificate);
    };
    let (validity, now) = (leaf.validity(), ASN1Time::now());
    if now < validity.not_before {
        return failed(Problem::NotYetValid(moment(validity.not_before)));
    }
    if now > validity.not_after {
        return failed(Problem::Expired(moment(validity.not_after)));
    }
    Ok(())
}

pub(super) fn moment(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
