//! What is told of gRPC calls, and of what was turned away.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{CauseLabel, Histogram, registered};

/// Upper bounds of the buckets that calls are counted in, in nanoseconds: from 50 microseconds to ten seconds, for a watch
/// lasts as long as its caller likes.
const CALL_BOUNDS: [u64; 16] = [
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    10_000_000_000,
];

/// The names of gRPC's status codes, by number.
pub const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    service: String,
    method: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    service: String,
    method: String,
    code: &'static str,
}

/// Counters of calls: every series is there from the start and found by its place, without a map. A clone counts in the same.
#[derive(Debug, Clone)]
pub struct Calls {
    methods: Vec<Method>,
}

#[derive(Debug, Clone)]
struct Method {
    /// By the code's number.
    codes: [Counter; CODES.len()],
    duration: Histogram,
}

impl Calls {
    pub(super) fn registered<'a>(
        registry: &mut Registry,
        methods: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let codes: Family<CallLabels, Counter> = registered(
            registry,
            "greenlane_grpc_requests",
            "gRPC calls that ended, by service, method and status code; of paths that are not served, as unknown",
        );
        let durations: Family<MethodLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(&CALL_BOUNDS));
        registry.register(
            "greenlane_grpc_request_duration_seconds",
            "Seconds from a call's headers to its answer, of streams to their end",
            durations.clone(),
        );
        let method = |(service, method): (&str, &str)| {
            let (service, method) = (service.to_owned(), method.to_owned());
            let of = |code| CallLabels {
                service: service.clone(),
                method: method.clone(),
                code,
            };
            Method {
                codes: CODES.map(|code| codes.get_or_create_owned(&of(code))),
                duration: durations.get_or_create_owned(&MethodLabels { service, method }),
            }
        };
        Self {
            methods: methods.into_iter().map(method).collect(),
        }
    }

    /// A call of the method at that place ended with the code of that number.
    pub fn ended(&self, method: usize, code: usize, after: Duration) {
        let Some(method) = self.methods.get(method) else {
            return;
        };
        if let Some(counter) = method.codes.get(code) {
            counter.inc();
        }
        method.duration.observe(after);
    }
}

/// Tells how many gRPC connections are open.
#[derive(Debug)]
pub struct Connections(Gauge);

impl Connections {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let help = "gRPC connections that are open";
        Self(registered(registry, "greenlane_connections", help))
    }

    /// One was taken.
    pub fn opened(&self) {
        self.0.inc();
    }

    /// One that was taken is no more.
    pub fn closed(&self) {
        self.0.dec();
    }
}

/// Why something was turned away to protect the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// A connection: as many are open as may be.
    Connections,
    /// A connection: its address has as many open as it may.
    ConnectionsOfAddress,
    /// A connection: they come faster than they may.
    ConnectionRate,
    /// A connection whose peer did not say in time that it speaks HTTP/2.
    Preface,
    /// A connection whose peer reset too many calls before they were answered.
    StreamResets,
    /// A connection whose peer sent too many frames that are part of no call.
    ControlFrames,
    /// A connection whose peer broke HTTP/2's rules in a way that costs the server.
    Protocol,
    /// A call: its answer was not taken, or its request not finished; or a connection whose peer reads nothing.
    Stalled,
    /// A call: its request is not whole, and such requests take as much memory as they may.
    UnfinishedBytes,
    /// A call: what is ahead of it takes longer than it may wait, or as many are open as may be.
    Overload,
    /// A call: its caller asks for more decisions than it may.
    CallerRate,
    /// A call: its caller has as many open as it may.
    CallerCalls,
    /// A call, or an item of a batch or stream, whose deadline had passed when its turn came.
    Late,
    /// A call over HTTP: as many are under way as may be, or their bodies take as much memory as they may.
    HttpCalls,
    /// A watch: as many are open as may be.
    Watches,
    /// A watch whose reader was too slow.
    SlowWatches,
}

impl Shed {
    const ALL: [Self; 16] = [
        Self::Connections,
        Self::ConnectionsOfAddress,
        Self::ConnectionRate,
        Self::Preface,
        Self::StreamResets,
        Self::ControlFrames,
        Self::Protocol,
        Self::Stalled,
        Self::UnfinishedBytes,
        Self::Overload,
        Self::CallerRate,
        Self::CallerCalls,
        Self::Late,
        Self::HttpCalls,
        Self::Watches,
        Self::SlowWatches,
    ];

    const fn cause(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::ConnectionsOfAddress => "max_connections_per_address",
            Self::ConnectionRate => "new_connections",
            Self::Preface => "preface",
            Self::StreamResets => "stream_resets",
            Self::ControlFrames => "control_frames",
            Self::Protocol => "protocol",
            Self::Stalled => "stalled",
            Self::UnfinishedBytes => "unfinished_bytes",
            Self::Overload => "overload",
            Self::CallerRate => "caller_rate",
            Self::CallerCalls => "caller_calls",
            Self::Late => "late",
            Self::HttpCalls => "http_calls",
            Self::Watches => "max_watches",
            Self::SlowWatches => "slow_watch",
        }
    }
}

/// Counters of what was turned away.
#[derive(Debug)]
pub(super) struct ShedCounters([Counter; Shed::ALL.len()]);

impl ShedCounters {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let causes: Family<CauseLabel, Counter> = registered(
            registry,
            "greenlane_requests_shed",
            "Connections, calls and watches turned away or cut to protect the others, by cause",
        );
        Self(Shed::ALL.map(|shed| causes.get_or_create_owned(&CauseLabel { cause: shed.cause() })))
    }

    pub(super) fn count(&self, shed: Shed, times: u64) {
        self.0[shed as usize].inc_by(times);
    }
}
