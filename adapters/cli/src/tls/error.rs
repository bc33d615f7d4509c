//! What can be wrong with files and with handshakes, in one line each.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error as TlsError, InvalidMessage, PeerIncompatible,
    pki_types::UnixTime,
};

/// What is wrong with a file that the program was told to read.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    problem: Problem,
}

impl FileError {
    pub(crate) fn new(path: &Path, problem: Problem) -> Self {
        Self {
            path: path.to_owned(),
            problem,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// What is wrong with a file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is larger than any such file is, in bytes.
    TooLarge(u64),
    /// It is not PEM, or PEM that is cut off.
    NotPem,
    /// It has no certificate in it.
    NoCertificate,
    /// It has no private key in it that is readable without a password.
    NoKey,
    /// It has no certificate revocation list in it.
    NoRevocationList,
    /// A certificate in it is damaged, or cannot be used.
    BadCertificate,
    /// The private key is of a kind that is not supported.
    BadKey,
    /// The private key is not that of the certificate in this file.
    OtherKey(PathBuf),
    /// The certificate is valid only from then on.
    NotYetValid(SystemTime),
    /// The certificate was valid until then.
    Expired(SystemTime),
    /// A line of a file of tokens is wrong, for this reason.
    Line(usize, &'static str),
    /// It should hold one token and does not, for this reason.
    NoToken(&'static str),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let now = Moment(SystemTime::now());
        match &self.problem {
            Problem::Unreadable(error) => f.write_str(&unreadable(&path, error)),
            Problem::TooLarge(limit) => {
                write!(
                    f,
                    "{path} has more than {limit} bytes; is it the right file?"
                )
            }
            Problem::NotPem => write!(
                f,
                "{path} is damaged or not PEM; expected text between BEGIN and END lines"
            ),
            Problem::NoCertificate => write!(
                f,
                "{path} holds no certificate; expected PEM with BEGIN CERTIFICATE"
            ),
            Problem::NoKey => write!(
                f,
                "{path} holds no private key; expected PEM with BEGIN PRIVATE KEY, without a \
                 password"
            ),
            Problem::NoRevocationList => write!(
                f,
                "{path} holds no revocation list; expected PEM with BEGIN X509 CRL"
            ),
            Problem::BadCertificate => write!(
                f,
                "a certificate in {path} is damaged or cannot be used; have it issued again"
            ),
            Problem::BadKey => write!(
                f,
                "the private key in {path} is of an unsupported kind; expected ECDSA (P-256, \
                 P-384), Ed25519 or RSA of 2,048 bits or more"
            ),
            Problem::OtherKey(certificate) => write!(
                f,
                "the private key in {path} does not belong to the certificate in {}; give the \
                 two that were made together",
                certificate.display()
            ),
            Problem::NotYetValid(from) => write!(
                f,
                "the certificate in {path} is not valid before {}, and the clock of this machine \
                 says {now}; set the clock, or have the certificate issued again",
                Moment(*from)
            ),
            Problem::Expired(until) => write!(
                f,
                "the certificate in {path} expired on {}, and the clock of this machine says \
                 {now}; renew it, or set the clock",
                Moment(*until)
            ),
            Problem::Line(line, why) => write!(f, "{path}, line {line}: {why}"),
            Problem::NoToken(why) => write!(f, "{path}: {why}"),
        }
    }
}

/// Why a file cannot be read, and what to do.
fn unreadable(path: &impl fmt::Display, error: &io::Error) -> String {
    let (why, cure) = match error.kind() {
        io::ErrorKind::NotFound => ("there is no such file", "check the path"),
        io::ErrorKind::PermissionDenied => (
            "permission denied",
            "make it readable for the user that runs grpctunnel",
        ),
        io::ErrorKind::IsADirectory => ("it is a directory", "name the file in it"),
        io::ErrorKind::InvalidData => ("it is not text", "expected UTF-8"),
        _ => return format!("cannot read {path}: {}", crate::words::io(error)),
    };
    format!("cannot read {path}: {why}; {cure}")
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

/// A moment, as HTTP writes it.
pub(super) struct Moment(pub(super) SystemTime);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `fmt_http_date` panics before 1970 and from the year 10000 on.
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since
            .map_or(0, |since| since.as_secs())
            .min(253_402_300_799);
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        f.write_str(&httpdate::fmt_http_date(moment))
    }
}

fn moment(time: UnixTime) -> Moment {
    Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs().min(253_402_300_799)))
}

