//! TLS and HTTP/2 with a gateway.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use grpctunnel_http2::{Client, ErrorKind, Reason, Settings};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::{
    Check,
    report::{Fault, Found, Log, Step, Stopped},
};
use crate::{
    connect::ClientWire,
    listener::Stream,
    tls::{Failure, HandshakeError, Presented, is_refusal_of_ours},
    words,
};

/// Days that a certificate should be valid for.
const SOON: u64 = 14;
const HTTP2_ADVICE: &str = "a gateway speaks HTTP/2: is this its port? What stands in front of it \
    has to pass HTTP/2 (nginx: grpc_pass; AWS: an ALB target group for gRPC, or an NLB)";
const FULL_ADVICE: &str = "is this the gateway's port? A gateway that has no room ends connections \
    like this, and its log says `connections turned away`";

/// Takes the steps from a connection to HTTP/2 on it.
pub(super) async fn open(
    check: &Check,
    stream: Stream,
    log: &mut Log<'_>,
) -> Result<Client<Bytes>, Stopped> {
    if check.gateway.is_tls() {
        let (wire, failure) = log.step(Step::Tls, handshake(check, stream)).await?;
        return log.step(Step::Http2, http2(check, wire, failure)).await;
    }
    let begun = std::time::Instant::now();
    let taken = http2(check, ClientWire::Left(stream), None).await;
    let is_tls = |fault: &Fault| fault.step == Some(Step::Tls);
    if !taken.as_ref().is_err_and(is_tls) {
        log.note(Step::Tls, without_tls(check), Duration::ZERO);
    }
    log.take(Step::Http2, taken, begun.elapsed())
}

fn without_tls(check: &Check) -> Found {
    let text = "none: the URL does not begin with https://";
    match check.gateway.is_local() {
        true => Found::nothing(text),
        false => Found::warning(
            text,
            "what passes can be read on the way; give the gateway --tls-cert and --tls-key",
        ),
    }
}

async fn handshake(
    check: &Check,
    stream: Stream,
) -> Result<((ClientWire, Option<Failure>), Found), Fault> {
    let tls = check.credentials.tls();
    let tls = tls.map_err(|error| Fault::new(error.to_string(), "mend this file"))?;
    let (tls, presented) = tls.observed();
    let host = check.gateway.authority().host();
    let shaken = timeout(check.limit, tls.connect(host, stream)).await;
    match shaken {
        Ok(Ok(stream)) => {
            let version = stream.version();
            let found = described(version, &presented);
            let failure = stream.failure();
            Ok(((ClientWire::Right(Box::new(stream)), Some(failure)), found))
        }
        Ok(Err(error)) => Err(refused(&error, &presented)),
        Err(_) => Err(Fault::new(
            "the other end did not answer the TLS handshake in time",
            FULL_ADVICE,
        )),
    }
}

fn described(version: &str, presented: &Presented) -> Found {
    let Some(certificate) = presented.certificate() else {
        return Found::good(version);
    };
    let days = certificate.days_left().unwrap_or(0);
    let text = format!("{version}, {certificate} ({days} days left)");
    match days < SOON {
        true => Found::warning(text, "have it renewed: agents refuse it from that day on"),
        false => Found::good(text),
    }
}

