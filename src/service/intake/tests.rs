use std::{collections::VecDeque, future::poll_fn, task::Waker};

use super::*;

/// A body of those parts, after which nothing comes.
struct Parts(VecDeque<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.pop_front() {
            Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
            None => Poll::Pending,
        }
    }
}

fn message(length: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    bytes.resize(HEAD + length, 7);
    bytes
}

fn conduct() -> Arc<Conduct> {
    Arc::new(Conduct::new(Arc::default(), 1))
}

fn intakes(max_held: usize) -> Arc<Intakes> {
    Arc::new(Intakes {
        timeout: Duration::from_millis(20),
        max_held,
        held: Arc::default(),
        metrics: Arc::default(),
    })
}

fn intake(parts: &[&[u8]], intakes: &Arc<Intakes>, kind: Kind) -> Intake<Parts> {
    let parts = parts.iter().map(|part| Bytes::copy_from_slice(part)).collect();
    Intake::new(Parts(parts), Arc::clone(intakes), conduct(), kind, Instant::now())
}

/// Reads all that comes without waiting; gives bytes, or why it was given up.
fn read(intake: &mut Intake<Parts>) -> Result<usize, Status> {
    let mut context = Context::from_waker(Waker::noop());
    let mut bytes = 0;
    loop {
        match Pin::new(&mut *intake).poll_frame(&mut context) {
            Poll::Ready(Some(frame)) => bytes += frame?.into_data().unwrap().len(),
            Poll::Ready(None) | Poll::Pending => return Ok(bytes),
        }
    }
}

/// The next thing that comes.
async fn next(intake: &mut Intake<Parts>) -> Option<Result<Frame<Bytes>, Status>> {
    poll_fn(|context| Pin::new(&mut *intake).poll_frame(context)).await
}

#[tokio::test]
async fn a_request_that_never_ends_is_given_up_however_it_comes() {
    let bytes = message(100);
    let single: Vec<&[u8]> = bytes[..50].chunks(1).collect();
    for parts in [&[][..], &[&bytes[..1]], &[&bytes[..50]], &single] {
        let intakes = intakes(1 << 20);
        let mut intake = intake(parts, &intakes, Kind::One);
        read(&mut intake).unwrap();
        let status = next(&mut intake).await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        assert!(next(&mut intake).await.is_none() && intake.is_end_stream());
    }
}

#[tokio::test]
async fn between_two_messages_of_a_stream_time_is_the_callers() {
    let bytes = [message(3), message(0), message(9)].concat();
    let intakes = intakes(1 << 20);
    let mut whole = intake(&[&bytes[..9], &bytes[9..]], &intakes, Kind::Stream);
    let mut cut = intake(&[&bytes[..bytes.len() - 1]], &intakes, Kind::Stream);
    for intake in [&mut whole, &mut cut] {
        read(intake).unwrap();
    }
    tokio::select! {
        biased;
        ended = next(&mut whole) => panic!("{ended:?}"),
        ended = next(&mut cut) => assert!(ended.unwrap().is_err()),
    }
    assert!(read(&mut whole).is_ok());
}

#[tokio::test]
async fn what_is_unfinished_is_counted_and_released() {
    let bytes = message(20_000);
    let intakes = intakes(10_000);
    let held = || intakes.held.load(Ordering::Relaxed);
    let mut small = intake(&[&message(UNCOUNTED)[..UNCOUNTED]], &intakes, Kind::One);
    read(&mut small).unwrap();
    assert_eq!(held(), 0);
    let mut large = intake(&[&bytes[..HEAD + 10_000]], &intakes, Kind::One);
    read(&mut large).unwrap();
    assert_eq!(held(), 10_000 - UNCOUNTED);
    let mut other = intake(&[&bytes[..HEAD + 9_000]], &intakes, Kind::One);
    assert_eq!(
        read(&mut other).unwrap_err().code(),
        tonic::Code::ResourceExhausted
    );
    drop(other);
    assert_eq!(held(), 10_000 - UNCOUNTED);
    // In pieces, it is whole at last.
    large
        .body
        .0
        .extend([Bytes::copy_from_slice(&bytes[HEAD + 10_000..])]);
    read(&mut large).unwrap();
    assert_eq!(held(), 0);
}

