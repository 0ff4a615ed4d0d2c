//! Frames of HTTP/2 (RFC 9113), as bytes.

use bytes::BufMut;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Appends a frame.
pub(crate) fn put(buffer: &mut impl BufMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    buffer.put_uint(payload.len() as u64, 3);
    buffer.put_slice(&[kind, flags]);
    buffer.put_u32(stream);
    buffer.put_slice(payload);
}

/// Appends a field that is not compressed, behind the byte that says whether the peer's table takes it (RFC 7541, 6.2).
pub(crate) fn put_field(buffer: &mut Vec<u8>, indexing: u8, name: &str, value: &str) {
    buffer.push(indexing);
    for text in [name, value] {
        buffer.push(u8::try_from(text.len()).expect("short"));
        buffer.extend(text.as_bytes());
    }
}