/// Why a handshake with a peer failed: its certificate, or what it says of ours.
pub(crate) fn explain(error: &TlsError, peer: &str) -> String {
    match error {
        TlsError::InvalidCertificate(error) => certificate(error, peer),
        TlsError::NoCertificatesPresented => format!("{peer} presented no certificate"),
        TlsError::AlertReceived(alert) => match said_of_ours(*alert) {
            Some(said) => format!("{peer} refused our certificate: {said}"),
            None => match alert {
                AlertDescription::ProtocolVersion => format!("{peer} speaks no TLS 1.2 or 1.3"),
                AlertDescription::NoApplicationProtocol => {
                    format!("{peer} does not speak HTTP/2 over TLS (no ALPN protocol h2)")
                }
                AlertDescription::UnrecognisedName => {
                    format!("{peer} knows no certificate for the name that it was asked for")
                }
                alert => format!("{peer} ended the TLS handshake: {alert:?}"),
            },
        },
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            format!("{peer} speaks plaintext, not TLS")
        }
        TlsError::PeerIncompatible(
            PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
        ) => {
            format!("{peer} accepts no signature that our key can make")
        }
        error => format!("the TLS handshake with {peer} failed: {error}"),
    }
}

fn certificate(error: &CertificateError, peer: &str) -> String {
    match error {
        CertificateError::Expired => format!("the certificate of {peer} has expired"),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate of {peer} expired on {}, and the clock of this machine says {}",
            moment(*not_after),
            moment(*time)
        ),
        CertificateError::NotValidYet => format!("the certificate of {peer} is not valid yet"),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the certificate of {peer} is not valid before {}, and the clock of this machine says \
             {}; is the clock right?",
            moment(*not_before),
            moment(*time)
        ),
        CertificateError::Revoked => format!("the certificate of {peer} was revoked"),
        // One that only has the name of an authority that is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("the certificate of {peer} is from an authority that is not trusted here")
        }
        CertificateError::NotValidForName => {
            format!("the certificate of {peer} is for another name")
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "the certificate of {peer} is not for {}; it is for {}",
            expected.to_str(),
            match presented.is_empty() {
                true => "no name".to_owned(),
                false => presented.join(", "),
            }
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("the certificate of {peer} was issued for another purpose")
        }
        error => format!("the certificate of {peer} cannot be used: {error}"),
    }
}

/// What an alert says of the certificate that this end presented.
const fn said_of_ours(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::CertificateRequired => "it requires one, and none was presented",
        AlertDescription::CertificateExpired => "it has expired or is not valid yet",
        AlertDescription::CertificateRevoked => "it was revoked",
        // What is not signed by the authority of that name.
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "its authority is not trusted there"
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => "it cannot be used there",
        AlertDescription::AccessDenied => "access denied",
        _ => return None,
    })
}

/// Whether the peer refused the certificate of this end, or the lack of one.
pub(crate) fn is_refusal_of_ours(error: &TlsError) -> bool {
    match error {
        TlsError::AlertReceived(alert) => said_of_ours(*alert).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_may_not_be_read_is_told_with_the_cure() {
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = FileError::new(Path::new("gateway.key"), Problem::Unreadable(error));
        assert_eq!(
            error.to_string(),
            "cannot read gateway.key: permission denied; make it readable for the user that runs \
             grpctunnel"
        );
    }
}
