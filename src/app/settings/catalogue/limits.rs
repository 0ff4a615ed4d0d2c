//! `[limits]`, key by key.

use super::{Entry, LimitSettings, entry};

pub(super) fn entries(limits: &LimitSettings) -> Vec<Entry> {
    let LimitSettings {
        max_message_bytes,
        max_unfinished_bytes,
        max_header_bytes,
        max_concurrent_streams,
        max_concurrent_calls,
        max_queue_delay,
        max_caller_rate,
        max_caller_calls,
        max_connections,
        max_connections_per_address,
        max_new_connections,
        max_new_connections_per_address,
        max_stream_resets,
        max_control_frames,
        preface_timeout,
        max_connection_idle,
        stall_timeout,
        handshake_timeout,
        keepalive_interval,
        keepalive_timeout,
        max_connection_age,
        max_connection_age_grace,
    } = limits;
    vec![
        entry("limits.max_message_bytes", max_message_bytes),
        entry("limits.max_unfinished_bytes", max_unfinished_bytes),
        entry("limits.max_header_bytes", max_header_bytes),
        entry("limits.max_concurrent_streams", max_concurrent_streams),
        entry("limits.max_concurrent_calls", max_concurrent_calls),
        entry("limits.max_queue_delay", max_queue_delay),
        entry("limits.max_caller_rate", max_caller_rate),
        entry("limits.max_caller_calls", max_caller_calls),
        entry("limits.max_connections", max_connections),
        entry("limits.max_connections_per_address", max_connections_per_address),
        entry("limits.max_new_connections", max_new_connections),
        entry(
            "limits.max_new_connections_per_address",
            max_new_connections_per_address,
        ),
        entry("limits.max_stream_resets", max_stream_resets),
        entry("limits.max_control_frames", max_control_frames),
        entry("limits.preface_timeout", preface_timeout),
        entry("limits.max_connection_idle", max_connection_idle),
        entry("limits.stall_timeout", stall_timeout),
        entry("limits.handshake_timeout", handshake_timeout),
        entry("limits.keepalive_interval", keepalive_interval),
        entry("limits.keepalive_timeout", keepalive_timeout),
        entry("limits.max_connection_age", max_connection_age),
        entry("limits.max_connection_age_grace", max_connection_age_grace),
    ]
}