#[tokio::test]
async fn only_a_batch_may_be_long_and_what_is_too_long_is_refused_before_it_comes() {
    let intakes = intakes(1 << 30);
    let long = message(MAX_REQUEST_BYTES + 1);
    let after = [message(1), long.clone()].concat();
    for (parts, kind) in [
        (&long[..HEAD], Kind::One),
        (&after[..HEAD + 1 + HEAD], Kind::Stream),
    ] {
        let status = read(&mut intake(&[parts], &intakes, kind)).unwrap_err();
        assert_eq!(status.code(), tonic::Code::OutOfRange, "{kind:?}");
    }
    assert!(read(&mut intake(&[&long[..]], &intakes, Kind::Batch)).is_ok());
    assert!(
        read(&mut intake(
            &[&message(MAX_REQUEST_BYTES)[..]],
            &intakes,
            Kind::One
        ))
        .is_ok()
    );
}

/// A body of those frames that ends behind them.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// What a body of those parts, and of trailers behind them, gives for a usual message, and all that it gives thereafter.
async fn looked_at(parts: &[&[u8]], has_trailers: bool, most: usize) -> (Option<Bytes>, Vec<u8>) {
    let mut frames: VecDeque<_> = parts
        .iter()
        .map(|part| Frame::data(Bytes::copy_from_slice(part)))
        .collect();
    if has_trailers {
        frames.push_back(Frame::trailers(http::HeaderMap::new()));
    }
    let mut intake = Intake::new(
        Frames(frames),
        intakes(1 << 20),
        conduct(),
        Kind::One,
        Instant::now(),
    );
    let message = intake.usual_message(most).await;
    let mut rest = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut intake).poll_frame(context)).await {
        match frame.unwrap().into_data() {
            Ok(data) => rest.extend_from_slice(&data),
            Err(frame) => assert!(has_trailers && frame.is_trailers()),
        }
    }
    assert!(intake.is_end_stream());
    (message, rest)
}

#[tokio::test]
async fn the_message_of_a_usual_body_is_taken_and_any_other_body_is_as_it_was() {
    let bytes = message(30);
    let usual: [&[&[u8]]; 3] = [&[&bytes], &[&bytes, &[]], &[&[], &bytes, &[], &[]]];
    for parts in usual {
        for has_trailers in [false, true] {
            let (message, rest) = looked_at(parts, has_trailers, 30).await;
            assert_eq!(message.as_deref(), Some(&bytes[HEAD..]));
            assert!(rest.is_empty());
        }
    }
    assert_eq!(looked_at(&[&message(0)], false, 0).await.0, Some(Bytes::new()));
    let (mut compressed, mut longer) = (bytes.clone(), bytes.clone());
    compressed[0] = 1;
    longer[4] += 1;
    let two = [&*bytes, &bytes].concat();
    let unusual: [&[&[u8]]; 12] = [
        &[],
        &[&[]],
        &[&bytes[..3]],
        &[&bytes[..HEAD]],
        &[&bytes[..HEAD], &bytes[HEAD..]],
        &[&bytes[..20], &bytes[20..]],
        &[&compressed],
        &[&longer],
        &[&two],
        &[&bytes, &bytes],
        &[&bytes, &[0]],
        &[&bytes, &[], &bytes, &bytes],
    ];
    for parts in unusual {
        for has_trailers in [false, true] {
            let (message, rest) = looked_at(parts, has_trailers, 100).await;
            assert_eq!(message, None, "{parts:?}");
            assert_eq!(rest, parts.concat(), "{parts:?}");
        }
    }
    assert_eq!(looked_at(&[&bytes], false, 29).await, (None, bytes));
}
