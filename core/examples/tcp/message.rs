//! The one message that the services of this example have: `google.protobuf.BytesValue`, a `bytes`
//! field with number 1. The core does not look into messages; any codec will do.

/// The message of these bytes.
pub(crate) fn encode(value: &[u8]) -> Vec<u8> {
    let mut message = vec![0x0a];
    let mut len = value.len();
    while len >= 0x80 {
        message.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    message.push(len as u8);
    message.extend_from_slice(value);
    message
}

/// The bytes of a message. Without the field there are none.
pub(crate) fn decode(message: &[u8]) -> Option<&[u8]> {
    let Some((0x0a, mut rest)) = message.split_first().map(|(tag, rest)| (*tag, rest)) else {
        return message.is_empty().then_some(&[]);
    };
    let (mut len, mut shift) = (0_usize, 0);
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
        if shift > 28 {
            return None;
        }
    }
    (rest.len() == len).then_some(rest)
}
