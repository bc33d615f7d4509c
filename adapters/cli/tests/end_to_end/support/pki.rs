//! Authorities and certificates of the tests, as files.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::Tested;

/// An authority, and a directory for what it issues.
pub(crate) struct Authority {
    pub(crate) dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Valid {
    Now,
    Until2020,
    From2100,
}

impl Authority {
    pub(crate) fn new() -> Tested<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let dir = tempfile::tempdir()?;
        // Authorities of one name look as if one were the other.
        let name = dir.path().display().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let this = Self {
            dir,
            issuer: CertifiedIssuer::self_signed(params, key)?,
        };
        std::fs::write(this.ca(), this.issuer.pem())?;
        Ok(this)
    }

    /// Its own certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// A certificate for these names, in files of this name.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> Tested<Pair> {
        self.issue_valid(file, names, Valid::Now)
    }

    pub(crate) fn issue_valid(&self, file: &str, names: &[&str], valid: Valid) -> Tested<Pair> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.serial_number = Some(serial(file));
        (params.not_before, params.not_after) = match valid {
            Valid::Now => (date_time_ymd(2000, 1, 1), date_time_ymd(2200, 1, 1)),
            Valid::Until2020 => (date_time_ymd(2000, 1, 1), date_time_ymd(2020, 1, 1)),
            Valid::From2100 => (date_time_ymd(2100, 1, 1), date_time_ymd(2200, 1, 1)),
        };
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        let pair = Pair {
            cert: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        };
        std::fs::write(&pair.cert, cert.pem())?;
        std::fs::write(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }

    /// A revocation list with the certificates of these files.
    pub(crate) fn revoke(&self, files: &[&str]) -> Tested<PathBuf> {
        let revoked = files.iter().map(|file| RevokedCertParams {
            serial_number: serial(file),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2200, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.path("revoked.pem");
        std::fs::write(&path, params.signed_by(&self.issuer)?.pem()?)?;
        Ok(path)
    }

    /// What a tonic client has to know to trust it.
    pub(crate) fn trusting(&self) -> ClientTlsConfig {
        let ca = Certificate::from_pem(self.issuer.pem());
        ClientTlsConfig::new().ca_certificate(ca)
    }
}

impl Pair {
    /// The same, to be presented by a tonic client.
    pub(crate) fn identity(&self) -> Tested<Identity> {
        Ok(Identity::from_pem(read(&self.cert)?, read(&self.key)?))
    }

    pub(crate) fn both(&self) -> (PathBuf, PathBuf) {
        (self.cert.clone(), self.key.clone())
    }
}

fn read(path: &Path) -> Tested<Vec<u8>> {
    Ok(std::fs::read(path)?)
}

fn serial(file: &str) -> SerialNumber {
    let sum = file.bytes().fold(7_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    SerialNumber::from(sum >> 1)
}