/// Why a handshake failed, and what to do about it.
fn refused(error: &HandshakeError, presented: &Presented) -> Fault {
    let mut why = error.to_string();
    let certificate = presented.certificate();
    let cause = match error {
        HandshakeError::Name(_) => {
            return Fault::new(why, "give the name in its certificate: --server-name HOST");
        }
        HandshakeError::NoHttp2 => return Fault::of(Step::Http2, why, HTTP2_ADVICE),
        HandshakeError::Tls(error) => error.get_ref().and_then(|error| error.downcast_ref()),
    };
    let advice = match cause {
        Some(TlsError::InvalidCertificate(error)) => {
            if let Some(certificate) = certificate {
                why = format!("{why}; it presented {certificate}");
            }
            return Fault::new(why, certificate_advice(error));
        }
        Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            return Fault::of(Step::Http2, why, HTTP2_ADVICE);
        }
        Some(error) if is_refusal_of_ours(error) => {
            return Fault::of(Step::Credentials, why, CLIENT_CERTIFICATE);
        }
        Some(TlsError::InvalidMessage(_)) => {
            "write http:// in the URL if that is meant, or switch TLS on at the gateway \
             (--tls-cert, --tls-key); is this its port?"
        }
        _ => FULL_ADVICE,
    };
    Fault::new(why, advice)
}

fn certificate_advice(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the certificate at the gateway, which reads it again by itself; or set the clock \
             of this machine right"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "set the clock of this machine right, or that of whoever issued the certificate"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "use a host of the certificate in the URL, say --server-name HOST, or have one issued for \
             this host"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "give the certificate of that authority by --ca FILE. Where it is one of your network, a \
             proxy opens TLS on the way: have it leave this host alone"
        }
        _ => "have another certificate issued for the gateway",
    }
}

const CLIENT_CERTIFICATE: &str = "give a certificate that the gateway accepts by --cert and --key: \
    one of an authority in its --tls-client-ca";

async fn http2(
    check: &Check,
    wire: ClientWire,
    failure: Option<Failure>,
) -> Result<(Client<Bytes>, Found), Fault> {
    let settings = Settings::tunnels().with_handshake_timeout(check.limit);
    let runtime = grpctunnel_tokio::runtime();
    let connecting = async {
        let client = grpctunnel_http2::connect(TokioIo::new(wire), &settings, &runtime).await?;
        // What refuses plaintext or a certificate may send its settings first.
        client.connection().ping().await?;
        Ok(client)
    };
    let connected = timeout(check.limit.saturating_mul(2), connecting).await;
    let client = connected.map_err(|_| silent())?.map_err(|error| {
        // What TLS 1.3 refuses of ours, it refuses when the handshake is over here.
        let of_tls = failure.as_ref().and_then(|failure| failure.get());
        match of_tls {
            Some(of_tls) if is_refusal_of_ours(of_tls) => Fault::of(
                Step::Credentials,
                crate::tls::explain(of_tls, "the gateway"),
                CLIENT_CERTIFICATE,
            ),
            _ => not_http2(&error),
        }
    })?;
    let streams = match client.connection().max_streams() {
        usize::MAX => "any number of".to_owned(),
        streams => streams.to_string(),
    };
    let by = match failure {
        Some(_) => "h2 by ALPN",
        None => "by its preface",
    };
    let found = Found::good(format!(
        "HTTP/2 {by}, settings came: {streams} streams at once"
    ));
    let client = client.with_authority(check.gateway.authority().clone());
    Ok((client.with_scheme(check.gateway.scheme()), found))
}

fn not_http2(error: &grpctunnel_http2::Error) -> Fault {
    let is_tls =
        *error.kind() == ErrorKind::Tls || error.reason() == Some(Reason::INADEQUATE_SECURITY);
    if is_tls {
        return Fault::of(
            Step::Tls,
            "the other end speaks TLS, and the URL begins with http://",
            "write https:// in the URL, and name its authority by --ca",
        );
    }
    let cause: &(dyn Error + 'static) = error;
    if matches!(error.kind(), ErrorKind::HandshakeTimeout(_)) {
        return silent();
    }
    let why = words::spoken(cause).map_or_else(|| words::reason(cause), str::to_owned);
    let advice = match error.kind() {
        ErrorKind::Http1 | ErrorKind::NotHttp2 => HTTP2_ADVICE,
        _ => FULL_ADVICE,
    };
    Fault::new(why, advice)
}

fn silent() -> Fault {
    Fault::new("it took the connection, and said nothing", FULL_ADVICE)
}
