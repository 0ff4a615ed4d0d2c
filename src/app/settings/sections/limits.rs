use std::time::Duration;

use serde::Deserialize;

use super::Span;

/// `[limits]`: what one client, and all of them together, may take.
///
/// Of what is said to be none at 0, 0 is none; other counts and sizes are above 0.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Largest gRPC or JSON message taken, in bytes.
    pub max_message_bytes: usize,
    /// Bytes of messages that are not whole yet, over all gRPC calls; what is below 4 KiB in a message does not count.
    /// One message of the largest size may always be.
    pub max_unfinished_bytes: usize,
    /// Largest set of request headers taken, in bytes.
    pub max_header_bytes: u32,
    /// Calls that may be open at once on one connection.
    pub max_concurrent_streams: u32,
    /// Calls that may be open at once, over all clients: at work, waiting, watching, or with an answer not taken yet.
    pub max_concurrent_calls: usize,
    /// How long calls may have to wait for a serving thread, where that has not come to the end of them for a while, before
    /// more are refused; 0 is none.
    pub max_queue_delay: Span,
    /// Decisions a second that one caller may ask for, a second's worth at once; 0 is none.
    pub max_caller_rate: u32,
    /// Calls that one caller may have open at once; 0 is none.
    pub max_caller_calls: u32,
    /// Connections that may be open at once, over all clients.
    pub max_connections: usize,
    /// Connections that may be open at once from one address (of IPv6, from one /64); 0 is none.
    pub max_connections_per_address: usize,
    /// Connections a second that are taken, two seconds' worth at once; 0 is none.
    pub max_new_connections: u32,
    /// The same from one address.
    pub max_new_connections_per_address: u32,
    /// Calls of one connection that its peer may reset before they are answered, unless most of its calls are answered.
    pub max_stream_resets: u32,
    /// Frames without a part of a call that a peer may send at once: PING, SETTINGS, `WINDOW_UPDATE` and the like. A tenth a
    /// second is added, and one for every 64 bytes of calls and answers.
    pub max_control_frames: u32,
    /// How long a new connection may take to say that it speaks HTTP/2; 0 is none.
    pub preface_timeout: Span,
    /// How long a connection may be without a call; 0 is none.
    pub max_connection_idle: Span,
    /// How long a peer may leave a message unfinished, an answer untaken, or a socket unread; 0 is none.
    pub stall_timeout: Span,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Span,
    /// Silence on a connection after which it is pinged.
    pub keepalive_interval: Span,
    /// How long a ping may go unanswered before the connection is closed.
    pub keepalive_timeout: Span,
    /// Age at which a connection is to end, give or take a tenth, so that callers spread over replicas again; 0 is none.
    pub max_connection_age: Span,
    /// How long calls on such a connection may take before they are cut.
    pub max_connection_age_grace: Span,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            max_message_bytes: 16 * 1024 * 1024,
            max_unfinished_bytes: 128 * 1024 * 1024,
            max_header_bytes: 16 * 1024,
            max_concurrent_streams: 1024,
            max_concurrent_calls: 65_536,
            max_queue_delay: Span::new(Duration::from_millis(10)),
            max_caller_rate: 0,
            max_caller_calls: 0,
            max_connections: 10_000,
            max_connections_per_address: 2_500,
            max_new_connections: 2_000,
            max_new_connections_per_address: 500,
            max_stream_resets: 500,
            max_control_frames: 2_000,
            preface_timeout: Span::new(Duration::from_secs(5)),
            max_connection_idle: Span::new(Duration::from_mins(10)),
            stall_timeout: Span::new(Duration::from_secs(30)),
            handshake_timeout: Span::new(Duration::from_secs(5)),
            keepalive_interval: Span::new(Duration::from_secs(30)),
            keepalive_timeout: Span::new(Duration::from_secs(20)),
            max_connection_age: Span::new(Duration::from_mins(30)),
            max_connection_age_grace: Span::new(Duration::from_secs(30)),
        }
    }
}
