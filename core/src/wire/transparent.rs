//! What the extension `TRANSPARENT` brings in metadata, checked.

/// A value of the extension `TRANSPARENT` that no end can pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransparentFault {
    /// `content-type` is not one value of `application/grpc`, alone or followed by `+` or `;`.
    ContentType,
    /// `:authority` is not one valid value.
    Authority,
    /// `grpc-encoding` is not one valid value.
    Encoding,
}

/// What metadata holds of the extension `TRANSPARENT`. It means something only where that is in
/// effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transparent {
    /// Whether `grpc-encoding` names an encoding other than `identity`: only then a message may be
    /// compressed.
    pub encoded: bool,
    content_type: bool,
    authority: bool,
    encoding: bool,
}

impl Transparent {
    /// What is wrong; of several faults the first.
    #[must_use]
    pub const fn fault(&self) -> Option<TransparentFault> {
        if self.content_type {
            Some(TransparentFault::ContentType)
        } else if self.authority {
            Some(TransparentFault::Authority)
        } else if self.encoding {
            Some(TransparentFault::Encoding)
        } else {
            None
        }
    }

    /// Notes an entry of the metadata: `value` is the last of `values` strings. Where a key comes
    /// twice, the later entry counts.
    pub(super) fn note(&mut self, key: &[u8], values: u64, value: Option<&[u8]>) {
        let one = value.filter(|_| values == 1);
        match key {
            b"content-type" => self.content_type = !one.is_some_and(is_content_type),
            b":authority" => self.authority = !one.is_some_and(is_authority),
            b"grpc-encoding" => {
                self.encoding = !one.is_some_and(is_token);
                self.encoded = one.is_some_and(|value| value != b"identity");
            }
            _ => {}
        }
    }
}

fn is_content_type(value: &[u8]) -> bool {
    let rest = value.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| match rest.split_first() {
        None => true,
        Some((b'+' | b';', rest)) => rest.iter().all(|byte| matches!(byte, b' '..=b'~')),
        Some(_) => false,
    })
}

/// The characters of an authority in a URI (RFC 3986, 3.2).
fn is_authority(value: &[u8]) -> bool {
    let allowed =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@[]%".contains(byte);
    !value.is_empty() && value.iter().all(allowed)
}

/// A token of HTTP (RFC 9110, 5.6.2).
fn is_token(value: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !value.is_empty() && value.iter().all(allowed)
}
