//! How the server treats connections, as the settings say.

use std::time::Duration;

use crate::app::settings::Settings;

/// How the server treats connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Open at once; more are closed as they come.
    pub connections: usize,
    /// Open at once from one address; 0: any.
    pub connections_per_address: usize,
    /// Taken in a second; 0: any.
    pub new_connections: u32,
    /// Taken in a second from one address; 0: any.
    pub new_connections_per_address: u32,
    /// Calls at once on one connection.
    pub streams: u32,
    /// Bytes of headers a call.
    pub header_bytes: u32,
    /// Calls that a peer may reset before they are answered.
    pub resets: u32,
    /// Frames without a part of a call that a peer may send at once.
    pub control_frames: u32,
    /// Until a new connection has said that it speaks HTTP/2; zero: any time.
    pub preface: Duration,
    /// For which a connection may be without a call; zero: any time.
    pub idle: Duration,
    /// For which an answer may be untaken, or the socket unread; zero: any time.
    pub stall: Duration,
    /// Between two keepalive pings; zero for none.
    pub keepalive_interval: Duration,
    /// How long a ping may stay unanswered.
    pub keepalive_timeout: Duration,
    /// Age at which a connection is to end, give or take a tenth; zero for none.
    pub age: Duration,
    /// How long calls on an aged connection may take before they are cut.
    pub age_grace: Duration,
    /// How long calls may take before they are cut once the server drains.
    pub drain_deadline: Duration,
}

impl From<&Settings> for ConnectionLimits {
    fn from(settings: &Settings) -> Self {
        let limits = &settings.limits;
        Self {
            connections: limits.max_connections,
            connections_per_address: limits.max_connections_per_address,
            new_connections: limits.max_new_connections,
            new_connections_per_address: limits.max_new_connections_per_address,
            streams: limits.max_concurrent_streams,
            header_bytes: limits.max_header_bytes,
            resets: limits.max_stream_resets,
            control_frames: limits.max_control_frames,
            preface: limits.preface_timeout.get(),
            idle: limits.max_connection_idle.get(),
            stall: limits.stall_timeout.get(),
            keepalive_interval: limits.keepalive_interval.get(),
            keepalive_timeout: limits.keepalive_timeout.get(),
            age: limits.max_connection_age.get(),
            age_grace: limits.max_connection_age_grace.get(),
            drain_deadline: settings.drain.deadline.get(),
        }
    }
}
